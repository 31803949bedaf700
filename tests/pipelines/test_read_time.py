"""Where a loop's time goes is told for clips too: their decoders read while they decode."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipelines import AudioIterator
from pipelines.sources import ShardSource
from pipelines.storage.blob import Blob, MemoryBlob
from pipelines.storage.store import MemoryStore

from .recordings import encoded, melody, write_tar


class SlowBlob(MemoryBlob):
    """Each read takes 20 ms."""

    def read(self, offset: int, length: int) -> bytes:
        time.sleep(0.02)
        return super().read(offset, length)


class SlowStore(MemoryStore):
    def open(self, name: str) -> Blob:  # type: ignore[override]
        return SlowBlob(self.contents[name])


@pytest.mark.parametrize("kind", ["s16", "flac"])
def test_sound_from_slow_storage_is_read_bound(kind: str, tmp_path: Path) -> None:
    suffix = "flac" if kind == "flac" else "wav"
    files = {f"{number}.{suffix}": encoded(melody(8000, seed=number), kind) for number in range(6)}
    name = str(write_tar(tmp_path / "takes.tar", files))
    content = {name: Path(name).read_bytes()}

    def verdict(store: MemoryStore) -> tuple[str, float, float]:
        audio = AudioIterator(ShardSource([name], store=store), window=1000, batch_size=8, threads=2)
        for _ in audio:
            pass
        stats = audio.stats
        return stats.verdict, stats.read_seconds, stats.decode_seconds

    said, read, decoded = verdict(SlowStore(content))
    assert said.startswith("read-bound")
    assert read > 10 * 0.02
    assert read > 4 * decoded
    _, quick_read, _ = verdict(MemoryStore(content))
    assert quick_read < read / 4
