"""What a latent makes of six synthetic instruments: one resumable job per latent and seed, each about five minutes.

    python benchmarks/sound/instruments.py [--latents dirichlet gaussian none] [--seeds 0 1 2] [--steps 600] [--table]

A job packs 240 sample sounds if they are not there yet, trains by `dirvae.train --resume`, measures the model on whole
held-out sounds, and writes `results/instruments-LATENT-SEED.json` beside this file; a job that has its file is done.
`--table` prints the files that are there.

neighbour_error  share of held-out sounds whose nearest training sound, by the mean latent of its loud rows, is another
                 instrument; distances are Euclidean, on the simplex those of Aitchison (of centred log shares)
all_error        the same for every sound of both parts among all others, which is less a matter of chance
shuffled_rise    by how much the spectral loss rises where each sound is decoded with the latent of another one
effective        exp(entropy) of the mean latent
transfer         phrases of one instrument with the mean latent of another: how far the tracked f0 is from the phrase's
                 own, and how often and how far the spectral centroid moves toward that of the other instrument
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

RESULTS = Path(__file__).resolve().parent / "results"
NUM, SAMPLE_RATE, LONGEST_SECONDS = 240, 16_000, 4.0
HELD_OUT = 0.2
LOUD_DB = 10.0
"""Rows within so many decibels of the loudest count in a sound's mean latent."""
DIFFERENT = 1.2
"""Centroids of two instruments are compared where they differ by this factor."""


def prepare(folder: Path) -> Path:
    """Shards of the sample sounds."""
    from pipelines import make_shards
    from pipelines.samples import make_sample_sounds

    shards = folder / "shards"
    if not (shards / "manifest.json").exists():
        make_sample_sounds(folder / "data", num=NUM)
        make_shards(
            folder / "data", shards, workers=0, features=("f0", "loudness"), overwrite_features=True, progress=False
        )
    return shards


def train(shards: Path, run: Path, *, latent: str, seed: int, steps: int) -> float:
    """Train, or continue; the CPU seconds that this process spent."""
    from dirvae.train import main

    began = time.process_time()
    varied = "--shift-semitones 2 --gain-db 6"  # so that pitches and levels overlap without gaps
    flags = f"{varied} --type audio --latent {latent} --seed {seed} --steps {steps} --held-out {HELD_OUT}"
    fixed = ["--clip-seconds", "1", "--save-every", "200", "--resume"]
    code = main(["--shards", str(shards), "--out", str(run), *fixed, *flags.split()])
    if code:
        raise SystemExit(code)
    return time.process_time() - began


class Sounds:
    """Whole sounds of one part of the data, with their instruments."""

    def __init__(self, source: Any, settings: Any) -> None:
        from dirvae.networks.audio import SoundClips
        from dirvae.tasks.audio import AUDIO, clips_of

        whole = replace(settings, clip_seconds=LONGEST_SECONDS, batch_size=16, threads=1)
        iterator = AUDIO.open_iterator(source, whole, fields="json")
        to_clips, self.instruments, parts = clips_of(whole), [], []
        for batch in iterator:
            parts.append(to_clips(batch))
            self.instruments += [entry["instrument"] for entry in batch.fields["json"]]
        iterator.close()
        self.clips = SoundClips.join(parts)

    def pieces(self, size: int = 16) -> Iterator[Any]:
        """Some sounds at a time."""
        for start in range(0, len(self.clips), size):
            yield self.clips[start : start + size]


def measure(model: Any, training: Sounds, held_out: Sounds) -> dict[str, Any]:
    """The numbers of one model."""
    import torch

    losses, shares = [], []
    with torch.inference_mode():
        for clips in held_out.pieces():
            out = model.reconstruct(clips)
            losses.append(model.spectral_loss(out.reconstruction, clips.samples, clips.lengths))
            shares.append(out.latent)
        loss = float(torch.cat(losses).mean())
        found: dict[str, Any] = {"loss": loss, "sounds": len(held_out.clips)}
        if model.latent is None:
            return found
        latents = torch.cat(shares)
        shuffled = torch.cat([latents[1:], latents[:1]])  # of the next sound, which is of the next instrument
        rise = []
        for start, clips in zip(range(0, len(latents), 16), held_out.pieces(), strict=True):
            out = model.reconstruct(clips, latent=shuffled[start : start + 16])
            rise.append(model.spectral_loss(out.reconstruction, clips.samples, clips.lengths))
        mine, theirs = mean_latents(model, training), mean_latents(model, held_out)
        both, names = torch.cat([theirs, mine]), [*held_out.instruments, *training.instruments]
        mean = theirs.mean(0)
        found |= {
            "shuffled_rise": float(torch.cat(rise).mean()) / loss - 1,
            "neighbour_error": neighbour_error(theirs, held_out.instruments, mine, training.instruments),
            "all_error": neighbour_error(both, names, both, names),
            "kl_per_second": float(
                torch.cat([model.kl(c, model.reconstruct(c).posterior)[1] for c in held_out.pieces()]).mean()
            ),
            "effective": float(torch.special.entr(mean).sum().exp()) if bool((mean > 0).all()) else None,
            "mean_latents": {
                name: [round(value, 4) for value in theirs[members(held_out, name)].mean(0).tolist()]
                for name in sorted(set(held_out.instruments))
            },
            "transfer": transfer(model, training, held_out, mine),
        }
    return found


