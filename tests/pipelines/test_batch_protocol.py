"""The batch protocol of docs/batches.md, held by every iterator and by mixtures of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pipelines import (
    ArrayIterator,
    AudioIterator,
    Batch,
    BatchLike,
    DataIterator,
    ImageIterator,
    VideoIterator,
    hold_out,
    make_shards,
    mix,
    open_source,
)

from .recordings import album, encoded, melody, write_folder
from .videos import make_video

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "batches.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Told:
    """A row of the page's first table."""

    modality: str
    iterator: str
    shape: str
    dtype: str
    range: str
    layout: str


def told() -> dict[str, Told]:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")
    ]
    return {row[0]: Told(*row) for row in rows if len(row) == 6 and row[0] not in ("modality", "---")}


@pytest.fixture
def made(tmp_path: Path, picture_folder: Callable[..., Path], toy: ModuleType) -> dict[str, Any]:
    """An iterator of every kind, with padding at the end of its epoch and a field where it has some."""
    pictures = picture_folder(11)
    for number in range(11):
        (pictures / f"{number:04d}.cls").write_text(str(number))
    make_shards(pictures, tmp_path / "packed", workers=0)
    takes = write_folder(tmp_path / "takes", album(3, frames=2500))
    films = tmp_path / "films"
    films.mkdir()
    for number in range(3):
        make_video(films / f"{number}.mp4", num_frames=10, size=(32, 24), rate=24, sound="aac")
    np.save(tmp_path / "rows.npy", np.arange(66.0).reshape(11, 2, 3))
    rest, _ = hold_out(open_source(tmp_path / "packed"), 0.1)
    tail = {"batch_size": 4, "rank": 0, "world_size": 1, "tail": "pad", "shuffle": True}

    def image(source: Any, **more: Any) -> ImageIterator:
        return ImageIterator(source, size=(6, 8), fields=("cls",), on_error="substitute", **{**tail, **more})

    def audio(**more: Any) -> AudioIterator:
        return AudioIterator(takes, window=1000, **{**tail, **more})

    def video(**more: Any) -> VideoIterator:
        return VideoIterator(films, clip_frames=4, size=(6, 8), **{**tail, **more})

    def rows(**more: Any) -> ArrayIterator:
        return ArrayIterator(tmp_path / "rows.npy", **{**tail, **more})

    def numbers() -> DataIterator:
        return DataIterator(pictures, lambda example, rng: [len(example.media), example.index], **tail)

    things = tmp_path / "things"
    things.mkdir()
    for number in range(11):
        (things / f"{number}.toy").write_text(f"TOY1 {number}")
    together = {key: value for key, value in tail.items() if key != "shuffle"}
    return {
        "image": image(tmp_path / "packed"),
        "image, a folder": image(pictures),
        "image, a part": image(rest),
        "image, a mixture": mix([image(pictures), image(rest, seed=1)], **together),
        "audio": audio(),
        "audio, at random": audio(random_offset=True, short="skip", sample_rate=8000),
        "audio, a mixture": mix([audio(), audio(seed=3)], **together),
        "video": video(short="pad"),
        "video, at random": video(random_offset=True, short="skip", fps=12, sample_rate=8000),
        "video, a mixture": mix([video(), video(seed=3)], **together),
        "array": rows(),
        "array, windows": rows(window=3, hop=2),
        "array, a mixture": mix([rows(), rows(seed=1)], **together),
        "your own": numbers(),
        "your own, a modality": toy.ToyIterator(things, **tail),
        "your own, a mixture": mix([numbers(), numbers()], **together),
    }


