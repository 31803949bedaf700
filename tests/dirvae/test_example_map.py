"""The map of examples in a report: where its points stand, what their colours mean, and what may change it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from dirvae.drawing.charts import OTHERS
from dirvae.drawing.colouring import MOST_ENTRIES, SCALE, by_component, by_label
from dirvae.evaluate.labels import Label
from dirvae.report.example_map import draw_map, log_ratios, map_of, principal_plane
from dirvae.run.report import write_run_report
from dirvae.train import main as train
from tests.dirvae.trained_runs import weights

SMALL = ["--size", "8", "--batch-size", "8", "--model-size", "4", "--device", "cpu", "--threads", "1"]


def dirichlet(num: int = 60, size: int = 5, concentration: float = 0.7) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).dirichlet([concentration] * size, num))


def points_of(svg: str) -> tuple[list[tuple[float, float]], list[str], list[str]]:
    """Places, colours and titles of the points of a map, in the order in which they are drawn."""
    circles = [one for one in ElementTree.fromstring(svg).iter() if one.tag.endswith("circle")]
    places = [(float(one.attrib["cx"]), float(one.attrib["cy"])) for one in circles]
    return places, [one.attrib["fill"] for one in circles], [one[0].text or "" for one in circles]


def test_the_plane_is_that_of_the_largest_eigenvalues_of_the_covariance() -> None:
    values = np.random.default_rng(0).normal(size=(50, 4)) @ np.diag([1.0, 5.0, 2.0, 0.3]) + 100
    found, shares = principal_plane(torch.from_numpy(values))
    strengths, axes = np.linalg.eigh(np.cov(values.T))
    assert shares == pytest.approx((strengths[-1] / strengths.sum(), strengths[-2] / strengths.sum()))
    for place in (0, 1):
        axis = axes[:, -1 - place]
        axis = axis * np.sign(axis[np.abs(axis).argmax()])
        np.testing.assert_allclose(found[:, place], (values - values.mean(0)) @ axis, atol=1e-9)


def test_log_ratios_are_centred_logarithms_and_hold_at_zero() -> None:
    shares = dirichlet(20, concentration=50.0)
    logs = np.log(shares.numpy())
    np.testing.assert_allclose(log_ratios(shares), logs - logs.mean(1, keepdims=True), atol=1e-12)
    assert log_ratios(torch.tensor([[1.0, 0.0, 0.0, 0.0]])).isfinite().all()
    off = log_ratios(torch.tensor([[0.5, 0.5, 1e-9, 0.0], [0.5, 0.5, 1e-30, 1e-5]]))
    assert torch.equal(off[0], off[1]), "how far a component is off does not count"


def test_both_axes_have_one_scale_and_all_points_are_inside() -> None:
    latents = torch.from_numpy(np.random.default_rng(0).normal(size=(80, 3)))
    found = draw_map(latents, None, keys=[f"{n}" for n in range(80)], are_shares=False)
    assert found is not None
    places, colours, titles = points_of(found.svg)
    assert set(colours) == {"var(--accent)"}
    assert titles == [f"{n}" for n in range(80)]
    assert all(26 < x < 640 and 0 < y < 394 for x, y in places)
    plane, _ = principal_plane(latents)
    drawn = np.array(places) * (1, -1)
    ratio = np.linalg.norm(drawn - drawn[0], axis=1)[1:] / np.linalg.norm(plane - plane[0], axis=1)[1:]
    np.testing.assert_allclose(ratio, ratio[0], rtol=0.05)
    for share in found.variances:
        assert f"{100 * share:.0f} % of the variance" in found.svg


def test_what_has_no_plane_has_no_map() -> None:
    keys = ["a", "b", "c", "d"]
    for latents in (torch.ones(4, 3), torch.rand(2, 3), torch.rand(4, 1), torch.full((4, 3), torch.nan)):
        assert draw_map(latents, None, keys=keys[: len(latents)], are_shares=False) is None
        assert map_of(latents, keys[: len(latents)], None, are_shares=False) is None


def test_many_examples_stay_few_points_and_the_map_small() -> None:
    shares = dirichlet(4001)
    found = map_of(shares, [f"folder/picture {n}" for n in range(4001)], None, are_shares=True)
    assert found is not None
    assert 400 < len(points_of(found["svg"])[0]) <= 500
    assert len(found["svg"]) < 100_000


def test_keys_and_values_from_outside_are_escaped() -> None:
    hostile = "</svg><script>'\"&"
    found = map_of(dirichlet(4), [hostile] * 4, Label("kind", [hostile, "b", "c", None], False), are_shares=True)
    assert found is not None
    assert "<script" not in found["svg"]
    words = [f"kind {hostile}", "kind b", "kind c", "no kind"]
    assert sorted(points_of(found["svg"])[2]) == sorted(f"{hostile} · {one}" for one in words)


def test_a_category_has_two_colours_and_those_with_it_are_drawn_last() -> None:
    label = Label("dog", [True, False, None, True, False, False], is_category=True)
    colouring = by_label(label)
    assert [(entry.name, entry.count) for entry in colouring.entries] == [
        ("with dog", 2),
        ("without dog", 3),
        ("not annotated", 1),
    ]
    assert len({entry.colour for entry in colouring.entries}) == 3
    assert colouring.subject == "the category dog of the annotations"
    found = draw_map(dirichlet(6), colouring, keys=[*"abcdef"], are_shares=True)
    assert found is not None
    _, colours, titles = points_of(found.svg)
    assert titles == ["b · without dog", "c · not annotated", "e · without dog", "f · without dog", "a · with dog",
                      "d · with dog"]  # fmt: skip
    assert colours[-2:] == [colouring.entries[0].colour] * 2


def test_texts_have_a_colour_each_and_the_rare_ones_one_in_common() -> None:
    values = [f"kind {number}" for number in range(14) for _ in range(20 - number)]
    colouring = by_label(Label("shape", values, False))
    assert [entry.name for entry in colouring.entries] == [
        *(f"kind {number}" for number in range(MOST_ENTRIES)),
        "4 other values",
    ]
    assert len({entry.colour for entry in colouring.entries}) == MOST_ENTRIES + 1
    assert sum(entry.count for entry in colouring.entries) == len(values)
    by_name = {entry.name: entry.colour for entry in colouring.entries}
    assert colouring.colours == [by_name.get(value, OTHERS) for value in values]


def test_numbers_have_a_scale_that_gets_ever_lighter() -> None:
    colouring = by_label(Label("hue", [2, 0, 4.0, None, 1], False))
    assert colouring.colours == [SCALE[2], SCALE[0], SCALE[4], OTHERS, SCALE[1]]
    assert colouring.scale == (0, 4.0)
    assert [(entry.name, entry.count) for entry in colouring.entries] == [("no hue", 1)]
    grey = [sum(weight * int(one[start : start + 2], 16) for start, weight in ((1, 0.3), (3, 0.59), (5, 0.11)))
            for one in SCALE]  # fmt: skip
    assert grey == sorted(grey)
    assert by_label(Label("x", [3, 3], False)).colours == [SCALE[0]] * 2
    assert by_label(Label("x", [-1e308, 1e308], False)).colours == [SCALE[0], SCALE[4]]


def test_without_a_label_shares_are_coloured_by_the_largest() -> None:
    shares = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1]])
    colouring = by_component(shares)
    assert colouring.colours[0] == colouring.colours[2] != colouring.colours[1]
    assert [(entry.name, entry.count) for entry in colouring.entries] == [("component 1", 1), ("component 0", 2)]
    wide = by_component(torch.eye(20))
    assert [entry.name for entry in wide.entries][-1] == "others"
    assert sum(entry.count for entry in wide.entries) == 20


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, one_torch_thread: None) -> Path:
    """24 pictures of noise, every third of them with a dog and of kind a."""
    folder = tmp_path_factory.mktemp("map") / "images"
    folder.mkdir()
    for number in range(24):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
        annotations = [{"category": "dog", "bbox": [0, 0, 1, 1]}] if number % 3 == 0 else []
        content = {"kind": "ab"[number % 3 > 0], "annotations": annotations, "image": {"width": 8, "height": 8}}
        (folder / f"{number:03d}.json").write_text(json.dumps(content))
    return folder


def subject(run: Path) -> str:
    found = re.findall(r"Coloured by (.*?)</p>", (run / "report.html").read_text("utf-8"))
    assert len(found) == 1
    return str(found[0])


def test_a_label_colours_the_report_and_may_change_without_changing_the_training(
    images: Path, tmp_path: Path
) -> None:
    arguments = [*SMALL, "--data", str(images), "--held-out", "0.5"]
    plain, run = tmp_path / "plain", tmp_path / "run"
    assert train([*arguments, "--steps", "4", "--out", str(plain)]) == 0
    assert train([*arguments, "--steps", "2", "--label", "DOG", "--out", str(run)]) == 0
    assert subject(plain) == "the component with the largest share"
    assert subject(run) == "the category dog of the annotations"
    resume = ["--resume", "--out", str(run)]
    assert train([*resume, "--steps", "4", "--label", "kind"]) == 0
    assert subject(run) == "the factor kind"
    assert weights(run) == weights(plain)
    assert train(resume) == 0
    assert subject(run) == "the factor kind"
    assert train([*resume, "--label", ""]) == 0
    assert subject(run) == subject(plain)
    text = write_run_report(run, label="dog").read_text("utf-8")
    svg = next(one for one in re.findall(r"<svg.*?</svg>", text, re.DOTALL) if "axis" in one)
    told = {title.partition(" · ")[0]: title for title in points_of(svg)[2]}
    assert len(told) == 12
    assert all((int(key) % 3 == 0) == (title == f"{key} · with dog") for key, title in told.items())


def test_a_label_that_is_nowhere_is_told_before_the_training(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*SMALL, "--data", str(images), "--held-out", "0.5", "--steps", "2", "--label", "dgos"]
    for more in (["--out", str(tmp_path / "run")], ["--out", str(tmp_path / "dry"), "--dry-run"]):
        capsys.readouterr()
        assert train([*arguments, *more]) == 1
        err = capsys.readouterr().err
        assert err.startswith(
            "error: no factor or category is called 'dgos'; the factors of the examples are kind, "
        )
        assert err.endswith("The report looks at 12 of them; leave label out for one without its colours.\n")
    assert not (tmp_path / "run" / "config.json").exists()
