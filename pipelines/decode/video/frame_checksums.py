"""A checksum of a decoded frame, so that two decodes can be compared frame by frame."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

__all__ = ["frame_crc32"]


def frame_crc32(frame: Any) -> int:
    """CRC-32 over size, pixel format and every plane of a frame; what pads its lines does not count."""
    crc = zlib.crc32(f"{frame.format.name} {frame.width} {frame.height}".encode())
    for number, plane in enumerate(frame.planes):
        lines = np.frombuffer(plane, np.uint8)
        stride = abs(int(plane.line_size)) or len(lines) or 1
        width = _line_bytes(frame, number) or stride
        lines = lines[: len(lines) // stride * stride].reshape(-1, stride)[:, :width]
        crc = zlib.crc32(np.ascontiguousarray(lines).data, crc)
    return crc


def _line_bytes(frame: Any, plane: int) -> int:
    """Bytes of a line of a plane that are pixels; 0 where no component says so (a palette)."""
    components = [one for one in frame.format.components if one.plane == plane]
    return sum(int(one.width) * ((int(one.bits) + 7) // 8) for one in components)
