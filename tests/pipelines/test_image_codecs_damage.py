"""Damaged PNG and WebP files: one verdict and one reason, whoever decodes, and nothing lost on the way."""

from __future__ import annotations

import sys
import zlib
from typing import Any

import numpy as np
import pytest

from pipelines import ExampleError
from pipelines.decode.scratch import Scratch

from .containers import insert_chunk, png_chunk, png_of_stream, stream_of_png, webp_file
from .pictures import RESIZERS, decode
from .plain_pictures import HEIGHT, PLAIN, UNUSUAL, WIDTH, decode_plain, needs_codecs, png, stored_pixels, verdict


def damaged_pngs(num: int, seed: int) -> list[bytes]:
    """Flips anywhere, cuts, and damage below checksums that are right."""
    rng = np.random.default_rng(seed)
    wholes = [
        PLAIN[kind]() for kind in ("PNG", "PNG with alpha", "gray PNG", "PNG with remarks", "PNG in many chunks")
    ]
    found = []
    for number in range(num):
        whole = wholes[rng.integers(len(wholes))]
        stream = stream_of_png(whole)
        rows = zlib.decompress(stream)
        match number % 6:
            case 0:
                data = flipped(whole, rng)
            case 1:
                data = whole[: rng.integers(1, len(whole))]
            case 2:
                data = flipped(whole[:120], rng) + whole[120:]
            case 3:
                damaged = flipped(stream, rng) if number % 4 else stream[: -rng.integers(1, 9)]
                data = png_of_stream(damaged, whole, rng.integers(0, len(damaged), 2).tolist())
            case 4:  # rows with filters that do not exist, too few rows, too many
                changed = bytearray(rows)
                changed[rng.integers(0, HEIGHT) * (len(rows) // HEIGHT)] = rng.integers(0, 7)
                cut = changed[: rng.integers(1, len(rows))] if number % 4 else changed + bytes(77)
                data = png_of_stream(zlib.compress(cut if number % 3 else changed), whole, [])
            case _:
                tail = rng.integers(0, 256, rng.integers(0, 9), dtype=np.uint8).tobytes()
                data = png_of_stream(stream[: -rng.integers(1, 7)] + tail, whole, [])
        found.append(data)
    return found


def damaged_webps(num: int, seed: int) -> list[bytes]:
    """Flips anywhere and near the start, and cuts."""
    rng = np.random.default_rng(seed)
    wholes = [data() for kind, data in PLAIN.items() if "WebP" in kind] + [UNUSUAL["turned WebP"]()]
    found = []
    for number in range(num):
        whole = wholes[rng.integers(len(wholes))]
        match number % 4:
            case 0:
                data = flipped(whole, rng)
            case 1:
                data = whole[: rng.integers(1, len(whole))]
            case 2:
                data = flipped(whole[:34], rng) + whole[34:]
            case _:  # cut, and the container says so
                body = whole[12 : rng.integers(40, len(whole)) & -2]
                length = (len(body) - 8).to_bytes(4, "little")
                data = webp_file(body[:4] + length + body[8:] if body[:4] != b"VP8X" else body)
        found.append(data)
    return found


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for place in rng.integers(0, len(data), rng.integers(1, 4)):
        changed[place] ^= 1 << rng.integers(0, 8)
    return bytes(changed)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it forgives
@pytest.mark.parametrize("make", [damaged_pngs, damaged_webps])
def test_damaged_pictures_get_the_same_verdict_and_reason_from_every_resizer(make: Any) -> None:
    decoded = 0
    for number, data in enumerate(make(300, seed=2)):
        outcomes = [verdict(data, resizer) for resizer in RESIZERS]
        reasons = {outcome if isinstance(outcome, str) else "decoded" for outcome in outcomes}
        assert len(reasons) == 1, f"damaged file {number}: {reasons}"
        decoded += "decoded" in reasons
    assert 30 < decoded < 270


@needs_codecs
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [damaged_pngs, damaged_webps])
def test_what_the_fast_way_makes_of_damage_is_what_pillow_makes_of_it(make: Any) -> None:
    scratch, fast = Scratch(), 0
    for number, data in enumerate(make(1200, seed=3)):
        found = decode_plain(data, scratch)
        if found is not None:
            expected = stored_pixels(data)  # raises where Pillow refuses
            channels = 3 if make is damaged_webps else None
            assert np.array_equal(found, expected[:, :, :channels]), f"damaged file {number}"
            fast += 1
    assert fast > 100


@needs_codecs
@pytest.mark.parametrize("kind", ["PNG", "PNG with alpha", "gray PNG", "WebP", "lossless WebP", "WebP with alpha"])
def test_damage_loses_no_references_and_prints_nothing(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    whole, scratch = PLAIN[kind](), Scratch()
    if "WebP" in kind:
        damaged = whole[:4] + (len(whole) - 48).to_bytes(4, "little") + whole[8:-40]
    else:
        stream = stream_of_png(whole)
        damaged = png_of_stream(stream[:60] + bytes(60) + stream[120:], whole, [])
    kept = scratch.take(1)
    held = [sys.getrefcount(thing) for thing in (kept, kept.dtype, damaged)]
    for _ in range(200):
        assert decode_plain(damaged, scratch) is None
    assert [sys.getrefcount(thing) for thing in (kept, kept.dtype, damaged)] == pytest.approx(held, abs=50)
    assert capfd.readouterr() == ("", "")


@needs_codecs
def test_too_many_remarks_after_the_pixels_are_left_to_pillow() -> None:
    remark = png_chunk(b"tEXt", b"Comment\0" + bytes(1 << 20))
    assert decode_plain(insert_chunk(png(), remark), Scratch()) is not None
    assert decode_plain(insert_chunk(png(), remark, after_pixels=True), Scratch()) is None


@pytest.mark.parametrize("kind", ["PNG", "WebP", "lossless WebP", "WebP with alpha"])
def test_the_limit_on_pixels_comes_before_any_memory(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, taken = PLAIN[kind](), []
    take = Scratch.take
    monkeypatch.setattr(Scratch, "take", lambda self, num: taken.append(num) or take(self, num))
    limit = HEIGHT * WIDTH * (4 if "WebP" in kind else 1)  # WebP may take four times the memory
    for resizer in RESIZERS:
        with pytest.raises(ExampleError, match=r"60 × 40 pixels.* are more than the [0-9,]+ allowed; .*max_pixels"):
            decode(data, size=8, resizer=resizer, max_pixels=limit - 1)
    assert not taken
    assert decode(data, size=8, max_pixels=limit).shape == (8, 8, 3)
