"""Packing into a bucket of S3: the set equals the local one, whatever happens on the way."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import random
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import ShardingError, SourceError
from pipelines.sharding import lease, make_shards
from pipelines.storage.remote import sent_parts
from pipelines.storage.remote.bucket import Bucket

from .bucket_listing import bucket_contents, folder_contents, unfinished_uploads
from .moto_server import aws_settings, run_moto

ROOT = Path(__file__).resolve().parents[2]
SET = "s3://packed/one"
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
    empty(client)
    client.delete_bucket(Bucket="packed")


def empty(s3: Any) -> None:
    for entry in s3.list_objects_v2(Bucket="packed").get("Contents", []):
        s3.delete_object(Bucket="packed", Key=entry["Key"])


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


def started(source: Path, *flags: str) -> subprocess.Popen[str]:
    program = [sys.executable, str(ROOT / "tools" / "make_shards.py"), str(source), "--out", SET]
    return subprocess.Popen(
        [*program, "--shard-examples", "4", "--workers", "2", *flags], stdout=-1, stderr=-1, text=True
    )


def listed(s3: Any) -> dict[str, Any]:
    return {one["Key"]: one for one in s3.list_objects_v2(Bucket="packed").get("Contents", [])}


def test_killed_at_random_moments_it_ends_in_the_same_files_and_makes_nothing_twice(
    tmp_path: Path, s3: Any
) -> None:
    source, dice = make_images(tmp_path / "source", 48, side=200), random.Random(19)
    make_shards(source, tmp_path / "local", workers=0, shard_examples=4)
    began = time.monotonic()
    undisturbed = started(source)
    undisturbed.communicate()
    assert undisturbed.returncode == 0
    longest = time.monotonic() - began
    empty(s3)
    kills, written = 0, dict[str, Any]()
    while True:
        process = started(source)
        try:
            process.wait(dice.uniform(0.2, 0.9) * longest if kills < 8 else 200)
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        said = process.communicate()
        there = listed(s3)
        assert {key: there[key]["LastModified"] for key in written} == written
        if process.returncode == 0 and kills >= 3:
            break
        if process.returncode == 0:  # quicker than the undisturbed one: from the beginning, and killed sooner
            empty(s3)
            longest, written = 0.7 * longest, {}
            continue
        assert process.returncode == -9, said
        numbers = {Path(key).stem for key in there if "/finished/" in key}
        written = {
            key: there[key]["LastModified"]
            for key in there
            if ".tar" in key and "parts-" not in key and key.partition("image-")[2][:6] in numbers
        }
    assert bucket_contents(s3, "packed", "one") == folder_contents(tmp_path / "local")
    assert unfinished_uploads(s3, "packed") == []
    assert "show_batch.py s3://packed/one" in said[0]


def test_of_two_that_begin_together_one_packs_and_the_other_is_refused(tmp_path: Path, s3: Any) -> None:
    source = make_images(tmp_path / "source", 24)
    make_shards(source, tmp_path / "local", workers=0, shard_examples=4)
    both = [started(source), started(source)]
    said = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) in ([0, 2], [0, 0]), said
    if any(process.returncode for process in both):
        assert "packing into it. Wait for it to finish" in "".join(said)
    assert bucket_contents(s3, "packed", "one") == folder_contents(tmp_path / "local")


def test_a_lease_that_was_not_refreshed_is_taken_over(
    tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_images(tmp_path / "source", 6)
    holder = {"host": "another", "pid": 1, "start": "2", "run": "3", "refreshes": 4}
    s3.put_object(Bucket="packed", Key="one/.make_shards/lease.json", Body=json.dumps(holder))
    with pytest.raises(ShardingError, match="process 1 of another is packing into it"):
        make_shards(source, SET, workers=0)
    monkeypatch.setattr(lease, "LEASE_SECONDS", 2.0)
    monkeypatch.setattr(lease, "REFRESH_SECONDS", 0.2)
    time.sleep(3)
    make_shards(source, SET, workers=0)
    assert not [key for key in listed(s3) if ".make_shards" in key]


def test_a_file_is_sent_in_parts_and_uploads_that_were_left_are_aborted(
    tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sent_parts, "PART_BYTES", 5 << 20)
    content = random.Random(2).randbytes(12 << 20)
    (tmp_path / "large").write_bytes(content)
    with (tmp_path / "large").open("rb") as file:
        stored = Bucket(SET).upload("large", file, hashlib.sha256(content).hexdigest())
    parts = [hashlib.md5(content[at : at + (5 << 20)]).digest() for at in range(0, len(content), 5 << 20)]
    assert stored[:2] == (len(content), f'"{hashlib.md5(b"".join(parts)).hexdigest()}-3"')
    assert bucket_contents(s3, "packed", "one")["large"] == (len(content), hashlib.sha256(content).hexdigest())
    for key in ("one/.make_shards/parts-0/1/image-000000.tar", "one/manifest.names.jsonl", "one/other/set.tar"):
        s3.create_multipart_upload(Bucket="packed", Key=key)
    make_shards(make_images(tmp_path / "source", 6), SET, workers=0)
    assert unfinished_uploads(s3, "packed") == ["one/other/set.tar"]


def test_a_bucket_that_is_missing_or_denied_is_one_sentence_without_a_secret(
    tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_images(tmp_path / "source", 2)
    with pytest.raises(
        SourceError, match=r"^s3://nowhere/\S*: there is no such bucket as nowhere\. Look at its name"
    ):
        make_shards(source, "s3://nowhere/set", workers=0)

    class Denying(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<Error><Code>AccessDenied</Code></Error>"
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_HEAD = do_GET

        def log_message(self, *words: Any) -> None:
            """Nothing is said."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Denying) as denying:
        threading.Thread(target=denying.serve_forever, daemon=True).start()
        keys = {"access_key_id": "known", "secret_access_key": "very-secret"}
        options = {"endpoint": f"http://127.0.0.1:{denying.server_port}", "region": "us-east-1", **keys}
        with pytest.raises(SourceError, match=r"access is denied\. Set AWS_ACCESS_KEY_ID") as caught:
            make_shards(source, SET, workers=0, storage_options=options)
        denying.shutdown()
    assert "very-secret" not in str(caught.value)
