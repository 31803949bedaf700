"""What a source holds, found from the source itself."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import SourceError
from ..modality import HEAD_BYTES
from ..storage.media_types import sniff
from .opening import SourceLike, open_source

__all__ = ["detect_modality"]


def detect_modality(data: SourceLike, names: Sequence[str]) -> str:
    """The modality of a source: what it says of itself, else how its first file begins; `names` are tried in order.

    Raises `SourceError` for one that cannot be opened as any of them.
    """
    refusal: SourceError | None = None
    for name in names:
        try:
            source = open_source(data, modality=name)
        except SourceError as error:
            refusal = refusal or error
            continue
        if source.modality is not None:
            return source.modality
        begins_like = sniff(source.locate(0).media.read(0, HEAD_BYTES)) if len(source) else None
        return begins_like[0] if begins_like else name
    assert refusal is not None
    raise refusal
