"""A run to explore: its encoded examples, and a decoder of latents into pictures, clips or sounds."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dirvae.drawing.film import clip_pixels
from dirvae.drawing.media import Kind, Media
from dirvae.drawing.pictures import to_pixels
from dirvae.drawing.thumbnails import thumbnail_of
from dirvae.explore.distances import typical_example
from dirvae.explore.sheet import Sheet
from dirvae.latents.latent import SimplexLatent
from dirvae.levels import has_map
from dirvae.networks.audio import AudioVAE, SoundClips
from dirvae.run.config import RunConfig, read_config
from dirvae.run.explored_data import EncodedExamples, EncodedPart, encoder_of, replayed
from dirvae.run.loading import choose_checkpoint, load_model
from dirvae.run.uploads import read_upload
from dirvae.tasks.data import divide_source
from dirvae.training.errors import ConfigError
from pipelines import SourceError

__all__ = ["Context", "ExploredRun", "open_explored_run"]

ROWS = 32
"""Latents that are decoded together."""
USUAL_FRAMES_PER_SECOND = 10.0
REMEDY = "Name where the data is now with --source, in Python source=."


@dataclass(frozen=True, eq=False)
class Context:
    """The inputs that the decoder takes besides a latent: an example's map, or its pitch and loudness; and the example.

    original   one item
    values     by name: "map" (map_size, *map_grid) of two levels; "f0" (row,) Hz, "loudness" (row,) dB and "length", ()
               in samples, of sounds; empty for others
    """

    original: Media
    values: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class ExploredRun:
    """The examples of a run, encoded by one of its checkpoints. Made by `open_explored_run`.

    name            of the run's folder
    step            of the checkpoint
    keys            of the examples: those held out come first, then those of the training, each in a random order
                    that is the same every time
    num_held_out    how many of them were held out, by the run's settings; 0 where nothing was
    latents         (num, model_size, *grid) float32 on the CPU: means of the posteriors; of a sound their mean over
                    its rows
    concentrations  of the same shape: those of Dirichlet posteriors; None for others. Normalised, they are `latents`
    on_simplex      whether latents are shares that sum to 1 along axis 1
    """

    name: str
    step: int
    config: RunConfig
    model: Any
    keys: tuple[str, ...]
    num_held_out: int
    encoded: EncodedPart

    @property
    def kind(self) -> Kind:
        """ "image", "video" or "audio"."""
        return cast(Kind, self.config.type)

    @property
    def latents(self) -> Tensor:
        return self.encoded.latents

    @property
    def concentrations(self) -> Tensor | None:
        return self.encoded.concentrations

    @property
    def model_size(self) -> int:
        """Components of the latent."""
        return self.latents.shape[1]

    @property
    def on_simplex(self) -> bool:
        return isinstance(self.model.latent, SimplexLatent)

    @property
    def context_name(self) -> str:
        """The input that the decoder takes besides a latent: "map", "pitch and loudness", or "" for none."""
        if self.kind == "audio":
            return "pitch and loudness"
        return "map" if self.encoded.contexts else ""

    @cached_property
    def typical(self) -> int:
        """The number of the example whose latent is nearest to the mean; of sounds among the louder half."""
        if "loudness" not in self.encoded.contexts:
            return typical_example(self.latents)
        level = self.encoded.contexts["loudness"].mean(1)
        loud = (level >= level.median()).nonzero()[:, 0]
        return int(loud[typical_example(self.latents[loud])])

    def context(self, index: int) -> Context:
        """The decoder inputs that belong to the latent of an example."""
        return Context(self.original(index), self._context_values(index))

    def original(self, index: int) -> Media:
        """An example as it was read: one item. A sound is without its padding."""
        return self._media(self.encoded, index)

    def _media(self, part: EncodedPart, index: int) -> Media:
        one = part.originals[index]
        if self.kind == "audio":
            return self._sounds(one[:, : int(part.contexts["length"][index])])
        tensor = torch.from_numpy(one)[None].float() / 255
        return self._clips(tensor) if self.kind == "video" else Media(kind="image", pictures=to_pixels(tensor))

    @torch.inference_mode()
    def decode(self, latents: Tensor, context: int | Context | None = None) -> Media:
        """Latents decoded into media: (num, model_size, *grid) → num items.

        `context` is the number of an example, or the `Context` of an uploaded one; its map (two levels) or its pitch
        and loudness (sounds) are used for all latents. None: a typical example. The latents of sounds are (num,
        model_size), the same in all rows. ValueError for latents of another shape.
        """
        if latents.ndim < 2 or latents.shape[1:] != self.latents.shape[1:]:
            raise ValueError(
                f"latents have shape {tuple(latents.shape)}; they must be (num, "
                f"{', '.join(map(str, self.latents.shape[1:]))})."
            )
        values = self._context_values(context)
        device = next(self.model.parameters()).device
        decode = self._play if self.kind == "audio" else self._draw
        parts = [decode(part.float().to(device), values) for part in torch.split(latents, ROWS)]
        made = torch.cat(parts) if parts else torch.zeros(0)
        if self.kind == "audio":
            return self._sounds(made.numpy())
        return self._clips(made) if self.kind == "video" else Media(kind="image", pictures=to_pixels(made))

    def cells(self, sheet: Sheet) -> list[Media]:
        """The media of each cell of a sheet, one item each: a decoded latent, or an example as it was read."""
        if sheet.latents is None:
            assert sheet.examples is not None
            return [self.original(number) for number in sheet.examples.tolist()]
        found: list[Media] = []
        for row, latents in enumerate(torch.split(sheet.latents, sheet.columns)):
            made = self.decode(latents, sheet.contexts[row] if sheet.contexts else None)
            found += made.items()
        return found

    def thumbnail(self, index: int) -> NDArray[np.uint8]:
        """A small picture of an example, (height, width, 3): a clip's middle frame, a sound's spectrogram."""
        return thumbnail_of(self.original(index))

    def encode(self, content: bytes, name: str) -> tuple[Tensor, Tensor | None, Context]:
        """The latent (model_size, *grid) of a file's content, its concentration or None, and its context.

        The file is decoded as the run's own data is, within limits of bytes, pixels and seconds; of a video or a
        recording the first clip is used. `name` is for errors. Raises `UploadError` for a file that cannot be decoded.
        """
        part = read_upload(content, name, self.config, self.model)
        values = {key: every[0] for key, every in part.contexts.items()}
        alpha = None if part.concentrations is None else part.concentrations[0]
        return part.latents[0], alpha, Context(self._media(part, 0), values)

    def _context_values(self, context: int | Context | None) -> dict[str, Tensor]:
        if isinstance(context, Context):
            return context.values
        if not self.encoded.contexts:
            return {}
        index = self.typical if context is None else context
        return {name: every[index] for name, every in self.encoded.contexts.items()}

    def _draw(self, latents: Tensor, values: dict[str, Tensor]) -> Tensor:
        if not has_map(self.model):
            return cast(Tensor, self.model.decode(latents)).cpu()
        own = values["map"].to(latents.device)
        return self.model.decode(latents, own.expand(len(latents), *own.shape)).cpu()

    def _play(self, latents: Tensor, values: dict[str, Tensor]) -> Tensor:
        model, num, length = cast(AudioVAE, self.model), len(latents), int(values["length"])
        rows = max(1, min(len(values["f0"]), model.num_rows(length)))
        f0, loudness = (values[name][:rows].to(latents).expand(num, -1) for name in ("f0", "loudness"))
        clips = SoundClips(latents.new_zeros(num, length), f0, loudness)
        out = [  # one at a time, so that the noise of a sound does not depend on the number of sounds
            model.reconstruct(clips[row : row + 1], latent=latents[row : row + 1, :, None].expand(-1, -1, rows))
            for row in range(num)
        ]
        return torch.cat([one.reconstruction.float().cpu().nan_to_num(0.0, 0.0, 0.0) for one in out])

    def _sounds(self, sounds: NDArray[np.float32]) -> Media:
        return Media(kind="audio", sounds=sounds, sample_rate=round(float(self.model.sample_rate)))

    def _clips(self, clips: Tensor) -> Media:
        return Media(kind="video", clips=clip_pixels(clips), frames_per_second=self._frames_per_second)

    @cached_property
    def _frames_per_second(self) -> float:
        if self.encoded.seconds is None or self.encoded.seconds.shape[1] < 2:
            return USUAL_FRAMES_PER_SECOND
        step = float(np.nanmedian(np.diff(self.encoded.seconds, axis=1)))
        return 1 / step if step > 0 else USUAL_FRAMES_PER_SECOND


def open_explored_run(
    folder: str | os.PathLike[str],
    *,
    checkpoint: str | int = "best",
    source: str | None = None,
    most: int = 2000,
    device: str = "cpu",
) -> ExploredRun:
    """Open a run with a checkpoint ("best", "last" or a step) and encode up to `most` examples of its data.

    Held-out examples come first, then training examples, always in the same order. Fewer are read if they
    would take more than 512 MiB. `source` is where the data is now, if it has moved, or other data of the type.
    Raises `ConfigError` for a run whose settings or latent are not known, `CheckpointError` if it has no checkpoint,
    and `PipelineError` if its data is missing.
    """
    if most < 1:
        raise ConfigError(f"most is {most}; it must be at least 1.")
    run = Path(folder)
    config = read_config(run)
    chosen = choose_checkpoint(run, checkpoint)
    model = load_model(run, device=device, which=chosen.step)
    if getattr(model, "latent", None) is None:
        raise ConfigError(f"{run}: the model of this run has no latent to explore. Name another run.")
    if source is not None:
        config = replace(config, data=replace(config.data, source=source))
    found = EncodedExamples(encoder_of(model, config.data), most)
    num_held_out = _read(found, config)
    if not found.keys:
        raise ConfigError(f"{run}: its data, {config.data.source}, has no {config.task.examples}. {REMEDY}")
    return ExploredRun(
        name=run.resolve().name,
        step=chosen.step,
        config=config,
        model=model,
        keys=tuple(found.keys),
        num_held_out=num_held_out,
        encoded=found.joined(),
    )


def _read(found: EncodedExamples, config: RunConfig) -> int:
    """Read the held-out examples, then the training examples; returns the number of held-out examples."""
    try:
        _, training, held_out = divide_source(config.data, modality=config.type, seed=config.fit.seed)
    except SourceError as error:
        raise ConfigError(f"{error} {REMEDY}") from error
    if held_out is not None:
        found.read(replayed(config.task, config.data, held_out))
    num_held_out = len(found.keys)
    found.read(replayed(config.task, config.data, training))
    return num_held_out
