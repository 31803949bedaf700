"""Pictures against Pillow alone: every format, orientation and framing comes out as the same upright RGB."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipelines import Example, ExampleError
from pipelines.decode import ImageDecoder, pillow
from pipelines.decode.geometry import frame
from pipelines.decode.jpeg import read_jpeg_header
from pipelines.randomness import Place

PLACE = Place(0, 0, 0)
RESIZERS = ["exact", "pillow", "torch"]
FAST = ["pillow", "torch"]
Pixels = NDArray[np.uint8]


def smooth(height: int, width: int, seed: int = 0) -> Image.Image:
    """Broad colour waves: what a photograph is to a resizer, without its noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [128 + 60 * np.sin(rng.uniform(3, 9) * x + rng.uniform(3, 9) * y + rng.uniform(0, 6)) for _ in range(3)]
    return Image.fromarray(np.clip(np.stack(waves, axis=-1), 0, 255).astype(np.uint8))


def encode(picture: Image.Image, name: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, name, **options)
    return file.getvalue()


def with_orientation(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def decode(data: bytes, *, place: Place = PLACE, **settings: Any) -> Pixels:
    """(height, width, channel) of what the decoder makes of a file."""
    decoder, example = ImageDecoder(**settings), Example(0, "key", data, "x.tar", 512)
    slots = decoder.allocate(1)
    if slots is None:
        return decoder.decode(example, place)[0].transpose(1, 2, 0)
    slots[...] = 77
    decoder.decode_into(example, slots[0], place)
    return slots[0].transpose(1, 2, 0)


def by_pillow(data: bytes, size: tuple[int, int], box: tuple[int, int, int, int] | None = None) -> Pixels:
    """The reference: open → EXIF transpose → RGB → bilinear with the box; (height, width, 3)."""
    with Image.open(io.BytesIO(data)) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    height, width = size
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, box=box))


def psnr(a: Pixels, b: Pixels) -> float:
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-3)))


