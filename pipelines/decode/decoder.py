"""What an iterator asks of a decoder, and the wrapper that makes one of a plain function."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..order.randomness import Place
from ..sources.source import Example

__all__ = ["RUN_PROGRESS", "Decoder", "Details", "FunctionDecoder", "Run", "RunDecoder", "RunProgress"]


@dataclass(frozen=True, slots=True)
class Details:
    """What decoding tells besides the array.

    transform   the rows of the source-to-output matrix (2, 3)
    length      valid steps, None where all are
    key         the example's, where it is known only now (a clip that begins at random)
    fields      fields that follow from decoding (a curve that is cut to its clip), parsed
    rate        steps per second, where each example keeps its own; different ones in a batch are warned of
    """

    transform: tuple[float, ...] | None = None
    length: int | None = None
    key: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    rate: Fraction | None = None


NOTHING = Details()
"""What a plain function tells."""


@runtime_checkable
class Decoder(Protocol):
    """Bytes to an array, as a pure function of the example and its place. Called from many threads at once."""

    def allocate(self, num: int) -> NDArray[Any] | None:
        """A batch's array of `num` slots, or None where the shape is known only after decoding."""

    def decode_into(self, example: Example, out: NDArray[Any], place: Place) -> Details:
        """Decode into a slot of what `allocate` gave."""

    def decode(self, example: Example, place: Place) -> tuple[NDArray[Any], Details]:
        """Decode to an array of any shape; called where `allocate` gave None."""


class Run(NamedTuple):
    """What examples have in common that one thread decodes together, in the order of their indices.

    Of a run `in_order` only one thread decodes at any time, which goes on with what is added to it meanwhile.
    """

    name: Hashable
    in_order: bool = False


class RunProgress(threading.local):
    """Whether the calling thread has another example of the same run to decode next."""

    goes_on = False


RUN_PROGRESS = RunProgress()


@runtime_checkable
class RunDecoder(Decoder, Protocol):
    """A decoder for which some examples are better decoded one after the other than each by itself."""

    def run_of(self, example: Example) -> Run:
        """The run that an example belongs to."""


class FunctionDecoder:
    """A function `(example, rng) -> array` as a decoder; its arrays are stacked, so their shapes must agree."""

    def __init__(self, function: Callable[[Example, np.random.Generator], Any]) -> None:
        self.function = function

    def allocate(self, num: int) -> None:
        """None: the shape is the function's affair."""

    def decode_into(self, example: Example, out: NDArray[Any], place: Place) -> Details:
        """Fill a slot with what the function returns."""
        out[...] = self.function(example, place.lend_generator())
        return NOTHING

    def decode(self, example: Example, place: Place) -> tuple[NDArray[Any], Details]:
        """What the function returns, as an array."""
        return np.asarray(self.function(example, place.lend_generator())), NOTHING

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))
