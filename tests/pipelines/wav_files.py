"""Wavs written by hand, byte by byte, and what other programs read in them and in tars."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from webdataset.tariterators import group_by_keys, tar_file_expander

ENCODINGS = {"u8": (1, 8), "s16": (1, 16), "s24": (1, 24), "s32": (1, 32), "f32": (3, 32), "f64": (3, 64)}
GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
Forms = ("plain", "extensible", "rf64", "chunky")


def noise(encoding: str, frames: int, channels: int, seed: int = 0) -> bytes:
    """Raw little-endian samples that use every bit; floats also beyond full scale."""
    generator = np.random.Generator(np.random.Philox(seed))
    if encoding.startswith("f"):
        values = generator.standard_normal((frames, channels)) * 0.7
        return values.astype("<f4" if encoding == "f32" else "<f8").tobytes()
    return generator.bytes(frames * channels * ENCODINGS[encoding][1] // 8)


def wav(raw: bytes, encoding: str, channels: int, rate: int = 16_000, form: str = "plain") -> bytes:
    """A whole file: plain, WAVE_FORMAT_EXTENSIBLE, RF64 with its sizes in ds64, or with chunks all around."""
    tag, bits = ENCODINGS[encoding]
    block = channels * bits // 8
    fmt = struct.pack("<HHIIHH", 0xFFFE if form == "extensible" else tag, channels, rate, rate * block, block, bits)
    if form == "extensible":
        fmt += struct.pack("<HHIH", 22, bits, 0, tag) + GUID_TAIL
    odd = b"LIST" + struct.pack("<I", 5) + b"INFOx\0"
    around = odd if form == "chunky" else b""
    data_size = 0xFFFFFFFF if form == "rf64" else len(raw)
    body = around + b"fmt " + struct.pack("<I", len(fmt)) + fmt + around
    body += b"data" + struct.pack("<I", data_size) + raw + bytes(len(raw) % 2) + around
    if form == "rf64":
        sizes = struct.pack("<QQQI", 4 + 36 + len(body), len(raw), len(raw) // block, 0)
        return b"RF64" + struct.pack("<I", 0xFFFFFFFF) + b"WAVE" + b"ds64" + struct.pack("<I", 28) + sizes + body
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def tone(seconds: float, rate: int = 16_000, channels: int = 1, hz: float = 440.0) -> NDArray[np.float32]:
    """(time, channel): sines that differ from channel to channel."""
    time = np.arange(round(seconds * rate)) / rate
    waves = [0.4 * np.sin(2 * np.pi * hz * (1 + place) * time) for place in range(channels)]
    return np.stack(waves, axis=1).astype(np.float32)


def encoded(samples: NDArray[Any], rate: int, kind: str, subtype: str | None = None) -> bytes:
    """What libsndfile writes."""
    target = io.BytesIO()
    soundfile.write(target, samples, rate, format=kind, subtype=subtype)
    return target.getvalue()


def read(content: bytes, dtype: str = "float32") -> tuple[NDArray[Any], int]:
    """(time, channel) and the sample rate, as libsndfile reads them."""
    samples, rate = soundfile.read(io.BytesIO(content), dtype=dtype, always_2d=True)
    return samples, rate


def packed(out: Path) -> dict[str, dict[str, bytes]]:
    """Every example by key, in the order of the shards, as the webdataset package reads it."""
    examples = {}
    for path in sorted(out.glob("*.tar")):
        with open(path, "rb") as stream:
            for sample in group_by_keys(tar_file_expander([{"url": path.name, "stream": stream}])):
                examples[sample["__key__"]] = {k: v for k, v in sample.items() if not k.startswith("__")}
    return examples


def members(path: Path) -> dict[str, bytes]:
    """Every member of a tar, as tarfile reads it."""
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def parts_of(examples: dict[str, dict[str, bytes]], key: str) -> list[dict[str, bytes]]:
    """The segments of one recording in the order of their keys."""
    return [examples[name] for name in sorted(examples) if name.rpartition("-")[0] == key]