SIZES = [(32, 32), (17, 45), (64, 20)]
SOURCES = [(100, 160), (131, 97), (64, 64), (300, 421), (31, 500)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_exact_is_pillow_to_the_last_bit(
    name: str, fit: Any, source: tuple[int, int], size: tuple[int, int]
) -> None:
    data = encode(smooth(*source), name)
    box = frame(source, size, fit=fit, crop="center", flip=False, words=[0, 0, 0]).box
    assert np.array_equal(decode(data, size=size, fit=fit, resizer="exact"), by_pillow(data, size, box))


@pytest.mark.parametrize("resizer", FAST)
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_fast_resizers_are_within_45_db_of_exact(name: str, resizer: Any) -> None:
    options = {"quality": 92} if name != "PNG" else {}
    ratios = []
    for number, source in enumerate([*SOURCES, (512, 640), (257, 263), (90, 1000)]):
        data = encode(smooth(*source, number), name, **options)
        for size in SIZES:
            for fit in ("crop", "pad", "stretch"):
                settings: dict[str, Any] = {"size": size, "fit": fit}
                exact = decode(data, **settings, resizer="exact")
                ratios.append(psnr(decode(data, **settings, resizer=resizer), exact))
    assert np.median(ratios) > 45
    assert min(ratios) > 38


@pytest.mark.parametrize("resizer", FAST)
@pytest.mark.parametrize("shrink", [2, 3, 4, 7, 8, 11, 16])
@pytest.mark.parametrize("odd", [0, 1, 3, 5])
def test_scaled_decoding_does_not_shift_the_picture(resizer: Any, shrink: int, odd: int) -> None:
    """Noise shows a shift of a tenth of a pixel where smooth waves hide it; blurred, so that JPEG keeps it."""
    side = 24
    height, width = side * shrink + odd, side * shrink + 3 * odd + 1
    rng = np.random.default_rng(odd)
    coarse = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
    data = encode(coarse.resize((width, height), Image.Resampling.BICUBIC), "JPEG", quality=97, subsampling=0)
    for crop in ("center", "random"):
        place = Place(1, 2, shrink)
        exact = decode(data, size=side, crop=crop, resizer="exact", place=place).astype(float)
        fast = decode(data, size=side, crop=crop, resizer=resizer, place=place).astype(float)
        inner = slice(1, -1)
        gx, gy = np.gradient(exact, axis=1)[inner, inner].ravel(), np.gradient(exact, axis=0)[inner, inner].ravel()
        difference = (fast - exact)[inner, inner].ravel()
        shift, *_ = np.linalg.lstsq(np.stack([gx, gy], axis=1), difference, rcond=None)
        assert np.abs(shift).max() < 0.06, f"shifted by {shift} pixels"
        assert psnr(fast, exact) > 22


@pytest.mark.parametrize("resizer", RESIZERS)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_comes_out_upright(name: str, orientation: int, resizer: Any) -> None:
    upright = smooth(48, 72)
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpositions that undo each orientation
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(back[orientation]))
    options: dict[str, Any] = {"quality": 98} if name in ("JPEG", "WEBP") else {}
    if name == "TIFF":
        options["tiffinfo"] = {0x0112: orientation}
    else:
        options["exif"] = with_orientation(orientation)
    data = encode(stored, name, **options)
    assert psnr(by_pillow(data, (48, 72)), np.asarray(upright)) > 35, "the reference itself is upright"
    assert psnr(decode(data, size=(48, 72), resizer=resizer), by_pillow(data, (48, 72))) > 45
    assert psnr(decode(data, size=(12, 18), resizer=resizer), by_pillow(data, (12, 18))) > 38
    assert np.array_equal(decode(data, size=None), by_pillow(data, (48, 72)))


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it forgives
@pytest.mark.parametrize("resizer", RESIZERS)
@pytest.mark.parametrize(
    "kind", ["xmp", "two blocks", "after the frame", "long", "two values", "outside", "truncated", "none"]
)
def test_odd_ways_of_saying_the_orientation_are_read_as_pillow_reads_them(kind: str, resizer: Any) -> None:
    plain = encode(smooth(40, 64), "JPEG", quality=95)
    exif = with_orientation(6)
    tiff = exif[6:]
    entry = tiff.index(b"\x12\x01" if tiff[:2] == b"II" else b"\x01\x12")
    order: Any = "little" if tiff[:2] == b"II" else "big"

    def changed(offset: int, value: int, size: int) -> bytes:
        place = 6 + entry + offset
        return exif[:place] + value.to_bytes(size, order) + exif[place + size :]

    def segment(body: bytes) -> bytes:
        return b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body

    xmp = b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6"/>'
    inserted = {
        "xmp": segment(xmp),
        "two blocks": segment(exif) + segment(with_orientation(3)),
        "long": segment(
            exif[: 6 + entry + 2] + (4).to_bytes(2, order) + (1).to_bytes(4, order) + (6).to_bytes(4, order)
        ),
        "two values": segment(changed(4, 2, 4)),
        "outside": segment(changed(8, 9, 2)),
        "truncated": segment(exif[: 6 + entry + 6]),
        "none": segment(changed(0, 0x0111, 2)),
        "after the frame": b"",
    }[kind]
    data = plain[:2] + inserted + plain[2:]
    if kind == "after the frame":
        scan = plain.index(b"\xff\xda")
        data = plain[:scan] + segment(exif) + plain[scan:]
    with Image.open(io.BytesIO(data)) as opened:
        reference = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    assert psnr(decode(data, size=reference.shape[:2], resizer=resizer), reference) > 45


def cmyk() -> Image.Image:
    return smooth(40, 60).convert("CMYK")


def palette(**options: Any) -> bytes:
    return encode(smooth(40, 60).quantize(32), "PNG", **options)


