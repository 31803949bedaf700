"""What a picture may cost: limits that can be raised, memory that stays small, damage that is found."""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, Jpeg2KImagePlugin, PngImagePlugin

from pipelines import ExampleError, ImageIterator, make_shards
from pipelines.decode.errors import UndecodableError
from pipelines.decode.image import limits, pillow
from pipelines.decode.image.pillow import open_image, reason_of
from pipelines.decode.image.upright_picture import UprightPicture
from pipelines.decode.resize import pillow_resize, resize_in_bands, simd_resize
from pipelines.sharding.modalities.image import prepare_image

from .pictures import RESIZERS, decode, encode, psnr, smooth, with_orientation

ROOT = Path(__file__).resolve().parents[2]


def bare_png(width: int, height: int, depth: int = 1, colour: int = 0, row: int | None = None) -> bytes:
    """A PNG of zeros; without `row`, the bytes of one, it has no pixels at all."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer, parts = zlib.compressobj(9), []
    if row is not None:
        parts = [packer.compress(bytes(1 + row) * 100) for _ in range(height // 100)]
        parts.append(packer.compress(bytes(1 + row) * (height % 100)))
    parts.append(packer.flush())
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"".join(parts)) + chunk(b"IEND", b"")


def test_a_large_picture_that_is_allowed_is_not_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_image(bare_png(10_000, 9500)).size == (10_000, 9500)


def test_the_limit_on_pixels_is_pillows_own_unless_a_setting_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = bare_png(20_000, 9500)
    with pytest.raises(
        UndecodableError, match=r"^20,000 × 9,500 pixels are more than the 178,956,970 .* max_pixels"
    ):
        open_image(data)
    assert open_image(data, 190_000_000).size == (20_000, 9500)
    with pytest.raises(UndecodableError, match="more than the 189,999,999 allowed"):
        open_image(data, 189_999_999)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert open_image(data).size == (20_000, 9500)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(UndecodableError, match="more than the 100 allowed"):
        open_image(data)


@pytest.mark.parametrize("workers", [0, 2])
def test_packing_has_the_setting_too_and_workers_know_it(workers: int, tmp_path: Path) -> None:
    for name, size in (("a", 40), ("b", 30)):
        Image.new("RGB", (size, 10)).save(tmp_path / f"{name}.png")
    report = make_shards(tmp_path, tmp_path / "out", workers=workers, max_pixels=399)
    assert [failure.path for failure in report.failures] == ["a.png"]
    assert "40 × 10 pixels are more than the 399 allowed" in report.failures[0].reason
    with pytest.raises(ExampleError, match="30 × 10 pixels are more than the 299 allowed"):
        next(iter(ImageIterator(tmp_path / "out", size=8, batch_size=1, max_pixels=299)))
    assert next(iter(ImageIterator(tmp_path / "out", size=8, batch_size=1, max_pixels=300))).keys == ["b"]


@pytest.mark.parametrize("value", [0, -1, 2.5, "many", True])
def test_the_limit_is_a_whole_number(value: Any, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for attempt in (
        lambda: ImageIterator(tmp_path, max_pixels=value),
        lambda: make_shards(tmp_path, tmp_path / "out", max_pixels=value),
    ):
        with pytest.raises((TypeError, ValueError), match="max_pixels is"):
            attempt()


def repeated_scans(num: int, *, progressive: bool = True, side: int = 256) -> bytes:
    """A gray JPEG whose last scan stands there again and again."""
    data = encode(Image.new("L", (side, side), 77), "JPEG", progressive=progressive)
    last = data.rfind(b"\xff\xda")
    return data[:last] + data[last:-2] * num + data[-2:]


@pytest.mark.parametrize("resizer", RESIZERS)
@pytest.mark.parametrize("size", [16, None])
def test_scans_without_end_are_refused_before_they_are_decoded(
    resizer: Any, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FREE_SCAN_PIXELS", 256 * 256 * 20)
    assert decode(repeated_scans(2), size=size, resizer=resizer).any()
    data = repeated_scans(1000)
    with pytest.raises(ExampleError, match=r"1,005 scans of 256 × 256 pixels are more than [0-9,]+ bytes need"):
        decode(data, size=size, resizer=resizer)
    for options in ({"decode": True}, {"resize": 16}):
        with pytest.raises(UndecodableError, match="scans"):
            prepare_image(data, "jpg", **options)


def test_ordinary_progressive_files_are_far_from_the_limit(shared_data: Path) -> None:
    photographs = sorted((shared_data / "coco" / "images").iterdir())[:20]
    for path in photographs:
        with Image.open(path) as picture:
            data = encode(picture.convert("RGB"), "JPEG", progressive=True, quality=50)
            pixels = picture.width * picture.height
        assert limits.scans_of(data) <= 20
        assert limits.scans_of(data) * pixels < limits.SCAN_PIXELS_A_BYTE * len(data)


CHILD = """
import resource, sys
from pipelines import ImageIterator
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = next(iter(ImageIterator(sys.argv[1], size=64, batch_size=1, threads=1))).data
assert data.shape == (1, 3, 64, 64)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(
    ("depth", "colour", "bytes_a_pixel", "decoded_at"), [(16, 0, 2, 2), (16, 6, 8, 4), (8, 2, 3, 3)]
)
def test_a_giant_takes_its_pixels_once(
    depth: int, colour: int, bytes_a_pixel: int, decoded_at: int, tmp_path: Path
) -> None:
    side = 8500
    (tmp_path / "a.png").write_bytes(bare_png(side, side, depth, colour, side * bytes_a_pixel))
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    took = int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert took < side * side * decoded_at / 2**20 + 150


