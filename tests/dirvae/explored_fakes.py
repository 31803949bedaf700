"""Runs without a model for tests of the application: what a latent decodes to follows from a formula."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dirvae.drawing.media import Kind, Media
from dirvae.drawing.thumbnails import thumbnail_of
from dirvae.explore.sheet import Sheet
from pipelines import PipelineError

SIDE = 32
SAMPLE_RATE = 8000
HOSTILE_KEYS = ('"><img src=x onerror=document.title="owned">', "</script><script>document.title='owned'</script>")


@dataclass(frozen=True, eq=False)
class FakeContext:
    """What an upload is decoded with."""

    original: Media


@dataclass(frozen=True, eq=False)
class FakeRun:
    """Answers as an `ExploredRun` does. A picture is the mixture of the components' colours, left to right."""

    latents: Tensor
    keys: tuple[str, ...]
    kind: Kind = "image"
    on_simplex: bool = True
    name: str = "fake"
    step: int = 300
    context_name: str = ""

    @property
    def concentrations(self) -> Tensor | None:
        return 50 * self.latents + 0.01 if self.on_simplex else None

    @property
    def model_size(self) -> int:
        return self.latents.shape[1]

    @property
    def typical(self) -> int:
        return 0

    def decode(self, latents: Tensor, context: int | FakeContext | None = None) -> Media:
        shares = latents.flatten(2).mean(2).numpy() if latents.ndim > 2 else latents.numpy()
        return media_of(self.kind, shares)

    def original(self, index: int) -> Media:
        return self.decode(self.latents[index : index + 1])

    def cells(self, sheet: Sheet) -> list[Media]:
        if sheet.latents is not None:
            return self.decode(sheet.latents).items()
        assert sheet.examples is not None
        return [self.original(number) for number in sheet.examples.tolist()]

    def thumbnail(self, index: int) -> Any:
        return thumbnail_of(self.original(index))

    def encode(self, content: bytes, name: str) -> tuple[Tensor, Tensor | None, FakeContext]:
        if content[:4] != b"FAKE":
            raise PipelineError(f"{name}: is not a picture. Give another file.")
        latent = self.latents[content[4] % len(self.latents)]
        return latent, None, FakeContext(self.decode(latent[None]))


def fake_run(num: int = 40, size: int = 6, *, grid: tuple[int, ...] = (), **options: Any) -> FakeRun:
    """A run of so many examples; the keys of its first two are HTML."""
    torch.manual_seed(num)
    values = torch.randn(num, size, *grid)
    latents = torch.softmax(2 * values, 1) if options.get("on_simplex", True) else values
    keys = (*HOSTILE_KEYS, *(f"scene-{number:03d}" for number in range(2, num)))
    return FakeRun(latents, keys[:num], **options)


def colours(size: int) -> Any:
    """One colour per component: (size, 3) in [0, 1]."""
    return np.random.default_rng(7).uniform(0, 1, (size, 3))


def media_of(kind: Kind, shares: Any) -> Media:
    """(num, component) as media."""
    num, size = shares.shape
    if kind == "audio":
        time = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
        tones = np.stack([np.sin(2 * np.pi * 220 * (k + 1) * time) for k in range(size)])
        return Media(kind=kind, sounds=(0.5 * shares @ tones).astype(np.float32), sample_rate=SAMPLE_RATE)
    ramp = np.linspace(0.4, 1, SIDE)[None, None, :, None]
    pictures = np.broadcast_to((shares @ colours(size))[:, None, None] * ramp, (num, SIDE, SIDE, 3))
    pixels = np.ascontiguousarray((255 * pictures.clip(0, 1)).round().astype(np.uint8))
    if kind == "image":
        return Media(kind=kind, pictures=pixels)
    clips = np.stack([np.roll(pixels, 4 * frame, axis=2) for frame in range(6)], axis=1)
    return Media(kind=kind, clips=clips, frames_per_second=8.0)


def picture_folder(folder: Path, num: int = 48, side: int = 64) -> Path:
    """A folder of pictures of discs on coloured ground, from which a model can learn something."""
    from PIL import Image, ImageDraw

    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(num):
        ground, disc = (tuple(int(c) for c in rng.integers(30, 230, 3)) for _ in range(2))
        picture = Image.new("RGB", (side, side), ground)
        x, y, r = rng.uniform(0.3, 0.7) * side, rng.uniform(0.3, 0.7) * side, rng.uniform(0.12, 0.28) * side
        ImageDraw.Draw(picture).ellipse((x - r, y - r, x + r, y + r), fill=disc)
        picture.save(folder / f"disc-{number:03d}.png")
    return folder
