"""PyAV, imported where it is needed, and what it says when something is wrong, in words."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["av_errors", "import_av", "lenient_metadata", "words_of"]


def import_av() -> Any:
    """The package. Raises `ImportError` with the command that installs it."""
    try:
        import av
        import av.logging
    except ImportError as error:
        raise ImportError("videos need PyAV: pip install av") from error
    return av


def lenient_metadata() -> dict[str, str]:
    """The settings of `av.open` with which titles in other encodings are no error; newer ones need none."""
    return {"metadata_errors": "replace"} if int(import_av().__version__.split(".")[0]) < 19 else {}


def av_errors() -> tuple[type[Exception], ...]:
    """What PyAV raises for a file that it cannot read or decode; `IndexError` for streams that begin after the head."""
    av = import_av()
    return (av.error.FFmpegError, ValueError, OSError, EOFError, MemoryError, OverflowError, IndexError)


def words_of(error: BaseException) -> str:
    """What an error of PyAV means, without the path of a file."""
    number = getattr(error, "errno", None)
    text = getattr(error, "strerror", None) or (os.strerror(number) if isinstance(number, int) else str(error))
    text = text.split(": '", 1)[0].strip().rstrip(".") or type(error).__name__
    known = {"Invalid data found when processing input": "invalid data", "Cannot allocate memory": "out of memory"}
    return known.get(text, text[:1].lower() + text[1:])
