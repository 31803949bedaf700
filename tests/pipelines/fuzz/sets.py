"""What packing leaves beside its shards: index, manifest, names, and the plan and journal of an interrupted run."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from pipelines import ShardError, make_shards, open_source
from pipelines.sharding import set_job
from pipelines.storage.manifest import Manifest, ShardColumns

from ..recordings import encoded, melody
from .damage import Damage
from .play import hear, png, read_all, see
from .target import Target

__all__ = ["TARGETS"]

SMALL: dict[str, Any] = {"workers": 0, "shard_examples": 2}


@dataclass(frozen=True)
class Packed:
    """Folders: files, more files of the kind, and what packing the first ones left."""

    source: Path
    more: Path
    out: Path


def pictures(folder: Path, *numbers: int) -> Path:
    for number in numbers:
        path = folder / ("cats", "dogs", "eels")[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))
    (folder / "no.png").write_bytes(b"no picture")
    return folder


def recordings(folder: Path, *numbers: int) -> Path:
    folder.mkdir()
    for number in numbers:
        (folder / f"{number}.wav").write_bytes(encoded(melody(1500 + 100 * number, seed=number)))
    return folder


def packed(folder: Path, make: Callable[..., Path] = pictures, **settings: Any) -> Packed:
    """A finished set."""
    source, more = make(folder / "source", 0, 1, 3), make(folder / "more", 0, 1, 2, 3, 4)
    make_shards(source, folder / "out", **SMALL, **settings)
    return Packed(source, more, folder / "out")


def interrupted(folder: Path) -> Packed:
    """A set whose shards are made, and whose manifest is not."""
    with (
        patch.object(set_job._Job, "finish", side_effect=KeyboardInterrupt),
        contextlib.suppress(KeyboardInterrupt),
    ):
        packed(folder)
    return Packed(folder / "source", pictures(folder / "more", 0, 1, 2, 3, 4), folder / "out")


def copy_of(made: Packed, folder: Path) -> Path:
    return Path(shutil.copytree(made.out, folder / "out"))


def other_index(content: bytes, damage: Damage) -> bytes:
    """Damaged anywhere, or with other numbers in those columns that may be anything but what they say."""
    if not damage.below(3):
        return damage.bytes(content, head=damage.one_of((None, 128, None)))
    rows = np.load(io.BytesIO(content))
    for _ in range(damage.one_of((1, 2, 4))):
        row = damage.below(len(rows))
        column = damage.one_of([name for name in rows.dtype.names or () if name != "version"])
        rows[column][row] = damage.number(rows.dtype[column], int(rows[column][row]))
    file = io.BytesIO()
    np.save(file, rows)
    return file.getvalue()


def play_index(made: Packed, damage: Damage, folder: Path, *, view: Callable[..., None]) -> None:
    out = copy_of(made, folder)
    index = sorted(out.glob("*.index.npy"))[0]
    index.write_bytes(other_index(index.read_bytes(), damage))
    source = open_source(out, verify=bool(damage.below(2)))
    if damage.below(2):
        view(source, **damage.one_of(({}, {"shuffle": True}, {"on_error": "substitute"})))
    else:
        view(out)
    read_all(source)


def play_lone_index(made: Packed, damage: Damage, folder: Path) -> None:
    """Beside a tar without a manifest."""
    out = copy_of(made, folder)
    (out / "manifest.json").unlink()
    play_index(Packed(made.source, made.more, out), damage, folder / "lone", view=see)


def pack_again(made: Packed, damage: Damage, out: Path) -> None:
    """In each way that looks at what is there."""
    way = damage.below(4)
    settings: dict[str, Any] = ({}, {"append": True}, {"overwrite": True}, {"strict": True})[way]
    make_shards(made.more if way else made.source, out, **SMALL, **settings, classes=bool(damage.below(2)))


def play_json(made: Packed, damage: Damage, folder: Path, *, name: str) -> None:
    out = copy_of(made, folder)
    (out / name).write_bytes(damage.json(json.loads((out / name).read_text())))
    if damage.below(2):
        see(out, shuffle=bool(damage.below(2)))
    elif not damage.is_none:
        pack_again(made, damage, out)
        read_all(open_source(out))


def play_columns(made: Packed, damage: Damage, folder: Path) -> None:
    """Other values in the columns of a manifest whose hash and total are right again."""
    out = copy_of(made, folder)
    written = Manifest.load(out)
    columns = {name: list(column) for name, column in vars(written.shards).items()}
    if not damage.is_none:
        column = columns[damage.one_of(("examples", "examples", "bytes", "name", "sha256"))]
        row, is_number = damage.below(len(column)), isinstance(column[0], int) and damage.below(2)
        column[row] = damage.number(np.dtype(np.uint64), column[row]) if is_number else damage.value(column[row])
    try:
        text = dataclasses.replace(written, shards=ShardColumns(**columns)).to_json()
    except Exception as error:  # nothing is written then
        raise ShardError(f"{out}: not a manifest ({error}).") from error
    (out / "manifest.json").write_text(text, errors="surrogatepass")
    if damage.below(2):
        see(out, shuffle=bool(damage.below(2)))
    elif not damage.is_none:
        pack_again(made, damage, out)


def play_lines(made: Packed, damage: Damage, folder: Path, *, name: str) -> None:
    out = copy_of(made, folder)
    (out / name).write_bytes(damage.lines([json.loads(line) for line in (out / name).read_text().splitlines()]))
    pack_again(made, damage, out)
    see(out)


def resume_json(made: Packed, damage: Damage, folder: Path) -> None:
    """The plan of an interrupted run."""
    out = copy_of(made, folder)
    plan = out / ".make_shards" / "plan.json"
    plan.write_bytes(damage.json(json.loads(plan.read_text())))
    pack_again(made, damage, out)
    see(out)


def play_classes(made: Packed, damage: Damage, folder: Path) -> None:
    """The numbers of the classes, in the manifest and beside it."""
    out = copy_of(made, folder)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["settings"] = damage.value(manifest["settings"])
    (out / "manifest.json").write_text(json.dumps(manifest))
    (out / "classes.json").write_bytes(damage.bytes((out / "classes.json").read_bytes()))
    make_shards(made.more, out, **SMALL, append=True, classes=True)
    see(out, fields=["cls"])


JOURNAL = ".make_shards/finished.jsonl"
segmented = partial(packed, make=recordings, segment=0.05)
TARGETS = (
    Target("sets index", packed, partial(play_index, view=see)),
    Target("sets lone-index", packed, play_lone_index),
    Target("sets index-of-sounds", segmented, partial(play_index, view=hear)),
    Target("sets manifest", packed, partial(play_json, name="manifest.json")),
    Target("sets manifest-with-classes", partial(packed, classes=True), partial(play_json, name="manifest.json")),
    Target("sets columns", packed, play_columns),
    Target("sets names", packed, partial(play_lines, name="manifest.names.jsonl")),
    Target("sets classes", partial(packed, classes=True), play_classes),
    Target("sets journal", interrupted, partial(play_lines, name=JOURNAL)),
    Target("sets plan", interrupted, resume_json),
)
