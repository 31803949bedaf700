"""Tar headers against the standard library's tarfile, and against damage."""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from pipelines.errors import ShardError
from pipelines.storage import tar as tar_module
from pipelines.storage.tar import BLOCK, Member, TarTruncatedError, iter_members, padded

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
MAX_READ = 2 << 20


def reader(content: bytes) -> Callable[[int, int], bytes]:
    def read(offset: int, length: int) -> bytes:
        assert offset >= 0
        assert 0 <= length <= MAX_READ, "a header made the reader ask for an absurd number of bytes"
        return content[offset : offset + length]

    return read


def members_of(content: bytes, *, to_end: bool = True, verify: bool = True) -> list[Member]:
    return list(iter_members(reader(content), 0, len(content), where="x.tar", to_end=to_end, verify=verify))


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


def make_tar(format_name: str) -> bytes:
    """Long and odd names, empty members, folders, links and a device among ordinary files."""
    file, rng = io.BytesIO(), random.Random(0)
    long = "n" * 90
    with tarfile.open(fileobj=file, mode="w", format=FORMATS[format_name]) as tar:
        tar.addfile(member("folder/", kind=tarfile.DIRTYPE))
        for number, size in enumerate((0, 1, 511, 512, 513, 5000)):
            tar.addfile(member(f"folder/{number}.jpg", size), io.BytesIO(rng.randbytes(size)))
            tar.addfile(member(f"folder/{number}.json", 2), io.BytesIO(b"{}"))
        tar.addfile(member("soft.jpg", kind=tarfile.SYMTYPE, link="folder/1.jpg"))
        tar.addfile(member("hard.jpg", kind=tarfile.LNKTYPE, link="folder/1.jpg"))
        tar.addfile(member("pipe.jpg", kind=tarfile.FIFOTYPE))
        tar.addfile(member("contiguous.jpg", 3, tarfile.CONTTYPE), io.BytesIO(b"abc"))
        tar.addfile(member("straße/写真.jpg", 4), io.BytesIO(b"abcd"))
        tar.addfile(member(f"{long}/{long}.jpg", 5), io.BytesIO(b"abcde"))
        if format_name != "ustar":
            tar.addfile(member(f"{long}/{long}/{long}/{'m' * 300}.jpg", 6), io.BytesIO(b"abcdef"))
            tar.addfile(member("link.jpg", kind=tarfile.SYMTYPE, link="l" * 300))
        tar.addfile(member("end.jpg", 7), io.BytesIO(b"abcdefg"))
    return file.getvalue()


def files_by_tarfile(content: bytes) -> list[tuple[str, int, int]]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return [(m.name, m.offset_data, m.size) for m in tar if m.isreg() and not m.issparse()]


@pytest.mark.parametrize("format_name", FORMATS)
def test_names_places_and_lengths_are_tarfiles(format_name: str) -> None:
    content = make_tar(format_name)
    found = members_of(content)
    files = [(m.name, m.data_start, m.data_length) for m in found if m.is_file]
    assert files == files_by_tarfile(content)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert [m.name.rstrip("/") for m in found] == [m.name for m in tar]
        assert [m.start for m in found] == [m.offset for m in tar]


@pytest.mark.parametrize("format_name", FORMATS)
def test_spans_follow_each_other_without_a_gap(format_name: str) -> None:
    found = members_of(make_tar(format_name))
    assert found[0].start == 0
    assert [m.stop for m in found[:-1]] == [m.start for m in found[1:]]
    for m in found:
        assert m.stop == m.data_start + padded(m.data_length)
        assert m.start % BLOCK == m.stop % BLOCK == 0


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_span_of_one_member_can_be_read_alone(format_name: str) -> None:
    content = make_tar(format_name)
    for m in members_of(content):
        span = content[m.start : m.stop]
        (alone,) = iter_members(reader(span), 0, len(span), where="x.tar")
        assert (alone.name, alone.data_length, alone.is_file) == (m.name, m.data_length, m.is_file)


def header(name: bytes = b"a.jpg", size: bytes = b"00000000003\0", kind: bytes = b"0", magic: bytes = b"") -> bytes:
    block = bytearray(BLOCK)
    block[: len(name)], block[124:136], block[156:157], block[257 : 257 + len(magic)] = name, size, kind, magic
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


END = bytes(2 * BLOCK)
BODY = b"abc".ljust(BLOCK, b"\0")


