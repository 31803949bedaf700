"""Files that are no videos, or not those that their names say, and videos that change in their midst."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from pipelines import ExampleError, PipelineError, VideoIterator
from pipelines.decode.errors import UndecodableError
from pipelines.decode.video import (
    frame_filling,
    numbered_packets,
    sound_track,
    video_decoder,
    video_reader,
    video_stream,
    whole_video,
)
from pipelines.decode.video.frame_counts import FrameCounter
from pipelines.decode.video.measuring import measure_video
from pipelines.sources.located import FilePart, Member, file_member
from pipelines.storage.frame_table import FrameTable

from .numbered_frames import frame_number
from .straight_decoding import decode_straight
from .video_clips import check_clips, clips_of, in_tar
from .videos import make_video

SMALL: dict[str, Any] = {"num_frames": 12, "size": (64, 48), "gop": 6}


@pytest.fixture(autouse=True)
def _measured_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, which sees patched limits."""
    monkeypatch.setattr(video_reader, "measure_apart", measure_video)


def alone(path: Path) -> Path:
    """A new folder with a copy of the file in it."""
    folder = path.with_name(f"only-{path.name}")
    folder.mkdir()
    shutil.copy(path, folder, follow_symlinks=False)
    return folder


def refusal(place: Path, **settings: Any) -> str:
    """Why the one video of a folder is not decoded: in the error, which names it, and the same in the list of those
    that were replaced.
    """
    base: dict[str, Any] = {"clip_frames": 4, "size": 16, "batch_size": 1, "threads": 2}
    with pytest.raises(ExampleError) as raised:
        list(VideoIterator(place, **{**base, **settings}))
    (name,) = [path.name for path in place.iterdir()]
    assert name in str(raised.value)
    assert raised.value.key.startswith(Path(name).stem)
    return raised.value.reason


PLAYLISTS = {
    "hls.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nother.mp4\n#EXT-X-ENDLIST\n",
    "concat.mp4": "ffconcat version 1.0\nfile other.mp4\n",
    "dash.mp4": '<?xml version="1.0"?><MPD><Period><BaseURL>other.mp4</BaseURL></Period></MPD>',
    "session.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "image2.mkv": "other%03d.png",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_under_the_name_of_a_video_never_reaches_ffmpeg(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_text(PLAYLISTS[name])
    folder = alone(tmp_path / name)
    monkeypatch.setattr(av, "open", lambda *args, **settings: pytest.fail("FFmpeg was asked to open it"))
    assert "does not begin like one" in refusal(folder)


def elsewhere(content: bytes, name: bytes) -> bytes:
    """An mp4 whose samples are said to lie in another file, by an alias record in the place of its data reference."""
    record = bytes(10) + b"\3vol" + bytes(24) + bytes(12) + bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16)
    record += struct.pack(">hh", 1, 1) + bytes(16)
    for kind in (2, 18):
        record += struct.pack(">hH", kind, len(name)) + name + bytes(len(name) % 2)
    record = (record + struct.pack(">hH", -1, 0)).ljust(160, b"\0")
    alias = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record
    place, stop, boxes = 0, len(content), []
    for wanted in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        size, kind = struct.unpack_from(">I4s", content, place)
        while kind != wanted:
            place += size
            size, kind = struct.unpack_from(">I4s", content, place)
        boxes.append(place)
        place, stop = place + 8, place + size
    begin = boxes[-1] + 16
    changed = bytearray(content[:begin] + alias + content[stop:])
    for box in boxes:
        struct.pack_into(">I", changed, box, struct.unpack_from(">I", content, box)[0] + len(alias) - stop + begin)
    return bytes(changed)


def test_an_mp4_that_names_another_file_for_its_frames_does_not_get_them(tmp_path: Path) -> None:
    """The other one is hidden, so it is no example itself."""
    other = make_video(tmp_path / "other.mp4", **SMALL)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "x.mp4").write_bytes(elsewhere(other.read_bytes(), b".other.mp4"))
    other.rename(folder / ".other.mp4")
    with av.open(str(folder / "x.mp4"), options={"enable_drefs": "1"}) as container:
        assert sum(1 for _ in container.decode(video=0)) == 12, "the file is what it is meant to be"
    with pytest.raises(ExampleError, match="none of its frames can be decoded"):
        list(VideoIterator(folder, clip_frames=4, size=16))


