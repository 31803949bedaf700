"""Foreign tars: examples as the webdataset package groups them; cut or damaged, refused or read up to the cut."""

from __future__ import annotations

import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.errors import ShardError, SourceError
from pipelines.sources import ShardSource, open_source
from pipelines.storage.blob import LocalFile
from pipelines.storage.tar_index import scan_tar

from .foreign_tars import FORMATS, Entry, by_us, by_webdataset, ordinary, write_tar
from .shard_files import write_shard


@pytest.mark.parametrize("format_name", FORMATS)
def test_examples_are_grouped_as_webdataset_groups_them(format_name: str, tmp_path: Path) -> None:
    entries: list[Entry] = [
        ("train/", None),
        *ordinary(),
        ("a.jpg", b"a"),
        ("README", b"no suffix: passed over, and what stands around it stays together"),
        ("a.json", b"[]"),
        ("__meta__/b.jpg", b"metadata"),
        ("b.JPG", b"upper case"),
        ("b.Json", b"{}"),
        ("dir.with.dots/c.seg.png", b"mask"),
        ("dir.with.dots/c.png", b"picture"),
        ("only.txt", b"text alone"),
        ("unknown.bin", b"1"),
        ("unknown.bin2", b"333"),
        ("unknown.bin3", b"22"),
        ("straße/写真.webp", b"w"),
        ("n" * 80 + "/" + "m" * 90 + ".jpg", b"long"),
        ("empty.jpg", b""),
        ("empty.txt", b""),
    ]
    if format_name != "ustar":
        entries.append(("x" * 300 + ".jpg", b"very long"))
    path = write_tar(tmp_path / "x.tar", entries, format_name)
    assert by_us(path) == by_webdataset(path)


def test_the_media_is_the_member_with_a_media_suffix_and_else_the_largest(tmp_path: Path) -> None:
    entries: list[Entry] = [
        ("a.json", b"x" * 900),
        ("a.jpg", b"picture"),
        ("a.txt", b"y" * 900),
        ("b.bin", b"1"),
        ("b.dat", b"333"),
    ]
    source = ShardSource([write_tar(tmp_path / "x.tar", entries)])
    assert [example.media for example in source.read([0, 1])] == [b"picture", b"333"]


