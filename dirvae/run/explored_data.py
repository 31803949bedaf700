"""The examples of an explored run, as they were read and encoded; a bounded number of them is kept in memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dirvae.latents.dirichlet import DirichletPosterior
from dirvae.latents.latent import Posterior
from dirvae.levels import has_map
from dirvae.networks.audio import AudioVAE, SoundClips
from dirvae.tasks import Task
from dirvae.tasks.audio import clips_of
from dirvae.tasks.data import DataSettings, ReplayedBatches
from dirvae.training.feed import to_device

__all__ = ["EncodedExamples", "EncodedPart", "encode_clips", "encoder_of", "replayed"]

MOST_BYTES = 1 << 29
"""Bytes of the original examples that are kept."""


@dataclass(frozen=True, eq=False)
class EncodedPart:
    """A batch of examples, on the CPU.

    originals       uint8 (num, channel, *dims), or float32 (num, 1, sample) of sounds
    latents         (num, model_size, *grid) float32: means of the posteriors; of sounds the mean over the rows
    concentrations  of the same shape, or None where posteriors are not Dirichlets
    contexts        further inputs of the decoder by name, (num, …): the map of each example, or its f0 and loudness
    seconds         (num, time) float64: when each frame of a clip is shown; None for others
    """

    originals: NDArray[Any]
    latents: Tensor
    concentrations: Tensor | None
    contexts: dict[str, Tensor]
    seconds: NDArray[np.float64] | None = None


@dataclass(eq=False)
class EncodedExamples:
    """Examples that are read and encoded, at most `most`, and fewer where they would take more than 512 MiB."""

    encode: Callable[[Any], EncodedPart]
    most: int
    keys: list[str] = field(default_factory=list)
    parts: list[EncodedPart] = field(default_factory=list)

    def read(self, batches: ReplayedBatches) -> None:
        """Read and encode batches until `most` examples are kept."""
        if len(self.keys) >= self.most:
            return
        with closing(iter(batches)) as opened:
            for batch in opened:
                part = self.encode(batch)
                self.keys += batch.keys
                self.parts.append(part)
                self.most = min(self.most, max(1, MOST_BYTES // max(1, part.originals[0].nbytes)))
                if len(self.keys) >= self.most:
                    break
        self.keys = self.keys[: self.most]

    def joined(self) -> EncodedPart:
        """All examples as one part."""
        parts, most = self.parts, self.most
        alphas = [part.concentrations for part in parts if part.concentrations is not None]
        times = [part.seconds for part in parts if part.seconds is not None]
        return EncodedPart(
            originals=np.concatenate([part.originals for part in parts])[:most],
            latents=torch.cat([part.latents for part in parts])[:most],
            concentrations=torch.cat(alphas)[:most] if len(alphas) == len(parts) else None,
            contexts={
                name: torch.cat([part.contexts[name] for part in parts])[:most] for name in parts[0].contexts
            },
            seconds=np.concatenate(times)[:most] if len(times) == len(parts) else None,
        )


def replayed(task: Task, settings: DataSettings, source: Any) -> ReplayedBatches:
    """Batches of a source in a random order that is the same every time."""
    fields: tuple[str, ...] = ("pts_seconds",) if task.name == "video" else ()

    def opened() -> Any:
        return task.open_iterator(
            source,
            settings,
            shuffle=True,
            shuffle_shards=settings.shuffle_shards,
            seed=0,
            fields=fields,
            tail="keep",
        )

    return ReplayedBatches(source, opened)


def encoder_of(model: Any, settings: DataSettings) -> Callable[[Any], EncodedPart]:
    """A function that encodes the batches of a run on the device of its model."""
    if isinstance(model, AudioVAE):
        to_clips = clips_of(settings)  # type: ignore[arg-type]
        return lambda batch: encode_clips(model, to_clips(batch))
    return lambda batch: _encode_pictures(model, batch)


@torch.inference_mode()
def _encode_pictures(model: Any, batch: Any) -> EncodedPart:
    x = to_device(batch.data, next(model.parameters()).device)
    contexts = {}
    if has_map(model):
        levels = model.encode_levels(x)
        posterior: Posterior = levels.vector
        contexts["map"] = levels.map.mean.cpu()
    else:
        posterior = model.encode(x)
    seconds = batch.fields.get("pts_seconds")
    return EncodedPart(
        originals=np.array(batch.data),
        latents=posterior.mean.float().cpu(),
        concentrations=posterior.concentration.float().cpu() if isinstance(posterior, DirichletPosterior) else None,
        contexts=contexts,
        seconds=None if seconds is None else np.array(seconds, np.float64),
    )


@torch.inference_mode()
def encode_clips(model: AudioVAE, clips: SoundClips) -> EncodedPart:
    """Clips with one latent each, the mean over the rows that are not padding.

    The concentrations are in proportion to it; their sum is the mean over these rows of the rows' sums.
    """
    moved = clips.to(next(model.parameters()).device)
    posterior = model.encode(moved.samples, f0=moved.f0)
    is_real = model.real_rows(moved)[:, None].cpu()
    latents = _row_mean(posterior.mean.float().cpu(), is_real)
    total = None
    if isinstance(posterior, DirichletPosterior):
        total = _row_mean(posterior.concentration.float().sum(1, keepdim=True).cpu(), is_real)
    lengths = torch.full((len(clips),), clips.num_samples) if clips.lengths is None else clips.lengths.cpu()
    return EncodedPart(
        originals=clips.samples.float().cpu().numpy()[:, None],
        latents=latents,
        concentrations=None if total is None else latents * total,
        contexts={"f0": clips.f0.cpu(), "loudness": clips.loudness.cpu(), "length": lengths},
    )


def _row_mean(values: Tensor, is_real: Tensor) -> Tensor:
    """The mean of (num, component, row) over the rows that are not padding: (num, component)."""
    return torch.where(is_real, values, 0).sum(2) / is_real.sum(2).clamp(min=1)
