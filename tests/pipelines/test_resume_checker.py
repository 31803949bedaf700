"""The checker itself: it passes what resumes exactly and catches iterators that were broken on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from pipelines import Batch, DataIterator
from pipelines.testing import Ledger, assert_resumes_exactly, entries, play_epoch


class Sound:
    """A minimal iterator that resumes exactly: 11 numbers in batches of 3, shuffled by epoch."""

    def __init__(self, *, threads: int = 1) -> None:
        self.threads, self.epoch, self.position = threads, 0, 0

    def order(self) -> list[int]:
        return np.random.default_rng(self.epoch).permutation(11).tolist()

    def __iter__(self) -> Iterator[Batch]:
        order = self.order()
        while self.position < 11:
            numbers = order[self.position : self.position + 3]
            self.advance(len(numbers))
            yield self.batch(numbers, self.state_dict())
            if self.position == 0:
                return

    def advance(self, num: int) -> None:
        self.position += num
        if self.position >= 11:
            self.epoch, self.position = self.epoch + 1, 0

    @staticmethod
    def batch(numbers: list[int], state: dict[str, Any]) -> Batch:
        return Batch(np.array(numbers)[:, None], [f"key{n}" for n in numbers], np.array(numbers), state)

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]


class Loses(Sound):
    """Skips one example after every resume."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.skip = state["position"] > 0

    def __iter__(self) -> Iterator[Batch]:
        if getattr(self, "skip", False) and self.position < 10:
            self.skip, self.position = False, self.position + 1
        return super().__iter__()


class Repeats(Sound):
    """Begins a batch early after a resume in the middle."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.behind = 3 if state["position"] else 0

    def __iter__(self) -> Iterator[Batch]:
        self.position, self.behind = self.position - getattr(self, "behind", 0), 0
        return super().__iter__()


class Reorders(Sound):
    """After a resume the rest of the epoch comes in another order."""

    resumed = False

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.resumed = 0 < state["position"] < 9

    def order(self) -> list[int]:
        order = super().order()
        return order[: self.position] + order[self.position :][::-1] if self.resumed else order

    def advance(self, num: int) -> None:
        super().advance(num)
        self.resumed = self.resumed and self.position > 0


class OtherPixels(Sound):
    """The same keys, but another augmentation with other threads."""

    def batch(self, numbers: list[int], state: dict[str, Any]) -> Batch:  # type: ignore[override]
        batch = super().batch(numbers, state)
        return batch.replace(data=batch.data + self.threads)


class Prefetched(Sound):
    """Its state is that of what was read ahead, not of what was handed over."""

    def __iter__(self) -> Iterator[Batch]:
        ready = None
        for batch in super().__iter__():
            if ready is not None:
                yield ready
            ready = batch
        if ready is not None:
            yield ready


class Large(Sound):
    """A state that carries the whole order."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "order": list(range(1000))}


class Forgets(Sound):
    """The end of an epoch is saved as the beginning of the same one."""

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": max(0, self.epoch - (self.position == 0)), "position": self.position}


class ChangesState(Sound):
    """A state that is loaded and asked for again is another."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.loaded = True

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), **({"loaded": True} if getattr(self, "loaded", False) else {})}


class EndlessEpoch(Sound):
    """Plays an epoch twice after a resume at its end."""

    def __iter__(self) -> Iterator[Batch]:
        first = self.position == 0 and self.epoch == 1
        yield from super().__iter__()
        if first:
            yield from super().__iter__()


def test_a_sound_iterator_passes_and_the_number_of_resumes_is_told() -> None:
    assert assert_resumes_exactly(Sound, variations=[{}, {"threads": 2}], epochs=2) == 2 * 9
    assert assert_resumes_exactly(Sound, every=3, epochs=2) == 3


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (Loses, "lost=1"),
        (Repeats, "repeated=3"),
        (Reorders, "reordered="),
        (OtherPixels, "lost="),
        (Prefetched, "another state"),
        (Large, "a state of"),
        (Forgets, "resumed|lost|repeated|reordered"),
        (ChangesState, "has changed"),
        (EndlessEpoch, "repeated|lost"),
    ],
)
def test_an_iterator_broken_on_purpose_is_caught(broken: type[Sound], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        assert_resumes_exactly(broken, variations=[{}, {"threads": 2}])


def test_reordering_is_forgiven_where_only_the_set_is_asked_for() -> None:
    assert assert_resumes_exactly(Reorders, ordered=False) == 9
    with pytest.raises(AssertionError, match="lost=1"):
        assert_resumes_exactly(Loses, ordered=False)


def test_ranks_that_disagree_or_take_other_numbers_of_steps_are_caught() -> None:
    class Ahead(Sound):
        def advance(self, num: int) -> None:
            super().advance(num + 1)

    with pytest.raises(AssertionError, match="disagree"):
        list(play_epoch([Sound(), Ahead()]))
    short = Sound()
    short.position = 6
    with pytest.raises((AssertionError, ValueError)):
        list(play_epoch([Sound(), short]))


def test_a_ledger_counts_what_became_of_each_example() -> None:
    due = [(name, "") for name in "aabcd"]
    assert Ledger.of(due, due).is_exact
    assert Ledger.of(due, [*due[1:]]) == Ledger(5, lost=1, repeated=0, reordered=3)
    assert Ledger.of(due, [*due, due[2]]) == Ledger(5, lost=0, repeated=1, reordered=0)
    swapped = [due[0], due[2], due[1], due[3], due[4]]
    assert Ledger.of(due, swapped) == Ledger(5, lost=0, repeated=0, reordered=2)
    assert Ledger.of(due, swapped, ordered=False).is_exact


def test_padding_is_no_entry_and_the_same_key_with_other_pixels_is_another() -> None:
    batch = Sound.batch([1, 2, 3], {})
    assert len(entries(batch)) == 3
    assert entries(batch.replace(mask=np.array([True, True, False]))) == entries(batch)[:2]
    other = entries(batch.replace(data=batch.data + 1))
    assert [key for key, _ in other] == [key for key, _ in entries(batch)]
    assert not set(other) & set(entries(batch))


def test_the_libraries_own_iterator_passes(numbers: Callable[..., Any], decode_number: Callable[..., Any]) -> None:
    def make(**changes: Any) -> DataIterator:
        return DataIterator(numbers(17), decode_number, **{"batch_size": 4, "shuffle": True, **changes})

    assert assert_resumes_exactly(make, variations=[{}, {"world_size": 2, "tail": "pad"}], epochs=3) == 2 * 16