def neighbour_error(latents: Any, names: list[str], others: Any, their_names: list[str]) -> float:
    """The share of latents (num, component) whose nearest neighbour among the others has another name."""
    import torch

    places = [latents, others]
    if bool((others > 0).all()):  # on the simplex
        places = [one.log() - one.log().mean(1, keepdim=True) for one in places]
    distances = torch.cdist(*places)
    if latents is others:
        distances.fill_diagonal_(torch.inf)
    nearest = distances.argmin(1).tolist()
    return statistics.fmean(their_names[found] != own for found, own in zip(nearest, names, strict=True))


def members(sounds: Sounds, instrument: str) -> list[int]:
    """The numbers of the sounds of an instrument."""
    return [number for number, name in enumerate(sounds.instruments) if name == instrument]


def mean_latents(model: Any, sounds: Sounds) -> Any:
    """The mean latent of each sound over its loud rows: (sound, component)."""
    import torch

    found = []
    for clips in sounds.pieces():
        latents = model.reconstruct(clips).latent
        is_loud = model.real_rows(clips) & (clips.loudness > clips.loudness.amax(1, keepdim=True) - LOUD_DB)
        weights = is_loud[:, None].float()
        found.append((latents * weights).sum(2) / weights.sum(2))
    return torch.cat(found)


def centroids(samples: Any) -> Any:
    """The spectral centroid of each sound in Hz: (batch, time) → (batch,)."""
    import torch

    power = torch.fft.rfft(samples).abs().square()
    hz = torch.linspace(0, SAMPLE_RATE / 2, power.shape[1])
    return (power * hz).sum(1) / power.sum(1)


def transfer(model: Any, training: Sounds, held_out: Sounds, latents: Any) -> dict[str, Any]:
    """A phrase of each instrument with the mean latent of each other one."""
    import torch

    from dirvae.ddsp import track_f0

    names = sorted(set(held_out.instruments))
    timbres = {name: latents[members(training, name)].mean(0) for name in names}
    goals = {name: float(centroids(training.clips.samples[members(training, name)]).median()) for name in names}
    cents, moved = [], []
    for name in names:
        number = members(held_out, name)[0]
        clips = held_out.clips[number : number + 1]
        own = float(centroids(clips.samples))
        for other in (one for one in names if one != name):
            latent = timbres[other][None, :, None].expand(1, -1, clips.num_rows)
            played = model.reconstruct(clips, latent=latent).reconstruction
            pitch = track_f0(played, SAMPLE_RATE)
            rows = (pitch.confidence.values >= 0.5) & model.real_rows(clips)
            error = 1200 * torch.log2(pitch.f0.values / clips.f0)[rows].abs()
            cents.append(float(error.median()))
            if max(goals[other], own) > DIFFERENT * min(goals[other], own):
                moved.append((float(centroids(played)) - own) / (goals[other] - own))
    return {
        "pairs": len(cents),
        "cents_median": statistics.median(cents),
        "within_10_cents": statistics.fmean(error <= 10 for error in cents),
        "compared_centroids": len(moved),
        "moved_toward": statistics.fmean(share > 0 for share in moved),
        "moved_share_median": statistics.median(moved),
    }


def job(folder: Path, *, latent: str, seed: int, steps: int) -> None:
    """Train and measure, unless that is done."""
    path = RESULTS / f"instruments-{latent}-{seed}.json"
    if path.exists():
        return
    from dirvae import load_model
    from dirvae.run.config import read_config
    from dirvae.tasks.data import divide_source

    run = folder / "runs" / f"{latent}-{seed}"
    seconds = train(prepare(folder), run, latent=latent, seed=seed, steps=steps)
    config = read_config(run)
    _, training, held_out = divide_source(config.data, modality="audio", seed=seed)
    model = load_model(run, which="last")
    found = measure(model, Sounds(training, config.data), Sounds(held_out, config.data))
    content = {"latent": latent, "seed": seed, "steps": steps, "cpu_seconds": round(seconds), **found}
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def table() -> None:
    """Print the results that are there."""
    columns = ("loss", "neighbour_error", "all_error", "shuffled_rise", "effective", "kl_per_second")
    moves = ("within_10_cents", "cents_median", "moved_toward", "moved_share_median")
    print(f"| latent, seed | {' | '.join((*columns, *moves))} |\n|{'---|' * (1 + len(columns) + len(moves))}")
    for path in sorted(RESULTS.glob("instruments-*.json")):
        found = json.loads(path.read_text("utf-8"))
        cells = [found.get(name) for name in columns] + [found.get("transfer", {}).get(name) for name in moves]
        shown = ["–" if value is None else f"{value:.3g}" for value in cells]
        print(f"| {found['latent']}, {found['seed']} | {' | '.join(shown)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latents", nargs="+", default=["dirichlet", "gaussian", "none"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--folder", type=Path, default=ROOT / "benchmarks" / "sound" / "work")
    parser.add_argument(
        "--table", action="store_true", help="print the results that are there, and do nothing else"
    )
    options = parser.parse_args()
    if not options.table:
        import torch

        torch.set_num_threads(1)
        for seed, latent in itertools.product(options.seeds, options.latents):
            job(options.folder, latent=latent, seed=seed, steps=options.steps)
    table()


if __name__ == "__main__":
    main()
