"""The frame table says of every frame when it is shown and where decoding it begins; its file is a format."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pipelines import ShardError
from pipelines.decode.video.measuring import measure_video
from pipelines.sources.located import FilePart, Member
from pipelines.storage.blob import LocalFile
from pipelines.storage.frame_table import (
    FRAME_DTYPE,
    HEAD_DTYPE,
    FrameFlag,
    FrameTable,
    TableFlag,
    frames_bytes,
    frames_path,
    load_frames,
    parse_frames,
    save_frames,
)

from .videos import decode_straight, make_video, packets_of


def measured(path: Path) -> FrameTable:
    file = LocalFile(path)
    return measure_video(Member(file.read, file.size, file=FilePart(str(path))))


def table_of(times: list[int], *, base: Fraction, rate: Fraction, flags: TableFlag) -> FrameTable:
    """A table of frames shown at these times, one packet each, the first a key."""
    head = np.zeros(1, HEAD_DTYPE)
    head["version"], head["flags"], head["frames"], head["end"] = 1, int(flags), len(times), times[-1] + 1
    for name, value in (("time", base), ("rate", rate), ("aspect", Fraction(1))):
        head[f"{name}_numerator"], head[f"{name}_denominator"] = value.numerator, value.denominator
    head["width"], head["height"], head["channels"] = 64, 48, 3
    rows = np.zeros(len(times), FRAME_DTYPE)
    rows["time"], rows["packet"] = times, np.arange(len(times))
    return FrameTable(head[0], rows, rows[:0])


def test_the_layout_of_the_file_is_fixed(tmp_path: Path) -> None:
    """Changing it needs another version, and a reader for this one."""
    rows = table_of([0, 5, 9], base=Fraction(1, 90), rate=Fraction(30), flags=TableFlag.OWN_TIMES).to_rows()
    assert hashlib.sha256(frames_bytes(rows)).hexdigest()[:16] == GOLDEN
    path = frames_path(tmp_path / "a.tar")
    assert path.name == "a.tar.frames.npy"
    assert save_frames(path, rows) == path.read_bytes()
    assert np.array_equal(load_frames(path), rows)
    assert np.array_equal(np.load(path), rows), "any NumPy reads it"


GOLDEN = "6cc5653d18794da3"


def test_tables_stand_one_behind_the_other(tmp_path: Path) -> None:
    one = table_of([0, 1], base=Fraction(1, 30), rate=Fraction(30), flags=TableFlag(0))
    other = table_of([3, 4, 5], base=Fraction(1, 30), rate=Fraction(30), flags=TableFlag(0))
    whole = parse_frames(frames_bytes(np.concatenate([one.to_rows(), other.to_rows()])), where="here")
    found = FrameTable.at(whole, len(one.to_rows()), "here")
    assert found.rows["time"].tolist() == [3, 4, 5]
    with pytest.raises(ShardError, match=r"here.*row 8"):
        FrameTable.at(whole, 8, "here")


@pytest.mark.parametrize("gop", [1, 7, 250])
@pytest.mark.parametrize("open_gop", [False, True])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_measuring_finds_the_key_frames_and_whether_they_are_open(
    gop: int, open_gop: bool, suffix: str, tmp_path: Path
) -> None:
    b_frames = 0 if gop == 1 else 2
    path = make_video(
        tmp_path / f"a.{suffix}", num_frames=40, gop=gop, open_gop=open_gop and gop == 7, b_frames=b_frames
    )
    table, packets = measured(path), packets_of(path)
    keys = [number for number, (_, _, is_key) in enumerate(packets) if is_key]
    is_key = (table.rows["flags"] & FrameFlag.KEY) > 0
    assert sorted(table.rows["packet"][is_key].tolist()) == keys
    assert np.array_equal(
        table.rows["key_packet"], np.maximum.accumulate(np.where(is_key, table.rows["packet"], 0))
    )
    shown = {number: pts for number, (pts, _, _) in enumerate(packets)}
    for row in table.rows[is_key]:
        key = int(row["packet"])
        leading = [number for number in shown if number > key and (shown[number] or 0) < (shown[key] or 0)]
        assert bool(row["flags"] & FrameFlag.CLEAN) == (not leading)
    assert (open_gop and gop == 7) or all(row["flags"] & FrameFlag.CLEAN for row in table.rows[is_key])


@pytest.mark.parametrize("variable", [False, True])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_times_are_those_of_the_frames(variable: bool, suffix: str, tmp_path: Path) -> None:
    path = make_video(tmp_path / f"a.{suffix}", num_frames=30, b_frames=2, variable_rate=variable)
    table, straight = measured(path), decode_straight(path)
    assert table.rows["time"].tolist() == straight.pts
    assert table.flags & TableFlag.OWN_TIMES
    assert bool(table.flags & TableFlag.EVEN_TIMES) == (not variable)
    ordinals = np.arange(len(table))
    assert table.seconds(ordinals).tolist() == [float(seconds or 0) for seconds in straight.seconds]
    if not variable:
        assert table.rate == 30


def test_seconds_are_exact_beyond_the_precision_of_a_product() -> None:
    times = [0, (1 << 40) + 1, (1 << 55) + 3]
    base = Fraction((1 << 20) + 7, 90_001)
    table = table_of(times, base=base, rate=Fraction(30), flags=TableFlag.OWN_TIMES)
    assert table.seconds(np.arange(3)).tolist() == [float(time * base) for time in times]


@pytest.mark.parametrize(
    "rate", [Fraction(12), Fraction(30), Fraction(30_000, 1_001), Fraction(1, 7), Fraction(240)]
)
def test_at_a_rate_the_last_frame_shown_by_then_is_taken(rate: Fraction) -> None:
    generator = np.random.default_rng(5)
    times = (1000 + np.cumsum(generator.integers(1, 90, 50))).tolist()
    base = Fraction(1, 600)
    table = table_of(times, base=base, rate=Fraction(20), flags=TableFlag.OWN_TIMES)
    for first in (0, 3, 17):
        found = table.shown_at(first, 25, rate).tolist()
        moments = [times[0] * base + tick / rate for tick in range(first, first + 25)]
        assert found == [max(i for i, time in enumerate(times) if time * base <= moment) for moment in moments]


def test_rounded_times_of_a_steady_rate_neither_repeat_nor_drop_frames() -> None:
    times = [round(1000 * n / 30) for n in range(90)]
    table = table_of(
        times, base=Fraction(1, 1000), rate=Fraction(30), flags=TableFlag.OWN_TIMES | TableFlag.EVEN_TIMES
    )
    assert table.shown_at(0, 90, Fraction(30)).tolist() == list(range(90))
    assert table.shown_at(0, 45, Fraction(15)).tolist() == list(range(0, 90, 2))


def test_a_video_without_a_file_of_its_own_is_measured_alike(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", num_frames=20, b_frames=2)
    content = path.read_bytes()
    in_memory = measure_video(Member(partial(_part, content), len(content)))
    assert in_memory.to_rows().tobytes() == measured(path).to_rows().tobytes()


def _part(content: bytes, offset: int, length: int) -> bytes:
    return content[offset : offset + length]
