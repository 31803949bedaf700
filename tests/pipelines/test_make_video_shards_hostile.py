"""Videos that lie or are damaged, packed in every way in a process of its own under 2 GB and 10 s of processor time."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import make_shards
from pipelines.storage.manifest import Manifest
from pipelines.storage.media_types import read_head, sniff

from .measured_here import measure_here
from .videos import make_video

CHILDREN = """
import json, os, resource, signal, sys
from pathlib import Path
import av
from pipelines.errors import PipelineError
from pipelines.sharding import make_shards
from pipelines.sharding.explaining import explain_folder

WAYS = json.loads(sys.argv[3])

def outcome(source, out, way):
    try:
        if way == "explain":
            return [1, "; ".join(explain_folder(source, only="video"))]
        report = make_shards(source, out, only="video", workers=0, **way)
    except PipelineError as error:
        return [0, str(error)]
    return [report.examples, "; ".join(failure.reason for failure in report.failures)]

scratch = Path(sys.argv[1])
for number, path in enumerate(sorted(Path(sys.argv[2]).iterdir())):
    source = scratch / str(number)
    source.mkdir()
    (source / path.name).write_bytes(path.read_bytes())
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
        signal.alarm(120)
        found = [outcome(source, scratch / f"out{number}-{place}", way) for place, way in enumerate(WAYS)]
        (scratch / f"{number}.json").write_text(json.dumps(found))
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    report = scratch / f"{number}.json"
    print(json.dumps([path.name, status, json.loads(report.read_text()) if report.exists() else []]), flush=True)
"""
WAYS: list[Any] = [{}, {"segment": 0.2}, {"gop": 8, "resize": 32}, {"no_audio": True}, "explain"]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory limits are only dependable on Linux")


def packed_in_children(scratch: Path, folder: Path, ways: list[Any]) -> dict[str, list[Any]]:
    """What became of each file of a folder in each way: how many examples, and the reasons."""
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", CHILDREN, str(scratch), str(folder), json.dumps(ways)],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = {}
    for line in done.stdout.splitlines():
        name, status, outcomes = json.loads(line)
        assert status == 0, f"{name} ended its process: {status}\n{done.stderr[-2000:]}"
        found[name] = outcomes
    assert len(found) == len(list(folder.iterdir()))
    return found


def assert_packed_or_refused_with_a_reason(found: dict[str, list[Any]], folder: Path) -> None:
    for name, outcomes in found.items():
        for examples, reason in outcomes:
            assert examples or reason, name
            assert "Traceback" not in reason
            assert "0x" not in reason
            assert "/tmp" not in reason.removeprefix(str(folder.parent)) or examples == 0
        packed = [bool(examples) for examples, _ in outcomes[:4]]
        assert len(set(packed)) == 1 or packed[0], f"{name}: {outcomes}"


@pytest.mark.heavy
def test_every_hostile_video_is_packed_or_refused_with_a_reason(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "hostile" / "video"
    found = packed_in_children(tmp_path / "scratch", folder, WAYS)
    assert_packed_or_refused_with_a_reason(found, folder)
    assert [examples for examples, _ in found["corrupted.mp4"]] == [1] * 5
    assert "20 broken" in found["corrupted.mp4"][4][1]
    assert [examples for examples, _ in found["unordered.mov"]] == [1] * 5
    unknown = [path.name for path in folder.iterdir() if sniff(read_head(path)) is None]
    assert unknown
    assert all("no videos in it" in reason for name in unknown for _, reason in found[name])


def test_headers_that_lie_cost_neither_memory_nor_time(tmp_path: Path) -> None:
    folder = tmp_path / "lies"
    folder.mkdir()
    mp4 = make_video(tmp_path / "a.mp4", num_frames=12, gop=4, sound="aac").read_bytes()
    mkv = make_video(tmp_path / "a.mkv", num_frames=12, gop=4).read_bytes()
    avi = make_video(tmp_path / "a.avi", num_frames=12, gop=4).read_bytes()
    size = mp4.index(b"avc1") + 28
    duration = mp4.index(b"mvhd") + 20
    files = {
        "huge_pictures.mp4": mp4[:size] + b"\xff\xf0\xff\xf0" + mp4[size + 4 :],
        "huge_duration.mp4": mp4[:duration] + b"\xff" * 4 + mp4[duration + 4 :],
        "huge_table.mp4": _with_number(mp4, b"stsz", 12, 0x7FFFFFFF),
        "huge_times.mp4": _with_number(mp4, b"stts", 12, 0x7FFFFFFF),
        "no_packets.mp4": _with_number(mp4, b"stsz", 12, 0),
        "no_moov.mp4": mp4[: mp4.index(b"moov") - 4],
        "huge_cluster.mkv": mkv.replace(b"\x1f\x43\xb6\x75", b"\x1f\x43\xb6\x75\x08\xff\xff\xff", 1),
        "huge_list.avi": avi.replace(b"movi", b"movi" + b"00dc\xff\xff\xff\x7f", 1),
        "head.mkv": mkv[:200],
        "nothing.avi": avi[:12],
        "zeros.mp4": mp4[:40] + bytes(20_000),
        "tables.ts": b"G\x40\x00\x10" + bytes(184) + (b"G\x1f\xff\x10" + b"\xff" * 184) * 3000,
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = make_shards(folder, tmp_path / "out", workers=0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_maxrss < 2 << 20, "in kibibytes"
    assert after.ru_utime - before.ru_utime < 10
    reasons = {failure.path: failure.reason for failure in report.failures}
    assert report.examples + len(reasons) == len(files)
    refused = {"no_packets.mp4", "no_moov.mp4", "nothing.avi", "zeros.mp4", "tables.ts", "head.mkv"}
    assert refused <= reasons.keys()
    assert "huge_duration.mp4" not in reasons
    assert all(reasons.values())


def _with_number(content: bytes, box: bytes, behind: int, number: int) -> bytes:
    """A file in which a number, so many bytes behind the name of a box, is another."""
    place = content.index(box) + behind
    return content[:place] + number.to_bytes(4, "big") + content[place + 4 :]


@pytest.mark.heavy
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts", "webm"])
def test_damage_anywhere_is_packed_or_refused_with_a_reason(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    codec = "libvpx-vp9" if suffix == "webm" else "libx264"
    sound = {"webm": "libopus", "avi": "pcm_s16le"}.get(suffix, "aac")
    content = make_video(
        tmp_path / f"a.{suffix}",
        codec=codec,
        num_frames=40,
        gop=8,
        b_frames=2 if codec == "libx264" else 0,
        sound=sound,
    ).read_bytes()
    generator = np.random.Generator(np.random.Philox(7))
    for number in range(6):
        flipped = bytearray(content)
        for place in generator.integers(64, len(content), 1 + number):
            flipped[place] ^= int(generator.integers(1, 256))
        (folder / f"flipped{number}.{suffix}").write_bytes(bytes(flipped))
        cut = int(generator.integers(100, len(content)))
        (folder / f"cut{number}.{suffix}").write_bytes(content[:cut])
    found = packed_in_children(tmp_path / "scratch", folder, WAYS)
    assert_packed_or_refused_with_a_reason(found, folder)
    assert any(examples for outcomes in found.values() for examples, _ in outcomes)


def test_a_video_that_crashes_its_reader_is_a_failure_and_the_rest_is_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "video"
    source.mkdir()
    for number in range(3):
        make_video(source / f"{number}.mp4", num_frames=4 + number)
    crashing = """
