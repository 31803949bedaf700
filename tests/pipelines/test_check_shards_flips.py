"""Hundreds of flipped bits: each is found, in a sentence that names the file, and never in a traceback."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from pipelines.check_shards import main
from pipelines.storage.manifest import MANIFEST_NAME, NAMES_NAME

from .checked_sets import check, flip, kinds
from .foreign_tars import ordinary, write_tar
from .remote_sets import make_sets

NUM = 25
"""Flips of each file; 300 sets with several flips each are for make verify."""
KINDS_OF = {
    "image-000001.tar": {"damaged-tar", "damaged-example"},
    "image-000001.tar.index.npy": {"damaged-index", "stale-index"},
    "video-000001.tar": {"damaged-tar", "damaged-example"},
    "video-000001.tar.frames.npy": {"damaged-frames"},
    MANIFEST_NAME: {"damaged-manifest", "wrong-count"},
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sets(tmp_path_factory.mktemp("flipped"))


@pytest.mark.parametrize("name", KINDS_OF)
def test_a_flipped_bit_is_found_in_its_file(name: str, sets: Path) -> None:
    """`name` is flipped at many places and mended again."""
    folder = sets / ("video" if name.startswith("video") else "image")
    path, draw = folder / name, random.Random(name)
    content = path.read_bytes()
    for _ in range(NUM):
        place, bit = (
            draw.randrange(len(content.rstrip(b"\n")) if name == MANIFEST_NAME else len(content)),
            draw.randrange(8),
        )
        flip(path, place, bit)
        report = check(folder)
        found = {kind for kind, file in kinds(report) if file == name}
        assert found & KINDS_OF[name], (name, place, bit, kinds(report))
        assert not report.is_sound
        if name != MANIFEST_NAME:
            assert {file for _, file in kinds(report)} == {name}, (place, bit, report.findings)
        path.write_bytes(content)
    assert check(folder).findings == []


def test_a_flipped_bit_of_the_names_is_found_or_changes_no_key(sets: Path) -> None:
    """Nothing but the end of a path, its suffix, is not held against anything else."""
    path, draw = sets / "image" / NAMES_NAME, random.Random(1)
    content = path.read_bytes()
    missed = 0
    for _ in range(NUM):
        place = draw.randrange(len(content))
        flip(path, place, draw.randrange(8))
        found = {file for _, file in kinds(check(sets / "image"))}
        assert found <= {NAMES_NAME}
        if not found:
            missed += 1
            assert content[:place].rpartition(b"\n")[2].count(b".") == 1, place
        path.write_bytes(content)
    assert missed <= NUM // 3


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(300))
def test_many_flips_at_once_give_no_traceback(seed: int, sets: Path, tmp_path: Path) -> None:
    draw = random.Random(seed)
    folder = Path(shutil.copytree(sets / draw.choice(("image", "audio", "video")), tmp_path / "set"))
    files = sorted(folder.iterdir())
    for _ in range(draw.randrange(1, 9)):
        path = draw.choice(files)
        flip(path, draw.randrange(path.stat().st_size), draw.randrange(8))
    assert main([str(folder), "--decode", "--json"]) in (0, 1)


@pytest.mark.parametrize("format_name", ["ustar", "gnu", "pax"])
def test_flips_in_a_foreign_tar_never_give_a_traceback(format_name: str, tmp_path: Path) -> None:
    path, draw = write_tar(tmp_path / "mine.tar", ordinary(), format_name), random.Random(format_name)
    content = path.read_bytes()
    assert check(path).findings == []
    for _ in range(NUM):
        flip(path, draw.randrange(len(content)), draw.randrange(8))
        report = check(path)
        assert report.sets[0].notes
        assert {file for _, file in kinds(report)} <= {"mine.tar"}
        path.write_bytes(content)
