"""The state of an iterator as JSON, and the check that it belongs to the iterator it is loaded into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import StateError
from ..order.epoch_order import ORDER_VERSION, Shuffle

__all__ = [
    "MAX_COUNT",
    "STATE_VERSION",
    "Identity",
    "check_counts",
    "check_keys",
    "check_state",
    "differs",
    "shown",
    "state_dict",
]

STATE_VERSION = 1
POSITION_KEYS = ("epoch", "position", "substitutions")
MAX_COUNT = 1 << 53  # up to which every reader of JSON has whole numbers; sums of them fit 64 bits
MAX_SHOWN = 300
JSON_TYPES = (bool, int, float, str, list, dict, type(None))


@dataclass(frozen=True)
class Identity:
    """What gives a position its meaning: the order's settings and the data it runs over."""

    seed: int
    shuffle: Shuffle
    shuffle_shards: int | None
    groups: int
    examples: int
    data_hash: str
    clips: dict[str, Any] | None = None


def state_dict(identity: Identity, epoch: int, position: int, substitutions: int) -> dict[str, Any]:
    """The state as a flat dictionary, the same keys in the same order always."""
    return {
        "version": STATE_VERSION,
        "order_version": ORDER_VERSION,
        "epoch": epoch,
        "position": position,
        "substitutions": substitutions,
        **asdict(identity),
    }


def check_state(state: dict[str, Any], now: Identity, prefix_hash: Callable[[int], str | None], name: str) -> None:
    """Raise `StateError`, naming what differs, unless the state continues over this data in this order."""
    expected = state_dict(now, 0, 0, 0)
    check_keys(state, expected, name)
    settings = ("seed", "shuffle", "shuffle_shards", "groups", "clips")
    differing = [key for key in settings if differs(state[key], expected[key])]
    if "clips" in differing and not differs(_without_kind(state["clips"]), _without_kind(expected["clips"])):
        differing.remove("clips")
    if differing:
        pairs = ", ".join(f"{key}={shown(state[key])} (now {expected[key]!r})" for key in differing)
        raise StateError(f"{name}: the state was saved with {pairs}. Use the same settings, or start without it.")
    check_counts(state, (*POSITION_KEYS, "examples"), name)
    known_hash = prefix_hash(state["examples"]) if state["examples"] <= now.examples else None
    if known_hash is None or differs(state["data_hash"], known_hash):
        raise StateError(
            f"{name}: the state was saved over {state['examples']:,} examples ({shown(state['data_hash'])}), but here "
            f"are {now.examples:,} others ({now.data_hash}). Restore the data, or start a new epoch without the state."
        )
    if state["position"] >= max(1, state["examples"]):
        raise StateError(f"{name}: the state's position {state['position']:,} lies behind the end of its epoch.")


def _without_kind(clips: Any) -> Any:
    """The clips of a state as states before had them: the first ones did not say of what kind they are."""
    return {key: value for key, value in clips.items() if key != "kind"} if isinstance(clips, dict) else clips


def check_keys(state: dict[str, Any], expected: dict[str, Any], name: str) -> None:
    """Raise `StateError` unless the state has the expected keys, and versions that this library reads."""
    if not isinstance(state, dict):
        raise StateError(f"{name}: a state is a dictionary, not a {type(state).__name__}.")
    if missing := [key for key in expected if key not in state]:
        raise StateError(
            f"{name}: the state lacks {', '.join(missing)}. This state belongs to another kind of iterator."
        )
    for key in ("version", "order_version"):
        if key in expected and differs(state[key], expected[key]):
            raise StateError(
                f"{name}: the state has {key} {shown(state[key])}; this library reads {expected[key]!r}."
            )


def check_counts(state: dict[str, Any], keys: Sequence[str], name: str) -> None:
    """Raise `StateError` unless these values are whole numbers from 0 to 2**53, more than any run counts."""
    for key in keys:
        value = state[key]
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_COUNT:
            raise StateError(
                f"{name}: the state's {key} is {shown(value)}; it must be a whole number from 0 to {MAX_COUNT:,}."
            )


def differs(saved: Any, now: Any) -> bool:
    """Whether a value of a state is not the one of now; what JSON does not know, such as an array, always differs."""
    try:
        return not isinstance(saved, JSON_TYPES) or bool(saved != now)
    except Exception:  # too deep, or arrays further down
        return True


def shown(value: Any) -> str:
    """A value of a state for an error's text: its beginning, where it is long."""
    try:
        text = repr(value)
    except Exception:  # too deep, or a number of more digits than Python writes
        return f"a {type(value).__name__} that is too large"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
