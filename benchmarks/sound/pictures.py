"""Pictures for the documentation: what timbres are used where, and how they sound, as PNG files in docs/pictures.

    python benchmarks/sound/pictures.py RUN NAME [--source SHARDS]

NAME-timbres.png    the mean shares of each instrument (of each held-out note where files name none), and the levels of
                    the harmonics of each timbre alone, at 220 Hz
NAME-notes.png      spectrograms of three held-out notes above those of their reconstructions, and the shares over time
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from dirvae import AudioVAE, load_model  # noqa: E402
from dirvae.drawing.spectrograms import COLOUR_MAP, RANGE_DB, mel_levels  # noqa: E402
from dirvae.networks.audio import SoundClips  # noqa: E402
from dirvae.run.config import read_config  # noqa: E402
from dirvae.tasks.audio import AUDIO, clips_of  # noqa: E402
from dirvae.tasks.data import divide_source  # noqa: E402

MOST, GREY = 8, "#b8bcc4"
"""Timbres that are drawn, the most used ones; all others together are grey."""
SECONDS, LOUD_DB, F0_HZ, LOUDNESS_DB = 4.0, 40.0, 220.0, -20.0


def read_notes(run: Path, source: str | None) -> tuple[list[str], list[SoundClips]]:
    """What held-out notes are called (by their instrument, if that is known), and their beginnings."""
    config = read_config(run)
    _, _, held_out = divide_source(config.data, modality="audio", seed=config.fit.seed, source=source)
    settings = replace(config.data, clip_seconds=SECONDS, batch_size=1, threads=1)
    iterator = AUDIO.open_iterator(held_out, settings, fields="json")
    names, notes = [], []
    for batch in iterator:
        key, _, start = batch.keys[0].rpartition("@")
        if start == "0":
            facts = batch.fields["json"][0]
            names.append(facts["instrument"] if facts else key)
            notes.append(clips_of(settings)(batch))
    iterator.close()
    return names, notes


def mean_shares(model: AudioVAE, notes: list[SoundClips]) -> torch.Tensor:
    """The mean latent of each note over its loud rows: (note, component)."""
    found = []
    for clips in notes:
        latent = model.reconstruct(clips).latent
        assert latent is not None
        loud = model.real_rows(clips) & (clips.loudness > clips.loudness.max() - LOUD_DB)
        found.append(latent[0][:, loud[0]].mean(1))
    return torch.stack(found)


def most_used(shares: torch.Tensor) -> list[int]:
    """The timbres with the largest mean shares (note, component), by their numbers."""
    return sorted(shares.mean(0).argsort(descending=True)[:MOST].tolist())


def with_others(shares: torch.Tensor, shown: list[int]) -> torch.Tensor:
    """(component, …) → (shown + 1, …): the last one is the sum of the others."""
    return torch.cat((shares[shown], (1 - shares[shown].sum(0, keepdim=True)).clamp(min=0)))


def draw_timbres(path: Path, model: AudioVAE, names: list[str], shares: torch.Tensor) -> None:
    """Bars of shares on the left, the harmonics of each timbre on the right."""
    import matplotlib.pyplot as plt

    groups = sorted(set(names))
    means = torch.stack([shares[[at for at, one in enumerate(names) if one == name]].mean(0) for name in groups])
    shown = most_used(shares)
    size = len(shown)
    figure, axes = plt.subplot_mosaic(
        [["bars", *(f"timbre {shown[at]}" for at in range(row, size, 2))] for row in range(2)],
        figsize=(11, 0.34 * len(groups) + 1.9),
        width_ratios=[3, *([1] * (size // 2))],
        layout="constrained",
    )
    colours = [*plt.get_cmap("tab10").colors[:size], GREY]
    left = torch.zeros(len(groups))
    for part, colour in zip(with_others(means.T, shown), colours, strict=True):
        axes["bars"].barh(groups, 100 * part, left=100 * left, color=colour)
        left = left + part
    axes["bars"].invert_yaxis()
    axes["bars"].set(xlabel="mean share of each timbre, %", xlim=(0, 100))
    rows = 50
    alone = torch.eye(model.model_size)[shown, :, None].expand(-1, -1, rows)
    controls = model.decode(alone, torch.full((size, rows), F0_HZ), torch.full((size, rows), LOUDNESS_DB))
    levels = controls.distribution.values / controls.distribution.values.sum(2, keepdim=True)
    decibels = 20 * torch.log10(levels[:, -1].clamp(min=1e-4))
    for number, level, colour in zip(shown, decibels[:, :24], colours, strict=False):
        place = axes[f"timbre {number}"]
        place.bar(range(1, len(level) + 1), level + 60, bottom=-60, color=colour, width=0.9)
        place.set(ylim=(-60, 0), xlim=(0, 25), xticks=(1, 12, 24), yticks=(-60, -30, 0))
        place.set_title(f"timbre {number}", fontsize=8)
        place.tick_params(labelsize=7)
    for place in axes.values():
        place.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def draw_notes(
    path: Path, model: AudioVAE, names: list[str], notes: list[SoundClips], shares: torch.Tensor
) -> None:
    """Three notes in columns: the original, the reconstruction, the shares."""
    import matplotlib.pyplot as plt

    chosen = [round(at * (len(notes) - 1) / 2) for at in range(3)]
    figure, axes = plt.subplots(
        3, 3, figsize=(11, 5.4), layout="constrained", height_ratios=[3, 3, 2], sharex="col"
    )
    for column, number in enumerate(chosen):
        clips = notes[number]
        out = model.reconstruct(clips)
        num = int(clips.lengths[0]) if clips.lengths is not None else clips.num_samples
        levels = mel_levels([clips.samples[0, :num], out.reconstruction[0, :num]], model.sample_rate)
        seconds = num / float(model.sample_rate)
        for place, level in zip(axes[:2, column], levels, strict=True):
            options: dict[str, Any] = {"vmin": -RANGE_DB, "vmax": 0, "cmap": COLOUR_MAP, "aspect": "auto"}
            place.imshow(level.numpy(), origin="lower", extent=(0, seconds, 0, len(level)), **options)
            place.set_yticks([])
        axes[0, column].set_title(f"{names[number]}, {float(clips.f0.median()):.0f} Hz", fontsize=9)
        latent = out.latent
        assert latent is not None
        is_real = model.real_rows(clips)[0]
        times = torch.arange(int(is_real.sum())) / float(model.control_rate)
        over_time = with_others(latent[0][:, is_real], most_used(shares))
        axes[2, column].stackplot(
            times, 100 * over_time.numpy(), colors=[*plt.get_cmap("tab10").colors[: len(over_time) - 1], GREY]
        )
        axes[2, column].set(xlim=(0, seconds), ylim=(0, 100), xlabel="seconds")
    for place, text in zip(axes[:, 0], ("original", "reconstruction", "shares, %"), strict=True):
        place.set_ylabel(text)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--source", help="where the shards are now")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    options = parser.parse_args()
    import matplotlib

    matplotlib.use("Agg")
    torch.set_num_threads(1)
    model: AudioVAE = load_model(options.run, which="last")
    names, notes = read_notes(options.run, options.source)
    with torch.inference_mode():
        shares = mean_shares(model, notes)
        draw_timbres(options.out / f"{options.name}-timbres.png", model, names, shares)
        draw_notes(options.out / f"{options.name}-notes.png", model, names, notes, shares)


if __name__ == "__main__":
    main()
