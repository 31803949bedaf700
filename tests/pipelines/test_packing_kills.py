"""Killed and stopped at random moments, packing images, sound and video ends in the undisturbed bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines import make_shards
from pipelines.samples.clips import make_sample_clips

from .packing_kills import KILLS, ForkedRun, LocalPlace, Packing, torment
from .test_make_shards_killed import make_recordings, make_source

SETTINGS = {
    "image": ("--resize", "128", "--shard-examples", "4"),
    "audio": ("--segment", "0.5", "--sample-rate", "11025", "--shard-examples", "4"),
    "video": ("--resize", "32", "--gop", "8", "--shard-examples", "2"),
}
ENGINES = {"processes": ("--workers", "2")}
QUICK_ENGINES = {"processes": ("--workers", "1")}
PLACES = {"local": LocalPlace}


def source_of(kind: str, folder: Path, scale: int = 1) -> Path:
    """Files of a kind, some of which fail, that take a second or so to pack."""
    if kind == "image":
        return make_source(folder, 40 * scale, 160)
    if kind == "audio":
        return make_recordings(folder, 30 * scale)
    make_sample_clips(folder, num=4, size=48)
    for copy in range(3 * scale):
        for path in sorted(folder.glob("clip-00000?.mp4")):
            os.link(path, folder / f"{copy}-{path.name}")
    (folder / "text.mp4").write_text("no video")
    return folder


def import_what_packing_needs(folder: Path) -> None:
    """So that forks of this process have it."""
    make_shards(make_source(folder / "little", 2, 16), folder / "little-shards", workers=0, resize=8)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("engine", QUICK_ENGINES)
def test_twenty_kills_and_two_stops_change_nothing(tmp_path: Path, engine: str, place: str) -> None:
    done = 0
    import_what_packing_needs(tmp_path)
    for seed, (kind, kills, stops) in enumerate((("image", 8, 1), ("audio", 7, 1), ("video", 5, 0))):
        folder = tmp_path / kind
        folder.mkdir()
        packing = Packing(source_of(kind, folder / "source"), SETTINGS[kind], QUICK_ENGINES[engine], run=ForkedRun)
        found = torment(packing, PLACES[place](folder), kills=kills, stops=stops, seed=seed)
        done += sum(found[how] for how in KILLS)
    assert done == 20


@pytest.mark.heavy
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("kind", "kills", "stops"), [("image", 70, 7), ("audio", 70, 7), ("video", 60, 6)])
def test_two_hundred_kills_and_twenty_stops_change_nothing(
    tmp_path: Path, kind: str, kills: int, stops: int, engine: str, place: str
) -> None:
    packing = Packing(source_of(kind, tmp_path / "source", 3), SETTINGS[kind], ENGINES[engine])
    found = torment(packing, PLACES[place](tmp_path), kills=kills, stops=stops, seed=99)
    assert sum(found[how] for how in KILLS) == kills
    assert found["stopped"] >= stops // 2, dict(found)
    print(engine, place, kind, dict(found))
