"""Tars and pictures of others, and good tars damaged at random: read, refused or substituted, with a reason."""

from __future__ import annotations

import gzip
import io
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import ExampleError, ImageIterator, PipelineError, ShardError, open_source
from pipelines.storage.blob import LocalFile

from .children_under_limits import FIELDS, played_in_children
from .conftest import png
from .foreign_tars import FORMATS, Entry, write_tar

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="memory limits are only dependable on Linux")

READ_AS_THEY_ARE = {
    *("compressed.tar", "mpdata.tar", "tendata.tar", "testgz.tar"),
    *("biguid_gnu.tar", "file.tar", "null-byte.tar", "trailing-slash-corner-case.tar"),
}
CUT_OFF = {"empty_filename.tar", "long-pax.tar"}
MUST_DECODE = {"Landscape_1.jpg", "Portrait_6.jpg", "hopper_bad_exif.jpg", "jpg-cmyk-1.jpg", "ycck.jpg"}
MUST_BE_REFUSED = {"truncated_jpeg.jpg", "truncated_image.png", "decompression_bomb.gif"}


def is_sentence(verdict: Any) -> bool:
    return isinstance(verdict, str) and ": " in verdict and verdict.endswith(".")


@on_linux
def test_tars_of_others_are_read_or_refused_in_a_process_of_two_gigabytes(
    shared_data: Path, tmp_path: Path
) -> None:
    folders = shared_data / "foreign_shards", shared_data / "hostile" / "tar"
    found = played_in_children(tmp_path, *folders)
    for name, verdicts in found.items():
        for way in ("whole", "cut"):
            assert is_sentence(verdicts[way]), f"{name}: no picture is in any of them"
            assert is_sentence(verdicts[f"{way}, lenient"]), name
            assert is_sentence(verdicts[f"{way}, raw"]) or verdicts[f"{way}, raw"][0], name
    assert {
        name for name, verdicts in found.items() if isinstance(verdicts["whole, raw"], list)
    } == READ_AS_THEY_ARE
    assert {name for name, verdicts in found.items() if "cut off" in verdicts["whole"]} == CUT_OFF
    assert "checksum" in found["bad-cksum.tar"]["whole"]
    assert "neither can any of 15 others" in found["tendata.tar"]["whole, lenient"]


@on_linux
@pytest.mark.slow
def test_hostile_pictures_are_decoded_or_replaced_in_a_process_of_two_gigabytes(
    shared_data: Path, tmp_path: Path
) -> None:
    """Beside three good pictures, in a folder and in a tar: what one of them refuses, the other does."""
    found = played_in_children(tmp_path, shared_data / "hostile" / "image")
    decoded = set()
    for name, verdicts in found.items():
        for way in ("folder", "tar"):
            strict, lenient, listed = (verdicts[f"{way}{ending}"] for ending in ("", ", lenient", ", listed"))
            keys, replaced = lenient
            if isinstance(strict, list):
                decoded.add(name)
                assert strict[0] == keys == ["good0", "good1", "good2", "hostile"], name
                assert (replaced, listed) == ([False] * 4, []), name
            else:
                assert name not in decoded, f"{name}: refused in one place and decoded in another"
                assert is_sentence(strict), name
                assert "hostile" in strict
                assert "hostile" not in keys, name
                assert replaced == [False, False, False, True], name
                assert len(listed) == 1, name
                assert listed[0], f"{name}: no reason"
    assert decoded >= MUST_DECODE
    assert not decoded & MUST_BE_REFUSED


# Damage at random


def good_entries() -> list[Entry]:
    entries: list[Entry] = []
    for number in range(6):
        array = io.BytesIO()
        np.save(array, np.arange(number))
        stem = f"{'x' * 120}/ü{number}" if number == 2 else f"ü{number}"
        members = (("json", b'{"a": 1}'), ("cls", b"%d" % number), ("npy", array.getvalue()), ("txt", "é".encode()))
        entries += [(f"{stem}.{suffix}", content) for suffix, content in (*members, ("png", png(number)))]
    return entries


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Flipped bits, other bytes in headers, blocks lost or doubled, noise, or a cut; one of them or several."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 1, 2, 8))):
        kind, place = rng.random(), rng.randrange(len(found) or 1)
        block = place // 512 * 512
        if kind < 0.25:
            found[place : place + 1] = bytes(byte ^ 1 << rng.randrange(8) for byte in found[place : place + 1])
        elif kind < 0.7:
            lie_in_a_header(rng, found)
        elif kind < 0.8:
            del found[place:]
        elif kind < 0.9:
            del found[block : block + 512 * rng.randrange(1, 4)]
        elif kind < 0.95:
            found[block:block] = found[block : block + 512]
        else:
            found[place : place + 2000] = rng.randbytes(len(found[place : place + 2000]))
    return bytes(found)


