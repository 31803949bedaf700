"""Sample scenes: the same everywhere, true to their factors, and no danger to a user's own pictures."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import ShardingError
from pipelines.samples.command import main
from pipelines.samples.scene_drawing import BACKGROUNDS, SHAPES, Scene, draw_scene, scene_of
from pipelines.samples.scene_record import scene_record
from pipelines.samples.scenes import make_sample_data
from pipelines.sharding import make_shards

GOLDEN = "cbe9fcd0178da188840cad6609693e61f3d326c525d3631905ce002294687bf3"
GOLDEN_RECORDS = "17b340bdc0bcac0f751da99732449d64e1b672ded2727cf7a314dfbfe2555fda"
LAUNCHER = Path(__file__).resolve().parents[2] / "tools" / "make_sample_data.py"
SCENE = Scene("circle", 0.1, 0.5, 0.5, 0.25, 0.0, "day", 0.7)


def test_the_scenes_of_a_seed_never_change() -> None:
    digest = hashlib.sha256(b"".join(draw_scene(scene_of(0, index), 48).tobytes() for index in range(24)))
    assert digest.hexdigest() == GOLDEN


def test_the_same_call_makes_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_sample_data(tmp_path / name, num=5, size=32, seed=seed)
    files = {name: [path.read_bytes() for path in sorted((tmp_path / name).iterdir())] for name in "abc"}
    assert files["a"] == files["b"]
    assert all(ours != theirs for ours, theirs in zip(files["a"], files["c"], strict=True))


def test_factors_are_independent_and_cover_their_ranges() -> None:
    scenes = [scene_of(0, index) for index in range(3000)]
    for values, names in (
        ([one.shape for one in scenes], SHAPES),
        ([one.background for one in scenes], BACKGROUNDS),
    ):
        counts = Counter(values)
        assert set(counts) == set(names)
        assert max(counts.values()) < 1.2 * min(counts.values())
    numbers = np.array([[one.hue, one.x, one.y, one.size, one.turn, one.horizon] for one in scenes])
    correlation = np.corrcoef(numbers.T) - np.eye(6)
    assert np.abs(correlation).max() < 0.06
    low, high = numbers.min(axis=0), numbers.max(axis=0)
    np.testing.assert_allclose(low, [0, 0.28, 0.30, 0.14, 0, 0.55], atol=0.002)
    np.testing.assert_allclose(high, [1, 0.72, 0.70, 0.26, 1, 0.80], atol=0.002)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_lies_where_its_factors_say(shape: str) -> None:
    here = draw_scene(replace(SCENE, shape=shape, x=0.6, y=0.4, turn=0.3), 96).astype(int)
    other_hue = draw_scene(replace(SCENE, shape=shape, x=0.6, y=0.4, turn=0.3, hue=0.6), 96).astype(int)
    rows, columns = np.nonzero(np.abs(here - other_hue).sum(axis=-1) > 30)
    y, x = (rows + 0.5) / 96, (columns + 0.5) / 96
    assert abs(x.mean() - 0.6) < 0.04
    assert abs(y.mean() - 0.4) < 0.04
    assert 0.8 < np.hypot(x - 0.6, y - 0.4).max() / 0.25 < 1.1


def test_every_factor_changes_the_picture() -> None:
    before = draw_scene(replace(SCENE, shape="star"), 64)
    changes = {"shape": "heart", "hue": 0.5, "x": 0.4, "y": 0.4, "size": 0.2, "turn": 0.1, "background": "dusk"}
    for name, value in {**changes, "horizon": 0.6}.items():
        after = draw_scene(replace(SCENE, **{"shape": "star", name: value}), 64)  # type: ignore[arg-type]
        assert (after != before).any(axis=-1).mean() > 0.01, name


def test_edges_are_soft() -> None:
    night = draw_scene(replace(SCENE, background="night", y=0.4), 64).astype(int)
    row = night[25, :, 0]
    steps = np.abs(np.diff(row))
    assert 0 < steps.max() < row.max() - row.min()


def test_each_picture_is_a_jpeg_with_its_factors_beside_it(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path), "--num", "3", "--size", "40"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"scene-00000{index}.{suffix}" for index in range(3) for suffix in ("jpg", "json")
    ]
    for index in range(3):
        factors = json.loads((tmp_path / f"scene-00000{index}.json").read_text())
        own = {field.name: factors.pop(field.name) for field in fields(Scene)}
        assert Scene(**own) == scene_of(0, index)
        assert sorted(factors) == ["annotations", "captions", "image"]
        with Image.open(tmp_path / f"scene-00000{index}.jpg") as image:
            assert (image.format, image.size) == ("JPEG", (40, 40))
            error = np.asarray(image, float) - draw_scene(scene_of(0, index), 40)
        assert np.sqrt(np.mean(error**2)) < 10


def decoded(shape: dict[str, Any]) -> np.ndarray:
    """The mask of run lengths, column by column, the first run of pixels outside."""
    height, width = shape["size"]
    flat = [value for number, count in enumerate(shape["counts"]) for value in [number % 2 == 1] * count]
    return np.array(flat).reshape(width, height).T


@pytest.mark.parametrize("shape", SHAPES)
def test_the_mask_is_where_the_picture_changes_with_the_hue_of_its_shape(shape: str) -> None:
    scene = replace(SCENE, shape=shape, x=0.6, y=0.4, turn=0.3)
    here, there = (draw_scene(one, 96).astype(float) for one in (scene, replace(scene, hue=0.6)))
    change = np.abs(here - there).sum(axis=-1)
    (annotation,) = scene_record(scene, 7, 96, "a.jpg")["annotations"]
    mask = decoded(annotation["segmentation"])
    assert (change[mask] > 30).all()
    assert (change[~mask] < change[mask].max() * 0.6).all()


def test_box_area_and_class_are_those_of_the_mask() -> None:
    for index in range(40):
        scene = scene_of(0, index)
        (annotation,) = scene_record(scene, index, 64, "a.jpg")["annotations"]
        rows, columns = np.nonzero(decoded(annotation["segmentation"]))
        left, top, width, height = annotation["bbox"]
        assert (left, top) == (columns.min(), rows.min())
        assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)
        assert annotation["area"] == len(rows)
        assert SHAPES[annotation["class"]] == annotation["category"] == scene.shape
        assert annotation["category_id"] == annotation["class"]
        assert (annotation["image_id"], annotation["id"], annotation["iscrowd"]) == (index, index + 1, 0)


def test_a_shape_that_covers_half_of_no_pixel_has_no_annotation() -> None:
    assert scene_record(replace(SCENE, size=0.001), 0, 8, "a.jpg")["annotations"] == []


def test_captions_say_colour_shape_and_time_of_day() -> None:
    said = {
        (0.05, "star", "dusk"): "A red star at dusk.",
        (0.15, "heart", "day"): "An orange heart by day.",
        (0.25, "ring", "dawn"): "A yellow ring at dawn.",
        (0.40, "square", "night"): "A green square at night.",
        (0.55, "circle", "day"): "A turquoise circle by day.",
        (0.70, "triangle", "day"): "A blue triangle by day.",
        (0.85, "star", "day"): "A purple star by day.",
        (0.999999, "star", "day"): "A pink star by day.",
    }
    for (hue, shape, background), caption in said.items():
        scene = replace(SCENE, hue=hue, shape=shape, background=background)
        assert scene_record(scene, 3, 16, "a.jpg")["captions"] == [{"id": 4, "image_id": 3, "caption": caption}]


def test_records_of_a_seed_never_change() -> None:
    said = json.dumps([scene_record(scene_of(0, index), index, 48, "a.jpg") for index in range(24)])
    assert hashlib.sha256(said.encode()).hexdigest() == GOLDEN_RECORDS


def test_a_folder_with_other_files_is_refused_unless_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"precious")
    assert main(["--out", str(tmp_path), "--num", "2", "--size", "16"]) == 2
    assert "holds holiday.jpg" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]
    assert main(["--out", str(tmp_path), "--num", "2", "--size", "16", "--force"]) == 0
    assert (tmp_path / "holiday.jpg").read_bytes() == b"precious"
    assert len(list(tmp_path.iterdir())) == 5


def test_a_smaller_number_removes_scenes_of_before_only_if_forced(tmp_path: Path) -> None:
    make_sample_data(tmp_path, num=4, size=16)
    (tmp_path / ".gitkeep").write_bytes(b"")
    with pytest.raises(ShardingError, match="holds 4 samples, 2 of them beyond the 2 to make"):
        make_sample_data(tmp_path, num=2, size=16)
    assert len(list(tmp_path.glob("scene-*"))) == 8
    make_sample_data(tmp_path, num=2, size=16, force=True)
    assert len(list(tmp_path.glob("scene-*"))) == 4


def test_nonsense_and_places_that_cannot_be_written_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="num is 0"):
        make_sample_data(tmp_path, num=0)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ShardingError, match="cannot be written to"):
        make_sample_data(tmp_path / "file" / "below")
    assert main(["--size", "2", "--out", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_launcher_works_from_any_folder_and_what_it_makes_can_be_packed(tmp_path: Path) -> None:
    command = [sys.executable, str(LAUNCHER), "--num", "12", "--size", "24"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("data/image: 12 images of 24 × 24 pixels")
    report = make_shards(tmp_path / "data" / "image", tmp_path / "shards", workers=0, strict=True)
    assert (report.examples, report.skipped) == (12, 0)
