r"""How near a run on single notes comes to the best that its synthesiser can do, and what harmonics and noise add.

    python tools/make_shards.py FOLDER --out shards/saxophone --features f0,loudness
    python -m dirvae.train --shards shards/saxophone --type audio --sample-rate 16000 --clip-seconds 0.25 \
        --model-size 24 --encoder-harmonics 40 --reads-latent-last --plays-loudness --equaliser-db 18 \
        --nats-per-unit 100000 --learning-rate 0.002 --steps 9000 --save-every 3000
    python benchmarks/sound/saxophone.py runs/audio --name saxophone-16k

Held-out notes, their first 4 s each, one by one. The numbers go to `results/NAME.json` beside this file.

loss        of the run's model, of the same model before training, and of the oracle: `oracle.py` with the run's
            synthesiser, fitted by least squares and refined by 60 steps, with the same noise at every step ("same"),
            which learns that noise by heart, and with new noise at every step ("new")
fraction    (model - oracle) / (untrained - oracle); "untrained" begins with harmonics that follow the loudness, and
            "untrained_plain" with the last layer as torch makes it and without that
ratio       (rise of the loss without harmonics) / (rise without noise), rises added up over the notes; for the oracle
            by least squares in frames of 40 ms: with shorter ones, or refined, harmonics imitate the noise
steepest    the largest first difference over the original's, at rows of the controls and elsewhere
harmonics   mean absolute difference of the levels of the first ten harmonics from the original's, dB
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "benchmarks" / "sound"))

import torch  # noqa: E402
from oracle import ablation, fit_oracle  # noqa: E402
from torch import Tensor  # noqa: E402

from dirvae import AudioVAE, load_model  # noqa: E402
from dirvae.ddsp import Curve, FilteredNoise  # noqa: E402
from dirvae.evaluate.sounds import loudness_error_db, pitch_error_semitones  # noqa: E402
from dirvae.networks.audio import SoundClips  # noqa: E402
from dirvae.run.config import read_config  # noqa: E402
from dirvae.run.session import build_model  # noqa: E402
from dirvae.tasks.audio import AUDIO, clips_of  # noqa: E402
from dirvae.tasks.data import divide_source  # noqa: E402

ORACLES = ("oracle_same", "oracle_new", "oracle_fitted")
RESULTS = Path(__file__).resolve().parent / "results"
SECONDS = 4.0
LOUD_DB = 30.0


def held_out_notes(run: Path, source: str | None) -> tuple[list[str], list[SoundClips]]:
    """The keys of the held-out notes of a run, and the beginning of each."""
    config = read_config(run)
    _, _, held_out = divide_source(config.data, modality="audio", seed=config.fit.seed, source=source)
    settings = replace(config.data, clip_seconds=SECONDS, batch_size=1, threads=1)
    iterator = AUDIO.open_iterator(held_out, settings)
    keys, notes = [], []
    for batch in iterator:
        if batch.keys[0].endswith("@0"):
            keys.append(batch.keys[0].removesuffix("@0"))
            notes.append(clips_of(settings)(batch))
    iterator.close()
    return keys, notes


def losses_of(model: AudioVAE, clips: SoundClips, parts: Any) -> dict[str, float]:
    """The loss of a sound with its reverb, whole, without its harmonics and without its noise."""

    def loss(dry: Tensor) -> float:
        sound = dry if model.synthesiser.reverb is None else model.synthesiser.reverb(dry)
        return float(model.spectral_loss(sound, clips.samples, clips.lengths))

    return {"whole": loss(parts.dry), "no_harmonics": loss(parts.noise), "no_noise": loss(parts.harmonics)}


def oracle_of(
    model: AudioVAE, clips: SoundClips, *, steps: int, **options: Any
) -> tuple[float, float, float, float]:
    """The oracle's loss, its loss with other noise, and its rises without harmonics and without noise."""
    num = int(clips.lengths[0]) if clips.lengths is not None else clips.num_samples
    noise = FilteredNoise(model.decoder.sizes[2], model.sample_rate)
    fit = fit_oracle(
        clips.samples[:, :num],
        Curve(clips.f0, model.control_rate),
        sample_rate=model.sample_rate,
        num_harmonics=model.num_harmonics,
        noise=noise,
        rate=model.control_rate,
        steps=steps,
        **options,
    )
    parts = ablation(fit, clips.samples[:, :num], sample_rate=model.sample_rate)
    rises = float(parts.without_harmonics - parts.whole), float(parts.without_noise - parts.whole)
    return float(fit.loss_refined), float(fit.loss_other_noise), *rises


def steepest(model: AudioVAE, sound: Tensor, original: Tensor) -> dict[str, float]:
    """The largest first difference over the original's: at the samples around rows of the controls, and elsewhere."""
    steps, theirs = sound[0].diff().abs(), float(original[0].diff().abs().max())
    hop = float(model.sample_rate / model.control_rate)
    places = (torch.arange(len(steps)) + 0.5) % hop
    at_row = (places < 1) | (places > hop - 1)
    return {"at_rows": float(steps[at_row].max()) / theirs, "elsewhere": float(steps[~at_row].max()) / theirs}


