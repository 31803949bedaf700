"""From a bucket into a bucket: the bytes of packing a folder into a folder, and forecasts of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ShardingError
from pipelines.sharding import forecast_shards, make_shards

from .bucket_listing import folder_contents
from .conftest import png
from .memory_bucket import memory_contents, use_memory
from .test_pack_from_bucket import upload
from .wav_files import noise, wav

SETTINGS: dict[str, Any] = {"workers": 0, "shard_examples": 4}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Any:
    return use_memory(monkeypatch)


def pictures(folder: Path, num: int = 10) -> Path:
    for number in range(num):
        path = folder / "ab"[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number, 12, 9))
    return folder


def test_a_table_and_json_files_are_foretold_and_packed_by_url(tmp_path: Path, bucket: Any) -> None:
    folder = pictures(tmp_path / "photos")
    for name in ("a/00", "b/01", "b/03"):
        (folder / f"{name}.json").write_text('{"own": "%s"}' % ("x" * 600))
    rows = [f"{path.relative_to(folder)},{'y' * (index * 90)}" for index, path in enumerate(folder.rglob("*.png"))]
    (tmp_path / "table.csv").write_text("\n".join(["file_name,caption", *rows]))
    upload(bucket, folder, "photos")
    options = {**SETTINGS, "classes": True, "labels": tmp_path / "table.csv"}
    make_shards(folder, tmp_path / "local", **options)
    (foretold,) = forecast_shards("s3://bucket/photos", "s3://packed/one", **options).sets
    report = make_shards("s3://bucket/photos", "s3://packed/one", **options)
    assert memory_contents(bucket, "one") == folder_contents(tmp_path / "local")
    assert (foretold.action, foretold.is_exact, foretold.bytes) == ("new", True, report.bytes)
    assert report.out == "s3://packed/one"


def test_shards_may_lie_below_the_files(tmp_path: Path, bucket: Any) -> None:
    folder = pictures(tmp_path / "photos")
    upload(bucket, folder, "photos")
    make_shards(folder, tmp_path / "local", **SETTINGS)
    make_shards("s3://bucket/photos/", "s3://bucket/photos/shards/", **SETTINGS)
    assert memory_contents(bucket, "photos/shards") == folder_contents(tmp_path / "local")
    assert make_shards("s3://bucket/photos", "s3://bucket/photos/shards", **SETTINGS).was_complete
    with pytest.raises(ShardingError, match="is the folder that is read"):
        make_shards("s3://bucket/photos", "s3://bucket/photos/", **SETTINGS)


def test_several_modalities_retries_and_additions(tmp_path: Path, bucket: Any) -> None:
    folder = pictures(tmp_path / "data" / "image").parent
    (folder / "audio").mkdir()
    for number in range(3):
        (folder / "audio" / f"{number}.wav").write_bytes(wav(noise("s16", 300, 1, number), "s16", 1))
    broken = folder / "image" / "broken.png"
    broken.write_bytes(b"no picture")
    pack_both(tmp_path, bucket)
    broken.write_bytes(png(50, 12, 9))
    (folder / "image" / "new.png").write_bytes(png(51, 12, 9))
    pack_both(tmp_path, bucket, only="image", retry_failed=True)
    pack_both(tmp_path, bucket, only="image", append=True)
    assert memory_contents(bucket, "sets").keys() >= {"audio/manifest.json", "image/image-000004.tar"}


def pack_both(tmp_path: Path, bucket: Any, **options: Any) -> None:
    """By URLs as it was foretold, and from folder to folder: the same."""
    upload(bucket, tmp_path / "data", "data")
    options = {**SETTINGS, **options}
    foretold = forecast_shards("s3://bucket/data", "s3://packed/sets", **options).sets
    made = make_shards("s3://bucket/data", "s3://packed/sets", **options).sets
    assert [(one.shards, one.bytes) for one in foretold] == [(one.shards, one.bytes) for one in made]
    make_shards(tmp_path / "data", tmp_path / "local", **options)
    assert memory_contents(bucket, "sets") == folder_contents(tmp_path / "local")
