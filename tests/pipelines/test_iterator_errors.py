"""Examples that cannot be decoded: named with their place, or replaced the same way every time; nothing is lost."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines import (
    AudioIterator,
    DataIterator,
    Example,
    ExampleError,
    ImageIterator,
    PipelineError,
    ShardError,
    SourceError,
)
from pipelines.testing import assert_resumes_exactly

from .wav_files import wav

Fixture = Callable[..., Any]
BROKEN = (3, 11, 12, 20)


@pytest.fixture
def make(numbers: Fixture, decode_number: Fixture) -> Fixture:
    def build(num: int = 23, *, broken: Any = BROKEN, **settings: Any) -> DataIterator:
        return DataIterator(
            numbers(num, broken), decode_number, **{"batch_size": 4, "shuffle": True, "threads": 2, **settings}
        )

    return build


def break_picture(path: Path) -> str:
    path.write_bytes(path.read_bytes()[:60])
    return path.stem


def test_the_error_names_container_key_offset_and_reason_and_survives_pickle(make: Fixture) -> None:
    with pytest.raises(ExampleError) as caught:
        list(make(shuffle=False))
    error = caught.value
    assert (error.container, error.key, error.offset, error.reason) == (
        "numbers.tar",
        "key3",
        1536,
        "no number in it",
    )
    assert str(error) == (
        "numbers.tar: example 'key3' at byte 1,536 cannot be decoded: no number in it. "
        'Repair or remove it, or read with on_error="substitute".'
    )
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.key, again.offset) == (str(error), error.key, error.offset)


def test_a_broken_picture_in_a_shard_is_named_with_its_byte(picture_shards: Fixture) -> None:
    folder = picture_shards([4, 4])
    tar = folder / "001.tar"
    content = bytearray(tar.read_bytes())
    place = content.index(b"\x89PNG", content.index(b"\x89PNG") + 1)
    content[place : place + 200] = bytes(200)
    tar.write_bytes(content)
    with pytest.raises(ExampleError, match=rf"001\.tar: example '0005' at byte {place:,} cannot be decoded: \w+"):
        list(ImageIterator(folder, size=8))


def test_a_text_file_called_jpg_and_a_truncated_picture_are_named(tmp_path: Path, picture_bytes: Fixture) -> None:
    for name, content in (("text.jpg", b"only text"), ("cut.png", picture_bytes(1, 90, 90)[:4000])):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_bytes(content)
        with pytest.raises(ExampleError, match=rf"{name}: example '{Path(name).stem}' cannot be decoded: .*\.$"):
            list(ImageIterator(folder, size=8))


@pytest.mark.parametrize("threads", [1, 4])
def test_an_error_leaves_the_state_before_the_batch_it_is_in(threads: int, make: Fixture) -> None:
    """And the batches before it have been delivered: with prefetch, the error waits its turn."""
    numbers = make(40, broken=(30,), shuffle=False, threads=threads)
    found: list[int] = []

    def collect() -> None:
        for batch in numbers:
            found.extend(batch.data[:, 0].tolist())

    for _ in range(2):
        with pytest.raises(ExampleError, match="key30"):
            collect()
        assert numbers.state_dict()["position"] == 28
    assert found == list(range(28))
    mended = make(40, broken=(), shuffle=False)
    mended.load_state_dict(numbers.state_dict())
    assert [batch.data[0, 0] for batch in mended] == [28, 32, 36]


def test_the_first_broken_example_of_a_batch_is_the_one_that_is_named(make: Fixture) -> None:
    for threads in (1, 2, 8):
        with pytest.raises(ExampleError, match="key11"):
            list(make(23, broken=(11, 12, 20), shuffle=False, batch_size=23, threads=threads))


def test_after_an_error_nothing_lives(make: Fixture) -> None:
    with pytest.raises(ExampleError):
        list(make())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pipelines")]


def test_errors_that_are_not_about_data_pass_as_they_are(numbers: Fixture) -> None:
    def decode(example: Any, rng: Any) -> Any:
        raise ZeroDivisionError("a mistake in the user's own function")

    for on_error in ("raise", "substitute"):
        with pytest.raises(ZeroDivisionError, match="own function"):
            list(DataIterator(numbers(5), decode, on_error=on_error))


def test_a_damaged_field_is_named_and_leaves_the_state_before_its_batch(picture_folder: Fixture) -> None:
    folder = picture_folder(6)
    for number in range(6):
        (folder / f"{number:04d}.json").write_text("{}" if number != 4 else "{broken")
    images = ImageIterator(folder, size=8, batch_size=2, fields=["json"])
    with pytest.raises(ExampleError, match=r"example '0004'.*field 'json' is damaged"):
        list(images)
    assert images.position == 4
    (folder / "0004.json").write_text("[7]")
    (batch,) = images
    assert batch.fields["json"] == [[7], {}]


# Substitutes


def rows(numbers: DataIterator) -> list[tuple[list[int], list[bool]]]:
    return [
        (row.tolist(), bool(flag))
        for batch in numbers
        for row, flag in zip(batch.data, batch.substituted, strict=True)
    ]


def test_substitutes_are_marked_real_examples_and_everything_else_stays_in_place(make: Fixture) -> None:
    clean, found = rows(make(broken=(), on_error="substitute")), rows(make(on_error="substitute"))
    for (expected, _), (row, is_substitute) in zip(clean, found, strict=True):
        assert is_substitute == (expected[0] in BROKEN)
        assert row[0] not in BROKEN
        assert is_substitute or row == expected
    numbers = make(on_error="substitute")
    rows(numbers)
    assert numbers.state_dict()["substitutions"] == len(BROKEN)
    assert numbers.stats.substituted == len(BROKEN)


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_substitutes_do_not_depend_on_threads_or_batches_or_on_where_one_resumes(
    threads: int, make: Fixture
) -> None:
    expected = rows(make(on_error="substitute", threads=2))
    numbers = make(on_error="substitute", threads=threads, batch_size=7)
    assert rows(numbers) == expected
    numbers.reset(0, 8)
    assert rows(numbers) == expected[8:]
    tried = assert_resumes_exactly(
        lambda **changes: make(on_error="substitute", **changes),
        variations=[{"threads": threads}, {"batch_size": 5}],
    )
    assert tried == 26


def test_epochs_draw_different_substitutes(make: Fixture) -> None:
    numbers = make(200, broken=(50,), on_error="substitute")
    chosen = [next(row[0] for row, flag in rows(numbers) if flag) for _ in range(6)]
    assert len(set(chosen)) > 1


def test_substitutes_that_are_broken_themselves_are_tried_again(make: Fixture) -> None:
    found = rows(make(20, broken=range(1, 20, 2), on_error="substitute"))
    assert len(found) == 20
    assert all(row[0] % 2 == 0 for row, _ in found)


def test_where_nothing_can_be_decoded_the_example_in_turn_is_named(make: Fixture) -> None:
    numbers = make(20, broken=range(20), on_error="substitute", shuffle=False)
    with pytest.raises(
        ExampleError, match=r"key0.* neither can any of 15 others .*\. Repair the data\.$"
    ) as caught:
        list(numbers)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert numbers.state_dict()["substitutions"] == 0


def test_the_budget_of_substitutes_is_kept_over_epochs_and_states(make: Fixture) -> None:
    numbers = make(on_error="substitute", max_substitutions=10)
    rows(numbers)
    rows(numbers)
    state = numbers.state_dict()
    assert state["substitutions"] == 8
    fresh = make(on_error="substitute", max_substitutions=10)
    fresh.load_state_dict(state)
    with pytest.raises(ExampleError, match="max_substitutions=10"):
        rows(fresh)
    assert fresh.state_dict()["substitutions"] <= 10
    assert make(on_error="substitute", max_substitutions=4).stats.substituted == 0
    assert len(rows(make(on_error="substitute", max_substitutions=4))) == 23
    with pytest.raises(ExampleError, match="max_substitutions=3"):
        rows(make(on_error="substitute", max_substitutions=3))


def test_padding_counts_no_substitute_twice(make: Fixture) -> None:
    numbers = make(5, broken=(0, 1, 2, 3, 4)[:2], on_error="substitute", batch_size=8, tail="pad", shuffle=False)
    rows(numbers)
    assert numbers.state_dict()["substitutions"] == 2


def test_a_file_that_vanished_is_an_error_or_a_substitute(picture_folder: Fixture) -> None:
    folder = picture_folder(8)
    strict, lenient = (ImageIterator(folder, size=8, on_error=how) for how in ("raise", "substitute"))
    (folder / "0003.png").unlink()
    with pytest.raises(SourceError, match=r"0003\.png"):
        list(strict)
    (batch,) = lenient
    assert batch.substituted.tolist() == [number == 3 for number in range(8)]
    assert batch.keys[3] != "0003"
    assert batch.keys[:3] == ["0000", "0001", "0002"]


def test_a_shard_that_was_cut_since_is_an_error_or_substitutes(picture_shards: Fixture) -> None:
    folder = picture_shards([8])
    strict, lenient = (ImageIterator(folder, size=8, on_error=how) for how in ("raise", "substitute"))
    strict.close()
    tar = folder / "000.tar"
    with open(tar, "r+b") as file:
        file.truncate(tar.stat().st_size // 2)
    with pytest.raises(ShardError, match=r"000\.tar: cut off"):
        list(strict)
    (batch,) = lenient
    assert 0 < batch.substituted.sum() < 8
    assert np.array_equal(batch.indices != np.arange(8), batch.substituted)


def test_every_error_of_data_is_a_pipeline_error() -> None:
    for kind in (ExampleError, ShardError, SourceError):
        assert issubclass(kind, PipelineError)
    assert not issubclass(PipelineError, ValueError)


def test_a_broken_picture_is_replaced_alike_in_shards(picture_folder: Fixture) -> None:
    folder = picture_folder(12)
    broken = {break_picture(folder / f"{number:04d}.png") for number in (2, 7)}
    batches = [
        batch
        for threads in (1, 3)
        for batch in ImageIterator(
            folder, size=8, batch_size=12, shuffle=True, threads=threads, on_error="substitute"
        )
    ]
    assert batches[0].keys == batches[1].keys
    assert not broken & set(batches[0].keys)
    assert np.array_equal(batches[0].data, batches[1].data)
    assert batches[0].substituted.sum() == 2


def test_an_error_in_a_transform_is_raised_as_it_is_and_names_the_example(make: Fixture) -> None:
    def broken(array: NDArray[Any], rng: np.random.Generator, example: Example) -> NDArray[Any]:
        raise ZeroDivisionError("division by zero")

    with pytest.raises(ZeroDivisionError) as caught:
        next(iter(make(transform=broken)))
    assert any("for example 'key" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("on_error", ["raise", "substitute"])
def test_a_source_that_gives_another_number_of_examples_is_told_so(
    numbers: Fixture, decode_number: Fixture, change: int, on_error: str
) -> None:
    class Careless(numbers):  # type: ignore[misc, valid-type]
        def read(self, indices: Any) -> list[Example]:
            found = super().read(indices)
            return found[:change] if change < 0 else [*found, found[0]]

    iterator = DataIterator(Careless(23), decode_number, batch_size=4, threads=1, on_error=on_error)
    expected = f"Careless.read gave {4 + change} examples for 4 indices; it must give one for each, in their order"
    with pytest.raises(ValueError, match=expected):
        next(iter(iterator))


@pytest.mark.parametrize("view", ["whole", "selected", "clips", "a clip selected"])
def test_an_example_without_media_is_called_that(tmp_path: Path, picture_bytes: Fixture, view: str) -> None:
    is_sound = "clip" in view
    sound = wav(bytes(64), "s16", 1)
    media = (
        [("wav", sound), ("wav", sound)] if is_sound else [("png", picture_bytes(number)) for number in range(2)]
    )
    members = [(f"{number}.{suffix}", content) for number, (suffix, content) in enumerate(media)]
    members += [("0.json", b"{}"), ("0.txt", b"zero"), ("1.f0.npy", b"none")]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    iterators: dict[str, Callable[[], Any]] = {
        "whole": lambda: ImageIterator(tmp_path / "a.tar", size=8, batch_size=4, threads=1),
        "selected": lambda: ImageIterator(tmp_path / "a.tar", size=8, batch_size=1, select=[2]),
        "clips": lambda: AudioIterator(tmp_path / "a.tar", window=32, batch_size=4, threads=1),
        "a clip selected": lambda: AudioIterator(tmp_path / "a.tar", window=32, batch_size=1, select=[2]),
    }
    with pytest.raises(ExampleError, match="has no media file, only json and txt"):
        list(iterators[view]())
    quarantine = tmp_path / "left.jsonl"
    settings = {"batch_size": 4, "on_error": "substitute", "quarantine": quarantine}
    if is_sound:
        list(AudioIterator(tmp_path / "a.tar", window=32, **settings))
    else:
        list(ImageIterator(tmp_path / "a.tar", size=8, **settings))
    assert [json.loads(line)["reason"].split(";")[0] for line in quarantine.read_text().splitlines()] == [
        "it has no media file, only json and txt",
        "it has no media file, only npy",
    ]