def harmonic_difference_db(model: AudioVAE, sound: Tensor, clips: SoundClips) -> float:
    """Mean absolute difference of the levels of the first ten harmonics, over a window in the middle of the note."""
    loud = clips.loudness[0] > clips.loudness.max() - LOUD_DB
    middle = int(loud.nonzero().median()) if bool(loud.any()) else 0
    size = 1 << int(math.log2(float(model.sample_rate) * 0.25))
    start = max(
        0, min(round(middle * float(model.sample_rate / model.control_rate)) - size // 2, sound.shape[1] - size)
    )
    spectra = [
        torch.fft.rfft(x[0, start : start + size] * torch.hann_window(size)).abs() for x in (sound, clips.samples)
    ]
    width = size / float(model.sample_rate)
    f0 = float(clips.f0[0, middle])
    differences = []
    for number in range(1, 11):
        place = round(number * f0 * width)
        if place + 4 < len(spectra[0]):
            mine, theirs = (float(spectrum[place - 3 : place + 4].max()) for spectrum in spectra)
            differences.append(abs(20 * math.log10(max(mine, 1e-6) / max(theirs, 1e-6))))
    return sum(differences) / len(differences)


def plain(fresh: AudioVAE) -> AudioVAE:
    """An untrained model whose last layer begins as torch has it, and whose amplitudes do not follow the loudness."""
    model = copy.deepcopy(fresh)
    model.decoder.head.reset_parameters()
    model.decoder.follows_level.zero_()
    return model


def measure(model: AudioVAE, fresh: AudioVAE, keys: list[str], notes: list[SoundClips]) -> dict[str, Any]:
    """The numbers of a trained model and of an untrained one, for these notes."""
    untrained = {"untrained": fresh, "untrained_plain": plain(fresh)}
    rows = []
    for key, clips in zip(keys, notes, strict=True):
        with torch.inference_mode():
            out = model.reconstruct(clips)
            mine = losses_of(model, clips, out.parts)
            of_untrained = {
                name: float(
                    model.spectral_loss(one.reconstruct(clips).reconstruction, clips.samples, clips.lengths)
                )
                for name, one in untrained.items()
            }
            is_real = model.real_rows(clips)
            pitch = pitch_error_semitones(model, out.reconstruction, clips, is_real)
            row = {
                "note": key,
                "loss": mine["whole"],
                **of_untrained,
                "loudness_error_db": float(loudness_error_db(model, out.reconstruction, clips, is_real)),
                "pitch_error_semitones": float(pitch["pitch_error"] / pitch["both"].clamp(min=1)),
                "rises": [mine["no_harmonics"] - mine["whole"], mine["no_noise"] - mine["whole"]],
                "steepest": steepest(model, out.reconstruction, clips.samples),
                "harmonics_db": harmonic_difference_db(model, out.reconstruction, clips),
            }
        same, other, *_ = oracle_of(model, clips, steps=60)
        new, *_ = oracle_of(model, clips, steps=60, has_new_noise=True)
        fitted, _, *oracle_rises = oracle_of(model, clips, steps=0, frame_seconds=0.04)
        row |= {"oracle_same": same, "oracle_same_other_noise": other, "oracle_new": new, "oracle_fitted": fitted}
        rows.append({**row, "oracle_rises": oracle_rises})
        print(json.dumps(rows[-1]), flush=True)

    def mean(name: str) -> float:
        return sum(row[name] for row in rows) / len(rows)

    def ratio(name: str) -> float:
        return sum(row[name][0] for row in rows) / sum(row[name][1] for row in rows)

    means = {name: mean(name) for name in rows[0] if isinstance(rows[0][name], float)}
    fractions = {
        start: {name: (means["loss"] - means[name]) / (means[start] - means[name]) for name in ORACLES}
        for start in untrained
    }
    return {
        "notes": len(rows),
        "means": means,
        "fraction": fractions,
        "ratio": {"model": ratio("rises"), "oracle": ratio("oracle_rises")},
        "steepest": max(max(row["steepest"].values()) for row in rows),
        "rows": rows,
    }


def write(name: str, content: dict[str, Any]) -> None:
    """Write the numbers, and print those of all notes."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({part: content[part] for part in ("means", "fraction", "ratio", "steepest")}, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--source", help="where the shards are now")
    parser.add_argument("--which", default="last")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = read_config(options.run)
    fresh = build_model(config).eval()
    assert isinstance(fresh, AudioVAE)
    notes = held_out_notes(options.run, options.source)
    content = measure(load_model(options.run, which=options.which), fresh, *notes)
    write(options.name, {"settings": config.settings(), **content})


if __name__ == "__main__":
    main()
