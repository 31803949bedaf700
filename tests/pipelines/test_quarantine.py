"""Examples that could not be decoded: each in the file once, and their substitutes the same however one plays."""

from __future__ import annotations

import itertools
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines import DataIterator, ExampleError, ImageIterator, ShardError, mix
from pipelines.batching.quarantine import add_to_quarantine, describe_failures
from pipelines.testing import assert_resumes_exactly

from .lettered import letters, rows

Fixture = Callable[..., Any]
BROKEN = (3, 11, 12, 20)


@pytest.fixture
def listing(tmp_path: Path) -> Path:
    return tmp_path / "quarantine.jsonl"


def lines(listing: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in listing.read_text(encoding="utf-8").splitlines()]


def lenient(**settings: Any) -> DataIterator:
    return letters(**{"broken": BROKEN, "on_error": "substitute", **settings})


# The file


def test_each_failure_is_one_line_with_its_place_and_reason(listing: Path) -> None:
    iterator = lenient(quarantine=listing)
    clean = [key for key, _ in rows(letters())]
    rows(iterator)
    expected = [
        {
            "epoch": 0,
            "position": clean.index(f"a{number}"),
            "container": "a.tar",
            "key": f"a{number}",
            "offset": 512 * number,
            "reason": "nothing in it",
        }
        for number in BROKEN
    ]
    assert lines(listing) == sorted(expected, key=lambda line: line["position"])
    rows(iterator)
    assert len(lines(listing)) == 8
    assert {line["epoch"] for line in lines(listing)[4:]} == {1}


@pytest.mark.parametrize(("threads", "batch_size"), [(1, 1), (1, 23), (4, 5), (8, 23)])
def test_the_file_is_the_same_for_every_number_of_threads(threads: int, batch_size: int, listing: Path) -> None:
    rows(lenient(quarantine=listing, threads=2))
    expected = listing.read_bytes()
    listing.unlink()
    rows(lenient(quarantine=listing, threads=threads, batch_size=batch_size))
    assert listing.read_bytes() == expected


def test_nothing_is_written_before_a_batch_is_handed_over_and_nothing_twice(listing: Path) -> None:
    iterator = lenient(quarantine=listing, shuffle=False)
    loop = iter(iterator)
    next(loop)
    assert [line["key"] for line in lines(listing)] == ["a3"]
    iterator.close()
    fresh = lenient(quarantine=listing, shuffle=False)
    fresh.load_state_dict(iterator.state_dict())
    rows(fresh)
    assert [line["key"] for line in lines(listing)] == ["a3", "a11", "a12", "a20"]


def test_no_file_is_made_where_all_is_well_and_old_lines_are_kept(listing: Path) -> None:
    rows(lenient(broken=(), quarantine=listing))
    assert not listing.exists()
    listing.write_text('{"kept": true}\n')
    rows(lenient(broken=(1,), quarantine=str(listing)))
    assert [line.get("kept") for line in lines(listing)] == [True, None]


@pytest.mark.parametrize("settings", [{"world_size": 1, "tail": "pad"}, {"world_size": 3, "tail": "pad"}])
def test_padding_is_no_line_of_its_own(settings: dict[str, Any], listing: Path) -> None:
    """5 examples in batches of 4: the last ones are repeated to fill the batch, and rank 2 has none of its own."""
    ranks = range(settings["world_size"])
    for rank in ranks:
        rows(lenient(num=5, broken=(0, 4), shuffle=False, quarantine=listing, rank=rank, **settings))
    assert sorted(line["key"] for line in lines(listing)) == ["a0", "a4"]


def test_a_failure_that_cannot_be_placed_in_a_container_says_so_in_its_reason(listing: Path) -> None:
    failures = [(2, 9, ShardError("x.tar: cut off")), (0, 1, ExampleError("ü\udcff", "k", "r", offset=1))]
    add_to_quarantine(listing, describe_failures(failures))
    first, second = (
        json.loads(line) for line in listing.read_bytes().decode("utf-8", "surrogateescape").splitlines()
    )
    assert first == {"epoch": 0, "position": 1, "container": "ü\udcff", "key": "k", "offset": 1, "reason": "r"}
    assert second == {"epoch": 2, "position": 9, "reason": "x.tar: cut off"}


def test_hostile_keys_stay_on_their_line(listing: Path) -> None:
    failures = [(0, n, ExampleError("t", key, "r")) for n, key in enumerate(["a\nb", '"', "\u2028", "\0"])]
    add_to_quarantine(listing, describe_failures(failures))
    found = [json.loads(line) for line in listing.read_bytes().split(b"\n") if line]
    assert [line["key"] for line in found] == ["a\nb", '"', "\u2028", "\0"]


def test_a_folder_that_is_missing_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"quarantine .*missing"):
        lenient(quarantine=tmp_path / "missing" / "list.jsonl")


def test_a_mixture_names_the_examples_of_each_source(listing: Path) -> None:
    def make(threads: int) -> Any:
        parts = [
            lenient(num=12, broken=(2, 5), seed=1),
            letters("b", 9, broken=(1, 8), on_error="substitute", seed=2),
        ]
        return mix(parts, [1, 1], batch_size=21, threads=threads, quarantine=listing)

    mixture = make(1)
    played = rows(mixture)
    expected = listing.read_bytes()
    assert len(lines(listing)) == mixture.state_dict()["substitutions"] >= 3
    assert {line["container"] for line in lines(listing)} == {"a.tar", "b.tar"}
    for threads in (2, 8):
        listing.unlink()
        assert rows(make(threads)) == played
        assert listing.read_bytes() == expected


