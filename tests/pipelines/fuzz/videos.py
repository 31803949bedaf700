"""Frame tables that lie, and damaged videos: read as a user would, and no frame may be another than its time says."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from pipelines import VideoIterator, make_shards
from pipelines.decode.video import video_reader
from pipelines.decode.video.measuring import measure_video
from pipelines.sharding.modalities import video_examples
from pipelines.storage.frame_table import FRAME_DTYPE, HEAD_DTYPE, HEAD_ROWS, TableFlag, frames_path
from pipelines.storage.index import index_path, load_index, save_index

from ..numbered_frames import frame_number
from ..videos import make_video
from .damage import Damage
from .target import Target

__all__ = ["TARGETS"]

RATE, FRAMES, BATCHES = 30, 24, 8
VIDEOS: dict[str, dict[str, Any]] = {
    "a.mp4": {"b_frames": 2, "sound": "aac"},
    "b.mkv": {"b_frames": 3, "open_gop": True},
    "c.ts": {"b_frames": 2},
    "d.webm": {"codec": "libvpx-vp9"},
    "e.avi": {"codec": "mpeg4"},
}
TRUE_TIMES = ("a", "b", "d")  # of which a frame's time is read again with the frame


@dataclass(frozen=True)
class Packed:
    """A tar of these videos, without a manifest, and its tables; `starts` are the rows at which they begin."""

    tar: Path
    tables: NDArray[Any]
    starts: list[int]


def made(folder: Path, names: tuple[str, ...] = tuple(VIDEOS)) -> Path:
    (folder / "videos").mkdir()
    for number, name in enumerate(names):
        settings = {"num_frames": FRAMES - number, "size": (64, 48), "gop": 8, "rate": RATE}
        make_video(folder / "videos" / name, **{**settings, **VIDEOS[name]})
    return folder / "videos"


def packed(folder: Path) -> Packed:
    with patch.object(video_examples, "measure_apart", measure_video):
        make_shards(made(folder), folder / "out", workers=0)
    (tar,) = (folder / "out").glob("*.tar")
    tables = np.load(frames_path(tar))
    return Packed(tar, tables, load_index(index_path(tar))["table_offset"].tolist())


def copied(seed: Packed, folder: Path) -> Path:
    for path in (seed.tar, index_path(seed.tar)):
        shutil.copy(path, folder)
    return folder / seed.tar.name


def look(place: Path, damage: Damage, *, checked: bool = True) -> None:
    """Some clips, each frame of which must be the one that its time says."""
    ways: list[dict[str, Any]] = [
        {},
        {"shuffle": True, "hop": 3},
        {"every": 3, "shuffle": "files"},
        {"hop": 5, "shuffle": True, "random_offset": True, "on_error": "substitute"},
        {"fps": 12},
        {"sample_rate": 8000, "shuffle": True},
    ]
    with patch.object(video_reader, "measure_apart", measure_video):
        settings = {"clip_frames": 3, "size": None, "batch_size": 1, "threads": 1, **damage.one_of(ways)}
        clips = VideoIterator(place, **settings)
        for batch in itertools.islice(clips, BATCHES):
            if checked and batch.keys[0][0] in TRUE_TIMES:
                check(batch)
        clips.state_dict()
        clips.close()


def check(batch: Any) -> None:
    length = batch.data.shape[2] if batch.lengths is None else int(batch.lengths[0])
    frames, seconds = batch.data[0].transpose(1, 2, 3, 0)[:length], batch.fields["pts_seconds"][0][:length]
    found = [frame_number(frame) for frame in frames]
    assert np.abs(seconds * RATE - found).max() < 0.5, f"{batch.keys[0]}: frames {found} at {seconds.tolist()} s"


def play_numbers(seed: Packed, damage: Damage, folder: Path) -> None:
    """One to three numbers of heads and rows, often the same one of many rows."""
    tables = seed.tables.copy()
    for _ in range(damage.one_of((1, 1, 2, 3))):
        start = damage.one_of(seed.starts)
        if damage.below(3):
            change_rows(tables, start, damage)
        else:
            change_head(tables, start, damage)
    write_and_look(seed, tables, damage, folder)


def change_rows(tables: NDArray[Any], start: int, damage: Damage) -> None:
    num = int(tables[start : start + HEAD_ROWS].view(HEAD_DTYPE)[0]["frames"])
    first = damage.below(num)
    rows = tables[start + HEAD_ROWS :][first : damage.one_of((first + 1, first + 1, num))]
    name = damage.one_of(FRAME_DTYPE.names or ())
    if damage.below(2):
        rows[name] = damage.number(FRAME_DTYPE[name], int(rows[name][0]))
    elif not damage.is_none:
        rows[name] += np.array(damage.one_of((1, -1, 8, -8, 1000))).astype(FRAME_DTYPE[name])


def change_head(tables: NDArray[Any], start: int, damage: Damage) -> None:
    head = tables[start : start + HEAD_ROWS].view(HEAD_DTYPE)
    name = damage.one_of([name for name in HEAD_DTYPE.names or () if name != "codec"])
    head[name] = damage.number(HEAD_DTYPE[name], int(head[name][0]))


def play_bytes(seed: Packed, damage: Damage, folder: Path) -> None:
    """The bytes of the file, its header above all."""
    tar = copied(seed, folder)
    content = damage.bytes(frames_path(seed.tar).read_bytes(), head=damage.one_of((128, 400, None)))
    frames_path(tar).write_bytes(content)
    look(tar, damage, checked=damage.is_none)


def play_others(seed: Packed, damage: Damage, folder: Path) -> None:
    """The table of another video, rows of two videos in one, and offsets that lead anywhere."""
    tables, tar = seed.tables.copy(), copied(seed, folder)
    index = np.array(load_index(index_path(tar)))
    if not damage.is_none:
        row, way = damage.below(len(index)), damage.below(3)
        if way == 0:
            index["table_offset"][row] = damage.one_of((*seed.starts, len(tables), -7, 1, 1 << 40))
            index["frames"][row] = damage.one_of((index["frames"][row], *index["frames"]))
        elif way == 1:
            index["table_offset"] = np.roll(index["table_offset"], 1)
            index["frames"] = np.roll(index["frames"], 1)
        else:
            begin, end = sorted(damage.below(len(tables)) for _ in range(2))
            tables[begin:end] = np.roll(tables[begin:end], 1)
    index_path(tar).unlink()
    save_index(index_path(tar), index)
    write_and_look(seed, tables, damage, folder)


def write_and_look(seed: Packed, tables: NDArray[Any], damage: Damage, folder: Path) -> None:
    """Who reads frames does not see all of the lies of a head: how frames are turned, and whether times are true."""
    tar = folder / seed.tar.name
    if not tar.exists():
        copied(seed, folder)
    with open(frames_path(tar), "wb") as file:
        np.save(file, tables)
    heads = [tables[start : start + HEAD_ROWS].view(HEAD_DTYPE)[0] for start in seed.starts]
    true = [seed.tables[start : start + HEAD_ROWS].view(HEAD_DTYPE)[0] for start in seed.starts]
    is_seen = all(
        int(head["turns"]) == int(old["turns"]) and int(head["flags"]) & TableFlag.OWN_TIMES
        for head, old in zip(heads, true, strict=True)
        if int(old["flags"]) & TableFlag.OWN_TIMES
    )
    look(tar, damage, checked=is_seen)


def one_video(folder: Path, *, name: str) -> bytes:
    return (made(folder, (name,)) / name).read_bytes()


def play_video(content: bytes, damage: Damage, folder: Path, *, name: str) -> None:
    (folder / "source").mkdir()
    (folder / "source" / name).write_bytes(damage.bytes(content, head=damage.one_of((64, 600, None))))
    look(folder / "source", damage, checked=damage.is_none)


TARGETS = (
    Target("videos tables", packed, play_numbers),
    Target("videos table-bytes", packed, play_bytes),
    Target("videos table-others", packed, play_others),
    *(Target(f"videos {name}", partial(one_video, name=name), partial(play_video, name=name)) for name in VIDEOS),
)
