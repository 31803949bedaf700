"""States: small, exact at every position, in a fresh process too, for other threads, ranks and grown data."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import DataIterator, ImageIterator, StateError, hold_out, open_source
from pipelines.testing import assert_resumes_exactly

Fixture = Callable[..., Any]
STATE_KEYS = [
    "version",
    "order_version",
    "epoch",
    "position",
    "substitutions",
    "seed",
    "shuffle",
    "shuffle_shards",
    "groups",
    "examples",
    "data_hash",
    "clips",
]


@pytest.fixture
def make(numbers: Fixture, decode_number: Fixture) -> Fixture:
    def build(num: int = 23, *, shards: Any = (), **settings: Any) -> DataIterator:
        return DataIterator(
            numbers(num, (), shards), decode_number, **{"batch_size": 4, "shuffle": True, "threads": 2, **settings}
        )

    return build


def played(batches: Any) -> list[int]:
    return [int(number) for batch in batches for number in batch.data[:, 0]]


def test_the_state_is_flat_json_under_a_kilobyte_with_the_same_keys_always(make: Fixture) -> None:
    numbers = make()
    for batch in [*numbers, *numbers]:
        assert list(batch.state) == STATE_KEYS
        stored = json.dumps(batch.state)
        assert len(stored) < 1024
        assert json.loads(stored) == batch.state
    assert list(make().state_dict()) == STATE_KEYS


@pytest.mark.parametrize("tail", ["keep", "pad", "drop"])
def test_at_the_end_of_an_epoch_the_state_is_the_one_before_the_next(tail: str, make: Fixture) -> None:
    numbers = make(tail=tail)
    last = list(numbers)[-1].state
    assert (last["epoch"], last["position"]) == (1, 0)
    assert numbers.state_dict() == last
    fresh = make(tail=tail)
    fresh.load_state_dict(last)
    assert played(fresh) == played(numbers)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"shuffle": False},
        {"groups": 2},
        {"shuffle_shards": 2, "shards": [7, 9, 4, 3]},
        {"tail": "pad"},
        {"tail": "drop"},
        {"seed": -(2**70)},
    ],
    ids=str,
)
def test_it_resumes_at_every_batch_with_other_threads_batches_and_ranks(
    settings: dict[str, Any], make: Fixture
) -> None:
    variations: list[dict[str, Any]] = [{}, {"threads": 1}, {"threads": 5, "prefetch_bytes": 0}]
    ordered = True
    if settings.get("tail") != "drop":
        variations += [
            {"batch_size": 6},
            {"batch_size": 2, "world_size": 3, "tail": "pad"},
            {"batch_size": 4, "world_size": 4, "tail": "pad"},
        ]
        ordered = "groups" not in settings
    tried = assert_resumes_exactly(
        lambda **changes: make(**{**settings, **changes}), variations=variations, ordered=ordered
    )
    assert tried >= 2 * 5 * len(variations)


@pytest.mark.parametrize("tail", ["pad", "drop"])
@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_ranks_share_an_epoch_and_agree_on_every_state(world_size: int, tail: Any, make: Fixture) -> None:
    ranks = [make(30, rank=rank, world_size=world_size, tail=tail) for rank in range(world_size)]
    found: list[int] = []
    for step in zip(*ranks, strict=True):
        assert all(batch.state == step[0].state for batch in step)
        for batch in step:
            real = np.ones(4, bool) if batch.mask is None else batch.mask
            found += batch.data[real, 0].tolist()
    whole = played(make(30))
    kept = len(whole) if tail == "pad" else len(whole) // (4 * world_size) * 4 * world_size
    assert sorted(found) == sorted(whole[:kept])


def test_a_state_moves_from_world_to_world_and_back(make: Fixture) -> None:
    """1 → 3 → 2 → 1 ranks within one epoch, and nothing lost or repeated."""
    whole, found, state = played(make(40)), list[int](), make(40).state_dict()
    for world_size, steps in ((1, 2), (3, 1), (2, 1), (1, 99)):
        ranks = [make(40, batch_size=3, rank=rank, world_size=world_size, tail="pad") for rank in range(world_size)]
        for rank in ranks:
            rank.load_state_dict(state)
        for _, step in zip(range(steps), zip(*ranks, strict=True), strict=False):
            for batch in step:
                real = np.ones(3, bool) if batch.mask is None else batch.mask
                found += batch.data[real, 0].tolist()
            state = step[0].state
        for rank in ranks:
            rank.close()
    assert found == whole


def test_a_state_saved_while_batches_are_prefetched_is_that_of_the_batch_in_hand(numbers: Fixture) -> None:
    read = []

    def decode(example: Any, rng: np.random.Generator) -> Any:
        read.append(example.index)
        return np.array([example.index])

    eager = DataIterator(numbers(200), decode, batch_size=4, shuffle=True, threads=4)
    loop, kept = iter(eager), []
    for _ in range(3):
        kept += next(loop).data[:, 0].tolist()
    for _ in range(500):
        threading.Event().wait(0.01)
        if len(read) > 20:
            break
    assert len(read) > 20, "several batches are ready"
    state = eager.state_dict()
    assert state["position"] == 12
    eager.close()
    fresh = DataIterator(numbers(200), decode, batch_size=4, shuffle=True)
    fresh.load_state_dict(state)
    assert sorted(kept + played(fresh)) == list(range(200))


FRESH = """
import json, pickle, sys
from pathlib import Path
from pipelines import ImageIterator
settings = json.loads(sys.argv[1])
found = []
for line in sys.stdin:
    kind, stored = line.split()
    images = ImageIterator(threads=1, **settings)
    raw = bytes.fromhex(stored)
    images.load_state_dict(json.loads(raw) if kind == "json" else pickle.loads(raw))
    found.append([[batch.keys, int(batch.data.astype(int).sum())] for batch in images])
