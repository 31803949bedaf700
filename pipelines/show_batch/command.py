"""python tools/show_batch.py SOURCE: what can be asked for on a command line, and where the sheet goes."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import PipelineError
from ..modality import HEAD_BYTES, find_modality, modalities
from ..terminal import add_import_flag, escape_unencodable, import_named_modules, print_or_end

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["main", "write_sheet"]

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
QUALITY = 90


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the sheet, write it, print its path: 0 done, 2 not, 130 interrupted, 141 if not read."""
    escape_unencodable()
    import_named_modules("show_batch", argv)
    options = _parser().parse_args(argv)
    try:
        _check_out(options.out)
        write_sheet(_draw(options), options.out)
    except (PipelineError, ValueError, ImportError) as error:
        print(f"show_batch: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"show_batch: {error.filename or options.out}: {error.strerror or error}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("show_batch: Interrupted. Nothing was written.", file=sys.stderr)
        return 130
    return print_or_end(str(options.out))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="show_batch",
        description="Draw one batch of a source as a picture, with boxes, masks, keypoints and captions, waveforms "
        "and spectrograms, or film strips.",
    )
    add = parser.add_argument
    add(
        "source",
        help="a folder of files, a folder of shards, a tar, a pattern, or a URL of shards (s3://, https://, …)",
    )
    add("--out", type=Path, default=Path("sheet.png"), metavar="FILE", help="png, jpg or webp (default: sheet.png)")
    add("--type", choices=_drawable(), help="what the source holds (default: what it says)")
    add("--num", type=int, help="examples (default: 16 images, 8 recordings, 6 videos)")
    add("--start", type=int, default=0, metavar="POSITION", help="of the first of them in the epoch (default: 0)")
    add("--shuffle", type=int, metavar="SEED", help="show a shuffled epoch (default: the order they are stored in)")
    add(
        "--fields",
        nargs="+",
        metavar="NAME",
        help="boxes, masks, keypoints, captions, or members by suffix, such as json (default: those four, txt and "
        "cls, where there are any)",
    )
    add("--fit", choices=("pad", "crop", "stretch"), default="pad", help="as in ImageIterator (default: pad)")
    add("--crop", choices=("center", "random"), default="center", help="random also crops (default: center)")
    add("--flip", action="store_true", help="mirror half of the pictures")
    add("--window", type=float, default=4.0, metavar="SECONDS", help="of sound (default: 4)")
    add("--clip-frames", type=int, default=32, metavar="NUM", help="of a video's clips (default: 32)")
    add(
        "--size",
        type=int,
        metavar="POINTS",
        help="width of a picture (default: 256), a spectrogram (420) or a frame of a film strip (128); a point is two "
        "pixels of the sheet",
    )
    add("--columns", type=int, metavar="NUM", help="examples side by side (default: about as many as rows)")
    add_import_flag(parser)
    return parser


def _drawable() -> list[str]:
    return [modality.name for modality in modalities() if modality.draw_cells is not None]


def _draw(options: argparse.Namespace) -> Image.Image:
    from ..sources.detection import detect_modality
    from .showing import ShowOptions, draw_batch

    chosen = ShowOptions(**{one.name: getattr(options, one.name) for one in fields(ShowOptions)})
    modality = options.type or detect_modality(options.source, _drawable())
    return draw_batch(options.source, modality, chosen)


def _check_out(out: Path) -> None:
    """Raise `ValueError`, before anything is drawn, for a name that is not a picture's, or a file that is not one."""
    if out.suffix.lower() not in FORMATS:
        raise ValueError(f"{out}: a sheet is a picture. Name a file that ends in .png, .jpg or .webp.")
    if not out.parent.is_dir():
        raise ValueError(f"{out}: there is no folder {out.parent}. Make it first.")
    if out.is_dir():
        raise ValueError(f"{out}: it is a folder. Name a file.")
    if out.exists():
        with out.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if head and find_modality("image").sniff(head) is None:
            raise ValueError(f"{out}: it holds something else than a picture and is kept. Name another file.")


def write_sheet(sheet: Image.Image, out: Path) -> None:
    """Write the whole file at once, so that a failure leaves none. `ValueError` for one too large for its format."""
    kind, file = FORMATS[out.suffix.lower()], io.BytesIO()
    settings = {} if kind == "PNG" else {"quality": QUALITY}
    try:
        sheet.save(file, kind, **settings)
    except (ValueError, OSError) as error:
        width, height = sheet.size
        raise ValueError(
            f"{out}: a sheet of {width:,} by {height:,} pixels does not fit this format ({error}). Use .png, or a "
            "smaller --size or --num."
        ) from error
    out.write_bytes(file.getvalue())
