"""An open container: read by FFmpeg itself where the video lies in a file of this machine, else through `read`.

The format is detected by us from the content and then demanded: FFmpeg would also take a playlist for a video, and
open what it names.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction
from typing import Any

from ...modality import HEAD_BYTES, find_modality
from ...sources.located import Member
from ...storage.blob import BlobFile
from ..errors import UndecodableError
from ..image.limits import check_pixels, most_pixels
from .av_package import av_errors, import_av, lenient_metadata, words_of

__all__ = ["OpenedVideo", "pick_stream", "positive"]

DEMUXERS = {"mp4": "mov", "mkv": "matroska", "avi": "avi", "ts": "mpegts", "mpg": "mpeg"}
"""Usual suffix of a format → its reader in FFmpeg."""

ATTACHED_PICTURE = 1 << 10
READS_SKIP_AT_OPEN = ("libdav1d", "libaom-av1", "av1")
SKIPS_EXACTLY = ("h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video")
"""Decoders of videos with B frames: what they give after frames that no other needs does not depend on those, not even
where the video is damaged, as it does with vp8."""

SHOWS_AGAIN = ("vp8", "vp9")
"""Decoders that hand over a frame at once, and one that is shown again with the mark of the packet that it was first
made of."""

CONCEALS = ("ffv1", "hevc", "mjpeg", "vp8")
"""Decoders that were found to say nothing of damage that they conceal by what they decoded before, or leave as memory
happens to be. Those of H.264, MPEG-2, MPEG-4, VP9 and AV1 were not, in thousands of files with one changed byte."""

MOST_OPTION = (1 << 31) - 1


class OpenedVideo:
    """A container and its video stream, ready to be decoded: by one thread, and by one at a time.

    `demuxer` and `codec` are its format and its decoder in FFmpeg. Raises `UndecodableError` for what is no video, or
    has more pixels than are allowed; `ImportError` without PyAV.
    """

    def __init__(self, media: Member, *, max_pixels: int | None = None) -> None:
        av = import_av()
        self._file: BlobFile | None = None
        self._demuxed: Generator[Any, None, None] = _nothing()
        self.demuxer = _demuxer_of(media)
        most = most_pixels(max_pixels)  # told to FFmpeg too: it takes memory for frames while it opens a file
        limits = {} if most is None else {"max_pixels": str(min(most, MOST_OPTION))}
        options = {"protocol_whitelist": "file,subfile", **limits}
        try:
            self.container = av.open(
                self._name_of(media), format=self.demuxer, options=options, **lenient_metadata()
            )
        except av_errors() as error:
            self.check_reading()
            raise UndecodableError(f"damaged: it cannot be opened ({words_of(error)})") from error
        try:
            self.check_reading()
            self.stream = pick_stream(self.container)
            self.context = self.stream.codec_context
            self.codec = str(self.context.codec.name)
            check_pixels(self.context.width, self.context.height, max_pixels)
            self._options = {"err_detect": "explode", **limits}
            self._set_up(self.context)
        except BaseException:
            self.close()
            raise

    def _name_of(self, media: Member) -> Any:
        """What FFmpeg is to open: a file, a part of one, or a Python file."""
        place = media.file
        if place is None or not _is_utf8(place.path):
            self._file = BlobFile(media.read, media.size)
            return self._file
        if place.offset == 0:
            return f"file:{place.path}"
        return f"subfile,,start,{place.offset},end,{place.offset + media.size},,:file:{place.path}"

    def _set_up(self, context: Any) -> None:
        context.thread_count = 1
        context.copy_opaque = True
        context.options = self._options

    def new_decoder(self) -> Any:
        """A codec context that has seen nothing yet; a hundred times as quick as to open the file again."""
        context = import_av().CodecContext.create(self.context.codec, "r")
        for name in ("extradata", "width", "height", "codec_tag"):
            setattr(context, name, getattr(self.context, name))
        self._set_up(context)
        return context

    @property
    def time_base(self) -> Fraction:
        """Seconds per unit of the stream's time stamps."""
        return positive(self.stream.time_base) or Fraction(1, 1000)

    def check_reading(self) -> None:
        """Raise what went wrong in reading, rather than what FFmpeg made of it."""
        if self._file is not None:
            self._file.check()

    @property
    def may_skip(self) -> bool:
        """Whether the decoder skips frames that no other needs when it is told to."""
        return self.codec in SKIPS_EXACTLY

    @property
    def may_drain(self) -> bool:
        """Whether frames can be had of the decoder at any packet, and decoding begun again by a seek."""
        return self.codec not in READS_SKIP_AT_OPEN

    @property
    def may_conceal(self) -> bool:
        """Whether the decoder is known to give frames that depend on what it decoded before, without saying so."""
        return self.codec in CONCEALS

    def packet_of(self, frame: Any, fed: int) -> int:
        """The number of the packet that a frame is made of, which was put into its `opaque`; `fed` was fed last."""
        return fed if self.codec in SHOWS_AGAIN or not frame.opaque else int(frame.opaque[0])

    def demux(self, stream: Any = None) -> Iterator[Any]:
        """The packets of a stream, by default the video, from where the container stands; an earlier call's end.

        A file that is cut off ends there. Raises what went wrong in reading it.
        """
        self._demuxed.close()
        self._demuxed = self._packets(self.stream if stream is None else stream)
        return self._demuxed

    def _packets(self, stream: Any) -> Generator[Any, None, None]:
        packets = self.container.demux(stream)
        try:
            while (packet := _next(packets)) is not None:
                if (
                    packet.size or packet.pts is not None or packet.dts is not None
                ):  # PyAV marks the end by one without
                    yield packet
            self.check_reading()
        finally:
            packets.close()  # a generator of PyAV that is dropped halfway keeps some memory for ever

    def close(self) -> None:
        """Let go of the file and the decoder."""
        self._demuxed.close()
        self.container.close()


def _next(packets: Any) -> Any:
    try:
        return next(packets, None)
    except av_errors():
        return None


def _nothing() -> Generator[Any, None, None]:
    yield from ()


def positive(value: Any) -> Fraction | None:
    """A fraction of PyAV, which is None or 0/1 where it is not known."""
    if not value:
        return None
    numerator, denominator = int(value.numerator), int(value.denominator)
    return Fraction(numerator, denominator) if numerator > 0 and denominator > 0 else None


def _is_utf8(path: str) -> bool:
    """Whether FFmpeg can be told a path."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def pick_stream(container: Any) -> Any:
    """The first video stream that is not a cover picture. Raises `UndecodableError` where none can be decoded."""
    streams = container.streams.video
    for stream in streams:
        if int(stream.disposition) & ATTACHED_PICTURE:
            continue
        if stream.codec_context is None:
            raise UndecodableError("its video is of a codec that cannot be decoded")
        return stream
    raise UndecodableError("it has no video stream" + (", only a cover picture" if streams else ""))


def _demuxer_of(media: Member) -> str:
    modality = find_modality("video")
    head = media.read(0, HEAD_BYTES)
    suffix = modality.sniff(head)
    if suffix is None and (place := modality.find_beginning(media.read, media.size)) is not None:
        suffix = modality.sniff(media.read(place, HEAD_BYTES))
    if suffix is None:
        raise UndecodableError(modality.why_unknown(head) or "not a video: it does not begin like one")
    return DEMUXERS[suffix]
