"""Videos for tests: any codec, container, spacing of key frames and time stamps, and every frame has its number in it.

path = make_video(tmp_path / "a.mp4", codec="libx264", gop=30, b_frames=3)
straight = decode_straight(path)  # the witness: the whole file, from its first byte on, by plain PyAV
assert [frame_number(frame) for frame in straight.frames] == list(range(60))

@pytest.mark.parametrize("combination", pick(24), ids=str)
def test_...(combination, tmp_path):
    path = combination.make(tmp_path)
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from .numbered_frames import Pixels, frame_number, frame_pixels
from .straight_decoding import Straight, decode_straight

__all__ = [
    "Combination",
    "Straight",
    "combinations",
    "decode_straight",
    "frame_number",
    "frame_pixels",
    "make_video",
    "num_open_keys",
    "packets_of",
    "pick",
    "ticks",
]

os.environ.setdefault("SVT_LOG", "0")  # SVT-AV1 writes to stderr by itself

Samples = NDArray[np.float64]
SOUND_FRAME = 1024  # samples that are encoded at a time

TICKS = (1, 1, 2, 1, 5, 1, 3, 1, 1, 8)  # between frames of variable rate, again and again
MATRICES = {  # name → PyAV's name of it, and the numbers of matrix, primaries and transfer that files carry
    "bt601": ("ITU601", 6, 6, 6),
    "bt709": ("ITU709", 1, 1, 1),
    "bt2020": ("BT2020", 9, 9, 14),
}
CONTAINERS = {  # encoder → suffixes of containers that take it
    "libx264": ("mp4", "mkv", "avi"),
    "libx265": ("mp4", "mkv"),
    "libvpx-vp9": ("mp4", "mkv", "webm", "avi"),
    "libsvtav1": ("mp4", "mkv", "webm", "avi"),
}


def tone(seconds: Samples) -> Samples:
    """440 Hz."""
    return np.asarray(0.25 * np.sin(2 * np.pi * 440 * seconds))


def ticks(num_frames: int, *, variable_rate: bool = False) -> list[int]:
    """When each frame is shown, in ticks of the rate."""
    gaps = itertools.cycle(TICKS if variable_rate else (1,))
    return list(itertools.accumulate(itertools.islice(gaps, num_frames - 1), initial=0))


def make_video(
    path: Path,
    *,
    codec: str = "libx264",
    num_frames: int = 60,
    size: tuple[int, int] = (96, 64),
    gop: int = 30,
    open_gop: bool = False,
    b_frames: int = 0,
    variable_rate: bool = False,
    rate: Fraction | int = 30,
    rotation: int = 0,
    pixel_aspect: Fraction | None = None,
    sound: str | None = None,
    sound_options: Mapping[str, str] | None = None,
    start_seconds: float = 0,
    pixel_format: str = "yuv420p",
    matrix: str | None = None,
    full_range: bool = False,
    options: Mapping[str, str] | None = None,
    picture: Callable[[int, tuple[int, int]], Pixels] = frame_pixels,
    wave: Callable[[Samples], Samples] = tone,
    hz: int | None = None,
) -> Path:
    """Write a video of frames 0, 1, 2 …; the container is that of the path's suffix. Returns the path.

    size           (width, height) as shown; a video with a `rotation` stores its frames turned the other way
    gop            frames from one key frame to the next
    open_gop       frames before a key frame, in the order shown, need frames of the GOP before: x264 and x265 with
                   `b_frames`; SVT-AV1, whose later key frames are then no key packets
    variable_rate  time stamps with the gaps TICKS, in units of 1 / rate
    rotation       degrees counterclockwise by which a player turns the stored frames: 0, 90, 180 or 270
    pixel_aspect   width of a pixel over its height
    sound          codec of a sound as long as the video: "aac", "pcm_s16le", "libopus" …
    matrix         "bt601", "bt709" or "bt2020": used, and written into the file; None: BT.601 and nothing written
    options, sound_options   of the encoders, beside those that are set here
    wave, hz       seconds → what is heard then, in [-1, 1]: (samples,) for mono, else (channels, samples); and its rate
    picture        (number, size) → what a frame shows, (height, width, 3) uint8
    """
    suffix, rate = path.suffix, Fraction(rate)
    if (rotation and suffix in (".avi", ".ts")) or (start_seconds and suffix == ".avi"):
        raise ValueError(f"{suffix} files keep no rotation, and avi no start.")
    times, start = ticks(num_frames, variable_rate=variable_rate), round(start_seconds * rate)
    chosen = {**_encoder_options(codec, gop, open_gop, b_frames), **(options or {})}
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=chosen)
        stream.width, stream.height = size if rotation % 180 == 0 else (size[1], size[0])
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = 1 / rate
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        colours = _set_colours(stream.codec_context, matrix, full_range)
        if rotation:
            stream.set_display_rotation(rotation)
        if sound is not None:
            _add_sound(container, sound, start / rate, (times[-1] + 1) / rate, wave, hz, sound_options)
        for number, tick in enumerate(times):
            pixels = np.ascontiguousarray(np.rot90(picture(number, size), -rotation // 90))
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(format=pixel_format, threads=1, **colours)
            frame.pts, frame.time_base = start + tick, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _set_colours(context: Any, matrix: str | None, full_range: bool) -> dict[str, Any]:
    """Have them written into the file; returns the settings of `reformat` that make it true."""
    settings: dict[str, Any] = {}
    if matrix is not None:
        name, context.colorspace, context.color_primaries, context.color_trc = MATRICES[matrix]
        settings["dst_colorspace"] = name
    if full_range:
        settings["dst_color_range"] = context.color_range = 2
    return settings


def _encoder_options(codec: str, gop: int, open_gop: bool, b_frames: int) -> dict[str, str]:
    """Fast, in one thread, and with key frames at the same distance throughout."""
    if open_gop and not (codec == "libsvtav1" or (codec in ("libx264", "libx265") and b_frames)):
        raise ValueError(f"{codec} with {b_frames} B frames has no open GOPs.")
    common = {"g": str(gop), "threads": "1"}
    if codec == "libx264":
        params = (
            f"scenecut=0:b-adapt=0:bframes={b_frames}:open-gop={int(open_gop)}:min-keyint={1 if open_gop else gop}"
        )
        return {**common, "preset": "ultrafast", "x264-params": params}
    if codec == "libx265":
        params = (
            f"keyint={gop}:min-keyint={gop}:scenecut=0:b-adapt=0:bframes={b_frames}:open-gop={int(open_gop)}:"
            "pools=none:frame-threads=1:log-level=none"
        )
        return {**common, "preset": "ultrafast", "x265-params": params}
    if codec == "libvpx-vp9":
        return {**common, "keyint_min": str(gop), "deadline": "realtime", "cpu-used": "8", "crf": "30", "b": "0"}
    if codec == "libsvtav1":
        params = f"lp=1:scd=0:irefresh-type={1 if open_gop else 2}"
        return {**common, "preset": "8", "crf": "25", "svtav1-params": params}  # 10 and faster blur the numbers
    return {**common, "bf": str(b_frames)} if b_frames else common


def _add_sound(
    container: Any,
    codec: str,
    start: Fraction,
    seconds: Fraction,
    wave: Callable[[Samples], Samples],
    hz: int | None,
    options: Mapping[str, str] | None,
) -> None:
    """Muxed before the video: the container puts both in order."""
    hz = hz or (48_000 if codec == "libopus" else 16_000)
    samples = np.atleast_2d(wave(np.arange(max(1, round(seconds * hz))) / hz))
    layout = "mono" if len(samples) == 1 else "stereo"
    stream = container.add_stream(codec, rate=hz, layout=layout)
    stream.codec_context.options = {"strict": "experimental", **(options or {})}  # FFmpeg's own Vorbis is that
    interleaved = np.ascontiguousarray((32_000 * samples).astype(np.int16).T)
    for begin in range(0, len(interleaved), SOUND_FRAME):
        part = interleaved[begin : begin + SOUND_FRAME].reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(part, format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = hz, round(start * hz) + begin, Fraction(1, hz)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


@dataclass(frozen=True)
class Combination:
    """A kind of video: settings of `make_video`, and the suffix of its container."""

    codec: str
    gop: int
    open_gop: bool
    b_frames: int
    variable_rate: bool
    suffix: str

    @property
    def id(self) -> str:
        """ "libx264-gop30-open-b3-variable-mp4"."""
        rate, kind = "variable" if self.variable_rate else "constant", "open" if self.open_gop else "closed"
        return f"{self.codec}-gop{self.gop}-{kind}-b{self.b_frames}-{rate}-{self.suffix}"

    def __str__(self) -> str:
        return self.id

    @property
    def shows_open_keys(self) -> bool:
        """Whether `num_open_keys` finds some: avi has no times by which to find them, SVT-AV1 no key packets."""
        return self.open_gop and self.codec != "libsvtav1" and self.suffix != "avi"

    @property
    def has_true_times(self) -> bool:
        """Whether the time of every frame is read back as it was written, but for rounding: not where avi says it of
        H.264.
        """
        return self.suffix != "avi" or self.codec != "libx264"

    def make(self, folder: Path, **settings: Any) -> Path:
        """Write it into a folder, under its id; `settings` are further ones of `make_video`."""
        own = asdict(self)
        return make_video(folder / f"{self.id}.{own.pop('suffix')}", **own, **settings)


def combinations() -> Iterator[Combination]:
    """Every combination of codec, GOP, open GOP, B frames, rate and container that makes sense for 60 frames.

    Left out is what a container does not take (webm: all but VP9 and AV1; avi: H.265), B frames of encoders that
    have none of that kind, open GOPs where there is no second GOP or nothing to reorder, and variable rates in avi
    with B frames, whose times mean nothing.
    """
    for codec, suffixes in CONTAINERS.items():
        has_b_frames = codec in ("libx264", "libx265")
        for gop, open_gop, b_frames in itertools.product((1, 30, 250), (False, True), (0, 3)):
            if (b_frames and (not has_b_frames or gop == 1)) or (open_gop and gop != 30):
                continue
            if open_gop and not (b_frames or codec == "libsvtav1"):
                continue
            for variable_rate, suffix in itertools.product((False, True), suffixes):
                if not (variable_rate and b_frames and suffix == "avi"):
                    yield Combination(codec, gop, open_gop, b_frames, variable_rate, suffix)


def pick(num: int) -> list[Combination]:
    """So many combinations, always the same ones, well spread.

    Each next one has the most values and pairs of values that no earlier one had, and of those the ones that are
    rarest so far. Four or more have every value of every axis, about twenty every pair that occurs.
    """
    left, chosen = list(combinations()), list[Combination]()
    uses = Counter[tuple[object, ...]]()

    def gain(one: Combination) -> tuple[int, int]:
        counts = [uses[part] for part in _values_and_pairs(one)]
        return counts.count(0), -sum(counts)

    while left and len(chosen) < num:
        best = max(left, key=gain)
        left.remove(best)
        chosen.append(best)
        uses.update(_values_and_pairs(best))
    return sorted(chosen, key=lambda one: one.id)


def _values_and_pairs(one: Combination) -> set[tuple[object, ...]]:
    values = list(asdict(one).items())
    return {*itertools.combinations(values, 1), *itertools.combinations(values, 2)}


def packets_of(path: Path) -> list[tuple[int | None, int | None, bool]]:
    """(pts, dts, whether it is a key packet) of the video's packets, in the order of the file."""
    with av.open(str(path)) as container:
        return [(one.pts, one.dts, one.is_keyframe) for one in container.demux(video=0) if one.size]


def num_open_keys(path: Path) -> int:
    """How many key packets are followed, before the next one, by frames that are shown before them."""
    open_keys, key_pts = set[int](), None
    for pts, _, is_key in packets_of(path):
        if is_key:
            key_pts = pts
        elif pts is not None and key_pts is not None and pts < key_pts:
            open_keys.add(key_pts)
    return len(open_keys)
