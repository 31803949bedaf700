"""Recordings that end early, lie or are damaged: each is played in a process of its own under limits."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .recordings import chunk, encoded, melody, pcm_format, riff

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory limits are only dependable on Linux")

CHILD = """
import json, os, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
from pathlib import Path
from pipelines import AudioIterator, ExampleError, SourceError

folder, num, last, error = sys.argv[1], 0, None, None
try:
    audio = AudioIterator(folder, window=4096, sample_rate=int(sys.argv[2]) or None, batch_size=1, threads=1)
    for batch in audio:
        num += int(batch.lengths[0]) if batch.lengths is not None else 4096
        last = [float(abs(batch.data).max()), batch.data.shape[1]]
        if num > 1 << 22:
            break
except ExampleError as refusal:
    error = refusal.reason
except SourceError as refusal:
    error = str(refusal)
print(json.dumps({"frames": num, "last": last, "error": error}))
"""


def play(content: bytes, folder: Path, *, sample_rate: int = 0) -> dict[str, Any]:
    """Play one file in a child process of less than 1 GB and 5 s, with its decoders and all."""
    (folder / "alone").mkdir(parents=True)
    (folder / "alone" / "it.wav").write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder / "alone"), str(sample_rate)],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr[-1500:]}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


EXPECTED = {
    "test-44100Hz-2ch-32bit-float-be.wav": 441,
    "test-44100Hz-be-1ch-4bytes.wav": 4410,
    "test-44100Hz-le-1ch-4bytes-early-eof.wav": 236,
    "test-44100Hz-le-1ch-4bytes-rf64.wav": 4410,
    "test-48000Hz-2ch-64bit-float-le-wavex.wav": 480,
    "test-8000Hz-le-1ch-1byte-ulaw.wav": 9,
    "test-8000Hz-le-3ch-5S-24bit-inconsistent.wav": 5,
    "test-8000Hz-le-3ch-5S-24bit.wav": 5,
    "test-8000Hz-le-3ch-5S-45bit.wav": None,
    "test-8000Hz-le-3ch-5S-64bit.wav": None,
    "test-8000Hz-le-5ch-9S-5bit.wav": 9,
}


@pytest.mark.slow
def test_every_hostile_recording_is_played_as_far_as_it_goes_or_refused(shared_data: Path, tmp_path: Path) -> None:
    for path in sorted((shared_data / "hostile" / "audio").iterdir()):
        found = play(path.read_bytes(), tmp_path / path.name)
        frames = EXPECTED.get(path.name)
        if frames is None:
            assert found["error"], f"{path.name}: refused without a reason"
            assert found["frames"] == 0
        else:
            assert (found["frames"], found["error"]) == (frames, None), path.name


def bomb() -> bytes:
    """A flac of silence whose frames are a few bytes each, many times over."""
    content = encoded(np.zeros((4096 * 40, 1), np.float32), "flac")
    lying = bytearray(content)
    lying[21], lying[22:26] = lying[21] | 0x0F, b"\xff" * 4
    return bytes(lying)


MADE = {
    "four gigabytes claimed": (
        riff(chunk(b"fmt ", pcm_format()), chunk(b"data", bytes(300), size=0xFFFFFFF0)),
        150,
    ),
    "a thousand channels": (riff(chunk(b"fmt ", pcm_format(1000, 8)), chunk(b"data", bytes(5000))), 5),
    "no samples": (riff(chunk(b"fmt ", pcm_format()), chunk(b"data", b"")), None),
    "a chunk of four gigabytes": (riff(chunk(b"LIST", b"", size=0xFFFFFFFE), chunk(b"data", bytes(99))), None),
    "an rf64 of exabytes": (
        riff(
            chunk(b"ds64", struct.pack("<QQQI", 1 << 63, 1 << 63, 1 << 62, 0)),
            chunk(b"fmt ", pcm_format()),
            chunk(b"data", bytes(64), size=0xFFFFFFFF),
            magic=b"RF64",
        ),
        32,
    ),
    "nothing": (b"", None),
    "noise": (np.random.default_rng(0).bytes(50_000), None),
    "half a flac": (encoded(melody(40_000), "flac")[:30_000], ...),
    "a flac of claimed hours": (bomb(), 4096 * 40),
    "an ogg with a hole": (
        (lambda whole: whole[:9000] + bytes(3000) + whole[12_000:])(encoded(melody(90_000), "vorbis")),
        ...,
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_a_made_up_lie_costs_neither_memory_nor_time(name: str, tmp_path: Path) -> None:
    content, frames = MADE[name]
    found = play(content, tmp_path)
    if frames is None:
        assert found["error"]
        assert found["frames"] == 0
    elif frames is not ...:
        assert (found["frames"], found["error"]) == (frames, None)
    else:
        assert found["frames"] or found["error"]


@pytest.mark.parametrize("seed", range(6))
def test_flipped_bytes_end_in_samples_or_a_reason(seed: int, tmp_path: Path) -> None:
    kind = ("s16", "flac", "vorbis", "mp3", "opus", "ulaw")[seed]
    chance = np.random.default_rng(seed)
    content = bytearray(encoded(melody(30_000), kind))
    for place in chance.integers(0, len(content), 60):
        content[place] = chance.integers(256)
    found = play(bytes(content), tmp_path, sample_rate=11_025)
    assert found["frames"] or found["error"]
