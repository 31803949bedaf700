"""States of every iterator and loader, as JSON that went through other hands."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import ArrayIterator, AudioIterator, ImageIterator, StateError, mix

from ..recordings import encoded, melody
from .damage import Damage
from .play import png
from .target import Target

__all__ = ["TARGETS"]


@dataclass(frozen=True)
class Saved:
    """An iterator, and its states after 1, 2 … batches."""

    iterator: Any
    states: list[dict[str, Any]]


def saved(folder: Path, *, make: Callable[[Path], Any]) -> Saved:
    iterator = make(folder)
    states = [batch.state for batch in itertools.islice(iterator, 3)]
    iterator.close()
    return Saved(iterator, states)


def pictures(folder: Path, name: str = "pictures", **settings: Any) -> ImageIterator:
    (folder / name).mkdir()
    for number in range(7):
        (folder / name / f"{number}.png").write_bytes(png(number))
    return ImageIterator(folder / name, **{"size": 8, "batch_size": 2, "threads": 1, "shuffle": True, **settings})


def sounds(folder: Path) -> AudioIterator:
    (folder / "sounds").mkdir()
    for number in range(3):
        (folder / "sounds" / f"{number}.wav").write_bytes(encoded(melody(1500 + 300 * number, seed=number)))
    return AudioIterator(
        folder / "sounds", window=400, batch_size=2, threads=1, shuffle="files", random_offset=True
    )


def rows(folder: Path) -> ArrayIterator:
    np.save(folder / "x.npy", np.arange(60.0).reshape(20, 3))
    return ArrayIterator(folder / "x.npy", window=2, batch_size=2, threads=1, shuffle=True, groups=2)


def mixture(folder: Path) -> Any:
    parts = [pictures(folder, name, seed=number) for number, name in enumerate("ab")]
    return mix(parts, [1, 2], batch_size=2, threads=1)


def play(made: Saved, damage: Damage, folder: Path) -> None:
    state = damage.one_of(made.states)
    way = damage.below(3)
    if way == 0:
        state = damage.value(state)
    elif way == 1:
        key = damage.one_of([key for key, value in state.items() if isinstance(value, int | list)])
        state = {**state, key: damage.value(state[key])}
    else:
        try:
            state = json.loads(damage.json(state))
        except (ValueError, RecursionError) as error:  # the caller's part
            raise StateError(str(error)) from error
    made.iterator.load_state_dict(state)
    for _ in range(2):  # to the end of the epoch, and the next one
        for _ in itertools.islice(made.iterator, 12):
            pass
    json.dumps(made.iterator.state_dict())
    len(made.iterator)
    made.iterator.close()


TARGETS = tuple(
    Target(f"states {make.__name__}", partial(saved, make=make), play) for make in (pictures, sounds, rows, mixture)
)
