"""States from elsewhere: numbers beyond 64 bits, wrong types at every key, depth; refused when they are loaded."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from pipelines import StateError
from pipelines.torch_bridge import TorchDataset

from .lettered import letters, rows, three

DEEP: Any = []
for _ in range(100_000):
    DEEP = [DEEP]

VALUES: list[Any] = [
    *(None, True, -1, 1.5, float("nan"), "", "1", [], [[]], {}, {"a": 1}, 2**53 + 1, 2**63 - 1, 2**63, 2**64),
    *(10**5000, np.zeros(3), np.int64(2), {"kind": np.zeros(3)}, b"x"),
]


def single() -> Any:
    """An iterator of 23 examples in batches of 4, after its first batch."""
    iterator = letters(threads=1)
    next(iter(iterator))
    return iterator


def mixture() -> Any:
    """A mixture of three sources, after its first batch."""
    mixed = three()
    next(iter(mixed))
    return mixed


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every path to a value in nested dictionaries and lists."""
    if path:
        yield path
    for key, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(inner, (*path, key))


def changed(state: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at a path."""
    state = copy.deepcopy(state)
    inner = state
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return state


@pytest.mark.parametrize("make", [single, mixture])
def test_any_value_at_any_place_is_refused_when_it_is_loaded_or_can_be_played(make: Callable[[], Any]) -> None:
    iterator = make()
    state = iterator.state_dict()
    for path in places(state):
        for value in (*VALUES, DEEP):
            new = changed(state, path, value) if value is not DEEP else _deep(state, path)
            assert len(verdict(iterator, new)) < 1000, path


def verdict(iterator: Any, state: Any) -> str:
    """What is said of a state when it is loaded, nothing where it is played."""
    try:
        iterator.load_state_dict(state)
    except StateError as error:
        return str(error)
    next(iter(iterator))
    json.dumps(iterator.state_dict())
    return ""


def _deep(state: Any, path: tuple[Any, ...]) -> Any:
    """`changed` with a value that cannot be copied, being too deep."""
    found = changed(state, path, None)
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = DEEP
    return found


@pytest.mark.parametrize("key", ["epoch", "position", "substitutions", "examples"])
def test_a_number_that_no_run_reaches_is_refused_by_name(key: str) -> None:
    iterator = single()
    with pytest.raises(StateError, match=rf"{key} is 9007199254740993; .* from 0 to 9,007,199,254,740,992"):
        iterator.load_state_dict({**iterator.state_dict(), key: 2**53 + 1})


def test_the_last_epoch_that_is_accepted_can_be_played() -> None:
    for iterator in (single(), mixture()):
        state = iterator.state_dict()
        iterator.load_state_dict({**state, "epoch": 2**53})
        assert len(rows(iterator))
        assert len(rows(iterator))
    with pytest.raises(ValueError, match="epoch"):
        single().reset(epoch=2**53 + 1)


@pytest.mark.parametrize(
    "quotas",
    [[], [1000], [333, 667], [334, 333, 332], [0, 500, 500], [True, 499, 500], ["1", 499, 500], [[], 1, 2]],
)
def test_quotas_that_no_weights_give_are_refused(quotas: Any) -> None:
    iterator = mixture()
    with pytest.raises(StateError, match="quotas"):
        iterator.load_state_dict({**iterator.state_dict(), "quotas": quotas})


@pytest.mark.parametrize(
    "state",
    [
        *(None, [], 3, "x", {}, {"start": None, "taken": 0, "global_batch": 4}),
        *({"taken": value} for value in (-1, 1.5, "1", None, True, 2**63)),
        {"global_batch": "4"},
        {"start": {}},
    ],
    ids=repr,
)
def test_a_loaders_state_that_is_none_is_refused(state: Any) -> None:
    dataset = TorchDataset(letters(threads=1))
    next(iter(dataset))
    whole = dataset.state_dict()
    with pytest.raises(StateError):
        dataset.load_state_dict({**whole, **state} if isinstance(state, dict) and len(state) == 1 else state)


def test_a_long_state_leaves_the_workers_note_short() -> None:
    dataset = TorchDataset(letters(threads=1))
    dataset.go_to({**dataset.iterator.state_dict(), "more": "x" * 100_000})
    assert len(rows(dataset)) == 23
