"""What is quick because most names and files are ordinary gives what the careful way gives."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from pipelines.modality import modalities
from pipelines.sharding import shard_content
from pipelines.storage.media_types import media_suffix, sniff
from pipelines.storage.plain_files import system_path, system_paths

PARTS = ["", "a", "A", "a b", "a-b_c", "ä", "__a", "_a", ".", "..", ".a", "a.", "a.b", "/", "a\n", "\0", "a\udcff"]
NAMES = ["".join(parts) for parts in itertools.product(PARTS, ("", "/"), PARTS)]


@pytest.mark.parametrize("suffix", ["jpg", "JPG", "a.b", "", ".jpg", "j-g", "ä", "json", "jpg\n", "²"])
def test_an_example_is_laid_out_or_refused_alike(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def laid_out(key: str) -> object:
        try:
            return shard_content.encode_example(key, b"media", suffix)
        except ValueError as error:
            return str(error)

    quick = [laid_out(key) for key in NAMES]
    monkeypatch.setattr(shard_content, "_is_plain_name", lambda key, suffix: False)
    assert quick == [laid_out(key) for key in NAMES]


def test_a_format_is_told_as_each_modality_tells_it() -> None:
    heads = [
        b"",
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0WEBP",
        b"RIFF\0\0\0\0WAVE",
        b"fLaC",
        b"OggS",
    ]
    heads += [b"\0\0\0\x18ftypisom", b"\x1aE\xdf\xa3", b"ID3\x04", b"GIF89a", b"II*\0", b"P6\n", b"nothing at all"]
    found = set()
    for head in (one.ljust(length, b"\0") for one in heads for length in (0, 12, 32)):
        careful = next(((one.name, own) for one in modalities() if (own := one.sniff(head)) is not None), None)
        assert sniff(head) == careful
        found.add(careful)
    assert {"image", "audio", "video"} <= {one[0] for one in found if one}
    assert None in found


def test_suffixes_are_those_of_the_last_name() -> None:
    for name in NAMES:
        base = name.rsplit("/", 1)[-1]
        assert media_suffix(name) == (base.rsplit(".", 1)[-1].lower() if "." in base else "")


@pytest.mark.parametrize("folder", ["", "/", "data", "data/", "/a/b"])
def test_many_paths_are_joined_as_each_is(folder: str) -> None:
    names = [name for name in NAMES if not name.startswith("/")]
    assert list(system_paths(folder, names)) == [system_path(folder, name) for name in names]
    assert system_path(Path("data"), "a") == "data/a"
