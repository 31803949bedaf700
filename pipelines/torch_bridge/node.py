"""An iterator as a node of torchdata."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..batching.iteration import BatchIterator
from ..batching.state import check_keys

__all__ = ["torchdata_node"]


def torchdata_node(iterator: BatchIterator) -> Any:
    """The iterator as a `torchdata.nodes.BaseNode` with the iterator's own state; `ImportError` without torchdata."""
    try:
        from torchdata.nodes import BaseNode
    except ImportError as error:
        raise ImportError("torchdata_node needs torchdata: pip install 'torchdata>=0.11,<0.12'.") from error

    class IteratorNode(BaseNode):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._pass: Iterator[Any] = iter(())

        def reset(self, initial_state: dict[str, Any] | None = None) -> None:
            super().reset(initial_state)
            if initial_state is not None:
                check_keys(initial_state, {"iterator": None}, iterator.name)
                iterator.load_state_dict(initial_state["iterator"])
            self._pass = iter(iterator)

        def next(self) -> Any:
            return next(self._pass)

        def get_state(self) -> dict[str, Any]:
            return {"iterator": iterator.state_dict()}

    return IteratorNode()
