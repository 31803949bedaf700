"""Foreign tars: examples as the webdataset package groups them, indexes kept in a cache that may be missing."""

from __future__ import annotations

import errno
import gzip
import io
import os
import random
import stat
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from webdataset.tariterators import group_by_keys, tar_file_expander

from pipelines import scan
from pipelines.errors import ShardError, SourceError
from pipelines.scan import cache_folder, open_index, scan_tar
from pipelines.sources import ShardSource, open_source
from pipelines.storage import LocalFile

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}

Entry = tuple[str, bytes | None]


def write_tar(path: Path, entries: Sequence[Entry], format_name: str = "pax", *, packed: bool = False) -> Path:
    """Files by (name, content); None makes a folder."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=FORMATS[format_name]) as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type = tarfile.DIRTYPE
            info.size = len(content or b"")
            tar.addfile(info, io.BytesIO(content or b""))
    path.write_bytes(gzip.compress(file.getvalue(), mtime=0) if packed else file.getvalue())
    return path


def by_webdataset(path: Path) -> list[tuple[str, dict[str, bytes]]]:
    """Every example as the webdataset package reads it: (key, members by suffix)."""
    with open(path, "rb") as stream:
        is_packed = path.suffix in (".gz", ".tgz")
        opened = io.BytesIO(gzip.decompress(stream.read())) if is_packed else stream
        samples = list(group_by_keys(tar_file_expander([{"url": str(path), "stream": opened}])))
    return [
        (sample["__key__"], {name: value for name, value in sample.items() if not name.startswith("__")})
        for sample in samples
    ]


def by_us(path: Path, **settings: Any) -> list[tuple[str, dict[str, bytes]]]:
    """The same from a `ShardSource`, the media back among the other members under the suffix it is missing from."""
    source = ShardSource([path], **settings)
    wanted = dict(by_webdataset(path)) if not settings else {}
    found = []
    for example in source.read(range(len(source))):
        members = dict(example.fields)
        missing = set(wanted.get(example.key, {})) - set(members)
        members[missing.pop() if missing else "media"] = example.media
        found.append((example.key, members))
    assert source.keys() == [key for key, _ in found]
    return found


def ordinary(num: int = 12, seed: int = 0) -> list[Entry]:
    rng, entries = random.Random(seed), []
    for number in range(num):
        members = [("json", b"{}"), ("jpg", rng.randbytes(rng.randrange(1, 3000))), ("cls", b"%d" % number)]
        rng.shuffle(members)
        entries += [(f"train/{number:04d}.{suffix}", content) for suffix, content in members[: rng.randrange(1, 4)]]
    return entries


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


def cached() -> list[str]:
    return sorted(path.name for path in cache_folder().iterdir()) if cache_folder().exists() else []


def test_the_headers_are_scanned_once_and_the_cache_holds_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tar(tmp_path / "secret-name.tar", ordinary())
    first = by_us(path)
    assert len(cached()) == 1
    assert "secret" not in cached()[0]
    monkeypatch.setattr(scan, "scan_tar", lambda *_, **__: pytest.fail("scanned again"))
    assert by_us(path) == first


def test_a_tar_that_changed_is_scanned_again(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", ordinary(5))
    assert len(ShardSource([path])) == 5
    write_tar(path, ordinary(7))
    assert len(ShardSource([path])) == 7
    os.utime(path, ns=(0, 12345))
    assert len(ShardSource([path])) == 7
    assert len(cached()) == 3


def test_a_damaged_cache_entry_is_replaced(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", ordinary(5))
    ShardSource([path])
    entry = cache_folder() / cached()[0]
    good = entry.read_bytes()
    for bad in (b"", b"nonsense", good[:-1], good[:50]):
        entry.write_bytes(bad)
        assert len(ShardSource([path])) == 5
        assert entry.read_bytes() == good
    assert len(cached()) == 1, "nothing temporary is left"


def test_a_folder_of_shards_that_is_read_only_stays_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    path = write_tar(folder / "x.tar", ordinary(3))
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert len(open_source(path)) == 3
        assert [item.name for item in folder.iterdir()] == ["x.tar"]
    finally:
        folder.chmod(stat.S_IRWXU)


@pytest.mark.parametrize("place", ["a file", "below a file"])
def test_without_a_cache_folder_tars_are_read_all_the_same(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DIRVAE_CACHE", str(tmp_path / ("file" if place == "a file" else "file/below")))
    path = write_tar(tmp_path / "x.tar", ordinary(4))
    assert by_us(path) == by_webdataset(path)
    packed = write_tar(tmp_path / "y.tar.gz", ordinary(4), packed=True)
    with pytest.raises(ShardError, match=r"y\.tar\.gz.*cannot be written to.*DIRVAE_CACHE"):
        ShardSource([packed])


def test_a_cache_that_runs_full_costs_a_scan_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(scan, "save_index", full)
    path = write_tar(tmp_path / "x.tar", ordinary(4))
    assert len(ShardSource([path])) == 4
    assert cached() == []


def test_gzipped_tars_are_unpacked_once_and_their_errors_name_the_original(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar.gz", ordinary(), packed=True)
    assert by_us(path) == by_webdataset(path)
    entries = cached()
    assert len(entries) == 2
    assert by_us(path) == by_webdataset(path)
    assert cached() == entries
    assert ShardSource([path])[3].error("x").container == str(path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "not gzip"])
def test_damaged_gzip_is_refused_in_a_sentence(damage: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tgz", ordinary(), packed=True)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    else:
        content[2:] = b"garbage" * 100
    path.write_bytes(content)
    with pytest.raises(ShardError, match=r"x\.tgz: .*gzip.*\.$"):
        ShardSource([path])
    assert cached() == [], "no half of a copy is left behind"


def test_gzip_that_unpacks_to_more_than_there_is_room_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "MAX_INFLATED_BYTES", 100_000)
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(gzip.compress(bytes(50_000_000)))
    with pytest.raises(ShardError, match=r"bomb\.tar\.gz.*100,000 bytes.*DIRVAE_CACHE"):
        ShardSource([path])
    assert cached() == []


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIRVAE_CACHE", "/a")
    assert cache_folder() == Path("/a")
    monkeypatch.delenv("DIRVAE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == Path("/b/dirvae")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "dirvae"


def test_an_index_beside_the_tar_is_preferred_and_must_fit(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", ordinary(5))
    file = LocalFile(path)
    index = open_index(path, file)
    np.save(tmp_path / "x.tar.index.npy", index[:3])
    assert len(open_index(path, file)) == 3
    np.save(tmp_path / "x.tar.index.npy", np.zeros(3))
    with pytest.raises(ShardError, match=r"index\.npy.*Delete"):
        open_index(path, file)


def test_an_index_of_another_tar_of_the_same_size_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", [("a.jpg", b"a" * 3000), ("b.jpg", b"b" * 100)], "ustar")
    np.save(tmp_path / "x.tar.index.npy", open_index(path, LocalFile(path)))
    write_tar(path, [("a.jpg", b"a" * 100), ("b.jpg", b"b" * 3000)], "ustar")
    with pytest.raises(ShardError, match="index does not fit"):
        ShardSource([path]).read([1])
