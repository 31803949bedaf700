"""Killed and stopped at random moments, packing images, sound and video ends in the undisturbed bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import make_shards
from pipelines.samples.clips import make_sample_clips

from .leftovers import children_of
from .moto_server import aws_settings, run_moto
from .packing_kills import KILLS, BucketPlace, ForkedRun, LocalPlace, Packing, Place, Stored, contents, torment
from .ray_clusters import packing_on_ray, running_cluster
from .test_make_shards_killed import make_recordings, make_source

SETTINGS = {
    "image": ("--resize", "128", "--shard-examples", "4"),
    "audio": ("--segment", "0.5", "--sample-rate", "11025", "--shard-examples", "4"),
    "video": ("--resize", "32", "--gop", "8", "--shard-examples", "2"),
    "large": ("--shard-examples", "10"),
}
QUICK = {"processes": ("--workers", "1")}


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    pytest.importorskip("ray", reason="ray is absent: pip install 'dirvae[ray]'")
    with running_cluster() as address:
        yield address


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Any]]:
    pytest.importorskip("obstore", reason="obstore is absent: it writes to buckets")
    yield from run_moto()


@pytest.fixture(params=["processes", "ray"])
def engine(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Flags of an engine; a cluster begins when it is asked for."""
    if request.param == "processes":
        return ("--workers", "2")
    return ("--engine", "ray", "--ray-address", request.getfixturevalue("cluster"))


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty place for sets."""
    if request.param == "local":
        return LocalPlace(tmp_path)
    address, s3 = request.getfixturevalue("server")
    for name, value in aws_settings(address).items():
        monkeypatch.setenv(name, value)
    bucket = f"killed-{tmp_path.name.lower().strip('_').replace('_', '-')[-40:]}"
    s3.create_bucket(Bucket=bucket)
    return BucketPlace(s3, bucket)


def source_of(kind: str, folder: Path, scale: int = 1) -> Path:
    """Files of a kind, some of which fail, that take a second or so to pack."""
    if kind == "image":
        return make_source(folder, 40 * scale, 160)
    if kind == "large":  # shards of 9 MB, which are sent in two parts
        return make_source(folder, 40 * scale, 1000)
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


def test_twenty_kills_and_two_stops_change_nothing(tmp_path: Path) -> None:
    done = workers = 0
    import_what_packing_needs(tmp_path)
    for seed, (kind, kills, stops) in enumerate((("image", 8, 1), ("audio", 7, 1), ("video", 5, 0))):
        folder = tmp_path / kind
        folder.mkdir()
        packing = Packing(source_of(kind, folder / "source"), SETTINGS[kind], QUICK["processes"], run=ForkedRun)
        found = torment(packing, LocalPlace(folder), kills=kills, stops=stops, seed=seed)
        done += sum(found[how] for how in KILLS)
        workers += found["worker"]
    assert done == 20
    assert workers, "no moment of the work itself was met"


@pytest.mark.heavy
@pytest.mark.parametrize(("kind", "kills", "stops"), [("image", 70, 7), ("audio", 70, 7), ("video", 60, 6)])
def test_two_hundred_kills_and_twenty_stops_change_nothing(
    tmp_path: Path, kind: str, kills: int, stops: int, engine: tuple[str, ...], place: Place
) -> None:
    is_ray, is_bucket = "ray" in engine, isinstance(place, BucketPlace)
    source = source_of(kind, tmp_path / "source", 1 if is_bucket and not is_ray else 3)
    packing = Packing(source, SETTINGS[kind], engine, workers=packing_on_ray if is_ray else children_of)
    part = (
        4 if is_ray else 2 if is_bucket else 1
    )  # 200 and 20 of them local, 100 and 9 in a bucket, 50 and 5 by Ray
    found = torment(packing, place, kills=kills // part, stops=stops // part, seed=99)
    assert sum(found[how] for how in KILLS) == kills // part
    assert found["stopped"] >= stops // part // 2, dict(found)
    assert found["worker"] >= kills // part // 10, dict(found)
    print(*engine[:2], type(place).__name__, kind, dict(found))


class WatchedPlace(BucketPlace):
    """A bucket that counts the uploads in parts which it had at once, at most."""

    most_uploads = 0

    def listing(self, name: str, *, digests: bool = False) -> dict[str, Stored]:
        """As `BucketPlace.listing`."""
        found = super().listing(name, digests=digests)
        WatchedPlace.most_uploads = max(self.most_uploads, sum(inside.endswith(" (upload)") for inside in found))
        return found


@pytest.mark.heavy
def test_kills_while_shards_are_sent_in_parts_leave_no_upload(
    tmp_path: Path, server: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, s3 = server
    for name, value in aws_settings(address).items():
        monkeypatch.setenv(name, value)
    s3.create_bucket(Bucket="killed-in-parts")
    packing = Packing(source_of("large", tmp_path / "source"), SETTINGS["large"])
    place, local = WatchedPlace(s3, "killed-in-parts"), LocalPlace(tmp_path)
    found = torment(packing, place, kills=20, stops=2, seed=5)
    packing.finish(local.out("local"))
    assert contents(place.listing("undisturbed", digests=True)) == contents(local.listing("local", digests=True))
    print(dict(found), WatchedPlace.most_uploads)
    assert WatchedPlace.most_uploads, "no upload was met"