MODES = {
    "gray JPEG": lambda: encode(smooth(40, 60).convert("L"), "JPEG", quality=95),
    "gray PNG": lambda: encode(smooth(40, 60).convert("L"), "PNG"),
    "CMYK JPEG": lambda: encode(cmyk(), "JPEG", quality=95),
    "CMYK TIFF": lambda: encode(cmyk(), "TIFF"),
    "YCCK JPEG": lambda: encode(cmyk(), "JPEG", quality=95, adobe_transform=2),
    "RGB JPEG without YCbCr": lambda: encode(smooth(40, 60), "JPEG", quality=95, keep_rgb=True),
    "progressive": lambda: encode(smooth(40, 60), "JPEG", quality=95, progressive=True),
    "no subsampling": lambda: encode(smooth(40, 60), "JPEG", quality=95, subsampling=0),
    "restart markers": lambda: encode(smooth(40, 60), "JPEG", quality=95, restart_marker_rows=1),
    "palette": palette,
    "palette with one transparent colour": lambda: palette(transparency=3),
    "palette with many": lambda: palette(transparency=bytes(range(0, 256, 8))),
    "palette GIF": lambda: encode(smooth(40, 60).quantize(32), "GIF"),
    "alpha": lambda: encode(_with_alpha("RGBA"), "PNG"),
    "alpha WebP": lambda: encode(_with_alpha("RGBA"), "WEBP", lossless=True, exact=True),
    "gray with alpha": lambda: encode(_with_alpha("LA"), "PNG"),
    "one bit": lambda: encode(smooth(40, 60).convert("1"), "PNG"),
    "one bit TIFF": lambda: encode(smooth(40, 60).convert("1"), "TIFF", compression="group4"),
    "BMP": lambda: encode(smooth(40, 60), "BMP"),
    "PPM": lambda: encode(smooth(40, 60), "PPM"),
    "transparent RGB": lambda: encode(smooth(40, 60), "PNG", transparency=(1, 2, 3)),
    "transparent gray": lambda: encode(smooth(40, 60).convert("L"), "PNG", transparency=7),
    "JPEG 2000": lambda: encode(smooth(40, 60), "JPEG2000"),
}


def _with_alpha(mode: str) -> Image.Image:
    picture = smooth(40, 60).convert(mode)
    picture.putalpha(Image.fromarray(np.tile(np.arange(60, dtype=np.uint8) * 4, (40, 1))))
    return picture


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # Pillow's, in the reference
@pytest.mark.parametrize("resizer", RESIZERS)
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_comes_out_as_the_rgb_that_pillow_makes_of_it(mode: str, resizer: Any) -> None:
    data = MODES[mode]()
    if mode == "alpha":  # dropped, not blended: the colours below transparent pixels are what was stored
        assert np.array_equal(
            decode(data, size=(40, 60), resizer=resizer), np.asarray(_with_alpha("RGBA"))[:, :, :3]
        )
    whole = decode(data, size=(40, 60), resizer=resizer)
    assert psnr(whole, by_pillow(data, (40, 60))) > 45
    box = frame((40, 60), (16, 16), fit="crop", crop="center", flip=False, words=[0, 0, 0]).box
    small = decode(data, size=16, resizer=resizer)
    limit = 26 if "one bit" in mode else 38
    assert psnr(small, by_pillow(data, (16, 16), box)) > limit


