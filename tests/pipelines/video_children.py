"""Damaged copies of videos, each played in a process of its own: at most 2 GB, 10 s of processor time for each way of
playing it, and nothing on stderr.

As a program: `python -m tests.pipelines.video_children SCRATCH HOW PATH:KIND:FIRST:STOP …` prints a line of JSON for
each copy: [name, kind, number], exit status, what stood on stderr, and the verdict. HOW is "compared", every frame of
every clip in three ways, or "sampled": small clips from all over the video, with their sound.

    refused       why it is not decoded; the rest is missing then
    frames, broken   in its frame table
    wrong         frames [way of playing, ordinal] that are other ones than plain PyAV gives
    unsteady      the same of frames that plain PyAV gives otherwise than for the undamaged file: damage that no
                  decoder told of
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import PipelineError, VideoIterator, open_source
from pipelines.decode.errors import UndecodableError
from pipelines.decode.video import video_reader
from pipelines.decode.video.measuring import measure_video
from pipelines.storage.frame_table import FrameTable

from .damaged_videos import damaged, make_source
from .packet_witness import Decode, decode_by_packet, digest

__all__ = ["Played", "played"]

ROOT = Path(__file__).resolve().parents[2]
MAX_BYTES, MAX_SECONDS, HANG_SECONDS = 2 << 30, 10, 120
CLIP_FRAMES = 4
PLACES = 8  # of a video, where random clips begin


@dataclass(frozen=True)
class Played:
    """What became of one copy."""

    name: str
    kind: str
    number: int
    status: int
    stderr: str
    verdict: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.name}:{self.kind}:{self.number}: exit status {self.status} {self.stderr} {self.verdict}"

    @property
    def outcome(self) -> str:
        """ "refused", "partly" where frames are broken, or "whole"."""
        if "refused" in self.verdict:
            return "refused"
        return "partly" if self.verdict["broken"] else "whole"


def played(scratch: Path, cases: Sequence[tuple[Path, str, int, int]], how: str = "compared") -> list[Played]:
    """Copies [first, stop) of a kind of damage of each of these files."""
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(scratch), how, *(":".join(map(str, one)) for one in cases)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [Played(**json.loads(line)) for line in done.stdout.splitlines()]
    assert len(found) == sum(stop - first for _, _, first, stop in cases)
    return found


def main(scratch: Path, how: str, cases: Sequence[str]) -> None:
    """Play cases, and print what became of them."""
    video_reader.measure_apart = measure_video  # type: ignore[attr-defined]  # in the process that is limited
    scratch.mkdir(exist_ok=True)
    good = make_source(scratch, "h264.mp4", num_frames=8).read_bytes()
    for case in cases:
        name, kind, first, stop = case.rsplit(":", 3)
        path = Path(name)
        original = set(decode_by_packet(path).digests.values()) if how == "compared" and kind != "whole" else set()
        for number in range(int(first), int(stop)):
            own = scratch / "copy"
            own.mkdir()
            (own / f"x{path.suffix}").write_bytes(damaged(path, kind, number))
            status = _in_child(own, how, good, original)
            report, said = own / "report.json", (own / "stderr").read_text(errors="replace")[-2000:]
            verdict = json.loads(report.read_text()) if report.exists() else {}
            found = Played(path.name, kind, number, status, said, verdict)
            print(json.dumps(found.__dict__), flush=True)
            shutil.rmtree(own)


def _in_child(own: Path, how: str, good: bytes, original: set[int]) -> int:
    """The exit status of a process that writes its verdict into the folder of the copy."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _limit(own)
            (own / "report.json").write_text(json.dumps(verdict_on(own, how, good, original)))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _limit(own: Path) -> None:
    os.dup2(os.open(own / "stderr", os.O_CREAT | os.O_WRONLY, 0o600), 2)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(HANG_SECONDS)
    faulthandler.enable()
    os.environ["DIRVAE_CACHE"] = str(own / "cache")
    warnings.simplefilter("error")
    for message in (".*no example of the first batch has a field 'sound'", ".*in one batch"):
        warnings.filterwarnings("ignore", message=message)


@contextmanager
def _in_time() -> Iterator[None]:
    """Dies of SIGPROF where what is inside takes too much processor time."""
    signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)


