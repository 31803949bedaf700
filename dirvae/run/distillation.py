"""A small decoder taught by a large one: the same encoder and latent, so that timbres keep their meaning.

The student's controls are compared with the teacher's for the same latents, and its sound with the recordings: knowing
what to play, it needs far fewer weights than finding out took (Hinton et al. 2015, arXiv 1503.02531).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dirvae import noise
from dirvae.ddsp.synthesiser import Controls
from dirvae.losses import masked_mean
from dirvae.networks.audio import AudioVAE, SoundClips
from dirvae.run.config import RunConfig, read_config
from dirvae.run.folder import TEACHER_NAME, hold_run, is_run, write_json
from dirvae.run.loading import load_model
from dirvae.run.session import Outcome, train_run
from dirvae.seeding import Purpose, derive_seed, seeded
from dirvae.tasks import find_task
from dirvae.training.config import FitConfig
from dirvae.training.errors import ConfigError
from dirvae.training.feed import FeedBatch
from dirvae.training.trainer import Trainer

__all__ = ["Distillation", "distil", "distil_run", "make_student"]

SHARED = (
    "sample_rate",
    "control_rate",
    "model_size",
    "latent",
    "prior",
    "num_bands",
    "encoder_channels",
    "encoder_harmonics",
    "held_out",
)
"""Settings that a student has from its teacher."""
CONTROL_WEIGHT = 2.0
SMALLEST = 1e-4
"""Controls below this level sound alike."""


def distil(
    teacher: AudioVAE,
    batches: Iterable[Any],
    *,
    preset: str = "tiny",
    config: FitConfig | None = None,
    read: Callable[[FeedBatch], SoundClips] | None = None,
    **changes: Any,
) -> AudioVAE:
    """Teach a smaller decoder, and return its model: see `make_student` for what it shares with the teacher.

    batches   what a `Trainer` takes: by default batches of `pipelines.AudioIterator` with the curves f0.npy and
              loudness.npy, at the teacher's sample rate and control rate
    config    how long and how fast
    read      makes `SoundClips` of a `FeedBatch`, where batches are others

    The errors of `Trainer` and of the data pass through.
    """
    config = FitConfig() if config is None else config
    student = make_student(teacher, preset=preset, seed=config.seed, **changes)
    read = partial(_read, teacher) if read is None else read
    Trainer(student, batches, loss=Distillation(teacher, student, read), config=config).fit()
    return student


def distil_run(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    preset: str = "tiny",
    steps: int = 1500,
    **changes: Any,
) -> Outcome:
    """Teach a smaller decoder from the run of a larger one, on the same data: a run of its own, with a report.

    run, out  the folders of the teacher's run and of the new one, which cannot be resumed
    changes   other settings of the new run, as `dirvae.train` has them: `batch_size`, `core`, `learning_rate` …

    Raises `ConfigError` for a run that is not of sound, and for an `out` that holds a run.
    """
    before, folder = read_config(Path(run)), Path(out)
    if before.type != "audio":
        raise ConfigError(f"{run}: is a run of --type {before.type}; only a run of sound has a decoder to distil.")
    teacher: AudioVAE = load_model(run)
    folder.mkdir(parents=True, exist_ok=True)
    with hold_run(folder):
        if is_run(folder):
            raise ConfigError(f"{folder}: already holds a run. Name another folder.")
        task = find_task("audio")
        if refused := [name for name in changes if name in SHARED]:
            raise ConfigError(f"{refused[0]} cannot differ from the teacher's; leave it out.")
        of_model = {name: changes.pop(name) for name in task.model.names() if name in changes}
        student = make_student(teacher, preset=preset, seed=before.fit.seed, **of_model)
        made = {name: student.config[name] for name in task.model.names() if name != "latent"}
        settings = {**before.settings(), "epochs": None, "steps": steps, "init_from": None, **made, **changes}
        config = RunConfig.of("audio", settings)
        assert task.read_batch is not None
        loss = Distillation(teacher, student, partial(task.read_batch, config.data))
        write_json(folder / TEACHER_NAME, {"version": 1, "teacher": str(run)})
        return train_run(config, folder, model=student, loss=loss)


class Distillation:
    """The loss of a student: (model, batch) → terms, of which "loss" is minimised.

    "reconstruction" is its spectral loss, "controls" the mean absolute difference of its controls from the teacher's in
    factors of ten, those below 1e-4 counted as 1e-4. Making one freezes the student's encoder and latent.
    """

    def __init__(self, teacher: AudioVAE, student: AudioVAE, read: Callable[[FeedBatch], SoundClips]) -> None:
        self._teacher, self._read = teacher.eval(), read
        for part in (student.encoder, student.latent):
            if part is not None:
                part.requires_grad_(False)

    def __call__(self, student: AudioVAE, batch: FeedBatch) -> Mapping[str, Tensor | float]:
        clips = self._read(batch)
        teacher = self._teacher.to(clips.samples.device)
        with torch.no_grad():
            given = teacher.encode(clips.samples, f0=clips.f0).rsample() if teacher.latent else None
            wanted = teacher.decode(given, clips.f0, clips.loudness)
        controls = student.decode(given, clips.f0, clips.loudness)
        sound = student.synthesiser(
            controls, noise.seeds(len(clips), clips.samples.device), clips.num_samples
        ).sound
        spectral = student.spectral_loss(sound, clips.samples, clips.lengths)
        reconstruction = masked_mean(spectral, batch.mask)
        apart = _difference(controls, wanted, student.real_rows(clips), nyquist=float(student.sample_rate) / 2)
        difference = masked_mean(apart, batch.mask)
        return {
            "loss": reconstruction + CONTROL_WEIGHT * difference,
            "reconstruction": reconstruction,
            "controls": difference,
        }


def make_student(teacher: AudioVAE, *, preset: str = "tiny", seed: int = 0, **changes: Any) -> AudioVAE:
    """A model with a fresh decoder of another preset, and the teacher's encoder, latent and reverb.

    `changes`: other arguments of `AudioVAE` that differ from the teacher's, such as `core` or `num_harmonics`.
    """
    channels = None if teacher.encoder is None else teacher.encoder.entry.out_channels
    arguments = {
        **teacher.config,
        "preset": preset,
        "core": None,
        "num_harmonics": None,
        "encoder_channels": channels,
    }
    with seeded(derive_seed(seed, Purpose.WEIGHTS), torch.device("cpu")):
        student = AudioVAE(**{**arguments, **changes})
    _take_over(student, teacher)
    return student


def _take_over(student: AudioVAE, teacher: AudioVAE) -> None:
    """Give the student the weights of the parts that it shares with the teacher."""
    pairs = [
        (student.encoder, teacher.encoder),
        (student.latent, teacher.latent),
        (student.standardise, teacher.standardise),
        (student.synthesiser.reverb, teacher.synthesiser.reverb),
    ]
    for mine, theirs in pairs:
        if mine is not None and theirs is not None:
            mine.load_state_dict(theirs.state_dict())


def _difference(mine: Controls, theirs: Controls, is_real: Tensor, *, nyquist: float) -> Tensor:
    """How far controls are apart in factors of ten: (batch,)."""
    num = min(mine.distribution.values.shape[2], theirs.distribution.values.shape[2])
    is_heard = torch.arange(1, num + 1, device=is_real.device) * mine.f0.values[..., None] < nyquist
    levels = [
        torch.cat((_harmonics(controls)[..., :num] * is_heard, controls.magnitudes.values), 2)
        .clamp(min=SMALLEST)
        .log10()
        for controls in (mine, theirs)
    ]
    apart = (levels[0] - levels[1]).abs().mean(2)
    return torch.where(is_real, apart, 0).sum(1) / is_real.sum(1).clamp(min=1)


def _harmonics(controls: Controls) -> Tensor:
    """The amplitude of each harmonic: (batch, row, harmonic)."""
    shares = controls.distribution.values
    return controls.amplitude.values[..., None] * shares / shares.sum(2, keepdim=True)


def _read(teacher: AudioVAE, batch: FeedBatch) -> SoundClips:
    return SoundClips.from_batch(batch.source, rate=teacher.control_rate).to(batch.data.device)
