"""What can be asked of packing videos, and what becomes of one: kept, cut, encoded again, or refused with a reason.

Every video is decoded whole, in a process of its own, so that what the index and the frame table say is true. The
reasons go into the manifest, so they hold no address, path or time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from ...decode.errors import UndecodableError
from ...decode.video.av_package import import_av
from ...errors import ShardingError
from ...order.checked_numbers import flag, whole_number
from ...storage.listing import SourceFile
from ..packing import Prepared
from ..source_reader import SourceReader, UnpackableError
from .segments import exact_seconds, segment_seconds
from .video_encoders import ENCODERS, USUAL_GOP, VideoCodec
from .video_encoding import Encoding
from .video_examples import VideoJob

__all__ = ["VideoSettings"]

CODECS = ("keep", *ENCODERS)


@dataclass(frozen=True)
class VideoSettings:
    """What becomes of each video. Raises `ValueError` or `TypeError` for nonsense.

    decode      decode every video whole, which is done in any case: to count its frames and find broken ones.
    segment     seconds of the examples that videos are cut into, at key frames and without being encoded again: each
                is as long as possible up to this, and at least from one key frame to the next. None: whole.
    resize      shorter side in pixels, made even, of what is encoded again; smaller videos, and all without it, keep
                their size.
    gop         frames from one key frame to the next of what is encoded again; 16 where another setting has videos
                encoded again.
    codec       "keep" leaves files as they are, and is "h264" where another setting has them encoded again. "h264",
                "h265", "vp9" and "av1" make everything so.
    quality     rate factor (crf) of what is encoded again, 0 the best: up to 51, of vp9 and av1 63. None: 20 for h264,
                22 for h265, 28 for vp9 and av1.
    no_audio    leave the sound out.
    max_pixels  videos with larger frames are refused; None: 178,956,970, as for images.
    """

    modality: ClassVar[str] = "video"

    decode: bool = False
    segment: float | None = None
    resize: int | None = None
    gop: int | None = None
    codec: VideoCodec = field(default="keep", metadata={"means": "keep, h264, h265, vp9 or av1"})
    quality: int | None = field(default=None, metadata={"means": "a rate factor (crf)"})
    no_audio: bool = False
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        for name in ("decode", "no_audio"):
            object.__setattr__(self, name, flag(name, getattr(self, name)))
        for name, least in (("resize", 2), ("gop", 1), ("quality", 0), ("max_pixels", 1)):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, whole_number(name, value, least=least))
        object.__setattr__(self, "segment", segment_seconds(self.segment))
        if self.codec not in CODECS:
            raise ValueError(f"codec is {self.codec!r}; it must be {', '.join(CODECS[:-1])} or {CODECS[-1]}.")
        if (self.resize, self.gop, self.codec) != (None, None, "keep"):
            self._choose_encoding()
        elif self.quality is not None:
            raise ValueError(f"quality is {self.quality}, but nothing is encoded: it needs resize, gop or codec.")

    def _choose_encoding(self) -> None:
        """What is not said of how to encode."""
        codec = "h264" if self.codec == "keep" else self.codec
        encoder = ENCODERS[codec]
        if self.quality is not None and self.quality > encoder.worst_quality:
            raise ValueError(f"quality is {self.quality}; for {codec} it must be {encoder.worst_quality} at most.")
        object.__setattr__(self, "codec", codec)
        object.__setattr__(self, "gop", self.gop or USUAL_GOP)
        object.__setattr__(self, "quality", encoder.usual_quality if self.quality is None else self.quality)
        if self.resize is not None:
            object.__setattr__(self, "resize", self.resize + self.resize % 2)

    @property
    def encoding(self) -> Encoding | None:
        """How videos are encoded again; None where they are not."""
        if self.codec == "keep":
            return None
        assert self.gop is not None
        assert self.quality is not None
        return Encoding(self.codec, self.gop, self.quality, self.resize, self.no_audio)

    @property
    def cuts(self) -> bool:
        """Whether videos are cut into segments."""
        return self.segment is not None

    @property
    def keeps_files(self) -> bool:
        """Whether the files are packed as they are."""
        return self.codec == "keep" and self.segment is None and not self.no_audio

    def describe(self) -> dict[str, Any]:
        """The settings as they stand in the manifest."""
        return asdict(self)

    def check(self, files: Sequence[SourceFile]) -> tuple[str, ...]:
        """No remarks. Raises `ShardingError` where PyAV is missing."""
        try:
            import_av()
        except ImportError as error:
            raise ShardingError(f"{str(error)[:1].upper()}{str(error)[1:]}.") from error
        return ()

    def prepare(self, file: SourceReader, suffix: str, fields: Mapping[str, bytes]) -> Iterator[Prepared]:
        """The examples of a video: one, or its segments in order. Raises `UnpackableError` with the reason."""
        segment = None if self.segment is None else exact_seconds(self.segment)
        job = VideoJob(segment, self.encoding, self.no_audio, self.max_pixels)
        try:
            yield from job.examples(file, suffix, fields)
        except UndecodableError as error:
            raise UnpackableError(str(error)) from error
