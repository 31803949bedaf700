"""soundfile's reader, without the seek after each read."""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["steady_sound_file"]


@cache
def steady_sound_file() -> Any:
    """soundfile's `SoundFile`, playing on after a read. Raises `ImportError` with the command that installs it.

    The original seeks after each read to where it stands, and decoders then start again some frames earlier.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the package without libsndfile
        message = "anything but wav of plain PCM is decoded by soundfile: pip install soundfile."
        raise ImportError(message) from error

    class SteadySoundFile(soundfile.SoundFile):  # type: ignore[misc]
        def seekable(self) -> bool:
            return False

        def can_seek(self) -> bool:
            return bool(super().seekable())

    return SteadySoundFile