@pytest.mark.parametrize("resizer", RESIZERS)
@pytest.mark.parametrize("name", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_and_not_clipped(name: str, resizer: Any) -> None:
    values = np.linspace(0, 65_535, 40 * 60).round().astype(np.uint16).reshape(40, 60)
    data = encode(Image.fromarray(values), name)
    expected = np.round(values / 65_535 * 255)
    found = decode(data, size=(40, 60), resizer=resizer)
    assert np.abs(found - expected[:, :, None]).max() <= 1
    assert np.abs(decode(data, size=(40, 60), resizer=resizer, grayscale=True) - expected[:, :, None]).max() <= 1


def test_sixteen_bit_colour_is_scaled() -> None:
    """A 16-bit RGB PNG, written out by hand: Pillow cannot make one."""
    import struct
    import zlib

    values = np.linspace(0, 65_535, 8 * 8 * 3).round().astype(">u2").reshape(8, 24)
    rows = b"".join(b"\0" + row.tobytes() for row in values)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert np.abs(decode(data, size=8) - values.reshape(8, 8, 3).astype(float) / 257).max() <= 1


@pytest.mark.parametrize("resizer", RESIZERS)
@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_grayscale_is_pillows_luma_in_one_channel(name: str, resizer: Any) -> None:
    data = encode(smooth(41, 63), name, **({"quality": 95} if name == "JPEG" else {}))
    with Image.open(io.BytesIO(data)) as opened:
        gray = opened.convert("L")
    whole = decode(data, size=(41, 63), resizer=resizer, grayscale=True)
    assert whole.shape == (41, 63, 1)
    assert psnr(whole[:, :, 0], np.asarray(gray)) > 45
    small = decode(data, size=(20, 31), fit="stretch", resizer=resizer, grayscale=True)
    box = frame((41, 63), (20, 31), fit="stretch", crop="center", flip=False, words=[0, 0, 0]).box
    assert psnr(small[:, :, 0], np.asarray(gray.resize((31, 20), Image.Resampling.BILINEAR, box=box))) > 42


def marked(height: int, width: int) -> tuple[Image.Image, list[tuple[float, float]]]:
    """A black picture with three soft bright spots, and where their middles are."""
    centres = [(width * 0.4, height * 0.45), (width * 0.58, height * 0.5), (width * 0.5, height * 0.62)]
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    spread = min(height, width) * 0.012
    spots = sum(np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * spread**2)) for x, y in centres)
    return Image.fromarray((255 * np.minimum(spots, 1)).astype(np.uint8)).convert("RGB"), centres


@pytest.mark.parametrize("resizer", RESIZERS)
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize(("height", "width"), [(220, 330), (401, 203)])
def test_the_transform_takes_each_source_pixel_to_where_it_is_in_the_output(
    height: int, width: int, fit: Any, orientation: int, resizer: Any
) -> None:
    picture, centres = marked(height, width)
    back = {3: 3, 6: 2, 7: 6}
    stored = picture if orientation == 1 else picture.transpose(Image.Transpose(back[orientation]))
    data = encode(stored, "JPEG", quality=98, subsampling=0, exif=with_orientation(orientation))
    for size, crop in (((48, 60), "center"), ((100, 70), "random"), ((260, 250), "random")):
        decoder = ImageDecoder(size=size, fit=fit, crop=crop, flip=True, resizer=resizer)  # type: ignore[arg-type]
        flips = set()
        for position in range(3):
            out = decoder.allocate(1)
            assert out is not None
            details = decoder.decode_into(Example(0, "k", data), out[0], Place(4, 0, position))
            matrix = np.array(details.transform).reshape(2, 3)
            flips.add(matrix[0, 0] < 0)
            for x, y in centres:
                to_x, to_y = matrix @ [x, y, 1]
                assert_spot_at(
                    out[0, 0].astype(float),
                    to_x,
                    to_y,
                    reach=0.05 * min(abs(matrix[0, 0]) * width, matrix[1, 1] * height),
                )
        assert len(flips) == 2 or fit != "crop"


def assert_spot_at(plane: NDArray[np.float64], x: float, y: float, reach: float) -> None:
    """The bright spot around (x, y) has its centre of mass there, within a quarter of a pixel."""
    rows, columns = np.mgrid[0 : plane.shape[0], 0 : plane.shape[1]] + 0.5
    if not (reach + 2 < x < plane.shape[1] - reach - 2 and reach + 2 < y < plane.shape[0] - reach - 2):
        return  # cropped away, or on the edge
    near = (np.abs(columns - x) < reach + 2) & (np.abs(rows - y) < reach + 2)
    weights = np.where(near, np.maximum(plane - 20, 0), 0)
    assert weights.sum() > 0, "there is no spot"
    assert abs((weights * columns).sum() / weights.sum() - x) < 0.25
    assert abs((weights * rows).sum() / weights.sum() - y) < 0.25


