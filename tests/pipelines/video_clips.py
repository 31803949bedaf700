"""Clips as `VideoIterator` gives them, compared with frames that somebody else decoded.

As a program: `video_clips.py FILE…` prints a digest of all clips of each file, for a comparison of processes.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import VideoIterator


def clips_of(source: Any, **settings: Any) -> Iterator[tuple[str, int, NDArray[np.uint8], NDArray[np.float64]]]:
    """Key, number of the first frame, frames (time, height, width, 3), and times of every clip of one epoch."""
    base: dict[str, Any] = {"clip_frames": 4, "hop": 1, "size": None, "batch_size": 1, "threads": 2}
    clips = VideoIterator(source, **{**base, **settings})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*in one batch")
        for batch in clips:
            for slot, key in enumerate(batch.keys):
                length = batch.data.shape[2] if batch.lengths is None else int(batch.lengths[slot])
                frames = batch.data[slot].transpose(1, 2, 3, 0)
                assert not frames[length:].any(), "zeros behind the end"
                name, _, start = key.rpartition("@")
                yield name, int(start), frames[:length], batch.fields["pts_seconds"][slot]
    clips.close()


def check_clips(source: Any, frames: Sequence[NDArray[np.uint8]], **settings: Any) -> int:
    """Compare every clip of the one video of a source, byte for byte; returns how many there were."""
    every, num = settings.get("every", 1), 0
    for _, start, found, _ in clips_of(source, **settings):
        expected = frames[start : start + settings.get("clip_frames", 4) * every : every]
        assert len(found) == len(expected), f"{len(found)} of {len(expected)} frames at {start}"
        for step, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert np.array_equal(one, other), f"frame {start + step * every}, in the clip that begins at {start}"
        num += 1
    return num


def alone(path: Path, folder: Path) -> Path:
    """A file in a folder of its own, as a source."""
    folder.mkdir()
    (folder / path.name).symlink_to(path)
    return folder


def in_tar(path: Path, tar: Path) -> Path:
    """A file in a tar, behind a field, as somebody else packs it."""
    note = path.with_suffix(".note")
    note.write_bytes(b"another member")
    with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.add(note, f"a/{path.stem}.txt")
        archive.add(path, f"a/{path.name}")
    note.unlink()
    return tar


def digest_of(path: Path) -> str:
    """Over all clips of a file, of two strides, in random order."""
    digest = hashlib.sha256()
    for every in (1, 3):
        for key, start, frames, seconds in clips_of(
            [in_tar(path, path.with_suffix(".tar"))], every=every, shuffle=True
        ):
            digest.update(f"{key}@{start}".encode() + frames.tobytes() + seconds.tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    print(json.dumps([digest_of(Path(name)) for name in sys.argv[1:]]))
