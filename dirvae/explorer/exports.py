"""Files of the media that a page shows: the same pixels and samples as PNG, GIF and WAV, and charts as SVG.

One item is written pixel by pixel. A sheet is written with labels and caption, as `python -m dirvae.explore` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dirvae.explorer.showing import Shown, ShownChart
from pipelines.decode.audio.wav_writing import encode_wav

if TYPE_CHECKING:
    from dirvae.explore.sheet import Chart

__all__ = ["FORMATS", "ExportError", "export", "formats_of"]

FORMATS = {"png": "image/png", "gif": "image/gif", "svg": "image/svg+xml", "wav": "audio/wav"}


class ExportError(ValueError):
    """The shown media has no file of this format; the text is a sentence."""


def formats_of(shown: Shown | ShownChart) -> tuple[str, ...]:
    """The formats of the shown media: PNG for all, GIF for clips and paths of pictures, WAV for sounds, SVG for
    charts."""
    if isinstance(shown, ShownChart):
        return ("png", "svg")
    kind = shown.media.kind
    if kind == "audio":
        return ("png", "wav")
    is_path = kind == "image" and shown.sheet is not None and shown.sheet.is_path
    return ("png", "gif") if kind == "video" or is_path else ("png",)


def export(shown: Shown | ShownChart, wanted: str) -> bytes:
    """The content of the file. Raises `ExportError` for a format that is not one of `formats_of`."""
    if wanted not in formats_of(shown):
        raise ExportError(
            f"There is no {wanted.upper()} of what is shown; there is {', '.join(formats_of(shown))}."
        )
    if isinstance(shown, ShownChart):
        return _chart(shown.chart, wanted)
    if shown.sheet is None:
        return _item(shown, wanted)
    from dirvae.drawing.explored_files import sheet_gif, sheet_png, sheet_wav

    write = {"png": sheet_png, "gif": sheet_gif, "wav": sheet_wav}[wanted]
    return write(shown.sheet, shown.media.items())


def _chart(chart: Chart, wanted: str) -> bytes:
    from dirvae.drawing.explored_files import chart_png, chart_svg

    if wanted == "svg":
        return chart_svg(chart.svg, chart.caption)
    return chart_png(chart.draw, chart.caption, inches=chart.inches)


def _item(shown: Shown, wanted: str) -> bytes:
    from dirvae.drawing.explored_files import milliseconds_of_frame
    from dirvae.drawing.labelled_sheet import gif_bytes, png_bytes

    media = shown.media
    if media.kind == "audio":
        if wanted == "png":
            return png_bytes(Image.fromarray(shown.spectrograms()[0]))
        samples = np.nan_to_num(media.values[0].astype(np.float32))
        return encode_wav(samples[:, None], media.sample_rate or 1, "s16")
    if media.pictures is not None:
        return png_bytes(Image.fromarray(media.pictures[0]))
    assert media.clips is not None
    frames = [Image.fromarray(frame) for frame in media.clips[0]]
    if wanted == "png":
        return png_bytes(frames[0])
    return gif_bytes(frames, milliseconds=[milliseconds_of_frame(media)] * len(frames))
