"""Playing videos leaves nothing behind, however a loop ends, and takes no more memory and files the longer it plays."""

from __future__ import annotations

import copy
import gc
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import ExampleError, VideoIterator, mix
from pipelines.decode.decoder_pool import DecoderPool
from pipelines.decode.video import video_reader
from pipelines.decode.video.measuring import measure_video

from .crossed import crossed
from .damaged_videos import SOURCES, make_source
from .leftovers import children_of, open_files, threads

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("h264.mp4", "h264-sound.mkv", "h264.ts", "mpeg4.avi", "vp9.webm")  # all of them with sound


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five videos."""
    folder = tmp_path_factory.mktemp("made")
    for name in NAMES:
        make_source(folder, name, num_frames=20)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, measured in this process, so that none is started for it."""
    monkeypatch.setattr(video_reader, "measure_apart", measure_video)
    return Path(shutil.copytree(made, tmp_path / "videos"))


def held() -> dict[str, list[Any]]:
    return {"threads": threads(), "children": children_of(os.getpid()), "files": open_files()}


def held_soon(expected: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """What this process holds, once it is what is expected, or after five seconds."""
    deadline = time.monotonic() + 5
    gc.collect()
    while (found := held()) != expected and time.monotonic() < deadline:
        time.sleep(0.02)
        gc.collect()
    return found


@pytest.fixture
def nothing_left(folder: Path) -> Iterator[None]:
    """What lives after the test is what lived before it."""
    gc.collect()
    before = held()
    yield
    assert held_soon(before) == before


def clips_of(folder: Path, **settings: Any) -> VideoIterator:
    base = {"clip_frames": 4, "size": 16, "batch_size": 2, "threads": 3, "shuffle": True, "sample_rate": 8000}
    return VideoIterator(folder, **{**base, **settings})


def ends_by_itself(clips: Any) -> None:
    list(clips)


def is_broken_off(clips: Any) -> None:
    for _ in clips:
        break


def is_abandoned(clips: Any) -> None:
    next(iter(clips))


def raises_in_the_consumer(clips: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        divide(clips)


def divide(clips: Any) -> None:
    for batch in clips:
        _ = len(batch) / 0


def is_begun_again(clips: Any) -> None:
    loops = []
    for _ in range(3):
        loops.append(iter(clips))
        next(loops[-1])


def is_kept_in_a_cycle(clips: Any) -> None:
    cycle: list[Any] = [iter(clips)]
    next(cycle[0])
    cycle.append(cycle)


ENDINGS = [ends_by_itself, is_broken_off, is_abandoned, raises_in_the_consumer, is_begun_again, is_kept_in_a_cycle]


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(("kind", "ending"), crossed(["alone", "mixture"], ENDINGS))
def test_nothing_is_left_when_a_loop(kind: str, ending: Callable[[Any], None], folder: Path) -> None:
    clips: Any = clips_of(folder)
    if kind == "mixture":
        clips = mix([clips_of(folder), clips_of(folder, seed=1)], [1, 1], batch_size=2, threads=3)
    ending(clips)
    del clips


@pytest.mark.usefixtures("nothing_left")
def test_close_leaves_nothing_while_the_iterator_and_its_loop_are_kept(folder: Path) -> None:
    gc.collect()
    before = held()
    clips = clips_of(folder)
    loop = iter(clips)
    batch = next(loop)
    assert held()["files"] != before["files"]
    clips.close()
    assert held_soon(before) == before
    with pytest.raises(RuntimeError, match="this loop was ended"):
        next(loop)
    assert len(list(clips)) > 0, "it can be used again"
    clips.close()
    assert held_soon(before) == before
    assert len(batch) == 2


def test_what_is_dropped_closes_its_files_without_the_garbage_collector(folder: Path) -> None:
    list(clips_of(folder, limit=2))
    gc.collect()
    before = open_files()
    gc.disable()
    try:
        for _ in range(3):
            is_broken_off(clips_of(folder))
        deadline = time.monotonic() + 10
        while open_files() != before and time.monotonic() < deadline:
            time.sleep(0.02)  # a thread may be at its last clip
        assert open_files() == before
    finally:
        gc.enable()


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_in_one_thread_leaves_nothing(threads: int, folder: Path) -> None:
    path = folder / "zz.mp4"
    path.write_bytes((folder / "h264.mp4").read_bytes()[:-200])
    for _ in range(3):
        with pytest.raises(ExampleError, match=r"zz\.mp4"):
            list(clips_of(folder, threads=threads))
    assert len(list(clips_of(folder, threads=threads, on_error="substitute"))) > 0


def test_the_processes_that_measure_have_ended_when_it_plays(made: Path) -> None:
    before = held()
    clips = clips_of(made)
    assert held_soon(before)["children"] == before["children"]
    list(clips)
    clips.close()
    assert held_soon(before) == before


@pytest.mark.parametrize("how", ["pickle", "deepcopy"])
def test_a_copy_plays_on_from_the_same_place_and_shares_nothing(how: str, folder: Path) -> None:
    clips = clips_of(folder, seed=5)
    loop = iter(clips)
    for _ in range(3):
        next(loop)
    copied = pickle.loads(pickle.dumps(clips)) if how == "pickle" else copy.deepcopy(clips)
    rest, again = list(loop), list(copied)
    assert len(rest) == len(again) > 3
    for one, other in zip(rest, again, strict=True):
        assert one.keys == other.keys
        assert np.array_equal(one.data, other.data)
        assert np.array_equal(one.fields["pts_seconds"], other.fields["pts_seconds"], equal_nan=True)
    clips.close()
    copied.close()


class Standing:
    """A decoder that does nothing."""

    position, num_bytes = 0, 1

    def close(self) -> None:
        """Nothing to let go of."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_decoders_are_not_shared_with_a_process_that_is_forked() -> None:
    """Both would move the one place in the open file that they share: seen as frames of elsewhere."""
    pool: DecoderPool[Standing] = DecoderPool(4)
    pool.put_back(("a",), Standing())
    child = os.fork()
    if child == 0:
        taken = pool.take(("a",), 0)
        pool.put_back(("b",), Standing())
        os._exit(0 if taken is None and pool.take(("b",), 0) is not None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pool.take(("a",), 0) is not None


PROGRAM = """
import gc, json, os, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from pipelines import VideoIterator

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

folder, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
settings = {"clip_frames": 4, "hop": 1, "size": 32, "batch_size": 4, "threads": 2, "shuffle": True}
clips = VideoIterator(folder, **settings, random_offset=True, sample_rate=8000)
num, most_files, begun = 0, 0, None
while num < last:
    for batch in clips:
        num += len(batch)
        most_files = max(most_files, len(os.listdir("/proc/self/fd")))
        if begun is None and num >= first:
            gc.collect()
            begun = resident()
        if num >= last:
            break
gc.collect()
grown = resident() - begun
clips.close()
gc.collect()
print(json.dumps({"clips": num, "grown": grown, "most": most_files, "left": len(os.listdir("/proc/self/fd"))}))
"""


def played(folder: Path, first: int, last: int) -> dict[str, int]:
    """Random clips of a folder in a process of its own: how much memory grows from clip `first` to clip `last`."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), str(first), str(last)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "2"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""
    found: dict[str, int] = json.loads(done.stdout)
    return found


def thirty_files(folder: Path) -> Path:
    for number in range(30):
        name = list(SOURCES)[number % len(SOURCES)]
        made = folder / name
        content = made.read_bytes() if made.exists() else make_source(folder, name).read_bytes()
        (folder / f"{number:02d}-{name}").write_bytes(content)
    for name in SOURCES:
        (folder / name).unlink()
    assert len(list(folder.iterdir())) == 30
    return folder


MOST_FILES = 64 + video_reader.KEPT_STREAMS + video_reader.KEPT_TRACKS + 30
"""Files of a folder, decoders of pictures and of sound, and what a process has anyway, and threads open in between."""


def test_memory_and_open_files_are_bounded_over_hundreds_of_random_clips(tmp_path: Path) -> None:
    found = played(thirty_files(tmp_path), 200, 500)
    assert found["grown"] < 50e6, f"{found['grown']:,} bytes more"
    assert found["most"] <= MOST_FILES
    assert found["left"] < 15


@pytest.mark.heavy
def test_memory_grows_less_than_50_mb_from_the_1000th_to_the_10000th_random_clip(tmp_path: Path) -> None:
    found = played(thirty_files(tmp_path), 1000, 10_000)
    assert found["clips"] >= 10_000
    assert found["grown"] < 50e6, f"{found['grown']:,} bytes more"
    assert found["most"] <= MOST_FILES
    assert found["left"] < 15
