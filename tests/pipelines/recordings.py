"""Recordings for tests: made of a seed, written by soundfile, by hand, and into tars."""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 16_000
SUBTYPES = {"u8": "PCM_U8", "s16": "PCM_16", "s24": "PCM_24", "s32": "PCM_32", "f32": "FLOAT", "f64": "DOUBLE"}
COMPRESSED = {
    "flac": ("FLAC", "PCM_16"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_24"),
    "ulaw": ("WAV", "ULAW"),
}
SUFFIXES = {"vorbis": "ogg", "opus": "ogg", "ulaw": "wav"}


def melody(frames: int, channels: int = 1, *, seed: int = 0, rate: int = RATE) -> NDArray[np.float32]:
    """(time, channel) float32: gliding tones with noise, another for each seed and channel."""
    generator = np.random.default_rng(seed)
    time = np.arange(frames)[:, None] / rate
    pitch = 110 * 2 ** generator.uniform(0, 2, channels)
    wave = 0.4 * np.sin(2 * np.pi * pitch * time * (1 + 0.02 * np.sin(3 * time)))
    return (wave * np.exp(-(time % 0.7)) + 0.05 * generator.standard_normal((frames, channels))).astype(np.float32)


def encoded(samples: NDArray[np.float32], kind: str = "s16", *, rate: int = RATE) -> bytes:
    """A file of these samples: a wav of one encoding, or one of COMPRESSED."""
    container, subtype = COMPRESSED.get(kind) or ("WAV", SUBTYPES[kind])
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    return file.getvalue()


def decoded(content: bytes) -> NDArray[np.float32]:
    """What soundfile makes of a file: (time, channel) float32."""
    samples: NDArray[np.float32] = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)[0]
    return samples


def chunk(kind: bytes, content: bytes, *, size: int | None = None) -> bytes:
    """A RIFF chunk with its padding; `size` is what it claims, if not the truth."""
    claimed = len(content) if size is None else size
    return kind + struct.pack("<I", claimed) + content + b"\0" * (len(content) % 2)


def pcm_format(channels: int = 1, bits: int = 16, *, tag: int = 1, rate: int = RATE) -> bytes:
    """The content of a plain fmt chunk."""
    align = channels * bits // 8
    return struct.pack("<HHIIHH", tag, channels, rate, rate * align, align, bits)


def riff(*chunks: bytes, magic: bytes = b"RIFF", size: int | None = None) -> bytes:
    """A wav of these chunks."""
    body = b"WAVE" + b"".join(chunks)
    return magic + struct.pack("<I", len(body) if size is None else size) + body


def reader(content: bytes, log: list[tuple[int, int]] | None = None) -> Any:
    """`read(offset, length)` over bytes; every call is written to the log."""

    def read(offset: int, length: int) -> bytes:
        assert min(offset, length) >= 0
        if log is not None:
            log.append((offset, length))
        return content[offset : offset + length]

    return read


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """A tar of these members, in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def write_folder(folder: Path, members: Mapping[str, bytes]) -> Path:
    """A folder of these files."""
    for name, content in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def album(num: int = 6, *, kinds: Sequence[str] = ("s16",), frames: int = 5000) -> dict[str, bytes]:
    """Files by name: so many recordings of different lengths, with these encodings in turn."""
    files = {}
    for number in range(num):
        kind = kinds[number % len(kinds)]
        length = frames + 1111 * number
        suffix = SUFFIXES.get(kind, kind if kind in COMPRESSED else "wav")
        files[f"take{number:02d}.{suffix}"] = encoded(melody(length, seed=number), kind)
    return files
