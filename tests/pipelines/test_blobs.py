"""One way to bytes: what files, memory and anything else that can be read by offset have in common."""

from __future__ import annotations

import io
import pickle
import wave
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import AudioIterator, ImageIterator, SourceError, hold_out
from pipelines.errors import ShardError
from pipelines.sources import ShardSource
from pipelines.storage.blob import Blob, BlobFile, LocalFile, MemoryBlob
from pipelines.storage.manifest import Manifest
from pipelines.storage.store import LOCAL, MemoryStore, Store

from .recordings import album, encoded, melody, write_tar
from .shard_files import keys, write_shards

CONTENT = bytes(range(256)) * 5
Open = Callable[[Path], Blob]


def local(path: Path) -> Blob:
    path.write_bytes(CONTENT)
    return LocalFile(path)


@pytest.mark.parametrize("open_blob", [local, lambda path: MemoryBlob(CONTENT)], ids=["file", "memory"])
def test_a_blob_is_read_at_any_offset_and_ends_where_it_ends(open_blob: Open, tmp_path: Path) -> None:
    blob = open_blob(tmp_path / "blob")
    assert blob.size == len(CONTENT)
    for offset, length in ((0, 1), (0, 0), (17, 300), (1279, 1), (1270, 100), (1280, 5), (5000, 5)):
        assert blob.read(offset, length) == CONTENT[offset : offset + length]


def test_a_blob_is_a_file_for_other_libraries_and_keeps_their_hands_off_errors() -> None:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as written:
        written.setparams((1, 2, 8000, 0, "NONE", ""))
        written.writeframes(bytes(2000))
    content = buffer.getvalue()
    file = BlobFile(MemoryBlob(content).read, len(content))
    with wave.open(io.BufferedReader(file), "rb") as opened:
        assert opened.getnframes() == 1000

    def fail(offset: int, length: int) -> bytes:
        raise SourceError("gone")

    broken = BlobFile(fail, 100)
    assert broken.read(10) == b""
    with pytest.raises(SourceError, match="gone"):
        broken.check()


def store_of(folder: Path) -> MemoryStore:
    return MemoryStore({str(path): path.read_bytes() for path in folder.iterdir()})


def opened(folder: Path, store: Store, *, manifest: bool = False, verify: bool = False) -> ShardSource:
    tars = sorted(str(path) for path in folder.glob("*.tar"))
    loaded = Manifest.load(folder) if manifest else None
    return ShardSource(tars, store=store, manifest=loaded, verify=verify)


@pytest.mark.parametrize("manifest", [False, True])
def test_shards_in_memory_hold_what_shards_on_the_disk_hold(manifest: bool, tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", [3, 4, 2], manifest=manifest)
    ours, theirs = opened(folder, store_of(folder), manifest=manifest), opened(folder, LOCAL, manifest=manifest)
    assert keys(ours) == keys(theirs) == ours.keys()
    assert ours.data_hash == theirs.data_hash
    assert [ours.prefix_hash(num) for num in range(11)] == [theirs.prefix_hash(num) for num in range(11)]
    assert [example.media for example in ours.read([8, 0, 5])] == [e.media for e in theirs.read([8, 0, 5])]
    assert ours.find("000005") == 5
    assert ours.locate(4).media.content() == theirs[4].media
    rest, held = hold_out(ours, 0.3)
    assert sorted(keys(rest) + keys(held)) == keys(theirs)
    again = pickle.loads(pickle.dumps(ours))
    assert keys(again) == keys(ours)
    ours.close()
    assert keys(ours) == keys(theirs)


def test_damage_in_memory_is_named_as_it_is_on_the_disk(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", [3, 4], manifest=True)
    store, second = store_of(folder), str(folder / "s-0001.tar")
    whole = store.contents[second]
    store.contents[second] = whole[:-2000]
    with pytest.raises(ShardError, match=r"s-0001\.tar: .* bytes, but the manifest says"):
        opened(folder, store, manifest=True)
    del store.contents[second]
    with pytest.raises(ShardError, match=r"s-0001\.tar: in the manifest, but there is no such file"):
        opened(folder, store, manifest=True)
    plain = MemoryStore({second: whole[:1200]})
    with pytest.raises(ShardError, match=r"s-0001\.tar: cut off"):
        ShardSource([second], store=plain)
    with pytest.raises(SourceError, match="not among the 1 blobs"):
        ShardSource(["other.tar"], store=plain)


def test_gzipped_tars_in_memory_are_refused_in_a_sentence(tmp_path: Path) -> None:
    import gzip

    folder = write_shards(tmp_path / "shards", [3])
    tar = (folder / "s-0000.tar").read_bytes()
    with pytest.raises(ShardError, match=r"x\.tar\.gz: gzipped.*without gzip"):
        ShardSource(["x.tar.gz"], store=MemoryStore({"x.tar.gz": gzip.compress(tar)}))


def test_iterators_play_shards_in_memory(picture_shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = picture_shards([5, 4])
    tars = sorted(str(path) for path in folder.glob("*.tar"))
    settings = {"size": 8, "batch_size": 3, "shuffle": True, "crop": "random", "fields": ("cls",)}
    ours = ImageIterator(ShardSource(tars, store=store_of(folder)), **settings)
    theirs = ImageIterator(folder, **settings)
    for batch, expected in zip(ours, theirs, strict=True):
        assert batch.keys == expected.keys
        assert (batch.data == expected.data).all()
        assert batch.fields["cls"].tolist() == expected.fields["cls"].tolist()
    write_tar(tmp_path / "takes.tar", {**album(3, frames=900), "x.flac": encoded(melody(2000), "flac")})
    name = str(tmp_path / "takes.tar")
    heard = AudioIterator(ShardSource([name], store=MemoryStore({name: Path(name).read_bytes()})), window=400)
    for batch, expected in zip(heard, AudioIterator(name, window=400), strict=True):
        assert batch.keys == expected.keys
        assert (batch.data == expected.data).all()
