"""Videos measured in the process of the test: the same tables, without a process that has to be started."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.decode.video.frame_checksums import frame_crc32
from pipelines.decode.video.measuring import measure_video
from pipelines.sharding.modalities import video_cutting, video_examples
from pipelines.sources.located import Member
from pipelines.storage.frame_table import FrameTable


def checksums_here(media: Member, *, max_pixels: int | None = None) -> tuple[FrameTable, NDArray[np.uint32]]:
    found: list[tuple[int, int]] = []
    table = measure_video(
        media, max_pixels=max_pixels, on_frame=lambda frame, packet: found.append((packet, frame_crc32(frame)))
    )
    good = set(table.rows["packet"].tolist())
    return table, np.array([crc for packet, crc in found if packet in good], np.uint32)


def measure_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on."""
    monkeypatch.setattr(video_examples, "measure_apart", measure_video)
    for module in (video_examples, video_cutting):
        monkeypatch.setattr(module, "checksums_apart", checksums_here)