@pytest.mark.parametrize(("content", "reason"), [(b"", "an empty file"), (b"\0", "does not begin like one")])
def test_files_of_no_bytes_and_of_one_are_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(content)
    assert reason in refusal(alone(tmp_path / "x.mp4"))


@pytest.mark.parametrize(("suffix", "named"), [("mp4", "mkv"), ("mkv", "mp4"), ("avi", "mov"), ("ts", "webm")])
def test_a_video_is_read_by_its_content_whatever_it_is_named(suffix: str, named: str, tmp_path: Path) -> None:
    path = make_video(tmp_path / f"a.{suffix}", **SMALL)
    frames = decode_straight(path).frames
    path = path.rename(path.with_suffix(f".{named}"))
    for source in (alone(path), [in_tar(path, tmp_path / "a.tar")]):
        assert check_clips(source, frames) == 9


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_file_of_nothing_but_sound_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    with av.open(str(path), "w") as container:
        container.mux(tone(container))
    assert refusal(alone(path)) == "it has no video stream"


def tone(container: Any) -> list[Any]:
    """The packets of a new stream of sound."""
    stream = container.add_stream("aac", rate=16_000, layout="mono")
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts = 16_000, 0
    return [*stream.encode(frame), *stream.encode(None)]


def cover(container: Any) -> list[Any]:
    """The packet of a new stream that is a cover picture."""
    stream = container.add_stream("mjpeg", rate=1)
    stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
    stream.disposition = av.stream.Disposition.attached_pic
    frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 200, np.uint8), format="rgb24")
    frame.pts = 0
    return [*stream.encode(frame.reformat(format="yuvj420p")), *stream.encode(None)]


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    with av.open(str(path), "w") as container:
        container.mux(cover(container) + tone(container))
    assert refusal(alone(path)) == "it has no video stream, only a cover picture"


def test_the_video_beside_a_cover_picture_is_played(tmp_path: Path) -> None:
    plain, path = make_video(tmp_path / "plain.mp4", **SMALL), tmp_path / "x.mp4"
    with av.open(str(plain)) as source, av.open(str(path), "w") as container:
        packets = cover(container)
        stream = container.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                packets.append(packet)
        container.mux(packets)
    assert check_clips(alone(path), decode_straight(plain).frames) == 9


def test_a_video_without_a_frame_is_refused(tmp_path: Path) -> None:
    path = make_video(tmp_path / "whole.mp4", **SMALL)
    with (
        av.open(str(path)) as source,
        av.open(str(tmp_path / "x.mp4"), "w", options={"movflags": "+frag_keyframe+empty_moov"}) as container,
    ):
        container.add_stream_from_template(source.streams.video[0], opaque=True)
        container.start_encoding()
    assert "none of its frames can be decoded" in refusal(alone(tmp_path / "x.mp4"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_links_are_followed_as_those_to_pictures_are_and_pipes_are_not_waited_for(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", **SMALL)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link.mp4").symlink_to(path)
    assert check_clips(folder, decode_straight(path).frames) == 9
    (folder / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    os.mkfifo(folder / "pipe.mp4")
    clips = VideoIterator(folder, clip_frames=4, size=16, batch_size=1, on_error="substitute")
    assert {key.partition("@")[0] for batch in clips for key in batch.keys} == {"link"}


def test_metadata_that_is_no_text_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "TITLE"
        stream: Any = container.add_stream("libx264", rate=30)
        stream.width, stream.height = 64, 48
        for number in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 50 * number, np.uint8), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"TITLE", b"T\xef\xbf\xffE"))
    with pytest.raises(UnicodeDecodeError):
        av.open(str(path))
    assert len(list(clips_of(alone(path), hop=4))) == 1


def joined(folder: Path, *parts: dict[str, Any]) -> Path:
    """A transport stream of videos of six frames each, one behind the other, as a broadcast changes."""
    with av.open(str(folder / "joined.ts"), "w") as container:
        stream = None
        for number, settings in enumerate(parts):
            base: dict[str, Any] = {"num_frames": 6, "gop": 6, "start_seconds": number / 5, "size": (64, 48)}
            with av.open(str(make_video(folder / f"{number}.ts", **{**base, **settings}))) as source:
                video = source.streams.video[0]
                stream = stream or container.add_stream_from_template(video, opaque=True)
                for packet in source.demux(video):
                    if packet.size:
                        packet.stream = stream
                        container.mux(packet)
    return folder / "joined.ts"