def test_padding_is_black_and_the_picture_stands_in_the_middle() -> None:
    data = encode(Image.new("RGB", (80, 40), (200, 100, 50)), "PNG")
    for resizer in RESIZERS:
        out = decode(data, size=(32, 32), fit="pad", resizer=resizer)
        assert np.all(out[:8] == 0)
        assert np.all(out[24:] == 0)
        assert np.all(out[8:24] == [200, 100, 50])


def test_random_crops_reach_every_corner_and_differ_by_place() -> None:
    data = encode(smooth(40, 90), "PNG")
    lefts = []
    for position in range(200):
        decoder, out = ImageDecoder(size=40, crop="random", resizer="pillow"), np.empty((40, 40, 3), np.uint8)
        details = decoder.decode_into(Example(0, "k", data), out.transpose(2, 0, 1), Place(0, 0, position))
        assert details.transform is not None
        lefts.append(-details.transform[2])
    assert min(lefts) == 0
    assert max(lefts) == 50
    assert len(set(lefts)) > 40


def test_half_of_the_pictures_are_flipped_and_a_flip_is_a_mirror() -> None:
    data = encode(smooth(40, 40), "PNG")
    plain = decode(data, size=40)
    outs = [decode(data, size=40, flip=True, place=Place(9, 1, position)) for position in range(300)]
    mirrored = [np.array_equal(out, plain[:, ::-1]) for out in outs]
    assert all(m or np.array_equal(out, plain) for m, out in zip(mirrored, outs, strict=True))
    assert 110 < sum(mirrored) < 190


@pytest.mark.parametrize("resizer", RESIZERS)
@pytest.mark.parametrize("source", [(1, 1), (1, 9), (9, 1), (2, 3), (1, 300), (300, 1), (7, 7)])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_tiny_and_thin_pictures_fill_every_size(name: str, fit: Any, source: tuple[int, int], resizer: Any) -> None:
    data = encode(Image.new("RGB", source[::-1], (90, 90, 90)), name)
    for size in ((1, 1), (8, 8), (3, 11), (40, 40)):
        out = decode(data, size=size, fit=fit, resizer=resizer)
        assert out.shape == (*size, 3)
        assert set(np.unique(out)) <= {0, 90} if fit == "pad" else set(np.unique(out)) == {90}
        assert np.any(out == 90)


@pytest.mark.parametrize("resizer", RESIZERS)
def test_small_pictures_are_enlarged(resizer: Any) -> None:
    data = encode(smooth(12, 16), "JPEG", quality=98, subsampling=0)
    assert psnr(decode(data, size=(48, 64), resizer=resizer), by_pillow(data, (48, 64))) > 40


def test_without_a_size_every_picture_keeps_its_own() -> None:
    for name in ("JPEG", "PNG"):
        data = encode(smooth(33, 57), name)
        assert np.array_equal(decode(data, size=None), by_pillow(data, (33, 57)))
        assert decode(data, size=None, grayscale=True).shape == (33, 57, 1)
    flips = [decode(data, size=None, flip=True, place=Place(0, 0, position)) for position in range(20)]
    mirrored = [np.array_equal(out, by_pillow(data, (33, 57))[:, ::-1]) for out in flips]
    assert 0 < sum(mirrored) < 20


BROKEN = {
    "text": (b"this is a text file, named .jpg", "not an image"),
    "empty": (b"", "not an image"),
    "start of a JPEG": (encode(smooth(40, 60), "JPEG")[:20], ""),
    "half a JPEG": (encode(smooth(200, 200), "JPEG")[:2500], "truncated"),
    "half a PNG": (encode(smooth(200, 200), "PNG")[:2500], ""),
    "headers alone": (encode(smooth(40, 60), "JPEG")[:620], ""),
    "zeros": (bytes(10_000), "not an image"),
}


@pytest.mark.parametrize("resizer", RESIZERS)
@pytest.mark.parametrize("kind", BROKEN)
def test_what_cannot_be_decoded_is_refused_with_place_and_reason(kind: str, resizer: Any) -> None:
    data, reason = BROKEN[kind]
    for size in (16, None):
        with pytest.raises(
            ExampleError, match=rf"x\.tar: example 'key' at byte 512 cannot be decoded: .*{reason}"
        ) as caught:
            decode(data, size=size, resizer=resizer)
        assert (caught.value.container, caught.value.key, caught.value.offset) == ("x.tar", "key", 512)


