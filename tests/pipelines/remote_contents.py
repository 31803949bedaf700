"""Made-up shards: their bytes follow from a name and a size."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any


def content_of(name: str, size: int) -> bytes:
    return hashlib.shake_128(name.encode()).digest(size)


def sha256_of(name: str, size: int) -> str:
    return hashlib.sha256(content_of(name, size)).hexdigest()


def download_of(name: str, size: int, *, pieces: int = 4, pause: float = 0.0) -> Callable[[Any], None]:
    def download(writer: Any) -> None:
        content = content_of(name, size)
        step = max(1, -(-size // pieces))
        for start in range(0, size, step):
            writer.write(content[start : start + step])
            if pause:
                time.sleep(pause)

    return download