import os, signal
from pipelines.decode.video import measuring_child
from pipelines.decode.video.measuring import measure_video

def measure(media, **settings):
    table = measure_video(media, **settings)
    if len(table) == 5:
        os.kill(os.getpid(), signal.SIGSEGV)
    return table

def main(connection, lifeline):
    measuring_child.measure_video = measure
    measuring_child.main(connection, lifeline)
"""
    (tmp_path / "crashing_child.py").write_text(crashing)
    monkeypatch.syspath_prepend(str(tmp_path))
    from pipelines.child_process import ChildPool
    from pipelines.decode.video import measuring_process

    monkeypatch.setattr(measuring_process, "_pool", ChildPool("crashing_child", most=1))
    report = make_shards(source, tmp_path / "out", workers=0)
    assert report.examples == 2
    assert [tuple(one) for one in report.failures] == [("1.mp4", "its reader crashed (SIGSEGV)")]
    assert Manifest.load(tmp_path / "out").failures == [{"path": "1.mp4", "reason": "its reader crashed (SIGSEGV)"}]


def test_a_full_disk_is_no_fault_of_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure_here(monkeypatch)
    source = tmp_path / "video"
    source.mkdir()
    make_video(source / "a.mp4", num_frames=30, gop=5)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        for settings in ({"segment": 0.2}, {"gop": 3}):
            with pytest.raises(Exception, match=r"cannot be written .*\(No space left on device\)"):
                make_shards(source, tmp_path / "out", workers=0, overwrite=True, **settings)  # type: ignore[arg-type]
    assert make_shards(source, tmp_path / "out", workers=0, overwrite=True, segment=0.2).examples == 6
