"""make_shards --explain: counts that a decoder agrees with, an estimate that packing agrees with; nothing is packed."""

from __future__ import annotations

import re
from pathlib import Path

import av
import pytest

from pipelines import make_shards
from pipelines.decode.video.measuring import measure_video
from pipelines.errors import SourceError
from pipelines.sharding.cli import main
from pipelines.sharding.explaining import explain_folder
from pipelines.sharding.modalities import video_explaining
from pipelines.sharding.modalities.video_explaining import decoded_per_clip
from pipelines.sources.located import file_member

from .conftest import png
from .measured_here import measure_here
from .videos import make_video, packets_of
from .wav_files import noise, wav


@pytest.fixture(autouse=True)
def _measured_here(monkeypatch: pytest.MonkeyPatch) -> None:
    measure_here(monkeypatch)
    monkeypatch.setattr(video_explaining, "measure_apart", measure_video)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "video"
    folder.mkdir()
    return folder


def fewest_packets(path: Path, first: int, num: int) -> int:
    """How many packets a decoder has to be given, from a key packet on, before it has given frames first … + num."""
    keys = [place for place, (_, _, is_key) in enumerate(packets_of(path)) if is_key]
    best = 10**9
    for key in keys:
        for stop in range(key + 1, key + best + 1 if best < 10**9 else len(packets_of(path)) + 1):
            with av.open(str(path)) as container:
                packets = [packet for packet in container.demux(video=0) if packet.size]
                context = container.streams.video[0].codec_context
                context.thread_count = 1
                shown = {frame.pts for packet in packets[key:stop] for frame in context.decode(packet)}
                shown |= {frame.pts for frame in context.decode(None)}
                wanted = sorted(packet.pts for packet in packets)[first : first + num]
            if shown >= set(wanted):
                best = min(best, stop - key)
                break
    return best


@pytest.mark.parametrize(("b_frames", "gop"), [(0, 5), (2, 6)])
def test_a_decoder_needs_as_many_packets_as_are_counted(source: Path, b_frames: int, gop: int) -> None:
    path = make_video(source / "a.mp4", num_frames=14, gop=gop, b_frames=b_frames, size=(32, 32))
    table = measure_video(file_member(path))
    counted = decoded_per_clip(table, 4)
    assert counted.num == 11
    assert counted.decoded == sum(fewest_packets(path, first, 4) for first in range(11))


def test_each_video_is_described_and_all_together(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_video(source / "a.mp4", num_frames=60, gop=30, b_frames=2, sound="aac", size=(320, 192))
    make_video(source / "b\x1b[31m.mkv", num_frames=40, gop=16, open_gop=True, b_frames=3, variable_rate=True)
    make_video(source / "c.avi", num_frames=20, gop=50, b_frames=2, rate=25)
    (source / "d.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(20))
    (source / "e.mp4").write_text("no video")
    monkeypatch.chdir(tmp_path)
    assert main(["video", "--explain"]) == 0
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 100
    assert "\x1b" not in shown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["video"], "nothing is packed"
    assert lines[0] == "a.mp4"
    assert re.fullmatch(r"  format    mp4, h264, 320 × 192, with sound, \d+ kB", lines[1])
    assert lines[2] == "  frames    60; 2.0 s, 30 per second, constant"
    assert lines[3] == "  keys      2, 0 open; every 30 frames"
    assert lines[4] == "  clips     28.6 frames decoded for 16 at random"
    assert re.fullmatch(r"  --gop 16  23\.1 frames decoded for 16 at random; about \d+ kB, × \d\.\d\d", lines[5])
    assert re.fullmatch(
        r"            \(h264, crf 20: 60 frames encoded; × \d\.\d\d is for the key frames\)", lines[6]
    )
    assert lines[7] == "b\\x1b[31m.mkv"
    assert lines[9].endswith("per second, variable")
    assert lines[10] == "  keys      3, 2 open; every 8, 16, 16 frames (shortest, median, longest)"
    assert lines[16] == "  frames    20; 0.8 s, 25 per second, counted, as its time stamps do not rise"
    assert lines[21:23] == ["d.mp4", "  refused   damaged: it cannot be opened (invalid data)"]
    assert lines[23] == "all 3 videos"
    assert re.fullmatch(r"  frames    120; \d+ kB", lines[24])
    assert lines[-1] == "e.mp4: not a video: it does not begin like one"
    assert len(lines) == 28


def test_the_settings_that_are_given_are_explained(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_video(source / "a.mp4", num_frames=60, gop=60, size=(160, 96))
    command = [str(source), "--explain", "--resize", "64", "--gop", "4", "--codec", "h265", "--quality", "30"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "  --gop 4   17.5 frames decoded for 16 at random; about " in shown
    assert "(h265, crf 30, shorter side 64: 60 frames encoded; × " in shown
    assert main([str(source), "--explain", "--quality", "99", "--gop", "4"]) == 2
    assert capsys.readouterr().err == "make_shards: quality is 99; for h264 it must be 51 at most.\n"


def test_packing_makes_about_what_was_estimated(source: Path, tmp_path: Path) -> None:
    make_video(source / "a.mp4", num_frames=90, gop=90, size=(160, 96), sound="aac")
    (line,) = [line for line in explain_folder(source, gop=6) if "--gop 6" in line]
    estimate = float(re.findall(r"about ([\d.]+) (?:kB|MB)", line)[0]) * (1e6 if "MB" in line else 1e3)
    report = make_shards(source, tmp_path / "out", gop=6, workers=0)
    assert estimate == pytest.approx(report.bytes, rel=0.25)


def test_modalities_without_anything_to_explain_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "a.png").write_bytes(png(1))
    (folder / "a.wav").write_bytes(wav(noise("s16", 500, 1), "s16", 1))
    assert main([str(folder), "--explain"]) == 2
    assert capsys.readouterr().err == (
        f"make_shards: {folder}: holds images and recordings, of which nothing is explained; --explain is for "
        "videos.\n"
    )
    make_video(folder / "a.mp4", num_frames=5)
    lines = list(explain_folder(folder))
    assert lines[:2] == [
        f"{folder}: nothing is explained of its images.",
        f"{folder}: nothing is explained of its recordings.",
    ]
    with pytest.raises(SourceError, match="no such folder"):
        list(explain_folder(tmp_path / "missing"))


def test_a_video_that_cannot_be_encoded_has_no_estimate_and_the_rest_is_explained(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_video(source / "a.mp4", num_frames=5)
    from pipelines.sharding.modalities import video_encoding

    monkeypatch.setattr(video_encoding, "MOST_PIXELS", 100)
    lines = list(explain_folder(source))
    assert "5.0 frames decoded for 16 at random; no estimate of its bytes: 96 × 64 pixels are more" in lines[5]