def verdict_on(own: Path, how: str, good: bytes, original: set[int]) -> dict[str, Any]:
    """Of the one video in a folder."""
    (path,) = (one for one in own.iterdir() if one.stem == "x")
    folder = own / "alone"
    folder.mkdir()
    path = path.rename(folder / path.name)
    found: dict[str, Any] = {}
    try:
        with _in_time():
            table = _table(folder)
    except (UndecodableError, PipelineError) as error:
        found["refused"] = str(error)
        table = None
    with _in_time():
        found["substituted"] = _play_leniently(path, good, own / "lenient", is_refused=table is None)
    if table is None:
        return {**found, "said": _refusal(folder)}
    hop = max(CLIP_FRAMES, len(table) // PLACES)
    if how == "sampled":
        with _in_time():
            found["sound"] = _play_small(folder, hop)
        return {**found, "frames": len(table), "broken": len(table.broken), "clips": -(-len(table) // hop)}
    ways: dict[str, dict[str, Any]] = {
        "in order": {},
        "at random": {"shuffle": True, "hop": hop},
        "anywhere": {"shuffle": True, "hop": hop, "random_offset": True, "clip_frames": 2},
    }
    clips: dict[str, list[tuple[int, int]]] = {}
    for way, settings in ways.items():
        with _in_time():
            clips[way] = list(_clips(folder, settings))
    with _in_time():
        found["sound"] = _play_small(folder, hop)
    assert [ordinal for ordinal, _ in clips["in order"]] == list(range(len(table)))
    return {**found, **_compared(path, table, clips, original)}


def _table(folder: Path) -> FrameTable:
    source, reader = open_source(folder, modality="video"), video_reader.VideoReader()
    try:
        return reader.table(source.locate(0))
    finally:
        reader.close()
        source.close()


def _refusal(folder: Path) -> str:
    try:
        iterator = VideoIterator(folder, size=16, clip_frames=CLIP_FRAMES, threads=2)
        list(iterator)
    except PipelineError as error:
        return str(error)
    raise AssertionError("a clip came of a video that is refused")


def _clips(folder: Path, settings: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Ordinal and digest of every frame of every clip."""
    base: dict[str, Any] = {"clip_frames": CLIP_FRAMES, "size": None, "batch_size": 1, "threads": 2}
    iterator = VideoIterator(folder, **{**base, **settings})
    for batch in iterator:
        length = batch.data.shape[2] if batch.lengths is None else int(batch.lengths[0])
        start = int(batch.keys[0].rpartition("@")[2])
        frames = batch.data[0].transpose(1, 2, 3, 0)
        assert not frames[length:].any(), "zeros behind the end"
        for step in range(length):
            yield start + step, digest(frames[step])
    iterator.close()


def _play_small(folder: Path, hop: int) -> str:
    """Small clips with their sound; a reason where that cannot be decoded."""
    settings: dict[str, Any] = {"clip_frames": CLIP_FRAMES, "hop": hop, "sample_rate": 16_000}
    iterator = VideoIterator(folder, size=16, batch_size=2, threads=2, flip=True, crop="random", **settings)
    try:
        for batch in iterator:
            sound = batch.fields["sound"]
            assert sound is None or all(one is None or np.isfinite(one).all() for one in sound)
    except PipelineError as error:
        return str(error)
    finally:
        iterator.close()
    return "decoded"


def _play_leniently(path: Path, good: bytes, folder: Path, *, is_refused: bool) -> int:
    """How many clips of a good video stand in for those of a bad one beside it."""
    folder.mkdir()
    shutil.copy(path, folder)
    (folder / "good.mp4").write_bytes(good)
    listing = folder.with_suffix(".jsonl")
    iterator = VideoIterator(
        folder,
        size=16,
        clip_frames=CLIP_FRAMES,
        hop=64,
        batch_size=4,
        threads=2,
        on_error="substitute",
        quarantine=listing,
    )
    batches = list(iterator)
    iterator.close()
    keys = {key.rpartition("@")[0] for batch in batches for key in batch.keys}
    listed = [json.loads(line) for line in listing.read_text().splitlines()] if listing.exists() else []
    assert keys == ({"good"} if is_refused else {"good", "x"}), keys
    is_video = len(open_source(folder, modality="video")) == 2  # by how it begins
    assert bool(listed) == (is_refused and is_video), listed
    assert all(one["reason"] and one["key"].startswith("x") for one in listed)
    return len(listed)


def _compared(
    path: Path, table: FrameTable, clips: dict[str, list[tuple[int, int]]], original: set[int]
) -> dict[str, Any]:
    """Every frame of every clip, with plain PyAV from the first packet on, and behind damage from its own key on."""
    straight = decode_by_packet(path)
    keys = table.rows["key_packet"].tolist()
    fresh: dict[int, Decode] = {
        key: decode_by_packet(path, begin=key)
        for key in set(keys)
        if any(packet < key for packet in (straight.damage | set(table.broken["packet"].tolist())))
    }
    counts = Counter[int]()
    wrong, unsteady, num_known = list[Any](), list[Any](), 0
    expected: list[set[int]] = []
    for packet, key in zip(table.rows["packet"].tolist(), keys, strict=True):
        place = packet, counts[packet]
        counts[packet] += 1
        decodes = [straight, *([fresh[key]] if key in fresh else [])]
        whole = [one for one in decodes if one.sizes.get(place, table.size) == table.size]
        expected.append({one.digests.get(place, -1) for one in whole})
        num_known += not original.isdisjoint(expected[-1])
    for way, frames in clips.items():
        for ordinal, found in frames:
            if expected[ordinal] and found not in expected[ordinal]:
                is_right = not original or not original.isdisjoint(expected[ordinal])
                (wrong if is_right else unsteady).append([way, ordinal])
    numbers = {"frames": len(table), "broken": len(table.broken), "known": num_known}
    return {**numbers, "clips": sum(map(len, clips.values())), "wrong": wrong[:20], "unsteady": unsteady[:20]}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
