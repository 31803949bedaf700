"""Files of an S3 are packed into the bytes of those of a folder, by worker processes, by obstore and by s3fs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import SourceError, make_shards

from .moto_server import aws_settings, run_moto
from .recordings import album, write_folder
from .test_pack_from_bucket import digests, pictures

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Any]]:
    """The address of an S3, and boto3's client of it."""
    with contextlib.contextmanager(run_moto)() as found:
        found[1].create_bucket(Bucket="data")
        yield found


@pytest.mark.parametrize("package", ["obstore", "s3fs"])
def test_a_folder_of_s3_becomes_the_same_sets_with_two_workers(
    server: tuple[str, Any], package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(package)
    if package == "s3fs":
        monkeypatch.setattr("pipelines.storage.remote.clients.is_obstore_usable", lambda: False)
    for name, value in aws_settings(server[0]).items():
        monkeypatch.setenv(name, value)
    pictures(tmp_path / "data" / "image")
    write_folder(tmp_path / "data" / "audio", album(5, kinds=("s16", "flac")))
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            key = f"{package}/data/{path.relative_to(tmp_path / 'data')}"
            server[1].put_object(Bucket="data", Key=key, Body=path.read_bytes())
    workers = 2 if package == "obstore" else 0
    local = make_shards(tmp_path / "data", tmp_path / "local", workers=0, shard_examples=3)
    remote = make_shards(f"s3://data/{package}/data", tmp_path / "remote", workers=workers, shard_examples=3)
    assert remote.failures == local.failures
    assert digests(tmp_path / "remote") == digests(tmp_path / "local")


@pytest.mark.parametrize("package", ["obstore", "s3fs"])
@pytest.mark.parametrize(
    ("url", "words"),
    [
        (
            "s3://nowhere/photos",
            "there is no such bucket as nowhere. Look at its name, at the endpoint and at the account",
        ),
        (
            "s3://nowhere",
            "there is no such bucket as nowhere. Look at its name, at the endpoint and at the account",
        ),
        ("s3://data/Photos", "the bucket data has no files there. Look at the name, in which capitals count"),
    ],
)
def test_a_source_that_is_not_there_is_one_sentence_with_its_bucket_and_a_remedy(
    server: tuple[str, Any], package: str, url: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(package)
    if package == "s3fs":
        monkeypatch.setattr("pipelines.storage.remote.clients.is_obstore_usable", lambda: False)
    for name, value in aws_settings(server[0]).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SourceError) as caught:
        make_shards(url, tmp_path / "out", workers=0)
    assert str(caught.value).startswith(f"{url}: {words}")
    assert not (tmp_path / "out").exists()