def test_frames_that_change_their_size_are_scaled_to_that_of_the_first(tmp_path: Path) -> None:
    path = joined(tmp_path, {}, {"size": (128, 96)}, {})
    straight = decode_straight(path)
    assert [frame.shape[1] for frame in straight.frames] == [64] * 6 + [128] * 6 + [64] * 6
    folder = alone(path)
    for settings in ({}, {"shuffle": True, "hop": 3}, {"size": (48, 64)}):
        for _, start, frames, _ in clips_of(folder, **settings):
            for step, frame in enumerate(frames):
                assert frame.shape == (48, 64, 3)
                assert frame_number(frame) == (start + step) % 6
                if straight.frames[start + step].shape == frame.shape:
                    assert np.array_equal(frame, straight.frames[start + step])


def test_a_frame_that_grows_beyond_the_allowed_pixels_is_not_decoded(tmp_path: Path) -> None:
    folder = alone(joined(tmp_path, {}, {"size": (128, 96)}, {}))
    frames = [frame for _, _, found, _ in clips_of(folder, hop=4, max_pixels=64 * 48) for frame in found]
    assert [frame_number(frame) for frame in frames] == [*range(6), *range(6)], "the large ones are passed over"
    assert "64 × 48 pixels are more than the 3,071 allowed" in refusal(folder, max_pixels=64 * 48 - 1)
    (whole,) = clips_of(folder, clip_frames=18, hop=18)
    assert len(whole[2]) == 18, "what was measured under other limits is measured again"


def test_frames_that_change_their_pixel_format_are_those_of_plain_decoding(tmp_path: Path) -> None:
    path = joined(tmp_path, {}, {"pixel_format": "yuv444p"}, {"pixel_format": "yuv420p10le"}, {})
    straight = decode_straight(path)
    assert len(straight) == 24
    assert check_clips(alone(path), straight.frames) == 21
    shutil.rmtree(tmp_path / "only-joined.ts")
    assert check_clips(alone(path), straight.frames, shuffle=True, hop=3) == 8


@pytest.mark.parametrize("mark", [b"\x88", b"\x89"], ids=["the last frame", "another one"])
def test_a_frame_of_vp9_that_is_shown_again_is_counted_where_it_is_shown(mark: bytes, tmp_path: Path) -> None:
    """Such a packet is a byte long and has no picture: libvpx makes them of frames that were hidden until then."""
    plain, path = make_video(tmp_path / "plain.webm", codec="libvpx-vp9", **SMALL), tmp_path / "x.webm"
    with av.open(str(plain)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0], opaque=True)
        packets = [packet for packet in source.demux(video=0) if packet.size]
        packets[9:9] = packets[4:4] = [av.Packet(mark)]
        for number, packet in enumerate(packets):
            packet.stream, packet.pts, packet.dts = stream, 33 * number, 33 * number
            packet.time_base = source.streams.video[0].time_base
            container.mux(packet)
    straight = decode_straight(path)
    assert len(straight) == 14
    folder = alone(path)
    assert check_clips(folder, straight.frames) == 11
    assert check_clips(folder, straight.frames, shuffle=True, hop=2, every=3) > 1


@pytest.mark.parametrize(("codec", "b_frames"), [("mpeg4", 0), ("mpeg4", 2), ("libx265", 0), ("libx265", 2)])
def test_a_key_that_is_none_is_not_begun_at(codec: str, b_frames: int, tmp_path: Path) -> None:
    """An mp4 without its list of keys has nothing but keys, so far as FFmpeg does not look into the packets."""
    path = make_video(tmp_path / "x.mp4", codec=codec, b_frames=b_frames, **SMALL)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"stss", b"free"))
    assert path.read_bytes() != content
    with av.open(str(path)) as container:
        assert all(packet.is_keyframe for packet in container.demux(video=0) if packet.size)
    folder = alone(path)
    assert check_clips(folder, decode_straight(path).frames, shuffle=True) == 9
    keys = sorted(set(measure_video(member(path)).rows["key_packet"].tolist()))
    assert 2 <= len(keys) <= 3