@pytest.mark.parametrize("resize", [pillow_resize, simd_resize])
@pytest.mark.parametrize(("height", "target"), [(500, 37), (500, 250), (100, 333), (499, 498)])
def test_bands_give_the_same_as_the_whole(
    resize: Any, height: int, target: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if resize is simd_resize:
        pytest.importorskip("cykooz_resizer")
    monkeypatch.setattr("pipelines.decode.resize.BAND_BYTES", 20_000)
    source = np.random.default_rng(0).integers(0, 256, (height, 90, 3), np.uint8)
    whole, parts = np.empty((target, 40, 3), np.uint8), np.empty((target, 40, 3), np.uint8)
    asked: list[int] = []

    def rows(top: int, bottom: int) -> Any:
        asked.append(bottom - top)
        return np.ascontiguousarray(source[top:bottom])

    resize(source, whole)
    resize_in_bands(rows, height, parts, resize, row_bytes=270)
    assert len(asked) > 1
    assert np.abs(whole.astype(int) - parts).max() <= 1
    assert abs(float(whole.mean()) - float(parts.mean())) < 0.05


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "1", "I;16"])
def test_boxes_of_an_upright_picture_are_cut_from_the_right_place(orientation: int, mode: str) -> None:
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 65_536, (21, 34), np.uint16))
    picture = picture if mode == "I;16" else smooth(21, 34).convert(mode)
    data = encode(picture, "PNG", exif=with_orientation(orientation))
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if mode == "I;16":
        expected = np.rint(np.asarray(turned).astype(float) / 257)[:, :, None]
    else:
        gray = mode in ("L", "1")
        expected = np.asarray(turned.convert("L" if gray else "RGB"))
        expected = expected[:, :, None] if gray else expected
    upright = UprightPicture(open_image(data))
    assert (upright.height, upright.width) == expected.shape[:2]
    assert np.array_equal(upright.pixels(0, 0, upright.width, upright.height), expected)
    assert np.array_equal(upright.pixels(3, 5, 17, 19), expected[5:19, 3:17])
    assert np.array_equal(np.asarray(upright.image()).reshape(expected.shape), expected)
    whole = np.empty((*expected.shape[:2], 3), np.uint8)
    upright.fill(whole)
    assert np.array_equal(whole, np.broadcast_to(expected, whole.shape))