def test_a_header_that_claims_gigapixels_is_refused_before_anything_is_allocated() -> None:
    data = bytearray(encode(smooth(16, 16), "JPEG"))
    frame_at = data.index(b"\xff\xc0")
    data[frame_at + 5 : frame_at + 9] = b"\xff\xff\xff\xff"
    for resizer in RESIZERS:
        with pytest.raises(ExampleError, match=r"pixels"):
            decode(bytes(data), size=16, resizer=resizer)


def test_the_limit_on_pixels_holds_for_every_way_of_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [encode(smooth(16, 16), name) for name in ("JPEG", "PNG")]
    monkeypatch.setattr(pillow, "MAX_PIXELS", 255)
    for data in pictures:
        for resizer in RESIZERS:
            with pytest.raises(ExampleError, match="16 × 16 pixels are more than the 255 allowed"):
                decode(data, size=16, resizer=resizer)
    monkeypatch.setattr(pillow, "MAX_PIXELS", 256)
    assert decode(pictures[0], size=16).shape == (16, 16, 3)


def test_the_slot_is_filled_in_place_in_channels_last_memory() -> None:
    decoder = ImageDecoder(size=(8, 6))
    slots = decoder.allocate(4)
    assert slots is not None
    assert slots.shape == (4, 3, 8, 6)
    assert slots.transpose(0, 2, 3, 1).flags.c_contiguous
    slots[...] = 7
    decoder.decode_into(Example(0, "k", encode(smooth(20, 30), "JPEG")), slots[2], PLACE)
    assert np.all(slots[[0, 1, 3]] == 7)
    assert not np.all(slots[2] == 7)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"size": 0}, "size is 0"),
        ({"size": (4, -1)}, r"size is \(4, -1\)"),
        ({"fit": "squash"}, "fit is 'squash'"),
        ({"crop": "left"}, "crop is 'left'"),
        ({"resizer": "fast"}, "resizer is 'fast'"),
    ],
)
def test_settings_that_mean_nothing_are_refused_by_name(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ImageDecoder(**settings)


def test_the_header_reader_agrees_with_pillow_and_survives_every_cut_and_flip() -> None:
    rng = np.random.default_rng(0)
    data = encode(smooth(37, 61), "JPEG", exif=with_orientation(6), comment=b"hello")
    header = read_jpeg_header(data)
    assert header is not None
    assert (header.height, header.width, header.components, header.orientation) == (37, 61, 3, 6)
    scan = data.index(b"\xff\xda")
    for cut in range(scan):
        assert read_jpeg_header(data[:cut]) is None
    for _ in range(5_000):
        damaged = bytearray(data[: scan + 10])
        for place in rng.integers(0, scan, 3):
            damaged[place] = rng.integers(0, 256)
        read_jpeg_header(bytes(damaged))


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it forgives
def test_damaged_jpegs_get_the_same_verdict_from_every_resizer_and_never_a_traceback() -> None:
    rng = np.random.default_rng(1)
    whole = encode(smooth(70, 90), "JPEG", quality=80, exif=with_orientation(6))
    verdicts = []
    for number in range(250):
        data = bytearray(whole)
        for place in rng.integers(0, len(data) if number % 2 else 700, rng.integers(1, 4)):
            data[place] = rng.integers(0, 256)
        data = data[: rng.integers(1, len(data))] if number % 5 == 0 else data
        verdict = {_is_decoded(bytes(data), resizer) for resizer in RESIZERS}
        assert len(verdict) == 1, f"damaged file {number}: decoded by some resizers only"
        verdicts += verdict
    assert 40 < sum(verdicts) < 230


def _is_decoded(data: bytes, resizer: Any) -> bool:
    try:
        decode(data, size=24, resizer=resizer)
    except ExampleError:
        return False
    return True
