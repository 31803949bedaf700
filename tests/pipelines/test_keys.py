"""Keys against webdataset's own rule."""

from __future__ import annotations

import random

import pytest
from webdataset.tariterators import base_plus_ext

from pipelines.keys import KeyMaker, split_member_name

NAMES = [
    "a.jpg",
    "a.seg.png",
    "a/b.seg.png",
    "a.b/c.jpg",
    "a.b/c.d/e.f.g",
    "./a.jpg",
    "/abs/a.jpg",
    "a..jpg",
    "a.",
    "a/b.",
    "noext",
    "a/noext",
    "a.b/noext",
    ".",
    "..",
    "",
    "a/",
    ".hidden",
    ".hidden.jpg",
    "写真/ü ñ.jpeg",
    "a b/c d.txt",
    "__odd.jpg",
    "__a/b.jpg",
    "a__/b.jpg",
    "a/__b__.jpg",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_split_as_webdataset_splits_them(name: str) -> None:
    key, suffix = base_plus_ext(name)
    assert split_member_name(name) == (None if key is None else (key, suffix))


def test_random_names_are_split_as_webdataset_splits_them() -> None:
    rng = random.Random(0)
    checked = 0
    for _ in range(20_000):
        name = "".join(rng.choice("ab._/~ é") for _ in range(rng.randrange(12)))
        if name.startswith("__") or "/." in name:
            continue  # metadata and hidden files: the next two tests
        key, suffix = base_plus_ext(name)
        assert split_member_name(name) == (None if key is None else (key, suffix)), name
        checked += 1
    assert checked > 10_000


@pytest.mark.parametrize("name", ["__meta__", "__meta__/a.jpg", "__m.x__", "____", "____/a.jpg"])
def test_metadata_members_have_no_key(name: str) -> None:
    """webdataset passes over them before it splits names (`skip_meta` of its `tar_file_iterator`)."""
    assert split_member_name(name) is None


@pytest.mark.parametrize("name", ["a/.hidden", "a/.hidden.jpg", ".a.jpg", "a/.jpg"])
def test_hidden_files_have_no_key(name: str) -> None:
    """Here webdataset's expression falls back to the folder as the key, which groups all hidden files together."""
    assert split_member_name(name) is None


PATHS = [
    ("a.jpg", "a"),
    ("a.b.c.jpg", "a_b_c"),
    ("folder.x/a.jpg", "folder.x/a"),
    ("noext", "noext"),
    ("__init__.jpg", "~__init__"),
    ("__meta__/a.jpg", "~__meta__/a"),
    ("dir/__a.jpg", "dir/__a"),
    ("...jpg", "__"),
    ("写真.png", "写真"),
]


@pytest.mark.parametrize(("path", "key"), PATHS)
def test_keys_are_made_from_paths_by_the_documented_rule(path: str, key: str) -> None:
    expected = "~" + key if key == "__" else key
    assert KeyMaker().key(path) == expected


def test_a_made_key_comes_back_from_webdataset_whole_whatever_the_path() -> None:
    rng = random.Random(1)
    paths = {"/".join(_part(rng) for _ in range(rng.randrange(1, 4))) for _ in range(5_000)}
    maker, seen = KeyMaker(), set[str]()
    for path in sorted(paths):
        key = maker.key(path)
        assert base_plus_ext(f"{key}.seg.png") == (key, "seg.png"), path
        assert split_member_name(f"{key}.seg.png") == (key, "seg.png"), path
        assert key not in seen, path
        seen.add(key)


def _part(rng: random.Random) -> str:
    return "".join(rng.choice("ab._~ 2é") for _ in range(rng.randrange(1, 7))).strip(". ") or "x"


def test_collisions_are_numbered_and_never_meet_a_file_that_is_called_so() -> None:
    maker = KeyMaker()
    paths = ["a.jpg", "a.png", "a~2.jpg", "a.webp", "a~2.png", "a~3.jpg"]
    keys = [maker.key(path) for path in paths]
    assert keys[:2] == ["a", "a~2"]
    assert len(set(keys)) == len(keys)
    again = KeyMaker()
    assert [again.key(path) for path in paths] == keys


def test_keys_that_are_taken_are_not_given_again() -> None:
    assert KeyMaker({"a", "a~2"}).key("a.jpg") == "a~3"


def test_ten_thousand_files_of_one_stem_take_no_quadratic_time() -> None:
    maker = KeyMaker()
    keys = [maker.key("same.jpg") for _ in range(10_000)]
    assert keys[-1] == "same~10000"
    assert len(set(keys)) == 10_000
