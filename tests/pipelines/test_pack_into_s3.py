"""Packing into a bucket of S3: the set equals the local one, whatever happens on the way."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.sharding import make_shards

from .bucket_listing import bucket_contents, folder_contents, unfinished_uploads
from .moto_server import aws_settings, run_moto

pytestmark = pytest.mark.heavy
pytest.importorskip("obstore", reason="obstore is absent: it writes to buckets")


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Any]]:
    yield from run_moto()


@pytest.fixture
def s3(server: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """boto3's client of an empty bucket called packed."""
    address, client = server
    for name, value in aws_settings(address).items():
        monkeypatch.setenv(name, value)
    client.create_bucket(Bucket="packed")
    yield client
    for entry in client.list_objects_v2(Bucket="packed").get("Contents", []):
        client.delete_object(Bucket="packed", Key=entry["Key"])
    client.delete_bucket(Bucket="packed")


def make_images(folder: Path, num: int, *, first: int = 0, side: int = 40) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(first, first + num):
        pixels = np.random.Generator(np.random.Philox(index)).integers(0, 255, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:04d}.jpg", quality=90)
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_the_set_in_a_bucket_equals_the_local_one(tmp_path: Path, s3: Any, workers: int) -> None:
    source = make_images(tmp_path / "source", 30)
    (source / "text.jpg").write_text("no picture")
    local = make_shards(source, tmp_path / "local", workers=0, shard_examples=4)
    report = make_shards(source, "s3://packed/sets/one", workers=workers, shard_examples=4)
    assert report.out == "s3://packed/sets/one"
    assert (report.examples, report.shards, report.bytes) == (local.examples, local.shards, local.bytes)
    assert report.failures == local.failures
    found = bucket_contents(s3, "packed", "sets/one")
    assert found == folder_contents(tmp_path / "local")
    assert unfinished_uploads(s3, "packed") == []
    body = s3.get_object(Bucket="packed", Key="sets/one/image-000000.tar")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        assert len(tar.getnames()) == 4
    again = make_shards(source, "s3://packed/sets/one", workers=workers, shard_examples=4)
    assert again.was_complete
