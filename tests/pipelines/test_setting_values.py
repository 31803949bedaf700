"""Values that mean something else than what they look like are refused with one sentence, never coerced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import (
    ArrayIterator,
    ArraySource,
    AudioIterator,
    DataIterator,
    ImageIterator,
    ShardWriter,
    hold_out,
    make_shards,
    mix,
    open_source,
)

from .wav_files import wav

WHOLE = (
    "batch_size",
    "threads",
    "limit",
    "groups",
    "seed",
    "rank",
    "world_size",
    "prefetch_bytes",
    "max_substitutions",
)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    np.save(tmp_path / "rows.npy", np.arange(8))
    return tmp_path / "rows.npy"


@pytest.mark.parametrize("name", [*WHOLE, "shuffle_shards", "window", "hop", "axis", "cache_bytes"])
@pytest.mark.parametrize("wrong", [1.0, "1", True, None, np.float32(1), np.array([1])], ids=repr)
def test_a_number_that_is_not_whole_is_named(rows: Path, name: str, wrong: Any) -> None:
    if wrong is None and name not in ("batch_size", "groups", "seed", "prefetch_bytes", "max_substitutions"):
        return  # the default
    settings: dict[str, Any] = {"world_size": 2, "rank": 0} if name in ("rank", "world_size") else {}
    settings |= {"shuffle": True} if name == "shuffle_shards" else {"window": 2} if name == "hop" else {}
    with pytest.raises(TypeError, match=f"^{name} is .*; it must be a whole number"):
        ArrayIterator(rows, **{**settings, name: wrong})


@pytest.mark.parametrize("name", [*WHOLE, "window"])
def test_numpys_whole_numbers_are_taken(rows: Path, name: str) -> None:
    settings: dict[str, Any] = {"world_size": 1, "rank": 0}
    iterator = ArrayIterator(rows, **{**settings, name: np.int64(name != "rank")})
    assert next(iter(iterator)).data.ravel()[0] == 0
    iterator.load_state_dict(iterator.state_dict())


@pytest.mark.parametrize("size", [16.0, (16.0, 16.0), "16", (3, 16, 16), (16,), True, np.array(16.0)], ids=repr)
def test_a_size_is_one_whole_number_or_two(picture_folder: Callable[..., Path], size: Any) -> None:
    with pytest.raises(TypeError, match=r"^size is .* it must be one whole number, or two: "):
        ImageIterator(picture_folder(2), size=size)


@pytest.mark.parametrize("size", [np.int64(16), [16, 16], (np.int32(16), 16), np.array([16, 16])], ids=repr)
def test_whole_numbers_of_other_types_are_a_size(picture_folder: Callable[..., Path], size: Any) -> None:
    assert next(iter(ImageIterator(picture_folder(2), size=size))).data.shape == (2, 3, 16, 16)


def test_windows_of_recordings_take_numpys_whole_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(bytes(128), "s16", 1))
    windows = AudioIterator(tmp_path, window=np.int64(32), hop=np.int32(16), channels=np.uint8(1), batch_size=4)
    assert next(iter(windows)).data.shape == (3, 1, 32)
    for name in ("window", "hop", "channels"):
        with pytest.raises(TypeError, match=f"^{name} is 2.0; it must be a whole number"):
            AudioIterator(tmp_path, **{name: 2.0})


def selected(place: Path, select: Any) -> list[str]:
    return [key for batch in ArrayIterator(place, select=select) for key in batch.keys]


def test_a_mask_selects_the_examples_where_it_is_true(rows: Path) -> None:
    mask = np.arange(8) >= 5
    assert selected(rows, mask) == selected(rows, mask.tolist()) == ["5", "6", "7"]
    assert selected(rows, np.flatnonzero(mask)) == selected(rows, range(5, 8)) == ["5", "6", "7"]
    assert selected(rows, np.array([7, 5], np.uint8)) == ["7", "5"]


@pytest.mark.parametrize(
    ("select", "error"),
    [
        ([1.7, 2.2], TypeError),
        ({5, 6}, TypeError),
        ({5: 6}, TypeError),
        ("567", TypeError),
        (iter([5]), TypeError),
        (np.array([[1], [2]]), TypeError),
        (["5"], TypeError),
        ([5, None], TypeError),
        (np.ones(7, bool), ValueError),
        ([True, 0, 2], None),
    ],
    ids=["floats", "a set", "a dictionary", "text", "an iterator", "two axes", "texts", "None", "short", "mixed"],
)
def test_a_selection_of_anything_else_is_refused(rows: Path, select: Any, error: type[Exception] | None) -> None:
    if error is None:  # whole numbers beside Booleans: NumPy makes them whole numbers, as Python does
        assert selected(rows, select) == ["1", "0", "2"]
        return
    with pytest.raises(error, match=r"^select "):
        ArrayIterator(rows, select=select)


def forgot(array: Any, rng: Any, example: Any) -> Any:
    array[...] = 0


@pytest.mark.parametrize(
    ("transform", "returned"),
    [
        (forgot, "None"),
        (lambda a, r, e: {"x": a}, "a value of type dict"),
        (lambda a, r, e: "x", "a value of type str"),
        (lambda a, r, e: (a, 3), "a value of type tuple"),
        (lambda a, r, e: np.array([None]), "a value of type ndarray"),
    ],
)
def test_a_transform_that_returns_no_array_is_told_so(
    picture_folder: Callable[..., Path], transform: Any, returned: str
) -> None:
    iterator = ImageIterator(picture_folder(2), size=16, transform=transform)
    with pytest.raises(
        TypeError, match=f"^transform returned {returned}; it must return an array of numbers"
    ) as caught:
        next(iter(iterator))
    assert "for example '" in caught.value.__notes__[0]


def test_what_a_transform_may_return(picture_folder: Callable[..., Path]) -> None:
    for value, shape in ((3, (2,)), ([1, 2], (2, 2)), (np.float32(1), (2,)), (np.ones((2, 2)), (2, 2, 2))):
        iterator = ImageIterator(picture_folder(2), size=16, transform=lambda a, r, e, value=value: value)
        assert next(iter(iterator)).data.shape == shape


def test_a_decoder_that_returns_no_array_is_told_so(picture_folder: Callable[..., Path]) -> None:
    def nothing(example: Any, rng: Any) -> Any:
        return None

    with pytest.raises(TypeError, match="the decoder returned None; it must return an array of numbers"):
        next(iter(DataIterator(picture_folder(2), nothing)))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"fields": 3}, "fields is 3; it must be suffixes of members"),
        ({"fields": ("json", 3)}, "fields is "),
        ({"transform": 3}, "transform is 3; it must be a function"),
        ({"quarantine": 3}, "quarantine is 3; it must be the path of a file"),
    ],
)
def test_other_settings_of_a_wrong_type_are_named(rows: Path, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TypeError, match=f"^{sentence}"):
        ArrayIterator(rows, **settings)


def test_shares_are_numbers(rows: Path) -> None:
    iterators = [ArrayIterator(rows), ArrayIterator(rows)]
    for weights in ("ab", ["1", "2"]):
        with pytest.raises(TypeError, match=r"^weights is .*; it must be a sequence of numbers"):
            mix(iterators, weights=weights)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^epoch_examples is 8.0; it must be a whole number"):
        mix(iterators, epoch_examples=8.0)  # type: ignore[arg-type]
    assert sum(len(batch) for batch in mix(iterators, weights=np.array([3, 1]), epoch_examples=np.int64(12))) == 12
    for fraction in (None, "0.1", True):
        with pytest.raises(TypeError, match=r"^fraction is .*; it must be a number"):
            hold_out(ArraySource(rows), fraction)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["workers", "shard_examples", "shard_bytes", "shuffle", "resize", "max_pixels"])
@pytest.mark.parametrize("wrong", [2.0, "2", True, np.float32(2)], ids=repr)
def test_packing_names_a_number_that_is_not_whole(
    picture_folder: Callable[..., Path], tmp_path: Path, name: str, wrong: Any
) -> None:
    with pytest.raises(TypeError, match=f"^{name} is .*; it must be a whole number"):
        make_shards(picture_folder(2), tmp_path / "out", **{name: wrong})
    assert not (tmp_path / "out").exists()


def test_packing_takes_numpys_whole_numbers(picture_folder: Callable[..., Path], tmp_path: Path) -> None:
    numbers = {"workers": 0, "shard_examples": 1, "shard_bytes": 1 << 20, "shuffle": 3, "resize": 8, "quality": 80}
    settings: Any = {name: np.int64(value) for name, value in numbers.items()}
    folder = picture_folder(2)
    make_shards(folder, tmp_path / "out", **settings)
    assert make_shards(folder, tmp_path / "out", **numbers).was_complete  # type: ignore[arg-type]


FLAGS = {
    "flip": lambda folder, out, value: ImageIterator(folder, flip=value),
    "grayscale": lambda folder, out, value: ImageIterator(folder, grayscale=value),
    "verify": lambda folder, out, value: open_source(folder, verify=value),
    "allow_truncated": lambda folder, out, value: open_source(folder, allow_truncated=value),
    **{
        name: lambda folder, out, value, name=name: make_shards(folder, out, workers=0, **{name: value})
        for name in ("strict", "append", "overwrite", "progress", "decode")
    },
}


@pytest.mark.parametrize("name", FLAGS)
def test_a_setting_that_is_on_or_off_takes_nothing_else(
    picture_folder: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    folder = picture_folder(2)
    for wrong in ("no", 1, 0.0, None, np.array([True])):
        with pytest.raises(TypeError, match=f"^{name} is .*; it must be True or False"):
            FLAGS[name](folder, tmp_path / "out", wrong)
    FLAGS[name](folder, tmp_path / "out", np.False_)


@pytest.mark.parametrize("wrong", ["file", 1, 0, None, 1.0])
def test_an_order_is_one_of_three(rows: Path, wrong: Any) -> None:
    with pytest.raises(ValueError, match="shuffle is"):
        ArrayIterator(rows, shuffle=wrong)
    assert ArrayIterator(rows, shuffle=np.True_).state_dict()["shuffle"] is True  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "error", "sentence"),
    [
        ({"width": 2.5}, TypeError, "width is 2.5; it must be a whole number"),
        ({"height": -1}, ValueError, "height is -1; it must be at least 0"),
        ({"channels": 1 << 31}, ValueError, "channels is 2147483648; it must be 2,147,483,647 at most"),
        ({"frames": 1 << 60}, ValueError, "frames is 1152921504606846976; it must be"),
        ({"rate": (44_100.0, 1)}, TypeError, "rate_numerator is 44100.0; it must be a whole number"),
    ],
)
def test_a_writer_takes_numbers_that_fit_an_index(
    tmp_path: Path, facts: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with ShardWriter(tmp_path, "image") as writer:
        with pytest.raises(error, match=sentence):
            writer.write("a", b"content", "jpg", **facts)
        writer.write("b", b"content", "jpg", width=np.int64(3))
    for name in ("shard_bytes", "shard_examples", "first"):
        with pytest.raises(TypeError, match=f"{name} is 1.0; it must be a whole number"):
            ShardWriter(tmp_path, "image", **{name: 1.0})  # type: ignore[arg-type]


def test_numbers_that_cannot_be_meant_are_refused(rows: Path, picture_folder: Callable[..., Path]) -> None:
    for name in ("batch_size", "groups", "world_size", "threads"):
        settings = {"rank": 0} if name == "world_size" else {}
        with pytest.raises(ValueError, match=f"^{name} is 1{'0' * 30}; it must be at most"):
            ArrayIterator(rows, **{**settings, name: 10**30})
    with pytest.raises(ValueError, match=r"^size is .* pixels at most"):
        ImageIterator(picture_folder(2), size=10**30)


def test_settings_of_recordings_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(bytes(128), "s16", 1))
    with pytest.raises(ValueError, match=r"hop is .* it must be at most"):
        AudioIterator(tmp_path, window=8, hop=10**30)
    with pytest.raises(ValueError, match=r"sample_rate is .* its terms must be below"):
        AudioIterator(tmp_path, window=8, sample_rate=10**30)


@pytest.mark.parametrize("modality", [2, [], None, "images"], ids=repr)
def test_a_modality_is_one_of_the_table(modality: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"modality is .*; it must be one of 'image'"):
        open_source(tmp_path, modality=modality)
