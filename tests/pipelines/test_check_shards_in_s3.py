"""Damage to a set in a bucket of S3 is found under the same names as in a folder, and nothing there is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.check_shards import main

from .moto_server import aws_settings, run_moto
from .test_check_shards_damage import CASES, REMARKS, copy_of_sets, make_whole_sets, unfinished

pytestmark = pytest.mark.heavy
BUCKET = "checked"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whole_sets(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Any]]:
    for address, client in run_moto():
        client.create_bucket(Bucket=BUCKET)
        yield address, client


@pytest.fixture
def s3(server: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """boto3's client of an S3 with an empty bucket."""
    address, client = server
    for name, value in aws_settings(address).items():
        monkeypatch.setenv(name, value)
    yield client
    for key in objects(client):
        client.delete_object(Bucket=BUCKET, Key=key)


def objects(s3: Any) -> dict[str, tuple[str, object]]:
    """What is in the bucket: key → tag and time."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    entries = [entry for page in pages for entry in page.get("Contents", [])]
    return {entry["Key"]: (entry["ETag"], entry["LastModified"]) for entry in entries}


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def upload(s3: Any, folder: Path, prefix: str) -> None:
    for name, content in files_of(folder).items():
        s3.put_object(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=content)


def download(s3: Any, prefix: str, folder: Path) -> None:
    for key in objects(s3):
        target = folder / key.removeprefix(f"{prefix}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())


def change_to(s3: Any, prefix: str, before: dict[str, bytes], after: dict[str, bytes]) -> None:
    """Do to the objects what was done to the files."""
    for name in before.keys() - after.keys():
        s3.delete_object(Bucket=BUCKET, Key=f"{prefix}/{name}")
    for name, content in after.items():
        if before.get(name) != content:
            s3.put_object(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=content)


Said = tuple[int, dict[str, Any]]


def checked(source: str | Path, capsys: pytest.CaptureFixture[str], *flags: str) -> Said:
    """The exit status, and the only set of the JSON document."""
    capsys.readouterr()
    code = main([str(source), "--json", *flags])
    (one,) = json.loads(capsys.readouterr().out)["sets"]
    return code, one


def told(one: dict[str, Any]) -> list[tuple[object, ...]]:
    """What programs read of the findings of a set, wherever it lies."""
    names = ("kind", "severity", "key", "offset")
    return sorted(
        (Path(finding["file"]).name, *(repr(finding.get(name)) for name in names)) for finding in one["findings"]
    )


@pytest.mark.parametrize("name", ["image", "audio", "video", "scenes"])
def test_a_whole_set_in_a_bucket_is_sound_and_told_as_in_a_folder(
    name: str, made: Path, s3: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    upload(s3, made / name, "whole")
    here = checked(made / name, capsys, "--decode")
    there = checked(f"s3://{BUCKET}/whole", capsys, "--decode")
    assert (there[0], there[1]["findings"], there[1]["not_checked"]) == (0, [], here[1]["not_checked"])
    assert there[1]["summary"] == here[1]["summary"]


@pytest.mark.parametrize("case", CASES)
def test_damage_in_a_bucket_is_named_as_in_a_folder_and_left_as_it_is(
    case: str, made: Path, tmp_path: Path, s3: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    name, damage, expected, is_mended = CASES[case]
    url = f"s3://{BUCKET}/damaged/{name}"
    upload(s3, made / name, f"damaged/{name}")
    folder = copy_of_sets(made, tmp_path) / name
    for path in folder.iterdir():
        path.unlink()
    download(s3, f"damaged/{name}", folder)
    before = files_of(folder)
    damage(folder)
    change_to(s3, f"damaged/{name}", before, files_of(folder))
    there = objects(s3)
    far, near = checked(url, capsys), checked(folder, capsys)
    assert {(finding["kind"], Path(finding["file"]).name) for finding in far[1]["findings"]} == expected
    assert far[0] == near[0] == (0 if case in REMARKS else 1)
    assert far[1]["counts"] == near[1]["counts"]
    assert told(far[1]) == told(near[1])
    assert all(finding["file"].startswith(url) for finding in far[1]["findings"])
    code, repaired = checked(url, capsys, "--repair")
    assert code == far[0]
    assert told(repaired) == told(far[1])
    if is_mended:
        assert repaired["not_repaired"] == [
            f"{url}: nothing was repaired, because it lies elsewhere. Repair a copy on this machine."
        ]
    assert objects(s3) == there
    if is_mended:  # as the sentence says
        assert checked(folder, capsys, "--repair")[0] == 0
        assert files_of(folder) == before


def test_a_run_that_has_finished_no_shard_is_unfinished_in_a_bucket_too(
    tmp_path: Path, s3: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "begun"
    folder.mkdir()
    unfinished(folder)
    upload(s3, folder, "begun")
    near, far = checked(folder, capsys), checked(f"s3://{BUCKET}/begun", capsys)
    assert near[0] == far[0] == 1
    assert near[1]["counts"] == far[1]["counts"] == {"unfinished-run": 1}
    assert near[1]["not_checked"] == far[1]["not_checked"]


def test_every_set_below_a_url_is_checked_also_one_without_a_manifest(
    made: Path, s3: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("image", "scenes", "video"):
        upload(s3, made / name, f"sets/{name}")
    assert main([f"s3://{BUCKET}/sets"]) == 0
    assert "3 sets: all sound." in capsys.readouterr().out
    s3.delete_object(Bucket=BUCKET, Key="sets/video/manifest.json")
    assert main([f"s3://{BUCKET}/sets", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["sets"]
    assert [(Path(one["folder"]).name, one["counts"]) for one in found] == [
        ("image", {}),
        ("scenes", {}),
        ("video", {"missing-manifest": 1}),
    ]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://nowhere/set", "there is no such bucket as nowhere. Look at its name"),
        (f"s3://{BUCKET}/nothing", "no manifest.json and no tars in it. Name the folder of a set, or a tar."),
    ],
)
def test_a_set_that_is_not_there_is_one_sentence(
    url: str, words: str, s3: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([url]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"check_shards: {url}")
    assert words in printed.err
    assert printed.err.count("\n") == 1
