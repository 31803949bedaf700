"""Files of a bucket are packed into the same bytes as those of a folder."""

from __future__ import annotations

import gc
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines import SourceError, make_shards, open_source
from pipelines.errors import PipelineError
from pipelines.sharding import fetched_inputs
from pipelines.sharding.explaining import explain_folder
from pipelines.sharding.source_bucket import SourceBucket, SourceUrl
from pipelines.sharding.source_place import SourceFolder, source_of
from pipelines.sharding.source_reader import PackingStoppedError
from pipelines.storage.remote.remote_store import RemoteStore

from .conftest import png
from .memory_bucket import use_memory
from .recordings import album, write_folder
from .videos import make_video

SECRET = "hunter2"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Any:
    return use_memory(monkeypatch)


def upload(bucket: Any, folder: Path, prefix: str) -> None:
    import obstore

    for path in folder.rglob("*"):
        if path.is_file():
            obstore.put(bucket, f"{prefix}/{path.relative_to(folder)}", path.read_bytes())


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pictures(folder: Path) -> Path:
    """Pictures with sidecars, in folders, with what is passed over and what fails."""
    files = {f"p/{number:02d}.png": png(number, 12, 9) for number in range(20)}
    more = {
        "p/00.json": b'{"label": 3}',
        "p/01.TXT": b"a caption",
        "p/01.boxes.npy": b"boxes",
        "q/a b ü.png": png(40),
        "broken.png": b"no picture",
        "empty.jpg": b"",
        ".hidden.png": png(1),
        "p/.cache/x.png": png(2),
        "README.md": b"read me",
        "alone.json": b"{}",
    }
    write_folder(folder, files | more)
    return folder


def test_pictures_of_a_bucket_become_the_shards_of_the_same_pictures_in_a_folder(
    tmp_path: Path, bucket: Any
) -> None:
    folder = pictures(tmp_path / "photos")
    upload(bucket, folder, "some/photos")
    settings: dict[str, Any] = {"workers": 0, "shard_examples": 6}
    local = make_shards(folder, tmp_path / "local", **settings)
    remote = make_shards("s3://bucket/some/photos/", tmp_path / "remote", **settings)
    assert digests(tmp_path / "remote") == digests(tmp_path / "local")
    assert (remote.failures, remote.skipped) == (local.failures, local.skipped)
    assert [failure.path for failure in remote.failures] == ["broken.png", "empty.jpg"]
    again = make_shards("s3://bucket/some/photos", tmp_path / "remote", **settings)
    assert again.was_complete
    assert make_shards(folder, tmp_path / "remote", **settings).was_complete


def test_sounds_and_videos_of_modality_folders_become_the_same_sets(tmp_path: Path, bucket: Any) -> None:
    write_folder(tmp_path / "data" / "audio", album(4, kinds=("s16", "flac")))
    write_folder(tmp_path / "data" / "image", {f"{number}.png": png(number) for number in range(3)})
    (tmp_path / "data" / "video").mkdir()
    make_video(tmp_path / "data" / "video" / "a.mp4", num_frames=12, size=(48, 32), gop=4)
    upload(bucket, tmp_path / "data", "data")
    local = make_shards(tmp_path / "data", tmp_path / "local", workers=0, decode=True)
    remote = make_shards("s3://bucket/data", tmp_path / "remote", workers=0, decode=True)
    assert (
        [one.modality for one in remote.sets] == [one.modality for one in local.sets] == ["image", "audio", "video"]
    )
    assert digests(tmp_path / "remote") == digests(tmp_path / "local")


def test_the_default_folder_is_the_last_name_of_the_url(
    tmp_path: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "x", {"a.png": png(1)})
    upload(bucket, tmp_path / "x", "deep/cats")
    monkeypatch.chdir(tmp_path)
    assert make_shards("s3://bucket/deep/cats", workers=0).out == Path("shards/cats")
    assert len(open_source("shards/cats")) == 1
    assert SourceBucket(SourceUrl("s3://bucket")).name == "bucket"


