"""Processor milliseconds for a photograph by format: this library's decoder, and what others need for decoding alone.

    python benchmarks/decoders.py [FOLDER] [--images 40] [--sizes 256 64] [--runs 7]

The photographs are encoded again in memory as PNG, PNG with alpha, WebP and lossless WebP; JPEGs stay as they are. One
thread. All take turns, run 1 of each, then run 2 of each; printed is the median of the runs, in processor time, which
other work on the machine disturbs less than the clock. Decoders that are not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib
import io
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipelines import Example
from pipelines.decode import ImageDecoder
from pipelines.order.randomness import Place

ROOT = Path(__file__).resolve().parent.parent
Decode = Callable[[bytes], Any]
FORMATS = ("JPEG", "PNG", "PNG with alpha", "WebP", "lossless WebP")


class WithoutCodecs(ImageDecoder):
    """The decoder as it is where imagecodecs is not installed."""

    def _find_plain(self, data: bytes) -> None:
        return None


def main(argv: list[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Processor milliseconds for a photograph, by format and decoder.")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "data" / "image", help="photographs")
    parser.add_argument("--images", type=int, default=40, help="photographs to decode")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 64], help="sides of the output in pixels")
    parser.add_argument("--runs", type=int, default=7, help="timed runs of each")
    options = parser.parse_args(argv)
    pictures = _encode(options.folder, options.images)
    contestants = {**_ours(options.sizes), **_others()}
    times: dict[tuple[str, str], list[float]] = {}
    for run in range(options.runs + 1):
        for name, by_format in contestants.items():
            for kind, decode in by_format.items():
                took = _milliseconds(decode, pictures[kind])
                if run:  # the first run warms up
                    times.setdefault((name, kind), []).append(took)
    print(f"{len(pictures['PNG'])} photographs, processor milliseconds each, median of {options.runs} runs\n")
    print(f"{'':<44}" + "".join(f"{kind:>16}" for kind in FORMATS))
    for name in contestants:
        cells = [f"{statistics.median(times[name, k]):.2f}" if (name, k) in times else "" for k in FORMATS]
        print(f"{name:<44}" + "".join(f"{cell:>16}" for cell in cells))
    return 0


def _milliseconds(decode: Decode, pictures: list[bytes]) -> float:
    begun = time.process_time()
    for data in pictures:
        decode(data)
    return (time.process_time() - begun) * 1e3 / len(pictures)


def _encode(folder: Path, num: int) -> dict[str, list[bytes]]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))[:num]
    if not files:
        raise SystemExit(f"{folder}: no JPEGs in it. Name a folder of photographs.")
    pictures: dict[str, list[bytes]] = {kind: [] for kind in FORMATS}
    for path in files:
        pictures["JPEG"].append(path.read_bytes())
        with Image.open(path) as opened:
            colour = opened.convert("RGB")
        see_through = colour.copy()
        see_through.putalpha(colour.convert("L"))
        for kind, picture, name, settings in (
            ("PNG", colour, "PNG", {}),
            ("PNG with alpha", see_through, "PNG", {}),
            ("WebP", colour, "WEBP", {"quality": 90}),
            ("lossless WebP", colour, "WEBP", {"lossless": True, "method": 1}),
        ):
            file = io.BytesIO()
            picture.save(file, name, **settings)
            pictures[kind].append(file.getvalue())
    return pictures


def _ours(sizes: list[int]) -> dict[str, dict[str, Decode]]:
    contestants = {}
    for size in sizes:
        for name, decoder in (
            (f"this library, to {size}×{size}", ImageDecoder(size=size)),
            (f"… without imagecodecs, to {size}×{size}", WithoutCodecs(size=size)),
            (f"… Pillow alone (exact), to {size}×{size}", ImageDecoder(size=size, resizer="exact")),
        ):
            contestants[name] = dict.fromkeys(FORMATS, partial(_decode, decoder))
    return contestants


def _decode(decoder: ImageDecoder, data: bytes) -> None:
    out = decoder.allocate(1)
    assert out is not None
    decoder.decode_into(Example(0, "key", data), out[0], Place(0, 0, 0))


def _others() -> dict[str, dict[str, Decode]]:
    """Decoding alone, to an array of the picture's own size."""
    found: dict[str, dict[str, Decode]] = {
        "decoding alone: simplejpeg": {"JPEG": partial(simplejpeg.decode_jpeg, colorspace="RGB")},
        "decoding alone: Pillow": dict.fromkeys(FORMATS, lambda d: np.asarray(Image.open(io.BytesIO(d)))),
    }
    if (codecs := _installed("imagecodecs")) is not None:
        by_format = zip(FORMATS, ("jpeg8", "png", "png", "webp", "webp"), strict=True)
        found["decoding alone: imagecodecs"] = {kind: getattr(codecs, f"{name}_decode") for kind, name in by_format}
    if (cv2 := _installed("cv2")) is not None:
        found["decoding alone: OpenCV"] = dict.fromkeys(
            FORMATS, lambda d: cv2.imdecode(np.frombuffer(d, np.uint8), cv2.IMREAD_COLOR_RGB)
        )
    if (vips := _installed("pyvips")) is not None:
        found["decoding alone: libvips"] = dict.fromkeys(
            FORMATS, lambda d: vips.Image.new_from_buffer(d, "", access="sequential").numpy()
        )
    return found


def _installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


if __name__ == "__main__":
    raise SystemExit(main())