def headers_of(content: bytes | bytearray) -> list[int]:
    return [start for start in range(0, len(content) - 511, 512) if content[start + 257 : start + 262] == b"ustar"]


def lie_in_a_header(rng: random.Random, content: bytearray) -> None:
    """Another size, kind, checksum, or any other byte, in a header."""
    start = rng.choice(headers_of(content) or [0])
    lies = [
        (124, b"%011o\0" % rng.randrange(8 ** rng.randrange(1, 12))),
        (124, b"\x80" + rng.randbytes(11)),
        (156, rng.choice((b"x", b"g", b"L", b"K", b"S", b"5", rng.randbytes(1)))),
        (148, rng.randbytes(8)),
        (rng.randrange(512), rng.randbytes(1)),
    ]
    place, lie = rng.choice(lies)
    content[start + place : start + place + len(lie)] = lie[
        : len(content[start + place : start + place + len(lie)])
    ]


def with_right_checksums(content: bytes) -> bytes:
    """Headers that say they are whole, so that what else they say is believed."""
    found = bytearray(content)
    for start in headers_of(found):
        found[start + 148 : start + 156] = b" " * 8
        found[start + 148 : start + 156] = b"%06o\0 " % sum(found[start : start + 512])
    return bytes(found)


@pytest.fixture
def _bounded_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """No header makes a read ask for more than there is."""
    read = LocalFile.read

    def bounded(self: LocalFile, offset: int, length: int) -> bytes:
        assert offset >= 0
        assert 0 <= length <= max(self.size, 1 << 20)
        return read(self, offset, length)

    monkeypatch.setattr(LocalFile, "read", bounded)


def outcome(path: Path, *, allow_truncated: bool, on_error: Any) -> str:
    """What playing a tar whole comes to: "read", or the kind of its refusal and the sentence."""
    try:
        source = open_source(path, allow_truncated=allow_truncated)
        settings: dict[str, Any] = {"size": 8, "batch_size": 4, "threads": 1, "resizer": "pillow"}
        images = ImageIterator(source, shuffle=True, fields=FIELDS, on_error=on_error, **settings)
        assert sum(len(batch) for batch in images) == len(source)
        images.close()
    except PipelineError as error:
        return f"{type(error).__name__} {error}"
    return "read"


@pytest.mark.usefixtures("_bounded_reads")
@pytest.mark.parametrize("format_name", [*FORMATS, "gzip"])
def test_a_tar_that_is_damaged_at_random_is_read_or_refused_in_a_sentence(format_name: str, tmp_path: Path) -> None:
    is_gzip = format_name == "gzip"
    whole = write_tar(tmp_path / "good.tar", good_entries(), "gnu" if is_gzip else format_name).read_bytes()
    path, counts = tmp_path / "x.tar", Counter[str]()
    for number in range(90 if is_gzip else 120):
        rng = random.Random(f"{format_name} {number}")
        content = damaged(rng, whole)
        content = with_right_checksums(content) if number % 2 else content
        if is_gzip:
            content = gzip.compress(content, 1, mtime=0)
            content = damaged(rng, content) if number % 3 == 0 else content
        path.unlink(missing_ok=True)
        path.write_bytes(content or b"\0")
        for on_error in ("raise", "substitute"):
            kind, _, sentence = outcome(path, allow_truncated=number % 4 > 1, on_error=on_error).partition(" ")
            counts[kind] += 1
            assert kind == "read" or (sentence.startswith(f"{path}: ") and sentence.endswith(".")), sentence
    assert counts["read"] >= 20
    assert counts["ShardError"] >= 20
    assert counts["ExampleError"] >= 1


def test_a_gzipped_tar_is_named_in_errors_and_not_its_copy_in_the_cache(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "good.tar", good_entries(), "gnu").read_bytes()
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(whole[:5000]))
    with pytest.raises(ShardError, match=r"^\S*/x\.tar\.gz: cut off at byte 5,000"):
        open_source(path)
    path.write_bytes(gzip.compress(whole.replace(png(1), png(1)[:40].ljust(len(png(1)), b"\0"))))
    with pytest.raises(ExampleError, match=r"^\S*/x\.tar\.gz: example 'ü1'"):
        list(ImageIterator(path, size=8, resizer="pillow", threads=1))