@pytest.mark.parametrize(
    "size",
    [
        b"00000000003\0",
        b"          3 ",
        b"3\0\0\0\0\0\0\0\0\0\0\0",
        b"\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x80" + bytes(10) + b"\3",
        b" 3\0garbage  ",
    ],
    ids=["octal", "spaces", "nul", "absent", "base 256", "trailing garbage"],
)
def test_sizes_are_read_in_every_notation(size: bytes) -> None:
    content = header(size=size) + BODY + END
    expected = 0 if not size.strip(b"\0") else 3
    if expected:
        assert [m.data_length for m in members_of(content)] == [expected]
    else:
        assert members_of(content[:BLOCK] + END)[0].data_length == 0


def test_a_size_beyond_octal_digits_is_read_as_tarfile_writes_it() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.fileobj.write(member("big.jpg", 10 << 30).tobuf(tarfile.GNU_FORMAT))  # type: ignore[union-attr]
    (found,) = iter_members(reader(file.getvalue()), 0, BLOCK + (10 << 30), where="x.tar")
    assert found.data_length == 10 << 30
    with pytest.raises(TarTruncatedError, match="cut off"):
        members_of(file.getvalue())


@pytest.mark.parametrize(
    "size", [b"\xff" * 12, b"\x80" + b"\xff" * 11, b"-0000000003\0", b"99999999999\0", b"abcdefghijkl"]
)
def test_impossible_sizes_are_refused(size: bytes) -> None:
    with pytest.raises(ShardError, match=r"x\.tar: .*byte 0.*\.$"):
        members_of(header(size=size) + BODY + END)


def test_checksums_are_held_unless_asked_not_to_and_signed_sums_pass() -> None:
    good = header(name=b"\xe9.jpg")
    wrong = bytearray(good)
    wrong[0] ^= 1
    with pytest.raises(ShardError, match=r"checksum.*byte 0"):
        members_of(bytes(wrong) + BODY + END)
    assert len(members_of(bytes(wrong) + BODY + END, verify=False)) == 1
    signed = bytearray(good)
    rest = good[:148] + b"        " + good[156:]
    signed[148:156] = b"%06o\0 " % sum(byte - 256 if byte > 127 else byte for byte in rest)
    assert members_of(bytes(signed) + BODY + END)[0].name.endswith(".jpg")


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    return header(b"pax", b"%011o\0" % len(records), kind) + records.ljust(padded(len(records)), b"\0")


def record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n".encode()
    length = len(body)
    while length != len(str(length)) + len(body):
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def test_pax_records_override_name_and_size_for_one_member_and_global_ones_for_all() -> None:
    local = pax(record("path", "ü/renamed.jpg") + record("size", "2"))
    content = pax(record("comment", "for all"), b"g") + local + header() + BODY + header(b"b.jpg") + BODY + END
    found = members_of(content)
    assert [(m.name, m.data_length) for m in found] == [("ü/renamed.jpg", 2), ("b.jpg", 3)]
    assert [(m.name, m.data_start, m.data_length) for m in found] == files_by_tarfile(content)


@pytest.mark.parametrize(
    "records",
    [
        b"garbage",
        b"5\n",
        b"99 path=x\n",
        b"-1 path=x\n",
        b"0 path=x\n",
        b"1 \n",
        b"\xd9\xa3 a=b\n",
        b"99999999999999999999 path=x\n",
        record("size", "-1"),
        record("size", "x"),
        record("size", "9" * 30),
        record("size", "9" * 6000),
    ],
    ids=lambda records: repr(records[:24]),
)
def test_malformed_pax_headers_are_refused(records: bytes) -> None:
    with pytest.raises(ShardError, match=r"x\.tar: .*pax.*\.$"):
        members_of(pax(records) + header() + BODY + END)


def test_a_pax_header_of_a_hundred_thousand_records_is_read_in_no_time() -> None:
    content = pax(record("a", "") * 150_000, b"g") + (header() + BODY) * 500 + END
    begun = monotonic()
    assert len(members_of(content)) == 500
    assert monotonic() - begun < 5


def test_an_extended_header_that_claims_gigabytes_is_refused_unread() -> None:
    content = header(b"pax", b"%011o\0" % (4 << 30), b"x") + BODY + END
    with pytest.raises(ShardError, match="claims"):
        members_of(content)


def test_sparse_members_are_passed_over_and_what_follows_is_found(shared_data: Path) -> None:
    for name in ("sparse.tar", "sparse-1.tar"):
        content = (shared_data / "hostile" / "tar" / name).read_bytes()
        found = members_of(content)
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            whole = [(m.name, m.isreg() and not m.issparse()) for m in tar]
        assert any(not is_file for _, is_file in whole)
        assert [m.is_file for m in found] == [is_file for _, is_file in whole]


