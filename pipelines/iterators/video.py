"""Batches of clips of videos."""

from __future__ import annotations

from fractions import Fraction
from typing import Unpack

from ..batching.options import Reading, check_settings, with_fields
from ..decode.geometry import Crop, Fit, Size
from ..decode.image.limits import checked_limit
from ..decode.video.av_package import import_av
from ..decode.video.frame_counts import FrameCounts
from ..decode.video.frame_filling import FrameFilling
from ..decode.video.video_decoder import VideoDecoder
from ..decode.video.video_reader import VideoReader
from ..order.clip_arithmetic import Short
from ..order.video_clips import video_clip_spec
from ..sources.clips import ClipSource
from ..sources.opening import SourceLike
from .data import DataIterator, chosen, opened_as

__all__ = ["VideoIterator"]


class VideoIterator(DataIterator):
    """Batches of clips of videos: `data` is (batch, 3, time, height, width) uint8, channels last in memory.

    clip_frames     frames of a clip
    fps             frames per second that are delivered: for each output time the last frame shown by then, so that
                    frames are repeated where the video is slower. None: frames as they are stored
    every           without fps: every n-th frame
    hop             from the start of one clip to the start of the next: in frames of the video, or with fps in frames
                    that are delivered; by default clips follow one another without gap or overlap
    short           the part of a clip beyond the end of its video: "pad" fills it with zeros, and `batch.lengths` gives
                    the number of real frames; "skip" leaves such clips out, and videos shorter than a clip
    random_offset   clips begin anywhere instead of at multiples of the hop, as in `AudioIterator`
    size            (height, width) or one number, in pixels; None keeps each video's own (batch_size=1 then)
    fit, crop, flip   as in `ImageIterator`; all frames of a clip are placed alike
    sample_rate     in Hz: also the sound of each clip, as the field `sound`
    max_pixels      videos with larger frames are refused; None: 178,956,970

    Quarter turns are applied. Where pixels are not square, frames are stretched so that they are, but not with
    size=None: the field `pixel_aspect` then gives the width of a pixel through its height. The field `pts_seconds` is
    (batch, time) float64: when each frame is shown, in seconds of its file, NaN behind the end. The field `sound` is
    (batch, 1, samples) float32, the mean of all channels, from when the first frame is shown and as long as the clip is
    at its video's average rate; None where there is no sound. Keys are `KEY@START`,
    START the number of the first frame in its video. shuffle=True draws clips uniformly, "files" plays videos in
    random order and the clips of each in their order; `select` and `limit` choose videos. Everything else is as in
    `DataIterator`. Frames that cannot be decoded are passed over, as if they were not there.
    """

    modality = "video"

    def __init__(
        self,
        source: SourceLike,
        *,
        clip_frames: int = 16,
        fps: float | Fraction | None = None,
        every: int = 1,
        hop: int | None = None,
        short: Short = "pad",
        random_offset: bool = False,
        size: int | Size | None = 256,
        fit: Fit = "crop",
        crop: Crop = "center",
        flip: bool = False,
        sample_rate: int | None = None,
        max_pixels: int | None = None,
        **reading: Unpack[Reading],
    ) -> None:
        check_settings(type(self), reading)
        import_av()
        if size is None and reading.setdefault("batch_size", 1) != 1:
            raise ValueError(
                f"size=None keeps each video's size, so batch_size must be 1, not {reading['batch_size']}."
            )
        spec = video_clip_spec(clip_frames, fps=fps, every=every, hop=hop, short=short, random_offset=random_offset)
        filling = FrameFilling(size=size, fit=fit, crop=crop, flip=flip)
        reader = VideoReader(max_pixels=checked_limit(max_pixels), keep=spec.window if spec.overlaps else 0)
        decoder = VideoDecoder(reader, spec, filling, sample_rate=sample_rate)
        select, limit = reading.pop("select", None), reading.pop("limit", None)
        videos = chosen(opened_as(source, self.modality), select, limit)
        clips = ClipSource(videos, spec, reader)
        self._reader = reader
        super().__init__(clips, decoder, **with_fields(reading, decoder.fields))

    @property
    def frame_counts(self) -> FrameCounts:
        """Frames decoded, skipped and delivered so far, by this iterator's threads in this process."""
        return self._reader.counter.counts
