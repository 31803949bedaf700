"""Recordings that lie, packed in a process of its own under a gigabyte and five seconds; and killed runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.sharding import make_shards
from pipelines.storage.manifest import Manifest

from .test_make_shards_killed import assert_a_manifest_means_a_whole_set, contents, run_and_die
from .wav_files import encoded, noise, tone, wav

CHILDREN = """
import json, os, resource, signal, sys
from pathlib import Path
import soundfile, soxr
from pipelines.errors import PipelineError
from pipelines.sharding import make_shards

WAYS = [{}, {"segment": 0.01}, {"sample_rate": 16000, "channels": 1}, {"codec": "flac"}, {"decode": True}]

def outcome(source, out, way):
    try:
        report = make_shards(source, out, only="audio", workers=0, **way)
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
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
        signal.alarm(30)
        found = [outcome(source, scratch / f"out{number}-{place}", way) for place, way in enumerate(WAYS)]
        (scratch / f"{number}.json").write_text(json.dumps(found))
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    report = scratch / f"{number}.json"
    print(json.dumps([path.name, status, json.loads(report.read_text()) if report.exists() else []]), flush=True)
"""


def packed_in_children(scratch: Path, folder: Path) -> dict[str, list[Any]]:
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", CHILDREN, str(scratch), str(folder)],
        capture_output=True,
        text=True,
        timeout=200,
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


def assert_packed_or_refused_with_a_reason(found: dict[str, list[Any]]) -> None:
    for name, outcomes in found.items():
        for examples, reason in outcomes:
            assert examples or reason, name
            assert "Traceback" not in reason
            assert "0x" not in reason


@pytest.mark.skipif(sys.platform != "linux", reason="memory limits are only dependable on Linux")
def test_every_hostile_recording_is_packed_or_refused_with_a_reason(shared_data: Path, tmp_path: Path) -> None:
    found = packed_in_children(tmp_path / "scratch", shared_data / "hostile" / "audio")
    assert_packed_or_refused_with_a_reason(found)
    assert found["test-44100Hz-le-1ch-4bytes-early-eof.wav"][0] == [1, ""]
    assert found["test-44100Hz-le-1ch-4bytes-rf64.wav"][1] == [10, ""]
    assert found["test-8000Hz-le-1ch-1byte-ulaw.wav"][0][0] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="memory limits are only dependable on Linux")
def test_headers_that_lie_cost_neither_memory_nor_time(tmp_path: Path) -> None:
    folder = tmp_path / "lies"
    folder.mkdir()
    good = wav(noise("s16", 1000, 1), "s16", 1)
    flac = encoded(tone(0.5), 16_000, "FLAC")
    files = {
        "huge_data.wav": good[:40] + b"\xf0\xff\xff\xff" + good[44:],
        "huge_riff.wav": good[:4] + b"\xff" * 4 + good[8:],
        "huge_chunk.wav": good[:12] + b"junk\xf0\xff\xff\xff" + good[12:],
        "no_rate.wav": good[:24] + bytes(4) + good[28:],
        "most_rate.wav": good[:24] + b"\xff\xff\xff\x7f" + good[28:],
        "channels.wav": good[:22] + b"\xff\xff" + good[24:],
        "rf64.wav": wav(noise("s16", 1000, 1), "s16", 1, form="rf64").replace(
            (2000).to_bytes(8, "little"), b"\xff" * 7 + b"\x7f"
        ),
        "claims.flac": flac[:18] + bytes([flac[18]]) + flac[19:21] + b"\xff" * 5 + flac[26:],
        "cut.flac": flac[:200],
        "cut.ogg": encoded(tone(0.5), 16_000, "OGG")[:5000],
        "cut.mp3": encoded(tone(0.5), 16_000, "MP3")[:1500],
        "zeros.mp3": b"\xff\xfb\x90\x00" + bytes(20_000),
        "ends.wav": good[:37],
    }
    generator = np.random.Generator(np.random.Philox(4))
    for kind in ("FLAC", "OGG", "MP3"):
        content = bytearray(encoded(tone(0.5, 44_100, 2), 44_100, kind))
        for place in generator.integers(40, len(content), 30):
            content[place] ^= 0x5A
        files[f"flipped.{kind.lower()}"] = bytes(content)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    found = packed_in_children(tmp_path / "scratch", folder)
    assert_packed_or_refused_with_a_reason(found)
    for name in ("huge_data.wav", "huge_riff.wav", "rf64.wav"):
        assert found[name][0] == [1, ""]
        assert found[name][1][0] == 7, "a thousand frames in segments of 160"


def make_sounds(folder: Path, num: int, *, first: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(first, first + num):
        (folder / f"{number}.wav").write_bytes(wav(noise("s16", 400 + 100 * number, 1, number), "s16", 1))
    (folder / "text.wav").write_text("no sound")
    (folder / "short.flac").write_bytes(encoded(tone(0.1), 16_000, "FLAC")[:60])
    return folder


@pytest.mark.parametrize("settings", [{"segment": 0.02}, {"sample_rate": 8_000}])
def test_a_run_that_dies_at_any_step_goes_on_to_the_same_bytes(tmp_path: Path, settings: dict[str, Any]) -> None:
    source = make_sounds(tmp_path / "audio", 4)
    make_shards(source, tmp_path / "undisturbed", workers=0, shard_examples=3, **settings)
    expected, step, died = contents(tmp_path / "undisturbed"), 1, True
    while died:
        out = tmp_path / f"out{step}"
        died = run_and_die(step, source, out, **settings)
        assert_a_manifest_means_a_whole_set(out)
        whole = {tar: tar.stat().st_ino for tar in out.glob("*.tar")}
        make_shards(source, out, workers=0, shard_examples=3, **settings)
        assert contents(out) == expected, step
        assert {tar: tar.stat().st_ino for tar in whole} == whole, f"finished shards were made again after {step}"
        step += 1
    assert step > 15


def test_an_addition_of_segments_survives_dying_at_any_step(tmp_path: Path) -> None:
    source, begun = make_sounds(tmp_path / "audio", 2), tmp_path / "begun"
    settings: dict[str, Any] = {"segment": 0.02, "workers": 0, "shard_examples": 3}
    make_shards(source, begun, **settings)
    make_sounds(source, 2, first=2)
    for path in ("undisturbed", "out0"):
        _copy(begun, tmp_path / path)
    make_shards(source, tmp_path / "undisturbed", append=True, **settings)
    expected, step, died = contents(tmp_path / "undisturbed"), 1, True
    while died:
        out = tmp_path / f"out{step}"
        _copy(begun, out)
        died = run_and_die(step, source, out, segment=0.02, append=True)
        make_shards(source, out, append=True, **settings)
        assert contents(out) == expected, step
        step += 1
    assert step > 15


def test_a_recording_that_fails_half_way_leaves_none_of_its_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_sounds(tmp_path / "audio", 3)
    (source / "2.wav").unlink()
    make_shards(source, tmp_path / "without", workers=0, shuffle=None, segment=0.01)
    make_sounds(source, 3)
    from pipelines.sharding.modalities.open_recording import OpenRecording
    from pipelines.sharding.source_reader import UnpackableError

    raw = OpenRecording.raw

    def damaged(self: OpenRecording, start: int, stop: int) -> bytes:
        if self.frames == 600 and start >= 320:
            raise UnpackableError("damaged")
        return raw(self, start, stop)

    monkeypatch.setattr(OpenRecording, "raw", damaged)
    report = make_shards(source, tmp_path / "out", workers=0, shuffle=None, segment=0.01)
    assert ("2.wav", "damaged") in [tuple(failure) for failure in report.failures]
    for name in ("audio-000000.tar", "audio-000000.tar.index.npy"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()
    assert Manifest.load(tmp_path / "out").shards == Manifest.load(tmp_path / "without").shards


def _copy(begun: Path, out: Path) -> None:
    out.mkdir()
    for path in begun.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
