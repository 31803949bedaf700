"""Whatever bytes come in, one of the library's own errors comes out, or data: for every parser, on damaged input."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from . import arrays, faulty, pictures, sets, sounds, states, tars, videos
from .cases import played
from .target import Target

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory limits are only dependable on Linux")

GROUPS: dict[str, tuple[tuple[Target, ...], int, int]] = {
    "states": (states.TARGETS, 60, 4000),
    "tars": (tars.TARGETS, 30, 1000),
    "sets": (sets.TARGETS, 14, 450),
    "sounds": (sounds.TARGETS, 6, 220),
    "arrays": (arrays.TARGETS, 6, 350),
    "pictures": (pictures.TARGETS, 6, 250),
    "videos": (videos.TARGETS, 3, 250),
}
"""Of each group: its targets, cases of each target in `make test`, and in `make verify`."""


def assert_own_errors(scratch: Path, targets: tuple[Target, ...], first: int, stop: int) -> None:
    counts, failures = played(scratch, [(target.name, first, stop) for target in targets])
    assert not failures, "\n" + "\n".join(failures)
    for name, found in counts.items():
        assert found.total() == stop - first, name


@pytest.mark.parametrize("group", GROUPS)
def test_damaged_input_is_read_or_refused(group: str, tmp_path: Path) -> None:
    targets, num, _ = GROUPS[group]
    assert_own_errors(tmp_path, targets, 0, num)


@pytest.mark.heavy
@pytest.mark.parametrize("group", GROUPS)
def test_damaged_input_is_read_or_refused_in_many_more_cases(group: str, tmp_path: Path) -> None:
    targets, first, num = GROUPS[group]
    assert_own_errors(tmp_path, targets, first, first + num)


def test_a_parser_that_is_wrong_is_reported_with_its_case_and_how_to_repeat_it(tmp_path: Path) -> None:
    cases = {"raises": 8, "refuses": 8}
    wanted = [(target.name, 0, cases.get(target.name.split()[1], 2)) for target in faulty.TARGETS]
    counts, failures = played(tmp_path / "first", wanted)
    said = {failure.split(",")[0]: failure for failure in failures}
    assert "IndexError: list index out of range" in said["faulty raises"]
    assert "takes over 10 s" in said["faulty loops"]
    assert "no end within 60 s" in said["faulty waits"]
    assert "MemoryError" in said["faulty allocates"]
    assert "exit status -11" in said["faulty crashes"]
    assert "faulty refuses" not in said
    assert counts["faulty refuses"]["refused"] == 8
    assert 0 < counts["faulty raises"]["failed"] < 8, "some of its cases are read"
    assert all(counts[f"faulty {name}"]["failed"] == 2 for name in ("loops", "waits", "allocates", "crashes"))
    command = shlex.split(said["faulty raises"].partition("repeat: ")[2])
    name, first, stop = command[-1].split(":")
    again, repeated = played(tmp_path / "again", [(name, int(first), int(stop))])
    assert (len(repeated), again[name]) == (1, {"failed": 1})
