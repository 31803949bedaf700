"""Videos encoded again for cheap random access: every frame at its time, a closed key frame exactly every so many."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipelines import make_shards
from pipelines.errors import ShardingError, SourceError
from pipelines.sharding.cli import main
from pipelines.sharding.modalities import video_encoding
from pipelines.sharding.modalities.frame_placing import even_size
from pipelines.sharding.modalities.video import VideoSettings
from pipelines.sharding.modalities.video_encoders import ENCODERS
from pipelines.sources.located import Member
from pipelines.storage.frame_table import FrameTable
from pipelines.storage.index import load_index
from pipelines.storage.manifest import Manifest

from .conftest import Pack, png
from .measured_here import measure_here
from .test_make_shards_killed import contents
from .test_make_video_shards import damaged, tables
from .test_make_video_shards_segment import segments_of, sound_of
from .videos import Straight, decode_straight, frame_number, make_video, num_open_keys, packets_of
from .wav_files import noise, packed, wav

ALL = [pytest.param(name, marks=[] if name == "h264" else pytest.mark.heavy) for name in ENCODERS]


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


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str], Path]:
    """A packed video as a file."""

    def write(key: str = "a") -> Path:
        (tmp_path / f"{key}.mp4").write_bytes(packed(tmp_path / "out")[key]["mp4"])
        return tmp_path / f"{key}.mp4"

    return write


def assert_every_frame_is_there(ours: Straight, theirs: Straight, numbers: Iterator[int] | range) -> None:
    assert [frame_number(frame) for frame in ours.frames] == list(numbers)
    assert ours.seconds == theirs.seconds


@pytest.mark.parametrize("codec", ALL)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_every_frame_comes_at_its_time_with_closed_keys_exactly_where_they_should_be(
    source: Path, tmp_path: Path, pack: Pack, made: Callable[..., Path], codec: str, suffix: str
) -> None:
    path = make_video(
        source / f"a.{suffix}",
        num_frames=30,
        gop=250,
        b_frames=3,
        variable_rate=True,
        rate=25,
        start_seconds=1,
        sound="aac",
        size=(160, 96),
    )
    assert pack(resize=64, gop=8, codec=codec).failures == ()
    result = made()
    ours, theirs = decode_straight(result), decode_straight(path)
    assert_every_frame_is_there(ours, theirs, range(30))
    assert ours.frames[0].shape == (64, 106, 3)
    packets = packets_of(result)
    assert [number for number, packet in enumerate(packets) if packet[2]] == [0, 8, 16, 24]
    assert num_open_keys(result) == 0
    assert [pts for pts, _, _ in packets] == sorted(pts for pts, _, _ in packets if pts is not None)
    assert [pts for pts, _, _ in packets] == [dts for _, dts, _ in packets]
    with av.open(str(result)) as container:
        assert container.streams.video[0].codec_context.name in (codec, "hevc", "libdav1d")
    row, table = load_index(tmp_path / "out" / "video-000000.tar.index.npy")[0], tables(tmp_path / "out")["a"]
    assert (row["frames"], row["height"], row["width"]) == (30, 64, 106)
    assert float(table.rate) == pytest.approx(float(row["rate_numerator"] / row["rate_denominator"]))
    sound, before = sound_of(result), sound_of(path)
    assert [content for _, content in sound] == [content for _, content in before]
    assert np.allclose([time for time, _ in sound], [time for time, _ in before], atol=1e-3)


@pytest.mark.parametrize("codec", ALL)
def test_the_same_video_gives_the_same_bytes(source: Path, tmp_path: Path, codec: str) -> None:
    make_video(source / "a.mp4", num_frames=20, sound="aac", size=(128, 96))
    shutil.copytree(source, tmp_path / "elsewhere")
    make_shards(source, tmp_path / "0", workers=0, codec=codec, gop=5)
    make_shards(tmp_path / "elsewhere", tmp_path / "1", workers=1, codec=codec, gop=5)
    assert contents(tmp_path / "0") == contents(tmp_path / "1")


@pytest.mark.parametrize("codec", ALL)
def test_colours_mean_the_same(source: Path, pack: Pack, made: Callable[..., Path], codec: str) -> None:
    path = make_video(source / "a.mp4", num_frames=6, matrix="bt709", full_range=True, size=(128, 96))
    pack(codec=codec, quality=5)
    result = made()
    with av.open(str(result)) as container:
        frame = next(container.decode(video=0))
        found = (frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc)
        assert tuple(map(int, found)) == (2, 1, 1, 1)
    ours, theirs = decode_straight(result).pixels.astype(int), decode_straight(path).pixels
    assert np.abs(ours - theirs).mean() < 3


@pytest.mark.parametrize(
    ("pixel_format", "codec"),
    [
        ("yuv420p10le", "libx264"),
        ("yuv444p", "libx264"),
        ("gray", "libx264"),
        ("gbrp", "libx264"),
        ("bgr0", "ffv1"),
    ],
)
def test_pixels_of_other_formats_look_the_same(
    source: Path, pack: Pack, made: Callable[..., Path], pixel_format: str, codec: str
) -> None:
    path = source / "a.mkv"
    if pixel_format == "gbrp":
        make_video(path, codec="libx264rgb", num_frames=4, pixel_format="rgb24", gop=1, options={"crf": "5"})
    else:
        make_video(path, codec=codec, num_frames=4, pixel_format=pixel_format)
    assert pack(gop=4, quality=4).failures == ()
    with av.open(str(made())) as container:
        assert next(container.decode(video=0)).format.name == "yuv420p"
    ours, theirs = decode_straight(made()).pixels.astype(int), decode_straight(path).pixels
    assert np.abs(ours - theirs).mean() < 6
    assert np.abs(ours.mean(axis=(0, 1, 2)) - theirs.mean(axis=(0, 1, 2))).max() < 2.5


def test_a_turned_video_is_stored_upright_and_its_pixels_keep_their_aspect(
    source: Path, tmp_path: Path, pack: Pack, made: Callable[..., Path]
) -> None:
    for turn in (90, 180, 270):
        make_video(source / f"{turn}.mp4", rotation=turn, num_frames=5, size=(64, 96), pixel_aspect=Fraction(4, 3))
    pack(gop=4)
    for turn in (90, 180, 270):
        with av.open(str(made(str(turn)))) as container:
            frames = list(container.decode(video=0))
            aspect = container.streams.video[0].codec_context.sample_aspect_ratio
        assert {(frame.width, frame.height, frame.rotation) for frame in frames} == {(64, 96, 0)}
        assert [frame_number(frame.to_ndarray(format="rgb24")) for frame in frames] == list(range(5))
        assert Fraction(int(aspect.numerator), int(aspect.denominator)) == (
            Fraction(4, 3) if turn == 180 else Fraction(3, 4)
        )
    assert {table.size for table in tables(tmp_path / "out").values()} == {(96, 64)}


def test_gop_alone_encodes_as_h264_at_the_own_size(
    source: Path, tmp_path: Path, pack: Pack, made: Callable[..., Path]
) -> None:
    path = make_video(source / "a.webm", codec="libvpx-vp9", num_frames=12, gop=30)
    pack(gop=5)
    assert Manifest.load(tmp_path / "out").settings == {
        **{"shuffle": 0, "shard_bytes": None, "shard_examples": 10_000, "decode": False, "segment": None},
        **{"resize": None, "gop": 5, "codec": "h264", "quality": 20, "no_audio": False, "max_pixels": None},
    }
    assert_every_frame_is_there(decode_straight(made()), decode_straight(path), range(12))
    assert made().stat().st_size
    assert tables(tmp_path / "out")["a"].codec == "h264"
    assert pack(gop=5, codec="h264", quality=20).was_complete, "the same, in more words"


def test_frames_in_the_order_they_come_out_get_the_times_of_that_order(
    source: Path, pack: Pack, made: Callable[..., Path]
) -> None:
    """An avi of H.264 with B frames has no times of its own."""
    make_video(source / "a.avi", num_frames=30, b_frames=3, gop=12, rate=25)
    pack(gop=10)
    straight = decode_straight(made())
    assert [frame_number(frame) for frame in straight.frames] == list(range(30))
    assert straight.seconds == [Fraction(number, 25) for number in range(30)]


def test_only_frames_that_can_be_decoded_are_encoded(
    source: Path, tmp_path: Path, pack: Pack, made: Callable[..., Path]
) -> None:
    damaged(make_video(source / "a.mp4", gop=10, num_frames=60))
    pack()
    before = tables(tmp_path / "out")["a"]
    seconds = before.seconds(np.arange(len(before))).tolist()
    pack(gop=10, overwrite=True)
    assert len(tables(tmp_path / "out")["a"].broken) == 0
    straight = decode_straight(made(), skip_errors=False)
    assert [float(one or 0) for one in straight.seconds] == seconds
    assert [frame_number(frame) for frame in straight.frames] == [round(one * 30) for one in seconds]


@pytest.mark.parametrize(
    ("size", "shorter", "expected"),
    [
        ((480, 640), 128, (128, 170)),
        ((640, 480), 128, (170, 128)),
        ((96, 160), 256, (96, 160)),
        ((241, 321), None, (240, 320)),
        ((241, 321), 240, (240, 320)),
        ((1, 1), None, (2, 2)),
        ((1080, 1920), 256, (256, 456)),
        ((7, 5000), 4, (4, 2858)),
    ],
)
def test_sizes_are_even_and_never_larger(
    size: tuple[int, int], shorter: int | None, expected: tuple[int, int]
) -> None:
    assert even_size(size, shorter) == expected


def test_odd_sizes_and_small_videos(source: Path, tmp_path: Path, pack: Pack, made: Callable[..., Path]) -> None:
    make_video(source / "a.mp4", codec="libvpx-vp9", size=(97, 65), num_frames=5, gop=3)
    make_video(source / "b.mp4", size=(96, 64), num_frames=5)
    pack(resize=81)
    assert {key: table.size for key, table in tables(tmp_path / "out").items()} == {"a": (64, 96), "b": (64, 96)}
    assert Manifest.load(tmp_path / "out").settings["resize"] == 82
    assert [frame_number(frame) for frame in decode_straight(made()).frames] == list(range(5))


def test_sound_is_copied_left_out_or_a_reason(source: Path, tmp_path: Path, pack: Pack) -> None:
    make_video(source / "a.avi", num_frames=8, sound="pcm_mulaw")
    make_video(source / "b.mkv", num_frames=8, sound="aac")
    report = pack(gop=4)
    assert [tuple(one) for one in report.failures] == [
        ("a.avi", "its sound (pcm_mulaw) does not fit mp4: use --no-audio")
    ]
    report = pack(gop=4, no_audio=True, overwrite=True)
    assert report.failures == ()
    for key, members in packed(tmp_path / "out").items():
        (tmp_path / key).write_bytes(members["mp4"])
        with av.open(str(tmp_path / key)) as container:
            assert not container.streams.audio


def test_segments_of_what_is_encoded_are_cut_at_its_keys(source: Path, tmp_path: Path, pack: Pack) -> None:
    path = make_video(source / "a.mkv", num_frames=60, gop=250, b_frames=2, sound="aac", size=(160, 96))
    assert pack(resize=64, gop=6, segment=0.41).examples == 5
    paths = segments_of(tmp_path / "out", "a", tmp_path / "parts")
    straight = [decode_straight(part) for part in paths]
    assert [len(part) for part in straight] == [12] * 5
    assert [frame_number(frame) for part in straight for frame in part.frames] == list(range(60))
    assert [content for part in paths for _, content in sound_of(part)] == [one for _, one in sound_of(path)]


def test_a_better_quality_takes_more_bytes(source: Path, tmp_path: Path, pack: Pack) -> None:
    make_video(source / "a.mp4", num_frames=10)
    sizes = []
    for quality in (0, 20, 40):
        pack(gop=5, quality=quality, overwrite=True)
        sizes.append(len(packed(tmp_path / "out")["a"]["mp4"]))
    assert sizes == sorted(sizes, reverse=True)


def test_what_is_not_as_it_should_be_is_refused(source: Path, pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    make_video(source / "a.mp4", num_frames=20)
    decode_frames = video_encoding.decode_frames

    def without_the_seventh(media: Member, table: FrameTable, use: Callable[[Any], None]) -> None:
        numbers = itertools.count()
        decode_frames(media, table, lambda frame: None if next(numbers) == 7 else use(frame))

    def refused() -> str:
        with pytest.raises(ShardingError) as caught:
            pack(gop=5, overwrite=True)
        return str(caught.value)

    with monkeypatch.context() as patch:
        patch.setattr(video_encoding, "decode_frames", without_the_seventh)
        assert "encoded as h264, it has 19 of 20 frames" in refused()
    with monkeypatch.context() as patch:
        options = {**ENCODERS["h264"].settings, "x264-params": "keyint=6:min-keyint=6:scenecut=0:bframes=0"}
        patch.setitem(ENCODERS, "h264", type(ENCODERS["h264"])("libx264", 20, 51, {**options, "g": "6"}))
        assert "encoded as h264, it has key frames at other places" in refused()
    with monkeypatch.context() as patch:
        patch.setattr(video_encoding, "times_of", lambda table: [2 * one for one in range(len(table) + 1)])
        assert "encoded as h264, it has frames at other times" in refused()
    with monkeypatch.context() as patch:
        patch.setattr(video_encoding, "MOST_PIXELS", 6_000)
        assert "96 × 64 pixels are more than the 6,000 that are encoded again" in refused()
    with monkeypatch.context() as patch:
        patch.setitem(ENCODERS, "h264", type(ENCODERS["h264"])("libx264", 20, 51, {"preset": "no such preset"}))
        assert "it cannot be encoded as h264 (" in refused()
    assert pack(gop=5, overwrite=True).examples == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resize": 0}, "resize is 0; it must be at least 2"),
        ({"resize": 1}, "resize is 1; it must be at least 2"),
        ({"gop": 0}, "gop is 0; it must be at least 1"),
        ({"codec": "mpeg"}, "codec is 'mpeg'; it must be keep, h264, h265, vp9 or av1"),
        ({"quality": 20}, "quality is 20, but nothing is encoded: it needs resize, gop or codec"),
        ({"quality": 52, "gop": 8}, "quality is 52; for h264 it must be 51 at most"),
        ({"quality": 64, "codec": "av1"}, "quality is 64; for av1 it must be 63 at most"),
        ({"quality": -1, "codec": "av1"}, "quality is -1; it must be at least 0"),
        ({"segment": 0}, "segment is 0; it must be a number of seconds above 0"),
        ({"segment": float("nan")}, "segment is nan; it must be a number of seconds above 0"),
        ({"max_pixels": 0}, "max_pixels is 0; it must be at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_one_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        VideoSettings(**settings)


@pytest.mark.parametrize(("name", "value"), [("gop", 1.5), ("resize", "8"), ("no_audio", 1), ("quality", True)])
def test_settings_of_another_type_are_named(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"^{name} is "):
        VideoSettings(**{name: value})  # type: ignore[arg-type]


def test_a_setting_that_means_something_else_to_each_modality_needs_only_one(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    source = source.rename("mixed")
    make_video(source / "a.mp4", num_frames=8, size=(160, 96))
    (source / "a.png").write_bytes(png(1, 96, 160))
    (source / "a.wav").write_bytes(wav(noise("s16", 16_000, 1), "s16", 1))
    with pytest.raises(
        SourceError,
        match=r"codec is keep, wav or flac for recordings and keep, h264, h265, vp9 or av1 for videos\. Pack one of "
        "them at a time, with --only audio",
    ):
        make_shards("mixed", "out", codec="h264", workers=0)
    with pytest.raises(
        SourceError, match=r"quality is a JPEG quality from 1 to 95 for images and a rate factor \(crf\) for videos"
    ):
        make_shards("mixed", "out", resize=32, quality=30, workers=0)
    assert not Path("out").exists()
    report = make_shards("mixed", "out", resize=32, segment=0.5, workers=0)
    assert [(one.modality, one.examples) for one in report.sets] == [("image", 1), ("audio", 2), ("video", 1)]
    assert main(["mixed", "--only", "video", "--codec", "h265", "--out", "one", "--workers", "0"]) == 0
    assert main(["mixed", "--only", "audio", "--codec", "h265", "--out", "two", "--workers", "0"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "make_shards: codec is 'h265'; it must be keep, wav or flac."
    )
    assert main(["mixed", "--only", "audio", "--gop", "8", "--out", "two", "--workers", "0"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "make_shards: mixed: gop is a setting for videos, and none are packed. Leave it out."
    )


@pytest.mark.heavy
@pytest.mark.parametrize("codec", ENCODERS)
def test_the_real_videos_are_encoded_frame_by_frame(shared_data: Path, tmp_path: Path, codec: str) -> None:
    videos = shared_data / "video"
    make_shards(videos, tmp_path / "kept", workers=2)
    report = make_shards(videos, tmp_path / "out", workers=2, resize=64, codec=codec)
    assert report.failures == ()
    before, after = tables(tmp_path / "kept"), tables(tmp_path / "out")
    for key, table in after.items():
        assert len(table) == len(before[key])
        every = np.arange(len(table))
        assert table.seconds(every).tolist() == before[key].seconds(every).tolist(), key
        assert table.size == even_size(before[key].size, 64)


def test_a_value_that_no_modality_takes_is_told_for_each_that_it_may_be_meant_for(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^For recordings: codec is 'xvid'.*For videos: codec is 'xvid'; it must be"
    ):
        make_shards(tmp_path, tmp_path / "out", codec="xvid")
