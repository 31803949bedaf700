"""The tables of docs/latents.md are what the committed results say, and the results are what the library does."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from dirvae.latents.estimators import ESTIMATORS

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks" / "latents"
RESULTS = BENCHMARKS / "results" / "estimators.json"
sys.path.insert(0, str(BENCHMARKS))  # the benchmarks are programs: they import each other from their own folder


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"latents_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows() -> list[dict]:
    return json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]


def test_the_documents_show_the_tables_that_the_results_make(capsys: pytest.CaptureFixture[str]) -> None:
    assert load("tables").main(["--check"]) == 0, capsys.readouterr().out


def test_a_document_with_another_number_is_out_of_date(tmp_path: Path) -> None:
    tables = load("tables")
    text = tables.filled("before\n<!-- table spread-50 -->\nstale\n<!-- end of table -->\nafter\n")
    assert text.startswith("before\n<!-- table spread-50 -->\n| estimator | a = 0.05 |")
    assert text.endswith("<!-- end of table -->\nafter\n")
    assert "stale" not in text
    assert tables.filled(text) == text
    (tmp_path / "estimators.json").write_text(
        RESULTS.read_text(encoding="utf-8").replace('"spread": 1.', '"spread": 7.')
    )
    assert tables.filled(text, tmp_path) != text


def test_a_table_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="'nothing'; there are gradients-3"):
        load("tables").filled("<!-- table nothing -->\n<!-- end of table -->")


def test_every_estimator_is_in_the_results_at_every_setting() -> None:
    benchmark = load("estimators")
    expected = {
        (n, a, k) for n in (*ESTIMATORS, "torch") for a in benchmark.CONCENTRATIONS for k in benchmark.SIZES
    }
    assert {(row["estimator"], row["concentration"], row["size"]) for row in rows()} == expected


def test_the_exact_estimator_is_unbiased_in_the_results() -> None:
    exact = [row for row in rows() if row["estimator"] == "exact"]
    for row in exact:
        assert all(abs(row[name]["bias"]) < 5 * row[name]["error"] for name in ("z", "z²", "log z")), row
        assert row["spread"] == pytest.approx(1, abs=0.05), row
    assert len(exact) == 10


def test_the_documents_words_about_the_papers_draws_are_those_of_the_results() -> None:
    spread = {
        row["concentration"]: row["spread"] for row in rows() if (row["estimator"], row["size"]) == ("paper", 50)
    }
    assert spread[0.98] == pytest.approx(1 / 3, abs=0.03)
    assert spread[50.0] == pytest.approx(1 / 50, abs=0.003)


@pytest.mark.parametrize("estimator", ["exact", "paper", "rsvi", "torch"])
def test_measuring_again_gives_the_committed_numbers_up_to_chance(estimator: str) -> None:
    measured = load("estimators").measure(estimator, 0.98, 3, num_draws=20_000)
    (committed,) = [
        row for row in rows() if (row["estimator"], row["concentration"], row["size"]) == (estimator, 0.98, 3)
    ]
    assert measured["spread"] == pytest.approx(committed["spread"], rel=0.1)
    for name in ("z", "z²", "log z"):
        assert abs(measured[name]["bias"] - committed[name]["bias"]) < 6 * measured[name]["error"]
        assert measured[name]["deviation"] == pytest.approx(committed[name]["deviation"], rel=0.15)
