"""Transport streams that were cut out of longer ones: found, played and packed from where a decoder can begin."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import FolderSource, make_shards
from pipelines.decode.video.mpegts import MOST_JUNK, SEARCHED, first_table
from pipelines.storage.media_types import sniff_file

from .measured_here import measure_here
from .videos import decode_straight, frame_number, make_video


def reader(content: bytes, log: list[int] | None = None):  # type: ignore[no-untyped-def]
    def read(offset: int, length: int) -> bytes:
        if log is not None:
            log.append(length)
        return content[offset : offset + length]

    return read


@pytest.mark.parametrize("suffix", ["ts", "m2ts"])
@pytest.mark.parametrize("cut", [1, 188 * 3, 1000, 20_001])
def test_a_stream_that_begins_anywhere_is_packed_from_its_next_key_frame_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, cut: int
) -> None:
    measure_here(monkeypatch)
    content = make_video(tmp_path / f"whole.{suffix}", num_frames=120, gop=10, b_frames=2).read_bytes()
    source = tmp_path / "video"
    source.mkdir()
    path = source / f"a.{suffix}"
    path.write_bytes(content[cut:])
    assert sniff_file(path) == "video"
    assert FolderSource(source, modality="video").keys() == ["a"]
    report = make_shards(source, tmp_path / "out", workers=0)
    assert report.failures == ()
    frames = [frame_number(frame) for frame in decode_straight(path).frames]
    assert frames == list(range(frames[0], 120))
    assert frames[0] == {1: 0, 564: 0, 1000: 10, 20_001: 30}[cut]


def test_what_is_no_stream_is_read_once_and_not_far() -> None:
    packet = b"G\x1f\xff\x10" + b"\xff" * 184
    table = b"G\x40\x00\x10" + bytes(184)
    for content, expected in (
        (b"", None),
        (b"G" * 100, None),
        (b"text " * 1000, None),
        (packet * 3, None),
        (packet * 20, None),
        (packet * 20 + table, 20 * 188),
        (packet[50:] + packet * 9 + table * 2, 138 + 9 * 188),
        (b"x" * MOST_JUNK + packet * 9 + table, None),
        (b"x" * (MOST_JUNK - 1) + packet * 9 + table, MOST_JUNK - 1 + 9 * 188),
        (packet * (SEARCHED // 188 + 1) + table, None),
    ):
        log: list[int] = []
        assert first_table(reader(content, log), len(content)) == expected
        assert len(log) == 1
        assert log[0] <= SEARCHED
