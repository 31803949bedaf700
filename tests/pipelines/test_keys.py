"""Keys against webdataset's own rule."""

from __future__ import annotations

import random
import tarfile

import pytest
from webdataset.tariterators import base_plus_ext

from pipelines.storage.keys import KeyMaker, header_key, split_member_name
from pipelines.storage.tar import BLOCK

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


def header(name: bytes, prefix: bytes = b"", magic: bytes = b"ustar\x0000") -> bytes:
    """A regular file's; its mode, which is no number, must not be taken for more of a name of 100 bytes."""
    block = bytearray(BLOCK)
    block[: len(name)], block[100:108], block[156:157] = name, b".644.64\0", b"0"
    block[257:265], block[345 : 345 + len(prefix)] = magic, prefix
    return bytes(block)


def key_by_tarfile(block: bytes) -> str | None:
    sound = bytearray(block)
    sound[100:108], sound[148:156] = b"0000644\0", b" " * 8
    sound[148:156] = b"%06o\0 " % sum(sound)
    info = tarfile.TarInfo.frombuf(bytes(sound), "utf-8", "surrogateescape")
    return (split_member_name(info.name) or (None,))[0]


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name] + ["__m__/a.jpg", "a/.b.jpg", "x" * 96 + ".jpg", "x" * 100]
)
def test_the_key_in_a_header_is_that_of_its_name(name: str) -> None:
    block = header(name.encode())
    assert header_key(block) == key_by_tarfile(block) == (split_member_name(name) or (None,))[0]


def test_random_headers_hold_the_keys_of_their_names() -> None:
    rng, keys = random.Random(0), []
    for _ in range(4_000):
        parts = [bytes(rng.choices(b"aab._/\n\xc3\xa9\0", k=rng.choice((1, 3, 9, 40, 99, 100)))) for _ in range(2)]
        block = header(
            parts[0] if rng.random() < 0.5 else parts[0].replace(b"\0", b"b"), parts[1] * (rng.random() < 0.2)
        )
        keys.append(header_key(block))
        assert keys[-1] == key_by_tarfile(block), block
    assert 500 < keys.count(None) < 3_500


def test_what_gnu_keeps_behind_the_name_is_no_part_of_the_key() -> None:
    times = b"14720203014\x0014720203014"
    assert header_key(header(b"a.jpg", times, b"ustar  \0")) == "a"
    assert header_key(header(b"a.jpg", b"folder")) == "folder/a"


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
