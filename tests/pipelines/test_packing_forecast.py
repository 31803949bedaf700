"""`--dry-run` foretells what packing then does: shards and bytes exactly, without writing anything."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import ShardingError, SourceError
from pipelines.samples import make_sample_sounds
from pipelines.samples.scenes import make_sample_data
from pipelines.sharding import SetForecast, SetReport, disk_space, forecast_shards, make_shards
from pipelines.sharding.cli import main

from . import toy_features
from .test_make_shards import picture, snapshot, source  # noqa: F401 (a fixture)
from .test_make_shards_killed import run_and_die

WITHOUT_FAILURES = ("text.jpg", "empty.jpg", "truncated.jpg")


def both(folder: Path, out: Path, **settings: Any) -> tuple[SetForecast, SetReport]:
    """What is foretold, which changes nothing, and what is packed."""
    usual = {"workers": 0, "shard_examples": 6, **settings}
    before = snapshot(out) if out.exists() else None
    (foretold,) = forecast_shards(folder, out, **usual).sets
    assert (snapshot(out) if out.exists() else None) == before
    return foretold, make_shards(folder, out, **usual).sets[0]


def tar_bytes(out: Path) -> int:
    return sum(path.stat().st_size for path in out.glob("*.tar"))


@pytest.mark.parametrize("settings", [{}, {"classes": True}, {"shuffle": None, "shard_examples": 4}])
def test_shards_and_bytes_are_exact(source: Path, tmp_path: Path, settings: dict[str, Any]) -> None:  # noqa: F811
    for name in WITHOUT_FAILURES:
        (source / name).unlink()
    if "classes" in settings:
        (source / "01.cls").unlink()
    foretold, made = both(source, tmp_path / "out", **settings)
    assert (foretold.action, foretold.is_exact) == ("new", True)
    assert foretold.shards == foretold.new_shards == made.shards == len(list((tmp_path / "out").glob("*.tar")))
    assert foretold.bytes == foretold.new_bytes == made.bytes == tar_bytes(tmp_path / "out")
    assert foretold.free_bytes is not None
    again, _ = both(source, tmp_path / "out", **settings)
    assert (again.action, again.bytes, again.files) == ("nothing", made.bytes, 0)


@pytest.mark.parametrize("classes", [False, True])
def test_names_that_take_longer_headers_are_counted_to_the_byte(tmp_path: Path, *, classes: bool) -> None:
    folder, content = tmp_path / "photos", picture(7)
    names = [f"{'n' * length}.png" for length in (1, *range(70, 105, 2), 150, 200)]
    names += [f"{'ü' * length}/{'ü' * length}.png" for length in (1, 30, 60, 100)]
    names += [f"{'d' * length}/{'f' * 60}.png" for length in (20, 35, 41, 100, 160)]
    names += ["a.b.png", "a_b.png", "a b/c.PNG", "__x__/y.png", "no suffix"]
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.with_suffix(".json").write_bytes(b"{}" * (len(name) % 3 * 300))
    foretold, made = both(folder, tmp_path / "out", classes=classes)
    assert (made.examples, made.failures) == (len(names), ())
    assert foretold.is_exact
    assert foretold.bytes == made.bytes == tar_bytes(tmp_path / "out")


def test_files_that_are_known_not_to_be_packed_are_named(source: Path, tmp_path: Path) -> None:  # noqa: F811
    (source / "truncated.jpg").unlink()
    foretold, made = both(source, tmp_path / "out")
    assert foretold.failures == made.failures
    assert [one.path for one in foretold.failures] == ["empty.jpg", "text.jpg"]
    assert foretold.bytes == made.bytes


def test_annotations_are_counted_to_the_byte(tmp_path: Path) -> None:
    pytest.importorskip("ijson")
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(9):
        Image.fromarray(np.full((16, 24, 3), number, np.uint8)).save(folder / f"{number}.png")
    (folder / "3.json").write_text('{"own": "é"}')
    images = [{"id": n, "file_name": f"{n}.png", "width": 24, "height": 16} for n in range(7)]
    boxes = [{"id": n, "image_id": n, "category_id": 1, "bbox": [1, 2, 3, 4 + n]} for n in range(7)]
    coco = tmp_path / "coco.json"
    coco.write_text(json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "dog"}]}))
    foretold, made = both(folder, tmp_path / "out", annotations=[coco])
    assert foretold.is_exact
    assert foretold.bytes == made.bytes


def test_recordings_are_counted_to_the_byte_and_computed_fields_are_estimated(tmp_path: Path) -> None:
    make_sample_sounds(tmp_path / "sounds", num=6)
    foretold, made = both(tmp_path / "sounds", tmp_path / "out")
    assert (foretold.is_exact, foretold.bytes) == (True, made.bytes)
    foretold, made = both(tmp_path / "sounds", tmp_path / "more", features={"level": toy_features.level})
    assert (foretold.is_exact, foretold.shards) == (False, made.shards)
    assert foretold.bytes == pytest.approx(made.bytes, rel=0.05)


def test_of_what_is_encoded_again_the_shards_are_exact_and_the_bytes_estimated(tmp_path: Path) -> None:
    make_sample_data(tmp_path / "scenes", num=60, size=48)
    foretold, made = both(tmp_path / "scenes", tmp_path / "out", resize=24, shard_examples=20)
    assert (foretold.is_exact, foretold.shards) == (False, made.shards)
    assert foretold.bytes == pytest.approx(made.bytes, rel=0.1)
    assert foretold.sample_files > 10


def test_a_run_that_was_interrupted_an_addition_and_a_retry_are_told_apart(tmp_path: Path) -> None:
    folder, out, step = tmp_path / "images", tmp_path / "out0", 10
    folder.mkdir()
    for number in range(8):
        (folder / f"{number}.png").write_bytes(picture(number))
    while not list(out.glob("*.tar")):
        step, out = step + 1, tmp_path / f"out{step}"
        assert run_and_die(step, folder, out)
    foretold, made = both(folder, out, shard_examples=3)
    assert (foretold.action, foretold.finished_shards, foretold.new_shards) == ("continue", 1, 2)
    assert (foretold.bytes, foretold.files) == (made.bytes, 5)
    (folder / "new.png").write_bytes(picture(9))
    (folder / "text.jpg").write_text("no picture")
    foretold, made = both(folder, out, shard_examples=3, append=True)
    assert (foretold.action, foretold.files, foretold.new_shards, foretold.shards) == ("append", 1, 1, 4)
    assert foretold.bytes == made.bytes
    (folder / "text.jpg").write_bytes(picture(10, "JPEG"))
    foretold, made = both(folder, out, shard_examples=3, retry_failed=True)
    assert (foretold.action, foretold.files, foretold.bytes) == ("retry", 1, made.bytes)
    foretold, made = both(folder, out, shard_examples=2, overwrite=True)
    assert (foretold.action, foretold.shards, foretold.bytes) == ("again", 5, made.bytes)


@pytest.mark.parametrize(
    ("change", "settings"),
    [
        (lambda folder: (folder / "new.png").write_bytes(picture(9)), {}),
        (lambda folder: None, {"shard_examples": 5}),
        (lambda folder: (folder / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n"), {"append": True}),
        (lambda folder: (folder.parent / "out" / "image-000000.tar").unlink(), {}),
    ],
    ids=["new files", "other settings", "changed", "missing shard"],
)
def test_a_refusal_is_foretold_in_the_words_of_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, settings: dict[str, Any]
) -> None:
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.png").write_bytes(picture(number))
    make_shards(folder, out, workers=0)
    change(folder)
    flags = [part for name, value in settings.items() for part in (f"--{name}".replace("_", "-"), str(value))]
    command = [str(folder), "--out", str(out), "--workers", "0", *[flag for flag in flags if flag != "True"]]
    assert main(command) == 2
    refused = capsys.readouterr().err
    before = snapshot(out)
    assert main([*command, "--dry-run"]) == 2
    assert capsys.readouterr().err == refused
    assert snapshot(out) == before


def test_what_cannot_be_packed_at_all_raises_as_packing_does(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no images"):
        forecast_shards(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "empty" / "a.png").write_bytes(picture(1))
    with pytest.raises(ShardingError, match="holds no finished set"):
        forecast_shards(tmp_path / "empty", tmp_path / "out", retry_failed=True)
    assert not (tmp_path / "out").exists()


def test_a_disk_that_is_too_small_is_said_before_anything_is_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture(1) + bytes(1 << 20))
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ShardingError, match=r"1\.1 MB are to be written, and its disk has 1\.0 MB free"):
        make_shards(folder, tmp_path / "out", workers=0)
    assert not list((tmp_path / "out").rglob("*"))
    (foretold,) = forecast_shards(folder, tmp_path / "out", workers=0).sets
    assert foretold.action == "refused"
    assert "its disk has 1.0 MB free. Make room" in foretold.refusal
    command = [str(folder), "--out", str(tmp_path / "out"), "--workers", "0"]
    assert main([*command, "--dry-run"]) == main(command) == 1


def test_the_report_says_what_is_exact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_sample_data(tmp_path / "scenes", num=12, size=32)
    command = [str(tmp_path / "scenes"), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main([*command, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert main(command) == 0
    assert f"12 images would be packed: 1 shard, {tar_bytes(tmp_path / 'out'):,} bytes." in said
    assert "The bytes are exact if every file can be packed. About" in said
    assert "with 1 worker process, by a sample of" in said
    assert main([*command, "--resize", "16", "--overwrite", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "would be packed, after what is there was removed: 1 shard, about" in said
    assert "The bytes are estimated by the sample." in said


@pytest.mark.heavy
@pytest.mark.parametrize("settings", [{"resize": 64}, {}, {"decode": True}], ids=["resized", "kept", "decoded"])
def test_the_time_is_foretold_within_a_factor_of_two(tmp_path: Path, settings: dict[str, Any]) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    rng = np.random.Generator(np.random.Philox(1))
    for number in range(40):
        side = int(rng.integers(300, 900))
        Image.fromarray(rng.integers(0, 255, (side, side, 3), np.uint8)).save(folder / f"{number}.jpg")
    for copy in range(1, 25 if settings else 200):
        for number in range(40):
            os.link(folder / f"{number}.jpg", folder / f"{number}-{copy}.jpg")
    (foretold,) = forecast_shards(folder, tmp_path / "out", workers=2, **settings).sets
    began = time.monotonic()
    make_shards(folder, tmp_path / "out", workers=2, **settings)
    took = time.monotonic() - began
    assert took / 2 < foretold.seconds < took * 2, (took, foretold.seconds)