LIMITS: dict[str, tuple[Any, str, Any, dict[str, Any], str]] = {
    "pixels": (whole_video, "FREE_PIXELS", -(1 << 40), {}, "pixels in all, which its size does not account for"),
    "packets": (whole_video, "FREE_PACKETS", -100_000, {}, "packets, which its size does not account for"),
    "clip": (video_stream, "MOST_PACKETS", 1, {}, "packets would have to be decoded for a clip"),
    "sound": (
        sound_track,
        "MOST_BYTES",
        100,
        {"sample_rate": 8000},
        "s of sound in 1 channels, more than 100 bytes",
    ),
    "time": (numbered_packets, "WATCHDOG_SECONDS", -1.0, {}, "took more than -1 s, and stood at packet"),
    "scaled": (frame_filling, "MOST_SCALED_PIXELS", 10, {}, "too thin for size"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_what_goes_beyond_a_limit_is_refused_with_its_number(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, limit, value, settings, reason = LIMITS[name]
    folder = alone(make_video(tmp_path / "x.mp4", sound="aac", **SMALL))
    list(VideoIterator(folder, clip_frames=4, size=16, **settings))
    monkeypatch.setenv("DIRVAE_CACHE", str(tmp_path / "cache"))  # measured again
    monkeypatch.setattr(module, limit, value)
    assert reason in refusal(folder, **settings)


def test_a_clip_of_more_bytes_than_are_allowed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = alone(make_video(tmp_path / "x.mp4", **SMALL))
    monkeypatch.setattr(video_decoder, "MAX_CLIP_BYTES", 4 * 64 * 48 * 3 - 1)
    assert "a clip may take up to 36,863. Choose fewer frames" in refusal(folder, size=None)
    with pytest.raises(ValueError, match="a clip may take up to"):
        VideoIterator(folder, clip_frames=4, size=(48, 64))


def test_a_larger_max_pixels_is_heard_by_all_who_open_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "x.mp4", sound="aac", **SMALL)
    frames, folder = decode_straight(path).frames, alone(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert "allowed; a larger max_pixels allows more" in refusal(folder)
    assert check_clips(folder, frames, max_pixels=4000, sample_rate=8000) == 9
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert check_clips(folder, frames) == 9


@pytest.mark.parametrize("on_error", ["raise", "substitute"])
def test_a_file_that_vanishes_while_it_is_played_is_an_error_of_ours_and_can_be_replaced(
    on_error: str, tmp_path: Path
) -> None:
    for name in ("a.mp4", "b.mp4"):
        make_video(tmp_path / name, **SMALL)
    settings: dict[str, Any] = {"batch_size": 1, "threads": 1, "prefetch_bytes": 1, "on_error": on_error}
    clips = VideoIterator(tmp_path, clip_frames=2, size=16, **settings)
    loop = iter(clips)
    assert next(loop).keys == ["a@0"]
    (tmp_path / "b.mp4").unlink()
    if on_error == "raise":
        with pytest.raises(PipelineError, match=r"b\.mp4"):
            list(loop)
    else:
        assert {key[0] for batch in list(loop)[-5:] for key in batch.keys} == {"a"}
    clips.close()


@pytest.mark.parametrize("suffix", ["mp4", "avi", "ts"])
def test_a_video_that_is_replaced_by_another_one_is_not_played_by_its_old_table(
    suffix: str, tmp_path: Path
) -> None:
    old = make_video(tmp_path / f"old.{suffix}", codec="mpeg4", b_frames=2, **SMALL)
    new = make_video(tmp_path / f"new.{suffix}", codec="mpeg4", **SMALL)
    table = measure_video(member(old))
    assert num_read(member(old), table) == 12
    with pytest.raises(UndecodableError, match=r"its frame table is of another file, or damaged: packet \d+ has"):
        num_read(member(new), table)


def num_read(media: Member, table: FrameTable) -> int:
    stream = video_stream.VideoStream(media, table, FrameCounter())
    try:
        return len(list(stream.frames(range(len(table)), drain=False)))
    finally:
        stream.close()


def member(path: Path) -> Member:
    """A file as an iterator hands it to a decoder."""
    whole = file_member(path)
    return Member(whole.read_bytes, whole.size, file=FilePart(str(path)))