print(json.dumps(found))
"""


def test_every_state_is_restored_in_a_fresh_process_through_json_and_pickle(picture_folder: Fixture) -> None:
    settings = {"source": str(picture_folder(14)), "size": 8, "batch_size": 4, "shuffle": True, "flip": True}
    settings["crop"], settings["resizer"] = "random", "pillow"
    images = ImageIterator(threads=2, **settings)
    states, rows = [images.state_dict()], list[Any]()
    for _ in range(2):
        for batch in images:
            states.append(batch.state)
            rows.append([batch.keys, int(batch.data.astype(int).sum())])
    lines = [f"json {json.dumps(state).encode().hex()}" for state in states[:8]]
    lines += [f"pickle {pickle.dumps(state).hex()}" for state in states[:8]]
    done = subprocess.run(
        [sys.executable, "-c", FRESH, json.dumps(settings)],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    expected = [rows[at:4] if at < 4 else rows[at:8] for at in range(8)]
    assert json.loads(done.stdout) == expected * 2


def test_a_live_iterator_is_copied_and_pickled_at_its_state(picture_folder: Fixture) -> None:
    images = ImageIterator(picture_folder(20), size=8, batch_size=3, shuffle=True, threads=2)
    loop = iter(images)
    next(loop)
    copies = [copy.copy(images), copy.deepcopy(images), pickle.loads(pickle.dumps(images))]
    rest = [batch.keys for batch in loop]
    for again in copies:
        assert again.position == 3
        assert [batch.keys for batch in again] == rest
    assert (images.epoch, images.position) == (1, 0)
    assert repr(copies[0]) == repr(copies[2])


def test_statistics_of_a_copy_start_afresh_and_do_not_break_it(picture_folder: Fixture) -> None:
    images = ImageIterator(picture_folder(6), size=8, batch_size=3)
    list(images)
    again = pickle.loads(pickle.dumps(images))
    assert again.stats.examples == 0
    list(again)
    assert (images.stats.examples, again.stats.examples) == (6, 6)


# States that do not belong


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed=1"),
        ({"shuffle": False}, "shuffle=False"),
        ({"shuffle": "files"}, "shuffle='files'"),
        ({"groups": 2}, "groups=2"),
        ({"shuffle_shards": 3}, "shuffle_shards=3"),
        ({"clips": "x"}, "clips='x'"),
        ({"version": 2}, "version 2"),
        ({"order_version": 0}, "order_version 0"),
        ({"examples": 24}, "24 examples"),
        ({"examples": 22}, "22 examples"),
        ({"examples": 0}, "0 examples"),
        ({"data_hash": "0" * 32}, "0{32}"),
        ({"data_hash": None}, "23 examples"),
        ({"examples": 7, "data_hash": None}, "7 examples"),
        ({"position": 23}, "position 23"),
        ({"position": -1}, "position is -1"),
        ({"epoch": -1}, "epoch is -1"),
        ({"epoch": 1.5}, "epoch is 1.5"),
        ({"position": True}, "position is True"),
        ({"position": "4"}, "position is '4'"),
        ({"substitutions": None}, "substitutions is None"),
    ],
    ids=str,
)
def test_a_state_of_other_data_or_settings_says_what_differs(
    change: dict[str, Any], named: str, make: Fixture
) -> None:
    numbers = make()
    next(iter(numbers))
    before = numbers.state_dict()
    with pytest.raises(StateError, match=named) as caught:
        numbers.load_state_dict({**before, **change})
    assert str(caught.value).startswith("numbers: ")
    assert "\n" not in str(caught.value)
    assert numbers.state_dict() == before, "a refused state changes nothing"
    assert len(played(numbers)) == 19


@pytest.mark.parametrize("state", [None, [], "x", 3, {}, {"epoch": 0}], ids=repr)
def test_what_is_no_state_is_refused(state: Any, make: Fixture) -> None:
    with pytest.raises(StateError):
        make().load_state_dict(state)


def test_a_missing_key_is_named(make: Fixture) -> None:
    for key in STATE_KEYS:
        state = make().state_dict()
        del state[key]
        with pytest.raises(StateError, match=key):
            make().load_state_dict(state)


def test_a_state_over_other_pictures_is_refused(picture_folder: Fixture) -> None:
    state = ImageIterator(picture_folder(5, "a"), size=8).state_dict()
    for num in (4, 6):
        with pytest.raises(StateError, match="5 examples"):
            ImageIterator(picture_folder(num, f"b{num}"), size=8).load_state_dict(state)


# Data that grew


def grown(folder_of: Fixture, counts: list[int], state: dict[str, Any], part: int | None = None) -> Iterator[Any]:
    source = open_source(folder_of(counts))
    chosen = source if part is None else hold_out(source, 0.2, seed=1)[part]
    images = ImageIterator(chosen, size=8, batch_size=4, shuffle=True)
    images.load_state_dict(state)
    while True:
        yield [key for batch in images for key in batch.keys]


@pytest.mark.parametrize("part", [None, 0, 1], ids=["all", "rest", "held out"])
def test_with_appended_shards_the_epoch_in_progress_ends_over_what_it_began_with(
    part: int | None, picture_shards: Fixture
) -> None:
    counts = [9, 6] if part != 1 else [40, 30]
    source = open_source(picture_shards(counts))
    chosen = source if part is None else hold_out(source, 0.2, seed=1)[part]
    images = ImageIterator(chosen, size=8, batch_size=4, shuffle=True)
    whole = [key for batch in images for key in batch.keys]
    images.reset()
    loop = iter(images)
    done = next(loop).keys
    state = json.loads(json.dumps(images.state_dict()))
    images.close()
    epochs = grown(picture_shards, [*counts, 10], state, part)
    assert done + next(epochs) == whole
    after = next(epochs)
    assert len(after) == len(set(after)) > len(whole)
    assert set(whole) < set(after)


def test_shards_that_changed_before_the_end_are_not_growth(picture_shards: Fixture) -> None:
    images = ImageIterator(picture_shards([9, 6]), size=8, batch_size=4, shuffle=True)
    next(iter(images))
    state = images.state_dict()
    with pytest.raises(StateError, match="15 examples"):
        next(grown(picture_shards, [8, 7, 10], state))
    with pytest.raises(StateError, match="15 examples"):
        next(grown(picture_shards, [9], state))


def test_the_state_names_no_path(picture_folder: Fixture) -> None:
    folder: Path = picture_folder(3)
    assert str(folder) not in json.dumps(ImageIterator(folder, size=8).state_dict())
