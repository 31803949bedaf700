"""Pictures, sounds and histograms of posteriors' parameters as events for TensorBoard."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dirvae.drawing.labelled_sheet import png_bytes
from dirvae.drawing.pictures import join_tiles
from dirvae.training.event_records import histogram, message, tagged
from pipelines.decode.audio.wav_writing import encode_wav

__all__ = ["picture_event", "posterior_events", "sound_event"]

GAP = 2
"""White pixels between tiles."""
RGB = 3
"""The colour space of three channels, in the message of a picture."""


def picture_event(tag: str, rows: list[NDArray[np.uint8]]) -> bytes:
    """Rows of equal tiles, each (num, height, width, 3), as one picture: a value of a summary."""
    sheet = join_tiles(rows, GAP)
    content = png_bytes(Image.fromarray(sheet))
    return tagged(tag, 4, message({1: sheet.shape[0], 2: sheet.shape[1], 3: RGB, 4: content}))


def sound_event(tag: str, sound: Tensor, sample_rate: float) -> bytes:
    """A sound (time,) in [-1, 1] at a rate in Hz, as 16-bit WAV: a value of a summary. Louder parts are clipped."""
    samples = sound.detach().float().cpu().nan_to_num(0.0).clamp(-1, 1)
    content = encode_wav(samples.numpy()[:, None], round(sample_rate), "s16")
    wav: dict[int, int | float | str | bytes] = {2: 1, 3: len(samples), 4: content, 5: "audio/wav"}
    rate = b"\x0d" + struct.pack("<f", sample_rate)  # field 1 as a float of 32 bits
    return tagged(tag, 6, rate + message(wav))


def posterior_events(parameters: Mapping[str, Tensor]) -> list[bytes]:
    """Histograms of the parameters of posteriors, of any shapes; positive ones as decimal logarithms."""
    found = []
    for name, values in parameters.items():
        numbers = values.detach().float().cpu().numpy()
        is_positive = bool((numbers > 0).all())
        tag = f"posterior/log10 {name}" if is_positive else f"posterior/{name}"
        found.append(histogram(tag, np.log10(numbers) if is_positive else numbers))
    return [value for value in found if value is not None]
