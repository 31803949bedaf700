"""Labels: a factor or a category by its name, and how well neighbours find what is rare."""

from __future__ import annotations

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dirvae.evaluate.factor_columns import factors_of, left_out
from dirvae.evaluate.labels import find_label
from dirvae.evaluate.neighbours import average_precision, neighbour_errors, neighbour_precisions
from dirvae.run.label_measures import choose_label, label_notes
from dirvae.tasks.example_factors import annotated_categories, example_factors
from dirvae.tasks.image import IMAGE
from dirvae.train import main as train
from dirvae.training.errors import ConfigError
from tests.dirvae.evaluated_runs import evaluate, refused

SMALL = ["--size", "8", "--batch-size", "8", "--model-size", "4", "--device", "cpu", "--threads", "1"]


def record(number: int, **more: Any) -> dict[str, Any]:
    """An annotated picture: every third one has a dog, every fifth two traffic lights, number 7 none of anything."""
    names = ["dog"] * (number % 3 == 0) + ["Traffic Light"] * 2 * (number % 5 == 0)
    annotations = [{"id": place, "category": name, "bbox": [0, 0, 2, 2]} for place, name in enumerate(names)]
    return {
        "image": {"id": number, "width": 8, "height": 8, "license": 1},
        "license": {"id": 1, "name": "free"},
        "captions": [{"id": 1, "caption": "A dog."}],
        "annotations": [*annotations, {"id": 9, "category": None, "class": -1, "bbox": [0, 0, 1, 1]}],
        "size": [8, 8],
        "transform": [[1, 0, 0], [0, 1, 0]],
        **more,
    }


def columns(number: int) -> dict[str, Any]:
    """A row of a label table: a text that every fourth example lacks, a number, a text of its own."""
    return {"mood": None if number % 4 == 0 else "ab"[number % 2], "age": number % 7, "name": f"picture {number}"}


def draw(folder: Path, num: int = 40) -> Path:
    """Pictures of noise, brighter with a dog in them, each with its record and its row."""
    folder.mkdir()
    for number in range(num):
        pixels = np.random.default_rng(number).integers(0, 100, (8, 8, 3)) + 150 * (number % 3 == 0)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03d}.png")
        (folder / f"{number:03d}.json").write_text(json.dumps(record(number, **columns(number))))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, one_torch_thread: None) -> Path:
    """40 annotated pictures in `images`, 10 of them held out by the run in `run`."""
    home = tmp_path_factory.mktemp("labels")
    draw(home / "images")
    arguments = [*SMALL, "--data", str(home / "images"), "--steps", "2", "--held-out", "0.25"]
    assert train([*arguments, "--out", str(home / "run")]) == 0
    return home


FIELDS = [{"dogs": 1, "mood": "a", "bird": "x"}, {"dogs": 2, "mood": None, "bird": "y"}]
CATEGORIES = [frozenset({"Dog", "bird"}), frozenset({"dog", "traffic light"})]


def test_a_category_is_found_whatever_its_case_and_says_yes_or_no() -> None:
    light = find_label("Traffic LIGHT", FIELDS, CATEGORIES)
    assert (light.name, light.values, light.is_category, light.is_yes_or_no) == (
        "traffic light",
        [0, 1],
        True,
        True,
    )
    dog = find_label("dog", FIELDS, CATEGORIES)
    assert (dog.name, dog.values) == ("dog", [True, True]), "however two sets of data spell it"
    assert find_label("dog", [None, None, None], [*CATEGORIES, None]).values == [True, True, None]


def test_a_factor_wins_over_a_category_of_its_name_and_no_value_is_none() -> None:
    bird = find_label("bird", FIELDS, CATEGORIES)
    assert (bird.values, bird.is_category, bird.is_both) == (["x", "y"], False, True)
    mood = find_label("mood", [*FIELDS, None], [*CATEGORIES, None])
    assert (mood.values, mood.known, mood.is_both) == (["a", None, None], ["a"], False)