@pytest.mark.parametrize("format_name", FORMATS)
def test_cut_anywhere_it_says_so_and_keeps_what_is_whole(format_name: str) -> None:
    content = make_tar(format_name)
    whole = members_of(content)
    end = whole[-1].stop
    cuts = {*range(0, end + 1, BLOCK), *(random.Random(1).randrange(end) for _ in range(300)), 1, end - 1}
    for cut in sorted(cuts):
        found: list[Member] = []
        with pytest.raises(TarTruncatedError, match=r"x\.tar: cut off at byte") as caught:
            found.extend(iter_members(reader(content[:cut]), 0, cut, where="x.tar", to_end=True))
        kept = [m for m in whole if m.data_start + m.data_length <= cut]
        found = []
        try:
            for one in iter_members(reader(content[:cut]), 0, cut, where="x.tar", to_end=True):
                found.append(one)
        except TarTruncatedError:
            pass
        assert [m[:4] for m in found] == [m[:4] for m in kept], f"cut at {cut}"
        name = caught.value.name
        assert name is None or name == whole[len(kept)].name
    for cut in range(end + BLOCK, len(content), BLOCK):
        assert members_of(content[:cut]) == whole, "one block of zeros is end enough"
    assert members_of(content[: end + 100]) == whole, "cut inside the end mark, nothing is missing"


def test_without_its_end_mark_an_archive_is_cut_off_unless_a_span_is_asked_for() -> None:
    content = header() + BODY
    with pytest.raises(TarTruncatedError):
        members_of(content)
    assert len(members_of(content, to_end=False)) == 1


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("format_name", FORMATS)
def test_random_damage_is_a_shard_error_or_harmless(format_name: str, verify: bool) -> None:
    whole = make_tar(format_name)
    rng = random.Random(2)
    headers = [m.data_start - BLOCK for m in members_of(whole)] + [m.start for m in members_of(whole)]
    refused = 0
    for _ in range(1200):
        content = bytearray(whole)
        for _ in range(rng.randrange(1, 5)):
            place = rng.choice(headers) + rng.randrange(BLOCK) if rng.random() < 0.9 else rng.randrange(len(whole))
            content[place] = rng.randrange(256)
        found = members_or_sentence(bytes(content), verify=verify)
        if isinstance(found, str):
            refused += 1
            assert found.startswith("x.tar: ")
            assert found.endswith(".")
        else:
            assert all(0 <= m.start < m.data_start <= m.data_start + m.data_length <= len(whole) for m in found)
    assert refused > 50


def members_or_sentence(content: bytes, *, verify: bool = True) -> list[Member] | str:
    try:
        return members_of(content, verify=verify)
    except ShardError as error:
        return str(error)


def test_noise_is_no_archive() -> None:
    rng = random.Random(3)
    for _ in range(200):
        with pytest.raises(ShardError):
            members_of(rng.randbytes(rng.randrange(1, 4096)))


def test_hostile_archives_give_what_tarfile_gives_or_a_sentence(shared_data: Path) -> None:
    read, refused = 0, 0
    for path in sorted((shared_data / "hostile" / "tar").glob("*.tar")):
        content = path.read_bytes()
        found = members_or_sentence(content)
        if isinstance(found, str):
            refused += 1
            assert found.startswith("x.tar: ")
            continue
        read += 1
        files = [(m.name, m.data_start, m.data_length) for m in found if m.is_file]
        assert files == files_by_tarfile(content), path.name
    assert read >= 12
    assert refused >= 1


def test_any_number_of_sparse_records_is_kept_as_one() -> None:
    """They hold for every later member, so that a megabyte of them would be copied for each."""
    records = "".join(f"24 GNU.sparse.{number:07d}=x\n" for number in range(40_000)).encode()
    assert tar_module._pax_records(records, "x.tar", 0) == {"GNU.sparse.": ""}
    header = tarfile.TarInfo("more")
    header.type, header.size = b"g", len(records)
    content = header.tobuf(tarfile.USTAR_FORMAT) + records.ljust(padded(len(records)), b"\0")
    content += member("a.png").tobuf(tarfile.USTAR_FORMAT) + bytes(2 * BLOCK)
    assert [(each.name, each.is_file) for each in members_of(content)] == [("a.png", False)]