@pytest.mark.parametrize("name", ["PNG", "TIFF", "JPEG", "BMP"])
@pytest.mark.parametrize("gray", [False, True])
def test_giants_are_averaged_first_and_look_the_same(
    name: str, gray: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(smooth(640, 900).convert("L" if gray else "RGB"), name)
    for resizer in ("simd", "pillow", "torch"):
        if resizer == "simd":
            pytest.importorskip("cykooz_resizer")
        usual = decode(data, size=48, resizer=resizer)
        with monkeypatch.context() as patched:
            patched.setattr(limits, "GIANT_BYTES", 1000)
            patched.setattr("pipelines.decode.image.image_decoder.BAND_BYTES", 2000)
            patched.setattr("pipelines.decode.placement.BAND_BYTES", 2000)
            patched.setattr("pipelines.decode.resize.BAND_BYTES", 5000)
            giant = decode(data, size=48, resizer=resizer)
        assert psnr(usual, giant) > 40


def test_a_jpeg_that_only_pillow_decodes_is_drafted_where_it_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(smooth(640, 900), "JPEG", quality=95)
    usual = decode(data, size=48, resizer="pillow")
    monkeypatch.setattr("pipelines.decode.image.image_decoder.BAND_BYTES", 1000)
    monkeypatch.setattr("pipelines.decode.image.image_decoder._simplejpeg", lambda: None)
    sizes = []
    load = UprightPicture.__init__

    def noted(self: UprightPicture, picture: Image.Image, **options: Any) -> None:
        sizes.append(picture.size)
        load(self, picture, **options)

    monkeypatch.setattr(UprightPicture, "__init__", noted)
    drafted = decode(data, size=48, resizer="pillow")
    assert sizes == [(113, 80)]
    assert psnr(usual, drafted) > 35


def damaged_pngs() -> dict[str, bytes]:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    whole = encode(Image.fromarray(noise), "PNG")
    at = whole.find(b"IDAT")
    return {
        "whole": whole,
        "cut": whole[: len(whole) // 2],
        "bit": whole[: at + 500] + bytes([whole[at + 500] ^ 0xFF]) + whole[at + 501 :],
        "noise": whole[: at + 6] + np.random.default_rng(1).bytes(2000) + whole[at + 2006 :],
        "header": whole[: at + 4],
    }


def test_decoding_while_packing_finds_every_damaged_png(tmp_path: Path) -> None:
    for name, data in damaged_pngs().items():
        (tmp_path / f"{name}.png").write_bytes(data)
    report = make_shards(tmp_path, tmp_path / "out", workers=0, decode=True)
    assert {failure.path for failure in report.failures} == {"cut.png", "bit.png", "noise.png", "header.png"}
    assert next(iter(ImageIterator(tmp_path / "out", size=8, batch_size=1))).keys == ["whole"]


def test_what_is_found_by_decoding_is_what_iterators_refuse(shared_data: Path) -> None:
    files = sorted(path for path in (shared_data / "hostile" / "image").rglob("*") if path.is_file())
    verdicts = []
    for path in files:
        data = path.read_bytes()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                decode(data, size=32)
            played = True
        except ExampleError:
            played = False
        try:
            prepare_image(data, "x", decode=True)
            packed = True
        except UndecodableError:
            packed = False
        verdicts.append((path.name, played, packed))
    assert not [verdict for verdict in verdicts if verdict[1] != verdict[2]]
    assert {verdict[1] for verdict in verdicts} == {True, False}


def test_a_png_is_not_decoded_where_its_header_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(smooth(30, 40), "PNG", exif=with_orientation(6))

    def load(self: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    record = prepare_image(data, "png").record
    assert (record.width, record.height) == (30, 40), "upright"


ACCIDENTS = [
    TypeError("function takes at most 3 arguments (4 given)"),
    KeyError(257),
    IndexError("tuple index out of range"),
    struct.error("unpack requires a buffer of 4 bytes"),
    AttributeError("'NoneType' object has no attribute 'read'"),
    ValueError("not enough values to unpack (expected 2, got 1)"),
    OSError("-2"),
    ZeroDivisionError("division by zero"),
    NotImplementedError(),
]


@pytest.mark.parametrize("error", ACCIDENTS, ids=lambda error: type(error).__name__)
def test_a_slip_in_anothers_code_is_no_reason(error: Exception) -> None:
    assert reason_of(error) == "damaged"


def test_what_a_reader_says_of_the_file_is_kept() -> None:
    assert reason_of(OSError("image file is truncated (0 bytes not processed).")) == (
        "image file is truncated (0 bytes not processed)"
    )
    assert reason_of(OSError("cannot read <_io.BytesIO object at 0x7f00>")) == "cannot read the file"
    assert reason_of(MemoryError()) == "it takes more memory than there is"


def test_every_format_that_is_named_can_be_opened() -> None:
    assert set(pillow._installed()) == set(pillow.FORMATS)


def codestream(
    side: int,
    *,
    precincts: tuple[int, ...] = (),
    layers: int = 1,
    levels: int = 0,
    block: int = 4,
    components: int = 1,
) -> bytes:
    """The headers of a JPEG 2000 codestream without a pixel; a byte of `precincts` holds both exponents."""
    size = struct.pack(">HIIIIIIII", 0, side, side, 0, 0, side, side, 0, 0) + struct.pack(">H", components)
    size += b"\x07\x01\x01" * components
    style = struct.pack(">BBHB", bool(precincts), 0, layers, 0)
    style += bytes([levels, block, block, 0, 1, *precincts])

    def segment(marker: int, body: bytes) -> bytes:
        return struct.pack(">HH", marker, len(body) + 2) + body

    quantities = segment(0xFF5C, bytes([0x40]) + bytes([0x40] * (3 * levels + 1)))
    head = b"\xff\x4f" + segment(0xFF51, size) + segment(0xFF52, style) + quantities
    return head + segment(0xFF90, struct.pack(">HIBB", 0, 14, 0, 1)) + b"\xff\x93\xff\xd9"


PARTS = {
    "precincts of a pixel": codestream(1500, precincts=(0x00,)),
    "precincts of two pixels": codestream(6600, precincts=(0x11,)),
    "code-blocks of four pixels": codestream(6600, block=0),
    "layers of precincts": codestream(600, precincts=(0x22,), layers=65_535),
    "many resolutions": codestream(6600, levels=32, precincts=(0x22,) * 33),
    "components": codestream(1000, components=16_384),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_picture_cut_into_too_many_parts_is_refused_by_its_header(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Jpeg2KImagePlugin.Jpeg2KImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ExampleError, match=r"cut into [0-9,]+ parts in [0-9,]+ layers|not an image"):
        decode(PARTS[name], size=8)


@pytest.mark.parametrize(
    "options", [{}, {"num_resolutions": 3}, {"tile_size": (64, 64)}, {"codeblock_size": (4, 4)}]
)
def test_ordinary_jpeg_2000_is_decoded_and_every_cut_of_it_is_refused_or_decoded(options: dict[str, Any]) -> None:
    data = encode(smooth(130, 200), "JPEG2000", **options)
    assert decode(data, size=32).any()
    for cut in range(1, 300, 7):
        with contextlib.suppress(ExampleError):
            decode(data[:cut], size=32)


def test_what_is_slow_or_turned_or_tiled_by_pillow_has_lower_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    runs = bytearray(encode(Image.new("P", (30, 30)), "BMP"))
    runs[30] = 1  # BI_RLE8
    tall = encode(Image.new("RGB", (90, 90)), "TIFF", exif=with_orientation(6))
    for data, reason in (
        (bytes(runs), "900 pixels of a BMP of runs".replace("900", "30 × 30")),
        (tall, "a turned TIFF"),
    ):
        with pytest.raises(ExampleError, match=reason):
            decode(data, size=8)
    assert decode(encode(Image.new("RGB", (90, 90)), "TIFF"), size=8).shape == (8, 8, 3)


def test_tiles_far_larger_than_their_picture_are_refused() -> None:
    picture = Image.open(io.BytesIO(encode(Image.new("L", (32, 32)), "TIFF")))
    pillow._check_tiles(picture)
    picture.tag_v2.update({322: 2048, 323: 2048})  # type: ignore[attr-defined]
    pillow._check_tiles(picture)
    picture.tag_v2.update({322: 32_768, 323: 32_752})  # type: ignore[attr-defined]
    with pytest.raises(UndecodableError, match="its tiles of 32,768 × 32,752 pixels are larger than itself"):
        pillow._check_tiles(picture)


def test_a_large_tiff_is_decoded_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(smooth(90, 90), "TIFF")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(decode(data, size=30), decode(data, size=30, max_pixels=10**9))


def test_giants_wait_for_the_memory_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(smooth(90, 90).convert("CMYK"), "JPEG")
    monkeypatch.setattr(limits, "GIANT_BYTES", 1000)
    inside: list[int] = []
    most: list[int] = []
    enter, leave = limits.GiantsTurn.__enter__, limits.GiantsTurn.__exit__

    def noted(self: limits.GiantsTurn) -> None:
        enter(self)
        inside.append(1)
        most.append(len(inside))

    def left(self: limits.GiantsTurn, *rest: object) -> None:
        inside.pop()
        leave(self, *rest)

    monkeypatch.setattr(limits.GiantsTurn, "__enter__", noted)
    monkeypatch.setattr(limits.GiantsTurn, "__exit__", left)
    threads = [threading.Thread(target=decode, args=(data,), kwargs={"size": 16}) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 6
