"""Videos cut at key frames: joined, the segments are the whole, frame by frame, in time and in sound."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipelines import make_shards
from pipelines.decode.errors import UndecodableError
from pipelines.sharding.cli import main
from pipelines.sharding.modalities.spool import SpoolWriter
from pipelines.sharding.modalities.video_copying import VideoCopier
from pipelines.sharding.modalities.video_packets import Stretch
from pipelines.storage.frame_table import FrameFlag
from pipelines.storage.index import load_index
from pipelines.storage.manifest import Manifest

from .conftest import Pack
from .measured_here import measure_here
from .test_make_shards_killed import contents, run_and_die
from .test_make_video_shards import damaged, tables
from .videos import Combination, combinations, decode_straight, frame_number, make_video, pick
from .wav_files import packed, parts_of


@pytest.fixture(autouse=True)
def _measured_here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """That this is done in processes of their own is tested elsewhere, and with the real videos."""
    if not request.node.get_closest_marker("slow"):
        measure_here(monkeypatch)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "video"
    folder.mkdir()
    return folder


def segments_of(out: Path, key: str, folder: Path) -> list[Path]:
    """The segments of a video as files."""
    folder.mkdir()
    paths = []
    for number, part in enumerate(parts_of(packed(out), key)):
        (suffix,) = {*part} - {"json"}
        paths.append(folder / f"{number:03d}.{suffix}")
        paths[-1].write_bytes(part[suffix])
    return paths


def sound_of(path: Path) -> list[tuple[float, bytes]]:
    """When each packet of the sound begins, in seconds, and its bytes."""
    with av.open(str(path)) as container:
        packets = container.demux(audio=0)
        return [(float(packet.pts * packet.time_base), bytes(packet)) for packet in packets if packet.size]


def assert_joined_they_are_the_whole(paths: list[Path], whole: Path, *, tolerance: float = 1e-9) -> list[int]:
    """Returns how many frames each segment has."""
    parts, expected = [decode_straight(path) for path in paths], decode_straight(whole)
    joined = [frame for part in parts for frame in part.frames]
    assert len(joined) == len(expected)
    for number, (ours, theirs) in enumerate(zip(joined, expected.frames, strict=True)):
        assert np.array_equal(ours, theirs), number
    place = 0
    for part in parts:
        theirs = expected.seconds[place : place + len(part)]
        shifts = [float(one - other) for one, other in zip(theirs, part.seconds, strict=True)]  # type: ignore[operator]
        assert part.seconds[0] == 0
        assert max(shifts) - min(shifts) <= tolerance
        place += len(part)
    return [len(part) for part in parts]


def check(combination: Combination, folder: Path) -> None:
    folder.mkdir()
    source = combination.make(folder)
    moved = folder / "source" / f"a{source.suffix}"
    moved.parent.mkdir()
    shutil.move(source, moved)
    make_shards(moved.parent, folder / "out", workers=0, segment=0.4)
    paths = segments_of(folder / "out", "a", folder / "parts")
    if len(paths) == 1:
        assert paths[0].read_bytes() == moved.read_bytes()
        assert combination.gop == 250 or combination.open_gop
        return
    assert not combination.open_gop
    assert combination.gop < 250
    container = {".avi": ".mkv"}.get(source.suffix, source.suffix)
    assert {path.suffix for path in paths} == {container}
    if not combination.has_true_times:  # decoded straight, its time stamps are not those of its frames
        joined = [frame_number(frame) for path in paths for frame in decode_straight(path).frames]
        assert joined == list(range(60))
        return
    assert_joined_they_are_the_whole(paths, moved, tolerance=0.0011 if container == ".mkv" else 1e-9)


@pytest.mark.parametrize("combination", pick(7), ids=str)
def test_joined_the_segments_are_the_whole(combination: Combination, tmp_path: Path) -> None:
    check(combination, tmp_path / "a")


@pytest.mark.heavy
@pytest.mark.parametrize("combination", list(combinations()), ids=str)
def test_joined_the_segments_of_every_kind_of_video_are_the_whole(combination: Combination, tmp_path: Path) -> None:
    check(combination, tmp_path / "a")


def test_a_segment_is_as_long_as_possible_and_at_least_one_gop(source: Path, tmp_path: Path, pack: Pack) -> None:
    path = make_video(source / "a.mp4", gop=6, num_frames=60, b_frames=2)
    for seconds, expected in ((0.65, [18, 18, 18, 6]), (0.6, [18, 18, 18, 6]), (0.59, [12] * 5), (0.05, [6] * 10)):
        assert pack(segment=seconds, overwrite=True).examples == len(expected)
        paths = segments_of(tmp_path / "out", "a", tmp_path / f"parts{seconds}")
        assert assert_joined_they_are_the_whole(paths, path) == expected
    assert pack(segment=9, overwrite=True).examples == 1
    assert packed(tmp_path / "out")["a-00000"]["mp4"] == path.read_bytes()


def test_facts_tables_and_fields_are_those_of_each_segment(source: Path, tmp_path: Path, pack: Pack) -> None:
    make_video(source / "a.mp4", gop=10, num_frames=45, rotation=90, size=(64, 96), pixel_aspect=Fraction(4, 3))
    (source / "a.json").write_text('{"label": 3}')
    make_video(source / "b.mkv", gop=10, num_frames=5)
    assert pack(segment=0.7, shuffle=None).examples == 4
    out = tmp_path / "out"
    index, found = load_index(out / "video-000000.tar.index.npy"), tables(out)
    assert list(found) == ["a-00000", "a-00001", "a-00002", "b-00000"]
    assert index["frames"].tolist() == [20, 20, 5, 5] == [len(table) for table in found.values()]
    assert index["width"].tolist() == [64, 64, 64, 96]
    assert {(table.size, table.pixel_aspect) for key, table in found.items() if key[0] == "a"} == {
        ((96, 64), Fraction(4, 3))
    }
    assert all(table.rows["flags"][0] & FrameFlag.CLEAN for table in found.values())
    assert [example["json"] for key, example in packed(out).items() if key[0] == "a"] == [b'{"label": 3}'] * 3
    assert Manifest.load(out).settings["segment"] == 0.7


@pytest.mark.parametrize("suffix", ["mov", "ts", "m2ts"])
def test_videos_of_other_containers_become_mp4(source: Path, tmp_path: Path, pack: Pack, suffix: str) -> None:
    path = make_video(source / f"a.{suffix}", gop=10, num_frames=40, b_frames=2, sound="aac")
    pack(segment=0.7)
    paths = segments_of(tmp_path / "out", "a", tmp_path / "parts")
    assert [path.suffix for path in paths] == [".mp4", ".mp4"]
    assert assert_joined_they_are_the_whole(paths, path, tolerance=2e-5) == [20, 20]


def test_an_mpeg_file_becomes_mp4(source: Path, tmp_path: Path, pack: Pack) -> None:
    shutil.move(make_video(source / "a.vob", codec="mpeg2video", gop=10, num_frames=40, rate=25), source / "a.mpg")
    pack(segment=0.8)
    paths = segments_of(tmp_path / "out", "a", tmp_path / "parts")
    assert [path.suffix for path in paths] == [".mp4", ".mp4"]
    assert assert_joined_they_are_the_whole(paths, source / "a.mpg", tolerance=2e-5) == [20, 20]


@pytest.mark.parametrize(
    ("suffix", "codec", "sound"),
    [("mp4", "libx264", "aac"), ("mkv", "libx264", "aac"), ("webm", "libvpx-vp9", "libopus")],
)
def test_every_packet_of_sound_is_in_one_segment_at_its_time(
    source: Path, tmp_path: Path, pack: Pack, suffix: str, codec: str, sound: str
) -> None:
    path = make_video(source / f"a.{suffix}", codec=codec, gop=10, num_frames=60, sound=sound)
    pack(segment=0.7)
    paths = segments_of(tmp_path / "out", "a", tmp_path / "parts")
    assert len(paths) == 3
    original, joined = sound_of(path), [sound_of(part) for part in paths]
    assert [content for part in joined for _, content in part] == [content for _, content in original]
    starts = list(accumulate((len(decode_straight(part)) / 30 for part in paths), initial=0.0))
    moved = [start + time for start, part in zip(starts, joined, strict=False) for time, _ in part]
    assert np.allclose(moved, [time for time, _ in original], atol=0.0015)
    assert all(0 <= part[0][0] < 0.1 for part in joined[1:])
    with av.open(str(paths[1])) as container:  # and it is heard
        assert sum(frame.samples for frame in container.decode(audio=0)) > 5000


def test_sound_can_be_left_out(source: Path, tmp_path: Path, pack: Pack) -> None:
    paths = {
        "a.mp4": make_video(source / "a.mp4", gop=10, num_frames=30, sound="aac", b_frames=2, start_seconds=1),
        "b.mkv": make_video(source / "b.mkv", gop=10, num_frames=30, sound="pcm_s16le", variable_rate=True),
        "c.mp4": make_video(source / "c.mp4", gop=10, num_frames=30),
    }
    for segment, num in ((None, 3), (0.4, 9)):
        assert pack(no_audio=True, segment=segment, overwrite=True).examples == num
        for parts in packed(tmp_path / "out").values():
            (path,) = [tmp_path / f"one.{suffix}" for suffix in parts]
            path.write_bytes(next(iter(parts.values())))
            with av.open(str(path)) as container:
                assert not container.streams.audio
        if segment is None:
            found = packed(tmp_path / "out")
            assert found["c"]["mp4"] == paths["c.mp4"].read_bytes(), "it has no sound"
            for name in ("a.mp4", "b.mkv"):
                (tmp_path / name).write_bytes(found[name[0]][name[2:]])
                ours, theirs = decode_straight(tmp_path / name), decode_straight(paths[name])
                assert np.array_equal(ours.pixels, theirs.pixels)
                assert ours.seconds == theirs.seconds
                assert len(found[name[0]][name[2:]]) < paths[name].stat().st_size


def test_hidden_frames_stay_hidden(source: Path, tmp_path: Path, pack: Pack) -> None:
    """An edit list hides the first five frames, which those behind them need; the keys are every ten frames."""
    whole = make_video(tmp_path / "whole.mp4", gop=10, num_frames=40)
    path = source / "a.mp4"
    with av.open(str(whole)) as reading, av.open(str(path), "w") as writing:
        stream = writing.add_stream_from_template(reading.streams.video[0], opaque=True)
        for packet in reading.demux(video=0):
            if packet.size:
                shift = round(Fraction(5, 30) / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                writing.mux(packet)
    assert [frame_number(frame) for frame in decode_straight(path).frames] == list(range(5, 40))
    assert pack(segment=0.5).examples == 3
    paths = segments_of(tmp_path / "out", "a", tmp_path / "parts")
    assert assert_joined_they_are_the_whole(paths, path) == [15, 10, 10]


def test_frames_that_cannot_be_decoded_are_left_out(source: Path, tmp_path: Path, pack: Pack) -> None:
    path = damaged(make_video(source / "a.mp4", gop=10, num_frames=60))
    pack()
    table = tables(tmp_path / "out")["a"]
    assert len(table.broken)
    good = [frame_number(frame) for frame in decode_straight(path).frames]
    pack(segment=0.5, overwrite=True)
    found = tables(tmp_path / "out")
    assert sum(len(one) for one in found.values()) == len(table)
    assert all(not len(one.broken) for one in found.values())
    paths = segments_of(tmp_path / "out", "a", tmp_path / "parts")
    joined = [frame_number(frame) for one in paths for frame in decode_straight(one, skip_errors=False).frames]
    assert len(joined) == len(table)
    assert set(joined) <= set(good)
    assert joined == sorted(joined)


def test_open_key_frames_are_no_places_to_cut(source: Path, tmp_path: Path, pack: Pack) -> None:
    path = make_video(source / "a.mp4", gop=16, open_gop=True, b_frames=3)
    assert pack(segment=0.6).examples == 1
    assert packed(tmp_path / "out")["a-00000"]["mp4"] == path.read_bytes()


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Stretch], bool]], list[Stretch]]:
    """Leave the last packet out of copies of some stretches; returns the list of all that are copied from then on."""

    def patch(is_bad: Callable[[Stretch], bool]) -> list[Stretch]:
        asked: list[Stretch] = []
        copy = VideoCopier.copy

        def spoiled(self: VideoCopier, stretch: Stretch, target: SpoolWriter, **settings: Any) -> None:
            asked.append(stretch)
            if is_bad(stretch):
                stretch = Stretch(stretch.first, stretch.stop, stretch.first_packet, stretch.stop_packet - 1)
            copy(self, stretch, target, **settings)

        monkeypatch.setattr(VideoCopier, "copy", spoiled)
        return asked

    return patch


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ({(10, 20)}, [10, 20, 10, 10, 10]),
        ({(50, 60)}, [10, 10, 10, 10, 20]),
        ({(10, 20), (10, 30)}, [10, 30, 10, 10]),
        ({(50, 60), (40, 60)}, [10, 10, 10, 30]),
    ],
)
def test_a_cut_after_which_frames_are_missing_is_not_made(
    source: Path,
    tmp_path: Path,
    pack: Pack,
    spoil: Callable[..., list[Stretch]],
    bad: set[tuple[int, int]],
    expected: list[int],
) -> None:
    path = make_video(source / "a.mp4", gop=10, num_frames=60)
    asked = spoil(lambda stretch: (stretch.first, stretch.stop) in bad)
    pack(segment=0.1)
    paths = segments_of(tmp_path / "out", "a", tmp_path / "parts")
    assert assert_joined_they_are_the_whole(paths, path) == expected
    assert bad <= {(stretch.first, stretch.stop) for stretch in asked}


def test_a_video_of_which_no_copy_is_right_stays_whole(
    source: Path, tmp_path: Path, pack: Pack, spoil: Callable[..., list[Stretch]]
) -> None:
    path = make_video(source / "a.mp4", gop=2, num_frames=60, sound="aac")
    asked = spoil(lambda stretch: True)
    assert pack(segment=0.05).examples == 1
    assert packed(tmp_path / "out")["a-00000"]["mp4"] == path.read_bytes()
    assert len(asked) == 8, "it is given up before long"
    with pytest.raises(Exception, match="a copy without its sound does not decode to the same frames"):
        pack(segment=0.05, no_audio=True, overwrite=True)


def test_frames_that_differ_are_found_and_not_only_those_that_are_missing(
    source: Path, tmp_path: Path, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(source / "a.mp4", gop=10, num_frames=30)
    copy = VideoCopier.copy

    def other_frames(self: VideoCopier, stretch: Stretch, target: SpoolWriter, **settings: Any) -> None:
        """The same number of frames, ten later."""
        later = (
            Stretch.of(self.table, 20, 30, end_packet=30) if stretch.first == 10 and stretch.stop == 20 else stretch
        )
        copy(self, later, target, **settings)

    monkeypatch.setattr(VideoCopier, "copy", other_frames)
    pack(segment=0.1)
    paths = segments_of(tmp_path / "out", "a", tmp_path / "parts")
    assert assert_joined_they_are_the_whole(paths, path) == [10, 20]


def test_a_copy_that_fails_is_no_segment(
    source: Path, tmp_path: Path, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(source / "a.mp4", gop=10, num_frames=30)

    def fails(self: VideoCopier, stretch: Stretch, target: SpoolWriter, **settings: Any) -> None:
        raise UndecodableError("no")

    monkeypatch.setattr(VideoCopier, "copy", fails)
    assert pack(segment=0.1).examples == 1
    assert packed(tmp_path / "out")["a-00000"]["mp4"] == path.read_bytes()


def test_bytes_do_not_depend_on_workers_or_place(source: Path, tmp_path: Path) -> None:
    make_video(source / "a.mp4", gop=10, num_frames=40, sound="aac")
    make_video(source / "b.mkv", gop=10, num_frames=40, sound="aac", b_frames=2)
    shutil.copytree(source, tmp_path / "elsewhere")
    make_shards(source, tmp_path / "0", workers=0, segment=0.5, shard_examples=1)
    make_shards(tmp_path / "elsewhere", tmp_path / "2", workers=2, segment=0.5, shard_examples=1)
    assert contents(tmp_path / "0") == contents(tmp_path / "2")


def test_more_files_are_added_to_a_cut_set(source: Path, tmp_path: Path, pack: Pack) -> None:
    make_video(source / "a.mp4", gop=10, num_frames=30)
    pack(segment=0.4)
    before = contents(tmp_path / "out")
    make_video(source / "b.mp4", gop=10, num_frames=20)
    assert pack(segment=0.4, append=True).examples == 5
    assert {name: digest for name, digest in before.items() if ".tar" in name}.items() <= contents(
        tmp_path / "out"
    ).items()
    assert pack(segment=0.4).was_complete


@pytest.mark.heavy
def test_a_run_that_dies_at_any_step_goes_on_to_the_same_bytes(source: Path, tmp_path: Path) -> None:
    for number in range(3):
        make_video(source / f"{number}.mp4", num_frames=20 + number, gop=7, size=(32, 32))
    make_shards(source, tmp_path / "whole", workers=0, shard_examples=3, segment=0.25)
    expected, step, died = contents(tmp_path / "whole"), 1, True
    while died:
        out = tmp_path / f"out{step}"
        died = run_and_die(step, source, out, segment=0.25)
        make_shards(source, out, workers=0, shard_examples=3, segment=0.25)
        assert contents(out) == expected, step
        step += 1
    assert step > 10


def test_what_is_made_is_said_on_the_command_line(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_video(source / "a.mp4", gop=10, num_frames=30, sound="aac")
    command = [str(source), "--out", str(tmp_path / "out"), "--workers", "0"]
    assert main([*command, "--segment", "0.4", "--no-audio"]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'out'}: 3 segments in 1 shard")
    settings = Manifest.load(tmp_path / "out").settings
    assert (settings["segment"], settings["no_audio"]) == (0.4, True)


@pytest.mark.slow
@pytest.mark.heavy
def test_the_segments_of_real_videos_are_the_whole(shared_data: Path, tmp_path: Path) -> None:
    videos = shared_data / "video"
    report = make_shards(videos, tmp_path / "out", workers=2, segment=2, only="video")
    assert report.failures == ()
    assert report.examples > 35
    found = packed(tmp_path / "out")
    for path in sorted(videos.iterdir()):
        paths = segments_of(tmp_path / "out", path.stem, tmp_path / path.stem)
        if len(paths) == 1:
            assert next(iter(found[f"{path.stem}-00000"].values())) == path.read_bytes()
            continue
        assert_joined_they_are_the_whole(paths, path)