@pytest.mark.parametrize("change", ["larger", "smaller", "gone"])
def test_a_file_that_changes_after_the_listing_stops_packing(
    tmp_path: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    import obstore

    folder = pictures(tmp_path / "photos")
    upload(bucket, folder, "photos")
    fetch = fetched_inputs.FetchedInputs._fetch

    def change_and_fetch(inputs: Any, file: Any) -> Any:
        if file.path == "p/07.png":
            name = f"photos/{file.path}"
            if change == "gone":
                obstore.delete(bucket, name)
            else:
                obstore.put(bucket, name, png(7, 12, 9)[:-4] if change == "smaller" else png(7, 12, 9) + b"more")
        return fetch(inputs, file)

    monkeypatch.setattr(fetched_inputs.FetchedInputs, "_fetch", change_and_fetch)
    with pytest.raises(PackingStoppedError, match=r"p/07\.png: no longer the \d+ bytes"):
        make_shards("s3://bucket/photos", tmp_path / "out", workers=0, shuffle=None)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_what_is_fetched_ahead_is_bounded_and_leaves_no_open_file(
    tmp_path: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pictures(tmp_path / "photos")
    upload(bucket, folder, "photos")
    largest = max(path.stat().st_size for path in folder.rglob("*.png"))
    monkeypatch.setattr(fetched_inputs, "AHEAD_BYTES", 3 * largest)
    held, files = list[int](), list[int]()
    ahead = fetched_inputs.FetchedInputs._fetch_ahead

    def look(inputs: Any) -> None:
        ahead(inputs)
        held.append(inputs._bytes)
        files.append(len(inputs._ahead))

    monkeypatch.setattr(fetched_inputs.FetchedInputs, "_fetch_ahead", look)
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    make_shards("s3://bucket/photos", tmp_path / "out", workers=0)
    assert max(held) <= 3 * largest
    assert max(files) >= 3
    gc.collect()  # the pipe of a child process that has ended
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 2  # noqa: PTH208


def test_a_listing_that_breaks_off_begins_again_and_holds_each_file_once(
    tmp_path: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.storage.remote import remote_store
    from pipelines.storage.remote.obstore_client import ObstoreClient
    from pipelines.storage.remote.retrying import RequestError

    folder = pictures(tmp_path / "photos")
    upload(bucket, folder, "photos")
    monkeypatch.setattr(remote_store, "LISTED_AT_ONCE", 5)
    whole, tries = ObstoreClient.list, list[int]()

    def broken(client: Any, url: Any) -> Any:
        tries.append(0)
        for number, entry in enumerate(whole(client, url)):
            if len(tries) == 1 and number == 13:
                raise RequestError("the connection broke", passes=True)
            yield entry

    monkeypatch.setattr(ObstoreClient, "list", broken)
    place = SourceBucket(SourceUrl("s3://bucket/photos"))
    found = place.contents(("image",), ())
    assert len(tries) == 2
    assert found == SourceFolder(folder).contents(("image",), ())
    assert len(RemoteStore("s3://bucket/photos").list()) == sum(path.is_file() for path in folder.rglob("*"))


def test_shards_that_are_written_below_the_source_are_not_listed(tmp_path: Path, bucket: Any) -> None:
    write_folder(tmp_path / "x", {"a.png": png(1), "shards/b.png": png(2), "shards2/c.png": png(3)})
    upload(bucket, tmp_path / "x", "x")
    place = SourceBucket(SourceUrl("s3://bucket/x"))
    listing = place.contents(("image",), ("s3://bucket/x/shards", "s3://bucket/other")).listings["image"]
    assert [file.path for file in listing.files] == ["a.png", "shards2/c.png"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "s3://bucket/nothing",
            r"^s3://bucket/nothing: the bucket bucket has no files there\. Look at the name",
        ),
        (f"https://user:{SECRET}@host/photos?sig={SECRET}", "a server of the web lists no sizes"),
        (f"s3://key:{SECRET}@bucket/photos", "keys do not belong in a URL"),
    ],
)
def test_a_url_that_cannot_be_packed_is_refused_in_one_sentence_without_its_secrets(
    tmp_path: Path, bucket: Any, url: str, message: str
) -> None:
    with pytest.raises(PipelineError, match=message) as raised:
        make_shards(url, tmp_path / "out", workers=0)
    assert SECRET not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_a_source_shows_no_secret_and_is_not_explained() -> None:
    source = source_of("az://container/photos", {"sas_token": SECRET})
    assert SECRET not in f"{source} {source!r}"
    with pytest.raises(SourceError, match="--explain reads folders"):
        list(explain_folder("s3://bucket/videos"))


def test_an_addition_from_a_bucket_holds_the_new_files_alone(tmp_path: Path, bucket: Any) -> None:
    folder = tmp_path / "x"
    write_folder(folder, {f"{number}.png": png(number) for number in range(5)})
    upload(bucket, folder, "x")
    make_shards("s3://bucket/x", tmp_path / "out", workers=0)
    write_folder(folder, {"new.png": png(9), "0.jpg": png(8)})
    upload(bucket, folder, "x")
    report = make_shards("s3://bucket/x", tmp_path / "out", workers=0, append=True)
    assert (report.examples, report.new_shards) == (7, 1)
    shutil.rmtree(tmp_path / "out")
    assert make_shards(folder, tmp_path / "out", workers=0).examples == 7