def test_a_name_that_is_neither_is_told_with_those_that_are_like_it() -> None:
    with pytest.raises(ValueError, match=r"'dogz' \(did you mean the factor 'dogs' or the category 'Dog'\?\)"):
        find_label("dogz", FIELDS, CATEGORIES)
    with pytest.raises(
        ValueError, match="no factor or category is called 'x'; the factors of the examples are dogs, "
    ):
        find_label("x", FIELDS, CATEGORIES)
    with pytest.raises(ValueError, match=r"no factor is called 'x'; the examples have none\."):
        find_label("x", [{"image": {"id": 3}}], [None])
    many = [frozenset({f"kind {number:02d}" for number in range(80)})]
    with pytest.raises(ValueError, match=r"kind 11 and 68 more\.$"):
        find_label("x", FIELDS, many)


def test_what_is_nested_in_a_record_is_no_factor_and_makes_no_note() -> None:
    fields = [example_factors(record(number, **columns(number)), None) for number in range(8)]
    plain = [entry for entry in fields if entry is not None]
    assert [set(entry) for entry in plain] == [{"mood", "age", "name"}] * 8
    assert [factor.name for factor in factors_of(plain)] == ["age"]
    assert left_out(plain) == [
        "not used as factors, because their text is different in every example: name",
        "not used as factors, because examples have no value: mood (2 of 8)",
    ]
    assert len(left_out(plain, label="mood")) == 1
    assert example_factors(record(0), 3) == {"class": "3"}
    assert [example_factors(None, None), example_factors([1], None), example_factors({}, None)] == [None, None, {}]


def test_categories_are_those_of_the_annotations_and_an_unknown_one_is_none() -> None:
    assert annotated_categories(record(15)) == {"dog", "Traffic Light"}
    assert annotated_categories(record(7)) == frozenset()
    for other in (None, {}, {"annotations": "none"}, [1]):
        assert annotated_categories(other) is None
    assert annotated_categories({"annotations": [3, {"bbox": []}, {"category": 4}]}) == frozenset()


def by_hand(scores: list[float], truth: list[bool]) -> float:
    """Area under the steps of precision over recall, by going down the thresholds one by one."""
    points = [(0.0, 1.0)]
    for threshold in sorted(set(scores), reverse=True):
        chosen = [is_true for score, is_true in zip(scores, truth, strict=True) if score >= threshold]
        points.append((sum(chosen) / sum(truth), sum(chosen) / len(chosen)))
    return sum((recall - before) * precision for (before, _), (recall, precision) in pairwise(points))


