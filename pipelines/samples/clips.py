"""A folder of procedural clips with what moves in them, to try everything out on."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path

import numpy as np

from ..errors import ShardingError
from .clip_drawing import FPS, Clip, clip_of, draw_frames
from .clip_sound import CLIP_SAMPLE_HZ, clip_samples, describe_sound
from .sample_files import clear_samples

__all__ = ["make_sample_clips"]

OWN_FILE = re.compile(r"clip-(\d{6})\.(mp4|json)")
H264 = {"preset": "medium", "crf": "18", "g": "48", "bf": "2", "flags": "+bitexact", "threads": "1"}
AAC = {"b": "48000", "flags": "+bitexact", "threads": "1"}


def make_sample_clips(
    out: str | os.PathLike[str] = "data/video", *, num: int = 40, size: int = 96, seed: int = 0, force: bool = False
) -> int:
    """Write clips as `clip-000000.mp4`, `size` × `size` pixels, 24 frames per second, 2 to 4 seconds, H.264.

    Every other clip has a quiet sound track, AAC, 16 kHz, mono. The `.json` beside each has its shapes with their
    colours (sRGB, 0 to 255), sizes and motions, and where the centre of each is in every frame: x and y in pixels
    from the top left corner. Later shapes are drawn over earlier ones. The same arguments give the same files on
    one machine; those of an earlier call are replaced.

    Returns `num`. Raises `ShardingError` without PyAV, for a folder with files it did not make, or samples beyond
    `num`, unless `force` adds to the former and removes the latter, and for one that cannot be written;
    `ValueError` for numbers that make no sense.
    """
    if not 1 <= num <= 1_000_000 or not 16 <= size <= 2048 or size % 2:
        raise ValueError(
            f"num is {num} and size {size}; they must lie in 1 to 1,000,000 and 16 to 2048 pixels, an even number."
        )
    _require_av()
    folder = Path(out)
    try:
        clear_samples(folder, OWN_FILE, num, force=force)
        for index in range(num):
            clip = clip_of(seed, index)
            stem = folder / f"clip-{index:06d}"
            facts = {**clip.describe(size), "sound": describe_sound(clip) if clip.has_sound else None}
            stem.with_suffix(".json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
            stem.with_suffix(".mp4").write_bytes(_encode(clip, size))
    except OSError as error:
        raise ShardingError(f"{folder}: cannot be written to ({error.strerror}). Name another one.") from error
    return num


def _require_av() -> None:
    """Raise `ShardingError` where PyAV is missing, or has no encoder for H.264."""
    try:
        import av

        av.Codec("libx264", "w")
    except ImportError as error:
        raise ShardingError("sample clips are encoded by PyAV, which is not installed: pip install av.") from error
    except ValueError as error:
        raise ShardingError(
            "sample clips need a PyAV with libx264, which its wheels have: pip install av."
        ) from error


def _encode(clip: Clip, size: int) -> bytes:
    """An mp4 of the clip."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        video = container.add_stream("libx264", rate=FPS, options=H264)
        video.width = video.height = size
        video.pix_fmt = "yuv420p"
        if clip.has_sound:
            audio = container.add_stream("aac", rate=CLIP_SAMPLE_HZ, layout="mono", options=AAC)
            samples = clip_samples(clip)[None].astype(np.float32)
            sound = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            sound.sample_rate, sound.pts = CLIP_SAMPLE_HZ, 0
            container.mux([*audio.encode(sound), *audio.encode(None)])
        for pixels in draw_frames(clip, size):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p", threads=1)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return file.getvalue()