# Substitutes, ranks and budgets


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_ranks_stay_in_step_and_substitute_what_one_process_would(world_size: int) -> None:
    whole = rows(lenient())
    ranks = [lenient(rank=rank, world_size=world_size, tail="pad", batch_size=2) for rank in range(world_size)]
    found, total = [], 0
    for batches in zip(*ranks, strict=True):
        alike = [{**batch.state, "substitutions": 0} for batch in batches]
        assert all(state == alike[0] for state in alike)
        found += rows(batches)
    total = sum(rank.state_dict()["substitutions"] for rank in ranks)
    assert found == whole
    assert total == len(BROKEN)


def test_substitution_resumes_exactly_whatever_changes() -> None:
    variations = [{"threads": 8}, {"threads": 1, "batch_size": 7}]
    assert assert_resumes_exactly(lenient, variations=variations, epochs=3, every=2) == 20


def test_a_budget_goes_on_after_a_resume() -> None:
    iterator = lenient(max_substitutions=3)
    with pytest.raises(ExampleError, match="max_substitutions=3"):
        rows(iterator)
    state = iterator.state_dict()
    assert state["substitutions"] == 3
    fresh = lenient(max_substitutions=3, threads=1)
    fresh.load_state_dict(state)
    with pytest.raises(ExampleError, match="max_substitutions=3"):
        rows(fresh)
    more = lenient(max_substitutions=4)
    more.load_state_dict(state)
    position = state["position"]
    assert rows(more) == rows(lenient())[position:]


def test_a_batch_over_the_budget_is_not_in_the_file(listing: Path) -> None:
    iterator = lenient(broken=(3, 12, 13), max_substitutions=2, shuffle=False, quarantine=listing)
    with pytest.raises(ExampleError, match="max_substitutions=2"):
        rows(iterator)
    assert [line["key"] for line in lines(listing)] == ["a3"], "a12 and a13 share a batch that was not handed over"


# Real files


def test_a_corrupt_file_in_a_folder_is_replaced_and_listed(picture_folder: Fixture, listing: Path) -> None:
    folder = picture_folder(14)
    clean = {
        key: batch.data[slot] for batch in ImageIterator(folder, size=16) for slot, key in enumerate(batch.keys)
    }
    (folder / "0004.png").write_bytes((folder / "0004.png").read_bytes()[:80])
    settings: dict[str, Any] = {"size": 16, "shuffle": True, "batch_size": 5, "on_error": "substitute"}
    first = list(ImageIterator(folder, **settings, quarantine=listing, threads=1))
    again = list(ImageIterator(folder, **settings, threads=6))
    assert [batch.keys for batch in first] == [batch.keys for batch in again]
    keys = [key for batch in first for key in batch.keys]
    assert len(keys) == 14
    assert len(set(keys)) == 13
    assert "0004" not in keys
    for batch in first:
        for slot, key in enumerate(batch.keys):
            assert (batch.data[slot] == clean[key]).all()
    (line,) = lines(listing)
    assert line["container"] == str(folder / "0004.png")
    assert (line["key"], line["offset"]) == ("0004", None)
    assert line["reason"]


def test_a_corrupt_member_of_a_tar_is_replaced_and_listed_with_its_byte(
    picture_shards: Fixture, listing: Path
) -> None:
    folder = picture_shards([7, 7])
    tar = folder / "001.tar"
    with tarfile.open(tar) as opened:
        member = opened.getmember("0009.png")
    with open(tar, "r+b") as file:
        file.seek(member.offset_data + 40)
        file.write(bytes(120))
    settings: dict[str, Any] = {"size": 16, "shuffle": True, "batch_size": 4, "on_error": "substitute"}
    labels = list(
        itertools.chain.from_iterable(
            batch.fields["cls"] for batch in ImageIterator(folder, **settings, fields=["cls"], quarantine=listing)
        )
    )
    assert len(labels) == 14
    assert sorted(set(labels)) == [number for number in range(14) if number != 9], "fields are the substitute's own"
    (line,) = lines(listing)
    assert line["container"] == str(tar)
    assert (line["key"], line["offset"]) == ("0009", member.offset_data)


def test_a_tar_that_is_cut_while_it_is_played_is_listed_example_by_example(
    picture_shards: Fixture, listing: Path
) -> None:
    folder = picture_shards([6, 6])
    images = ImageIterator(folder, size=16, batch_size=12, on_error="substitute", quarantine=listing)
    with tarfile.open(folder / "001.tar") as opened:
        cut = opened.getmember("0009.png").offset_data + 10
    with open(folder / "001.tar", "r+b") as file:
        file.truncate(cut)
    (batch,) = images
    assert batch.substituted.tolist() == [number >= 9 for number in range(12)]
    assert [line["position"] for line in lines(listing)] == [9, 10, 11]
    assert all("001.tar" in line["reason"] for line in lines(listing))