def ranked(seed: int) -> tuple[list[float], list[bool]]:
    """80 scores, many of them equal, and which examples are to be found: about every fifth."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 6, 80).astype(float).tolist(), (rng.random(80) < 0.2).tolist()


def test_an_average_precision_is_the_area_under_its_steps() -> None:
    for seed in range(10):
        scores, truth = ranked(seed)
        found = average_precision(torch.tensor(scores), torch.tensor(truth))
        assert found == pytest.approx(by_hand(scores, truth))


def test_an_average_precision_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scores, truth = ranked(3)
    found = average_precision(torch.tensor(scores), torch.tensor(truth))
    assert found == pytest.approx(metrics.average_precision_score(truth, scores))


def test_an_average_precision_is_one_where_all_come_first_and_their_share_where_nothing_is_told() -> None:
    truth = torch.arange(50) < 5
    assert average_precision(-torch.arange(50), truth) == pytest.approx(1)
    assert average_precision(torch.zeros(50), truth) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="no example is to be found"):
        average_precision(torch.zeros(50), torch.zeros(50, dtype=torch.bool))


def test_neighbours_that_are_outvoted_still_rank_what_is_rare() -> None:
    """One of three neighbours is of the kind: the majority says no to each, and yet the ranking finds them all."""
    train_at = torch.tensor([0.0, 0.1, 0.2, 10.0, 10.1, 10.2, 10.3])[:, None]
    kind = torch.tensor([True, False, False, False, False, False, False])
    test_at, truth = torch.tensor([0.0, 0.01, 10.0, 10.2, 10.1])[:, None], torch.tensor([1, 1, 0, 0, 0]).bool()
    errors = neighbour_errors(train_at, kind.long(), test_at, truth.long(), counts=(3,))
    assert errors == {3: pytest.approx(0.4)}
    assert neighbour_precisions(train_at, kind, test_at, truth, counts=(3,), rows=2) == {3: pytest.approx(1)}


@pytest.mark.parametrize("count", [1, 3, 5])
def test_neighbours_rank_by_their_number_and_then_by_their_nearness(count: int) -> None:
    rng = np.random.default_rng(0)
    latents, others = rng.normal(size=(60, 3)), rng.normal(size=(40, 3))
    kind, truth = rng.random(60) < 0.4, rng.random(40) < 0.4
    order = np.linalg.norm(others[:, None] - latents, axis=2).argsort(1)[:, :count]
    scores = [float(sum(kind[near]) * 1000 + sum(count - place for place in np.flatnonzero(kind[near])))
              for near in order]  # fmt: skip
    tensors = map(torch.from_numpy, (latents, kind, others, truth))
    assert neighbour_precisions(*tensors, counts=(count,))[count] == pytest.approx(by_hand(scores, truth.tolist()))


def test_a_run_is_measured_by_a_category_and_the_table_says_what_the_file_does(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    content = evaluate(trained / "run", "--label", "DOG")
    out, found = capsys.readouterr().out, content["neighbours"]
    assert (found["label"], found["is_category"], found["classes"], found["examples"]) == ("dog", True, 2, 10)
    assert found["majority_error"] == pytest.approx(found["share"]), "most have no dog"
    assert set(found["average_precision"]) == {"3", "5", "10"}
    assert min(found["average_precision"].values()) > 0.9, "brightness is what latents hold first"
    assert [row["factor"] for row in content["factors"]] == ["age"]
    assert content["categories"][-1]["factor"] == "dog"
    assert set(content["categories"][-1]["chance"]) == {"share", "gap", "linear_r2"}
    assert re.search(rf"always the most frequent +{found['majority_error']:.1%}\n", out)
    assert re.search(rf"average precision .*; by chance about {found['share']:.3f}\n", out)
    assert re.search(r"\ndog +\d", out)
    assert "image" not in json.dumps(content["notes"]).replace("images", "")
    light = evaluate(trained / "run", "--label", "traffic light")["neighbours"]
    assert light["label"] == "Traffic Light"


def test_a_column_with_gaps_is_measured_where_it_has_values(trained: Path, tmp_path: Path) -> None:
    content = evaluate(trained / "run", "--label", "mood")
    assert "label 'mood' is looked at without the 10 of 40 images that are without a value" in content["notes"]
    assert not any("mood (" in note for note in content["notes"])
    found = content["neighbours"]
    assert found["classes"] == 2
    assert found["examples"] < 10
    assert (found["average_precision"], found["share"]) == (None, None)
    assert content["categories"][-1]["factor"] == "mood"


def test_examples_that_are_not_annotated_are_left_out_and_a_factor_hides_a_category(
    trained: Path, tmp_path: Path
) -> None:
    images = shutil.copytree(trained / "images", tmp_path / "images")
    (images / "003.json").write_text(json.dumps(columns(3)))
    content = evaluate(trained / "run", "--source", str(images), "--label", "dog")
    assert "label 'dog' is looked at without the 1 of 40 images that is not annotated" in content["notes"]
    for number in range(40):
        fields = record(number, **columns(number), dog=number % 2 == 0)
        (images / f"{number:03d}.json").write_text(json.dumps(fields))
    content = evaluate(trained / "run", "--source", str(images), "--label", "dog")
    assert any("'dog' is the factor, not the category" in note for note in content["notes"])
    assert content["neighbours"]["is_category"] is False
    assert content["neighbours"]["share"] is not None, "truth values are yes and no"
    assert [row["factor"] for row in content["factors"]] == ["age", "dog"]
    assert content["categories"] == []


def test_a_category_is_measured_in_a_set_of_which_most_pictures_are_not_annotated(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The numbers are those of the pictures that have a json, whatever the others show."""
    images = shutil.copytree(trained / "images", tmp_path / "images")
    for number in range(40):
        if number % 3 == 1:
            (images / f"{number:03d}.json").unlink()
    content = evaluate(trained / "run", "--source", str(images), "--label", "dog")
    assert content["notes"][:2] == [
        "no factors: 13 of 40 images have no JSON object",
        "label 'dog' is looked at without the 13 of 40 images that are not annotated",
    ]
    found, whole = content["neighbours"], evaluate(trained / "run", "--label", "dog")["neighbours"]
    assert (found["label"], found["is_category"], found["classes"]) == ("dog", True, 2)
    dogs = round(whole["share"] * whole["examples"])
    assert found["share"] == pytest.approx(dogs / found["examples"]), "no picture of a dog lost its json"
    assert min(found["average_precision"].values()) > 0.9
    assert [row["factor"] for row in content["categories"]] == ["dog"]
    assert content["factors"] is None
    for number in range(2, 40):
        (images / f"{number:03d}.json").unlink(missing_ok=True)
    told = r"label is the category 'dog', but \d training and \d held-out images are annotated; neighbours need 3"
    refused(capsys, [str(trained / "run"), "--source", str(images), "--label", "dog"], told)