def test_links_between_the_members_of_an_example_do_not_tear_it(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (("a.jpg", tarfile.REGTYPE), ("other", tarfile.SYMTYPE), ("a.txt", tarfile.REGTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "a.jpg"
            tar.addfile(info)
    assert len(ShardSource([path])) == len(by_webdataset(path)) == 1


def test_a_key_that_comes_again_later_is_another_example(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", [("a.jpg", b"1"), ("b.jpg", b"2"), ("a.jpg", b"3"), ("a.jpg", b"4")])
    assert [example.media for example in ShardSource([path]).read(range(4))] == [b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("name", ["compressed.tar", "mpdata.tar", "tendata.tar", "testgz.tar"])
def test_tars_of_others_are_read_like_webdataset_reads_them(name: str, shared_data: Path) -> None:
    path = shared_data / "foreign_shards" / name
    assert by_us(path) == by_webdataset(path)


def test_hostile_tars_are_read_or_refused_in_a_sentence(shared_data: Path) -> None:
    paths = sorted((shared_data / "hostile" / "tar").glob("*.tar"))
    sentences = {path: refusal(path) for path in paths}
    assert len(paths) == 18
    assert sum(bool(sentence) for sentence in sentences.values()) >= 2
    assert all(not sentence or sentence.startswith(str(path)) for path, sentence in sentences.items())


def refusal(path: Path, **settings: Any) -> str:
    """Read everything; empty where that goes well, else the sentence of the refusal."""
    try:
        source = ShardSource([path], **settings)
        assert all(example.key for example in source.read(range(len(source))))
    except (ShardError, SourceError) as error:
        return str(error)
    return ""


class Cut:
    """A tar of ordinary examples, and what is whole of it at each length."""

    def __init__(self, folder: Path) -> None:
        self.path = write_tar(folder / "cut.tar", ordinary(), "gnu")
        self.content = self.path.read_bytes()
        self.whole = by_webdataset(self.path)
        with tarfile.open(self.path) as tar:
            self.members = [(m.name, m.offset_data + m.size) for m in tar if m.isreg()]

    def to(self, length: int) -> Path:
        self.path.write_bytes(self.content[:length])
        return self.path

    def certain(self, length: int) -> int:
        """Examples whose every member lies before the cut, and is followed by another example's member."""
        stops: dict[str, int] = {}
        for name, stop in self.members:
            stops[name.split(".")[0]] = stop
        return sum(stop <= length for stop in stops.values())


def lengths_of(cut: Cut) -> Iterator[int]:
    end = cut.members[-1][1]
    yield from range(0, end, 512)
    yield from (random.Random(5).randrange(end) for _ in range(150))


def test_a_tar_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    cut = Cut(tmp_path)
    for length in lengths_of(cut):
        with pytest.raises(ShardError, match=r"cut\.tar: cut off at byte [\d,]+.*\.$"):
            ShardSource([cut.to(length)])


def test_of_a_cut_tar_the_whole_examples_are_read_if_that_is_asked_for_and_never_half_of_one(
    tmp_path: Path,
) -> None:
    cut = Cut(tmp_path)
    for length in lengths_of(cut):
        try:
            found = by_us_truncated(cut.to(length))
        except SourceError:
            found = []
        whole = [(key, set(members.values())) for key, members in cut.whole]
        assert found == whole[: len(found)], f"cut at {length}: half an example, or another one"
        assert cut.certain(length) - 1 <= len(found) <= cut.certain(length), f"cut at {length}: examples are lost"


def by_us_truncated(path: Path) -> list[tuple[str, set[bytes]]]:
    source = ShardSource([path], allow_truncated=True)
    return [(example.key, {example.media, *example.fields.values()}) for example in source.read(range(len(source)))]


def test_an_example_whose_successor_is_cut_in_its_payload_is_kept(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", [("a.jpg", b"a" * 600), ("b.jpg", b"b" * 5000)], "ustar")
    path.write_bytes(path.read_bytes()[:3000])
    assert by_us_truncated(path) == [("a", {b"a" * 600})]


def test_a_truncated_tar_with_its_own_index_is_refused_or_read_up_to_the_cut(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", ordinary())
    file = LocalFile(path)
    index = scan_tar(file.read, file.size, where="x")
    np.save(tmp_path / "x.tar.index.npy", index)
    content = path.read_bytes()
    path.write_bytes(content[: int(index["offset"][7]) + 100])
    with pytest.raises(ShardError, match="cut off"):
        ShardSource([path])
    assert len(open_source(path, allow_truncated=True)) == 7


def test_random_damage_is_refused_or_read_and_never_a_traceback(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "x.tar", ordinary(), "pax").read_bytes()
    rng = random.Random(6)
    refused = 0
    for number in range(400):
        content = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            content[rng.randrange(len(content) // 512) * 512 + rng.randrange(160)] = rng.randrange(256)
        path = tmp_path / f"{number}.tar"
        path.write_bytes(content)
        sentence = refusal(path, allow_truncated=number % 2 == 0)
        assert not sentence or sentence.startswith(str(path))
        refused += bool(sentence)
    assert refused > 100


def test_tars_joined_by_cat_are_refused_with_the_byte(tmp_path: Path) -> None:
    first, second = write_shard(tmp_path / "a.tar", 0, 2), write_shard(tmp_path / "b.tar", 2, 3)
    joined = tmp_path / "ab.tar"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    with tarfile.open(joined, ignore_zeros=True) as witness:
        assert len(witness.getnames()) == 5
    mark = 2 * (512 + 512)
    expected = f"more stands at byte {first.stat().st_size:,}, behind the end mark at byte {mark:,}"
    assert expected in refusal(joined)
    kept = open_source(joined, allow_truncated=True)
    assert [kept[index].key for index in range(len(kept))] == ["000000", "000001"]
    joined.write_bytes(first.read_bytes() + bytes(3 << 20))
    assert len(open_source(joined)) == 2, "zeros fill a record"
    joined.write_bytes(first.read_bytes() + bytes(3 << 20) + b"x")
    assert f"more stands at byte {joined.stat().st_size - 1:,}" in refusal(joined)
