"""Packing into a bucket gives the files of packing into a folder, and refuses what would mix two sets."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import PipelineError, ShardingError
from pipelines.sharding import lease, make_shards, shard_job
from pipelines.sharding.engines import serial
from pipelines.sharding.source_reader import PackingStoppedError
from pipelines.storage.remote import bucket_client, remote_store
from pipelines.storage.remote.remote_store import RemoteOptions

from .bucket_listing import folder_contents
from .memory_bucket import IMPATIENT, memory_contents, use_memory
from .videos import make_video
from .wav_files import noise, wav

SET = "s3://packed/sets/one"
PREFIX = "sets/one"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(
        remote_store, "RemoteOptions", lambda **settings: RemoteOptions(retry=IMPATIENT, **settings)
    )
    return use_memory(monkeypatch)


def make_images(folder: Path, num: int, *, first: int = 0) -> Path:
    for index in range(first, first + num):
        path = folder / "ab"[index % 2] / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.Generator(np.random.Philox(index)).integers(0, 255, (12, 10, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return folder


def pack(source: Path, out: Path | str = SET, **options: Any) -> Any:
    return make_shards(source, out, workers=0, shard_examples=3, **options)


def in_folder(tmp_path: Path, source: Path, **options: Any) -> dict[str, tuple[int, str]]:
    pack(source, tmp_path / "local", **options)
    return folder_contents(tmp_path / "local")


def test_images_with_classes_and_a_table(tmp_path: Path, store: Any) -> None:
    source = make_images(tmp_path / "source", 8)
    (source / "a" / "text.jpg").write_text("no picture")
    table = tmp_path / "table.csv"
    table.write_text(
        "file_name,size\n" + "".join(f"{'ab'[index % 2]}/{index:04d}.png,{index}\n" for index in range(8))
    )
    report = pack(source, classes=True, labels=table)
    assert report.out == SET
    found = memory_contents(store, PREFIX)
    assert found == in_folder(tmp_path, source, classes=True, labels=table)
    assert {"classes.json", "labels.json", "manifest.json"} <= found.keys()
    assert pack(source, classes=True, labels=table).was_complete


def test_a_worker_on_another_machine_gets_the_table_from_the_bucket(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, table, original = make_images(tmp_path / "source", 8), tmp_path / "table.csv", shard_job.pack_shard
    table.write_text(
        "file_name,size\n" + "".join(f"{'ab'[index % 2]}/{index:04d}.png,{index}\n" for index in range(8))
    )

    def elsewhere(task: Any, on_file: Any) -> Any:
        return original(replace(task, records=Path("/on/another/machine")), on_file)

    monkeypatch.setattr(serial, "pack_shard", elsewhere)
    pack(source, labels=table)
    monkeypatch.setattr(serial, "pack_shard", original)
    assert memory_contents(store, PREFIX) == in_folder(tmp_path, source, labels=table)
    assert list(Path(tempfile.gettempdir()).glob(f"make_shards-{os.getpid()}-*")) == []


def test_recordings_and_videos_are_sets_of_their_own(tmp_path: Path, store: Any) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for index in range(4):
        (source / f"{index}.wav").write_bytes(wav(noise("s16", 800, 1, index), "s16", 1, 16_000))
    make_video(source / "clip.mp4", num_frames=8, size=(64, 48))
    report = pack(source)
    assert report.out == SET
    assert [one.out for one in report.sets] == [f"{SET}/audio", f"{SET}/video"]
    found = memory_contents(store, PREFIX)
    assert found == in_folder(tmp_path, source)
    assert "video/video-000000.tar.frames.npy" in found


def test_files_are_added_and_the_set_is_made_again(tmp_path: Path, store: Any) -> None:
    source = make_images(tmp_path / "source", 5)
    pack(source)
    pack(source, tmp_path / "local")
    make_images(source, 4, first=5)
    with pytest.raises(
        ShardingError, match=r"s3://packed/sets/one: was packed from other files than are there now .4 new, 0 gone."
    ):
        pack(source)
    assert pack(source, append=True).new_shards == 2
    assert memory_contents(store, PREFIX) == in_folder(tmp_path, source, append=True)
    shutil.rmtree(source / "a")
    pack(source, overwrite=True)
    assert memory_contents(store, PREFIX) == in_folder(tmp_path, source, overwrite=True)


@pytest.mark.parametrize("fault", ["copy", "put"])
def test_a_run_that_ended_continues_without_making_finished_shards_again(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """At every request that copies or writes in turn, the process seems to end."""
    source, steps = make_images(tmp_path / "source", 8), 0
    expected = in_folder(tmp_path, source)
    original, calls, ends_at = getattr(bucket_client.BucketClient, fault), [0], [0]

    def ending(*args: Any, **settings: Any) -> Any:
        calls[0] += 1
        if calls[0] == ends_at[0]:
            raise KeyboardInterrupt
        return original(*args, **settings)

    monkeypatch.setattr(bucket_client.BucketClient, fault, ending)
    for ends_at[0] in range(1, 60):
        calls[0] = 0
        try:
            report = pack(source)
            break
        except KeyboardInterrupt:
            steps += 1
            finished = len([name for name in memory_contents(store, PREFIX) if "/finished/" in name])
    else:
        raise AssertionError("it does not get on")
    assert steps >= 4
    assert report.new_shards <= 3 - finished
    assert memory_contents(store, PREFIX) == expected


def test_a_finished_shard_that_was_changed_is_made_again(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import obstore

    source = make_images(tmp_path / "source", 8)
    expected = in_folder(tmp_path, source)
    original = bucket_client.BucketClient.put
    monkeypatch.setattr(bucket_client.BucketClient, "put", _ending_at_manifest(original))
    with pytest.raises(KeyboardInterrupt):
        pack(source)
    monkeypatch.setattr(bucket_client.BucketClient, "put", original)
    body = bytes(obstore.get(store, f"{PREFIX}/image-000001.tar").bytes())
    obstore.put(store, f"{PREFIX}/image-000001.tar", bytes(len(body)))
    assert pack(source).new_shards == 1
    assert memory_contents(store, PREFIX) == expected


def _ending_at_manifest(original: Any) -> Any:
    def put(client: Any, path: str, *args: Any, **settings: Any) -> Any:
        if path.endswith("/manifest.json"):
            raise KeyboardInterrupt
        return original(client, path, *args, **settings)

    return put


def test_of_two_runs_one_is_refused_while_the_other_is_alive(tmp_path: Path, store: Any) -> None:
    import obstore

    source = make_images(tmp_path / "source", 4)
    lease = {"host": "elsewhere boot-id pid:[78]", "pid": 12, "start": "34", "run": "56", "refreshes": 1}
    obstore.put(store, f"{PREFIX}/.make_shards/lease.json", json.dumps(lease).encode())
    with pytest.raises(ShardingError, match=r"sets/one: process 12 of elsewhere is packing into it\. Wait for it"):
        pack(source)
    assert list(memory_contents(store, PREFIX)) == [".make_shards/lease.json"]


def test_the_lease_of_a_process_that_is_gone_is_taken_over_at_once(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_images(tmp_path / "source", 4)
    monkeypatch.setattr(bucket_client.BucketClient, "delete", lambda client, paths: None)
    monkeypatch.setattr(bucket_client.BucketClient, "copy", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        pack(source)
    monkeypatch.undo()
    raise_lease = f"{PREFIX}/.make_shards/lease.json"
    _use_again(monkeypatch, store)
    import obstore

    lease = json.loads(bytes(obstore.get(store, raise_lease).bytes()))
    assert lease["pid"] == os.getpid()
    with pytest.raises(ShardingError, match="is packing into it"):
        pack(source)
    obstore.put(store, raise_lease, json.dumps({**lease, "start": "a process before this one"}).encode())
    pack(source)
    assert memory_contents(store, PREFIX) == in_folder(tmp_path, source)


def _use_again(monkeypatch: pytest.MonkeyPatch, store: Any) -> None:
    from pipelines.storage.remote import obstore_client

    monkeypatch.setattr(obstore_client.ObstoreClient, "_make", lambda client, most: store)


def _interrupt(*args: Any, **settings: Any) -> Any:
    raise KeyboardInterrupt


def test_a_manifest_that_another_run_wrote_meanwhile_stays(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import obstore

    source, original = make_images(tmp_path / "source", 4), bucket_client.BucketClient.put

    def put(client: Any, path: str, content: bytes, **condition: Any) -> Any:
        if path.endswith("/manifest.json"):
            assert condition == {"create": True}
            obstore.put(store, path, b"of another run")
        return original(client, path, content, **condition)

    monkeypatch.setattr(bucket_client.BucketClient, "put", put)
    with pytest.raises(ShardingError, match=r"manifest\.json: another run has written it meanwhile"):
        pack(source)
    assert bytes(obstore.get(store, f"{PREFIX}/manifest.json").bytes()) == b"of another run"


@pytest.mark.parametrize("times", [1, 99])
def test_bytes_that_arrive_wrong_are_sent_again_and_then_given_up(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    source, original, left = make_images(tmp_path / "source", 4), bucket_client.BucketClient.put, [times]

    def put(client: Any, path: str, content: bytes, **condition: Any) -> Any:
        if path.endswith(".tar") and left[0]:
            left[0] -= 1
            content = content[:-700] + b"\x01" + content[-699:]
        return original(client, path, content, **condition)

    monkeypatch.setattr(bucket_client.BucketClient, "put", put)
    if times == 1:
        pack(source)
        assert memory_contents(store, PREFIX) == in_folder(tmp_path, source)
        return
    with pytest.raises(
        PackingStoppedError, match=r"given up after 2 tries in a row: it holds other bytes than were"
    ):
        pack(source)
    assert "manifest.json" not in memory_contents(store, PREFIX)


def test_a_full_temporary_disk_is_one_sentence(tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, content: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def __getattr__(self, name: str) -> Any:
            return lambda *args: 0

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with pytest.raises(PackingStoppedError) as caught:
        pack(make_images(tmp_path / "source", 4))
    sentence = str(caught.value)
    assert sentence.startswith(f"{tempfile.gettempdir()}, the folder for temporary files (TMPDIR)")
    assert "No space left on device" in sentence
    assert [name for name in memory_contents(store, PREFIX) if "parts-" in name or "lease" in name] == []


@pytest.mark.parametrize(
    ("out", "error", "words"),
    [
        ("https://host/set", ValueError, "shards are written to a folder, or to an address of s3://"),
        ("s3://key:secret@bucket/set", ValueError, "keys do not belong in a URL"),
        ("s3://", ValueError, "names no bucket"),
    ],
)
def test_what_cannot_be_packed_into_is_one_sentence(
    tmp_path: Path, out: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        pack(make_images(tmp_path / "source", 2), out)
    assert "secret" not in str(caught.value)


def test_without_obstore_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_client, "is_obstore_usable", lambda: False)
    with pytest.raises(PipelineError, match=r"needs obstore\. Run pip install 'dirvae\[cloud\]'"):
        pack(make_images(tmp_path / "source", 2))


def test_a_run_that_lost_its_lease_writes_nothing_more(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It seems to sleep after its first shard; another run takes the lease meanwhile."""
    import obstore

    source, original, copies = make_images(tmp_path / "source", 8), bucket_client.BucketClient.copy, [0]
    slept = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + slept[0], time=time.time)
    monkeypatch.setattr(lease, "time", clock)

    def copy(client: Any, path: str, target: str, num_bytes: int) -> None:
        copies[0] += 1
        original(client, path, target, num_bytes)
        if copies[0] == 2:
            obstore.put(store, f"{PREFIX}/.make_shards/lease.json", b"of another run")
            slept[0] = 100.0

    monkeypatch.setattr(bucket_client.BucketClient, "copy", copy)
    with pytest.raises(
        PackingStoppedError, match="this run was silent for a minute, and another one may have taken"
    ):
        pack(source)
    assert copies == [2]
    found = memory_contents(store, PREFIX)
    assert not [name for name in found if "finished" in name or name == "manifest.json"]
    assert found[".make_shards/lease.json"] == facts_of(b"of another run")


def facts_of(content: bytes) -> tuple[int, str]:
    return len(content), hashlib.sha256(content).hexdigest()