KINDS = [
    *("image", "image, a folder", "image, a part", "image, a mixture"),
    *("audio", "audio, at random", "audio, a mixture"),
    *("video", "video, at random", "video, a mixture"),
    *("array", "array, windows", "array, a mixture"),
    *("your own", "your own, a modality", "your own, a mixture"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_iterator_keeps_the_protocol(kind: str, made: dict[str, Any]) -> None:
    assert set(KINDS) == set(made)
    row = told()[kind.split(",")[0]]
    batches = list(made[kind])
    assert sum(batch.mask is not None for batch in batches) <= 1
    for batch, following in zip(batches, [*batches[1:], None], strict=True):
        assert isinstance(batch, BatchLike)
        check_attributes(batch)
        check_data(batch, row, windows="windows" in kind)
        if following is not None:
            assert not np.shares_memory(batch.data, following.data)
            assert batch.state != following.state


def check_attributes(batch: Batch) -> None:
    """The second table."""
    num = len(batch)
    assert num == len(batch.keys) == len(batch.data) == 4, "padded"
    assert all(isinstance(key, str) for key in batch.keys)
    assert (batch.indices.shape, batch.indices.dtype) == ((num,), np.int64)
    assert isinstance(batch.fields, dict)
    if "cls" in batch.fields:
        assert (batch.fields["cls"].shape, batch.fields["cls"].dtype) == ((num,), np.int64)
    for flags in (batch.mask, batch.substituted):
        assert flags is None or (flags.shape, flags.dtype) == ((num,), np.bool_)
    if batch.lengths is not None:
        assert (batch.lengths.shape, batch.lengths.dtype) == ((num,), np.int64)
        assert (batch.lengths <= batch.data.shape[2]).all()
        for slot, length in enumerate(batch.lengths.tolist()):
            assert not batch.data[slot, :, length:].any()
    assert len(json.dumps(batch.state)) < 1024 * max(1, len(batch.state.get("sources", ())))
    batch.data[...] = 1  # its own memory


def check_data(batch: Batch, row: Told, *, windows: bool) -> None:
    """The first table."""
    if row.modality == "image":
        assert row.shape.startswith("(batch, 3, height, width)")
        assert batch.data.shape[1:] == (3, 6, 8)
        assert (str(batch.data.dtype), row.dtype) == ("uint8", "uint8")
        assert row.layout == "channels last"
        assert batch.data.transpose(0, 2, 3, 1).flags.c_contiguous
        assert (batch.transform.shape, batch.transform.dtype) == ((4, 2, 3), np.float32)
        return
    if row.modality == "video":
        assert row.shape == "(batch, 3, time, height, width)"
        assert batch.data.shape[1:] == (3, 4, 6, 8)
        assert (str(batch.data.dtype), row.dtype) == ("uint8", "uint8")
        assert row.layout == "channels last"
        assert batch.data.transpose(0, 2, 3, 4, 1).flags.c_contiguous
        assert (batch.transform.shape, batch.transform.dtype) == ((4, 2, 3), np.float32)
        assert (batch.fields["pts_seconds"].shape, batch.fields["pts_seconds"].dtype) == ((4, 4), np.float64)
        assert batch.fields.keys() <= {"pts_seconds", "pixel_aspect", "sound"}
        assert "sound" not in batch.fields or batch.fields["sound"].shape[:2] == (4, 1)
        assert all("@" in key for key in batch.keys)
        return
    assert batch.transform is None
    assert batch.data.flags.c_contiguous
    if row.modality == "audio":
        assert row.shape == "(batch, channel, window)"
        assert batch.data.shape[1:] == (1, 1000)
        assert (str(batch.data.dtype), row.dtype) == ("float32", "float32")
        assert all("@" in key for key in batch.keys)
    elif row.modality == "array":
        assert row.shape.startswith("(batch, *row), or (batch, window, *row)")
        assert batch.data.shape[1:] == ((3, 2, 3) if windows else (2, 3))
        assert batch.data.dtype == np.float64, "as stored"
    else:
        assert batch.data.shape[1:] == (2,)


def test_samples_and_pixels_keep_their_range(tmp_path: Path, picture_folder: Callable[..., Path]) -> None:
    assert told()["image"].range == "0 to 255"
    assert told()["audio"].range.startswith("[-1, 1)")
    loud = np.clip(3 * melody(3000), -1, 1)
    takes = write_folder(tmp_path / "loud", {"a.wav": encoded(loud), "b.wav": encoded(3 * melody(3000), "f32")})
    for batch in AudioIterator(takes, window=3000, batch_size=1):
        largest = float(np.abs(batch.data).max())
        assert largest <= 1.0 if batch.keys[0].startswith("a@") else largest > 1.0
    pixels = np.concatenate(
        [batch.data.ravel() for batch in ImageIterator(picture_folder(5), size=8, resizer="exact")]
    )
    assert pixels.min() < 60
    assert pixels.max() > 200


def test_the_table_names_the_iterators_that_there_are() -> None:
    assert [row.iterator.strip("`") for row in told().values()] == [
        iterator.__name__ for iterator in (ImageIterator, AudioIterator, VideoIterator, ArrayIterator, DataIterator)
    ]
    named = set(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE))
    protocol = {name for name in vars(BatchLike) if not name.startswith("_")}
    assert protocol | {"indices"} == named | {"data"}


class Loader:
    """Batches that are none of ours."""

    def __iter__(self) -> Iterator[object]:
        yield object()


def test_what_lacks_an_attribute_does_not_satisfy_the_protocol() -> None:
    assert not isinstance(next(iter(Loader())), BatchLike)
