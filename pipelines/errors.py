"""What can go wrong with data, as a tree.

    PipelineError
    ├── SourceError      nothing to read: a missing path, an empty folder, a pattern without a match
    ├── ShardError       a tar, index or manifest that is damaged, truncated or contradicts its neighbours
    ├── ExampleError     one example that cannot be decoded; carries shard, key, byte offset and reason
    ├── StateError       a saved state that does not belong to this data or these settings
    └── ShardingError    packing could not start or could not finish

A mistake of the caller (a negative batch size, say) is a `ValueError` or `TypeError`, as everywhere.
"""

from __future__ import annotations

__all__ = ["ExampleError", "PipelineError", "ShardError", "ShardingError", "SourceError", "StateError"]


class PipelineError(Exception):
    """Root of the tree; `str()` of it is one sentence that names the thing, the value and the remedy."""


class SourceError(PipelineError):
    """There is nothing to read at the place that was named."""


class ShardError(PipelineError):
    """A tar, its index or the manifest is damaged or contradicts another of them."""


class StateError(PipelineError):
    """A state was saved over other data or under other settings than it is loaded into."""


class ShardingError(PipelineError):
    """Packing cannot start or cannot finish."""


LENIENT = 'Repair or remove it, or read with on_error="substitute".'


class ExampleError(PipelineError):
    """One example cannot be read or decoded.

    `container` is the shard or folder, `key` the example's key, `offset` the first byte of its media in the
    container (None for a plain file), `reason` what the decoder said, `remedy` a sentence on what to do.
    """

    def __init__(
        self, container: str, key: str, reason: str, *, offset: int | None = None, remedy: str = LENIENT
    ) -> None:
        self.container, self.key, self.reason, self.offset, self.remedy = container, key, reason, offset, remedy
        place = "" if offset is None else f" at byte {offset:,}"
        super().__init__(f"{container}: example {key!r}{place} cannot be decoded: {reason}. {remedy}")

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.container, self.key, self.reason, self.offset, self.remedy)


def _rebuild(
    kind: type[ExampleError], container: str, key: str, reason: str, offset: int | None, remedy: str
) -> ExampleError:
    return kind(container, key, reason, offset=offset, remedy=remedy)