def test_names_from_files_are_escaped_and_cut_in_sentences() -> None:
    wild = "dog\x1b[31m\x00"
    categories = [frozenset({wild, "k" * 500_000})] * 4
    with pytest.raises(ValueError, match="no factor or category") as raised:
        find_label("dogs", [{"a\nb": 1}] * 4, categories)
    assert len(str(raised.value)) < 400
    assert str(raised.value).isprintable()
    (note,) = label_notes(find_label(wild, [None] * 4, categories), IMAGE)
    assert note.isprintable()
    with pytest.raises(ConfigError) as refusal:
        choose_label("k" * 500_000, [None] * 4, categories, IMAGE, num_train=2)
    assert len(str(refusal.value)) < 400
    assert all(note.isprintable() and len(note) < 400 for note in left_out([{"x" * 9000: 1, "\x1b": 2}] * 2))


def test_a_name_that_is_neither_ends_in_one_sentence(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(trained / "run")
    refused(
        capsys, [run, "--label", "dgo"], r"no factor or category is called 'dgo'.*; the factors .* age, name, the "
    )
    refused(capsys, [run, "--label", "trafic light"], r"did you mean the category 'Traffic Light'\?")
    refused(capsys, [run, "--label", "image"], "no factor or category is called 'image'")
    refused(capsys, [run, "--limit", "2", "--label", "dog"], "2 training images are fewer than 3")


def test_too_few_values_to_compare_with_are_refused() -> None:
    fields = [{"mood": value} for value in ("a", None, "b", "a", "b", None)]
    assert choose_label("mood", fields, [None] * 6, IMAGE, num_train=4).known == ["a", "b", "a", "b"]
    for num_train, told in ((2, "1 training and 3 held-out images have a value"), (5, "4 training and 0 held-out")):
        with pytest.raises(ConfigError, match=f"label is the factor 'mood', but {told}"):
            choose_label("mood", fields, [None] * 6, IMAGE, num_train=num_train)


def test_a_label_that_is_the_same_everywhere_is_said_to_be() -> None:
    label = find_label("dog", [{}] * 4, [{"dog"}] * 4)
    assert label_notes(label, IMAGE) == ["label 'dog' is the same in all examples: true"]
