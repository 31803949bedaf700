"""Sample clips: the same again, every shape where the file beside it says, and no danger to a user's own videos."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.errors import ShardingError
from pipelines.samples.clip_drawing import FPS, SKIES, Clip, clip_of, draw_frames
from pipelines.samples.clip_sound import CLIP_SAMPLE_HZ, clip_samples, describe_sound
from pipelines.samples.clips import make_sample_clips
from pipelines.samples.command import main
from pipelines.samples.drawing import SHAPES
from pipelines.samples.motion import MOTIONS, Motion
from tests.absent import run, without

GOLDEN = "5aa4d3524f96a5251dd8cb5df5c80ddab382f001197a9f00d5e46ce1b85e0e60"
LAUNCHER = Path(__file__).resolve().parents[2] / "tools" / "make_sample_data.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips of 64 × 64 pixels."""
    path = tmp_path_factory.mktemp("clips")
    assert make_sample_clips(path, num=6, size=64) == 6
    return path


def facts_of(path: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return facts


def decoded(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def heard(path: Path) -> NDArray[np.float32]:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def motions(kind: str, num: int = 60) -> list[tuple[Clip, Motion]]:
    clips = [clip_of(0, index) for index in range(num)]
    return [(clip, one.motion) for clip in clips for one in clip.shapes if one.motion.kind == kind]


def test_the_clips_of_a_seed_never_change() -> None:
    frames = [frame for index in range(6) for frame in list(draw_frames(clip_of(0, index), 32))[::7]]
    assert hashlib.sha256(b"".join(frame.tobytes() for frame in frames)).hexdigest() == GOLDEN


def test_the_same_call_makes_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_sample_clips(tmp_path / name, num=2, size=32, seed=seed)
    files = {name: [path.read_bytes() for path in sorted((tmp_path / name).iterdir())] for name in "abc"}
    assert files["a"] == files["b"]
    assert all(ours != theirs for ours, theirs in zip(files["a"], files["c"], strict=True))


def test_another_process_makes_the_same_files(tmp_path: Path, folder: Path) -> None:
    code = "from pipelines.samples import make_sample_clips; make_sample_clips('again', num=2, size=64)"
    run(code, cwd=tmp_path)
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()


def test_every_shape_motion_and_background_occurs() -> None:
    clips = [clip_of(0, index) for index in range(200)]
    shapes = [one for clip in clips for one in clip.shapes]
    assert {one.shape for one in shapes} == set(SHAPES)
    assert {one.motion.kind for one in shapes} == set(MOTIONS)
    assert {clip.sky for clip in clips} == set(SKIES)
    assert {len(clip.shapes) for clip in clips} == {1, 2, 3}
    assert sum(clip.has_sound for clip in clips) == 100
    assert min(clip.frames for clip in clips) in range(48, 51)
    assert max(clip.frames for clip in clips) in range(94, 97)
    assert 0.3 < np.mean([one.turns_per_second != 0 for one in shapes]) < 0.7


def test_no_shape_leaves_the_picture() -> None:
    for clip in (clip_of(0, index) for index in range(300)):
        for one in clip.shapes:
            places = one.positions(clip.frames, 96)
            assert places.min() > one.radius * 96 - 0.02
            assert places.max() < 96 - one.radius * 96 + 0.02


def test_the_colours_of_a_clip_are_far_from_one_another() -> None:
    for clip in (clip_of(0, index) for index in range(300)):
        hues = sorted(one.hue for one in clip.shapes)
        if len(hues) > 1:
            assert min(b - a for a, b in pairwise([*hues, hues[0] + 1])) > 0.2


def test_what_bounces_goes_straight_between_bounces() -> None:
    time = np.linspace(0, 2, 4001)
    for _, motion in motions("bounce"):
        speed = np.diff(motion.positions(time), axis=0) / time[1]
        turned = np.abs(np.diff(speed, axis=0)).max(axis=1) > 1e-6
        assert np.allclose(np.abs(speed[1:][~turned]), np.abs(speed[0]), atol=1e-6)
        assert 0.19 < np.abs(speed[0]).min() < np.abs(speed[0]).max() < 0.46
        for bounce in motion.bounces(2.0):
            assert np.abs(time[1:-1][turned] - bounce).min() < 0.001
        assert len(motion.bounces(2.0)) >= turned.sum() / 2


def test_what_circles_keeps_its_distance_and_its_speed() -> None:
    time = np.linspace(0, 4, 401)
    directions = set()
    for _, motion in motions("circle"):
        places = motion.positions(time)
        aside = places - (motion.x.middle, motion.y.middle)
        assert np.ptp(np.hypot(*aside.T)) < 1e-9
        steps = np.hypot(*np.diff(places, axis=0).T)
        assert np.ptp(steps) < 1e-9
        directions.add(np.sign(aside[0, 0] * aside[1, 1] - aside[0, 1] * aside[1, 0]))
        assert motion.bounces(4.0) == []
    assert directions == {-1, 1}


def test_what_swings_stays_on_a_line() -> None:
    for _, motion in motions("swing"):
        centred = (places := motion.positions(np.linspace(0, 4, 100))) - places.mean(axis=0)
        assert np.linalg.svd(centred, compute_uv=False)[1] < 1e-9


def test_what_hops_falls_as_a_ball_does() -> None:
    time = np.linspace(0, 2, 2001)
    for _, motion in motions("hop"):
        fall = np.diff(motion.positions(time)[:, 1], n=2) / time[1] ** 2
        assert np.median(fall) == pytest.approx(4.0, abs=0.001), "sides per second squared, of all alike"
        floor = motion.y.middle + motion.y.reach
        assert np.allclose(motion.y.at(np.array(motion.y.bounces(2.0))), floor)


def test_frames_rate_and_size_are_those_of_the_json(folder: Path) -> None:
    for path in sorted(folder.glob("*.mp4")):
        facts = facts_of(path)
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
            assert (stream.average_rate, stream.frames) == (FPS, facts["frames"])
            assert (stream.width, stream.height) == (64, 64)
            frames = list(container.decode(stream))
            assert [frame.pts * frame.time_base * FPS for frame in frames] == list(range(facts["frames"]))
        assert (facts["fps"], facts["width"], facts["height"]) == (FPS, 64, 64)
        assert 48 <= facts["frames"] <= 96
        assert all(len(one["positions"]) == facts["frames"] for one in facts["shapes"])


def test_clips_have_the_key_frames_and_the_reordering_of_files_found_elsewhere(folder: Path) -> None:
    for path in folder.glob("*.mp4"):
        with av.open(str(path)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
        assert packets[0].is_keyframe
        assert sum(packet.is_keyframe for packet in packets) == -(-len(packets) // 48)
        assert [packet.pts for packet in packets] != sorted(packet.pts for packet in packets)


def test_the_topmost_shape_is_where_the_json_says_in_every_frame(folder: Path) -> None:
    for path in sorted(folder.glob("*.mp4")):
        top = facts_of(path)["shapes"][-1]
        for picture, (x, y) in zip(decoded(path), top["positions"], strict=True):
            distance = 0.68 * top["radius"] if top["shape"] == "ring" else 1.0
            angles = np.arange(8) * np.pi / 4
            columns, rows = x + distance * np.cos(angles), y + distance * np.sin(angles)
            colour = picture[np.floor(rows).astype(int), np.floor(columns).astype(int)].mean(axis=0)
            assert np.abs(colour - top["colour"]).max() < 24, path.name


def test_shapes_turn_clockwise_as_far_as_the_json_says() -> None:
    """The corner of a triangle that is up at first is where its turns take it; there is nothing on the other side."""
    clips = [clip for clip in (clip_of(0, index) for index in range(60)) if clip.shapes[-1].shape == "triangle"]
    assert any(clip.shapes[-1].turns_per_second for clip in clips)
    for clip in clips:
        top = clip.describe(64)["shapes"][-1]
        for number, picture in list(enumerate(draw_frames(clip, 64)))[::10]:
            angle = 2 * np.pi * (top["turn"] + top["turns_per_second"] * number / FPS)
            up = 0.7 * top["radius"] * np.array([np.sin(angle), -np.cos(angle)])
            ends = [np.floor(top["positions"][number] + way * up).astype(int) for way in (1, -1)]
            corner, opposite = (np.abs(picture[y, x].astype(int) - top["colour"]).max() for x, y in ends)
            assert corner < 60, "the shade of a shape is not the same everywhere"
            assert corner < opposite


def test_only_the_shapes_move(folder: Path) -> None:
    """Far from every shape the picture is that of the first frame."""
    for path in sorted(folder.glob("*.mp4")):
        facts, frames = facts_of(path), decoded(path)
        rows, columns = np.mgrid[0:64, 0:64] + 0.5
        far = np.ones((len(frames), 64, 64), bool)
        for one in facts["shapes"]:
            for number, (x, y) in enumerate(one["positions"]):
                far[number] &= np.hypot(columns - x, rows - y) > 1.6 * one["radius"]
        for number in range(1, len(frames)):
            both = far[0] & far[number]
            assert np.abs(frames[number][both].astype(int) - frames[0][both]).max() < 20


def test_every_other_clip_sounds_as_high_as_its_first_shape_stands(folder: Path) -> None:
    for index, path in enumerate(sorted(folder.glob("*.mp4"))):
        facts = facts_of(path)
        with av.open(str(path)) as container:
            assert len(container.streams.audio) == 1 - index % 2
        if not facts["sound"]:
            continue
        samples, sound = heard(path), facts["sound"]
        assert len(samples) >= round(facts["frames"] / FPS * sound["sample_rate"])
        assert 0.05 < np.abs(samples).max() < 0.4
        for frame in range(4, facts["frames"] - 4, 3):
            if min((abs(frame / FPS - blip) for blip in sound["blips_seconds"]), default=1) < 0.3:
                continue
            y = facts["shapes"][0]["positions"][frame][1] / 64
            written = sound["highest_hz"] * (sound["lowest_hz"] / sound["highest_hz"]) ** y
            middle = round(frame / FPS * CLIP_SAMPLE_HZ)
            spectrum = np.abs(np.fft.rfft(samples[middle - 512 : middle + 512] * np.hanning(1024), 1 << 15))
            assert 1200 * abs(np.log2(spectrum.argmax() * CLIP_SAMPLE_HZ / (1 << 15) / written)) < 60


def test_bounces_are_heard_when_they_are_seen() -> None:
    clips = (clip_of(0, index) for index in range(0, 40, 2))
    clip = next(clip for clip in clips if describe_sound(clip)["blips_seconds"])
    samples = clip_samples(clip)
    high = np.abs(np.convolve(samples, np.exp(2j * np.pi * 1760 / CLIP_SAMPLE_HZ * np.arange(200)) / 200, "same"))
    blips = np.array(describe_sound(clip)["blips_seconds"])
    for blip in blips:
        assert high[round((blip + 0.01) * CLIP_SAMPLE_HZ)] > 0.02
    quiet = np.abs(np.arange(len(samples))[:, None] / CLIP_SAMPLE_HZ - blips - 0.1).min(axis=1) > 0.15
    assert high[quiet].max() < 0.02
    assert len(samples) == round(clip.seconds * CLIP_SAMPLE_HZ)


def test_a_folder_with_other_files_is_refused_unless_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "holiday.mp4").write_bytes(b"precious")
    command = ["video", "--out", str(tmp_path), "--num", "2", "--size", "16"]
    assert main(command) == 2
    assert "holds holiday.mp4" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.mp4"]
    assert main([*command, "--force"]) == 0
    assert main(["video", "--out", str(tmp_path), "--num", "1", "--size", "16", "--force"]) == 0
    assert (tmp_path / "holiday.mp4").read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "clip-000000.json",
        "clip-000000.mp4",
        "holiday.mp4",
    ]


def test_nonsense_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flags, message in (
        (["--num", "0"], "num is 0"),
        (["--size", "63"], "an even number"),
        (["--size", "8"], "8;"),
    ):
        assert main(["video", "--out", str(tmp_path / "x"), *flags]) == 2
        shown = capsys.readouterr().err
        assert message in shown
        assert shown.count("\n") == 1
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ShardingError, match="cannot be written to"):
        make_sample_clips(tmp_path / "file" / "below")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_without_pyav_the_command_that_installs_it_is_named(tmp_path: Path) -> None:
    code = f"""{without("av")}
from pipelines.errors import ShardingError
from pipelines.samples import make_sample_clips
try:
    make_sample_clips("clips")
except ShardingError as error:
    print(error)
"""
    assert run(code, cwd=tmp_path).endswith("pip install av.")
    assert list(tmp_path.iterdir()) == []


def test_importing_the_samples_does_not_load_pyav() -> None:
    assert run("import sys, pipelines.samples.command; print('av' in sys.modules)") == "False"


def test_the_launcher_makes_clips_from_any_folder(tmp_path: Path) -> None:
    command = [sys.executable, str(LAUNCHER), "video", "--num", "2", "--size", "32"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("data/video: 2 videos of 32 × 32 pixels")
    assert len(list((tmp_path / "data" / "video").iterdir())) == 4
