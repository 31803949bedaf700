"""Recordings that are not plain PCM (flac, ogg, mp3, aiff …), through libsndfile, from any place that can be read.

Samples are a function of the file and the stretch alone, whatever was read before: where a library's decoder, after a
seek, is not exactly where it would be without one, a stretch begins at a fresh decoder and some frames early.

Stretches are, bit by bit, what decoding the whole gives there, but for two formats. An mp3 of up to 24 kHz, or one with
other bytes between its frames, differs in rounding (1.2e-7 was measured). Opus at low bit rates never quite forgets
where it began, even with a lead-in of four seconds: measured are up to 9e-3 from 5 to 13 kbit/s, 4e-3 from 27 to 63,
and nothing above, for a full scale of 1.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...modality import HEAD_BYTES, find_modality
from ...storage.blob import BlobFile, Read
from ..errors import UndecodableError
from .flac import seeks_exactly
from .mp3 import STEP_SAMPLES, Mp3Frames, first_frame, guess_frames, has_empty_frames, scan_mp3
from .ogg import last_page_start
from .reasons import NOT_KNOWN, UNKNOWN_FORMAT, reason_of
from .sound_file import steady_sound_file

__all__ = ["CompressedStream"]

AT_ONCE = 65_536
"""Samples that are decoded at a time when they are only counted or passed over."""

EXACT = ("FLAC", "PCM", "ALAC", "FLOAT", "DOUBLE", "ULAW", "ALAW")
"""Subtypes (their beginnings) in which a seek lands exactly, in a decoder that was used before, too."""

LEAD_IN = 4 * STEP_SAMPLES
"""Frames after which an mp3 (its bit reservoir) or opus (its prediction) decoder has forgotten where it began, opus as
far as it does."""

UNKNOWN_FRAMES = (1 << 63) - 1
"""What libsndfile says of a flac that was written before its length was known."""

MAX_FRAMES_A_BYTE = 8192
"""More than any format packs into a byte: a flac of digital silence comes to 4,600."""

MAX_FRAMES = 1 << 36


class CompressedStream:
    """One recording, open, and the position of its decoder. Not for several threads at once.

    `frames` is what the file claims until `count` has been asked, 0 where it claims nothing. Raises
    `UndecodableError` for what libsndfile does not open, `ImportError` without soundfile.
    """

    num_bytes = 1 << 18

    def __init__(self, read: Read, size: int) -> None:
        self._read, self._size = read, size
        self._mp3_frames: Mp3Frames | None = None
        self._trusts_seek, self._junk_bytes = True, 0
        if has_empty_frames(read, size):
            raise UndecodableError("damaged: its frames hold nothing")
        self._open_first()
        self.sample_rate, self.channels = int(self._sound.samplerate), int(self._sound.channels)
        self.subtype = str(self._sound.subtype)
        if self._sound.format == "FLAC":
            self._trusts_seek = seeks_exactly(read, size)
        self.frames = int(self._sound.frames) % UNKNOWN_FRAMES
        if self.subtype == "MPEG_LAYER_III":
            self._scan()
        self._claimed = self.frames
        self._needs_lead_in = self.subtype == "OPUS" or "LAYER" in self.subtype

    def _open_first(self) -> None:
        """As it is, or from the first frame of an mp3 on, which libsndfile looks for only in what is named so."""
        try:
            self._open()
        except UndecodableError as error:
            if getattr(error.__cause__, "code", 0) != UNKNOWN_FORMAT:
                raise
            junk = first_frame(self._read, self._size)
            if not junk:
                raise
            read, self._junk_bytes = self._read, junk
            self._read, self._size = lambda offset, length: read(offset + junk, length), self._size - junk
            self._open()

    def _scan(self) -> None:
        """Look for the frames of an mp3; one that has no info frame is opened again with the one that is made.

        One that has none and begins in the midst of a frame ends where libsndfile guesses, as `soundfile.read(path)`
        has it.
        """
        self._mp3_frames = scan_mp3(self._read, self._size)
        if self._mp3_frames is None or not self._mp3_frames.made:
            return
        self._open()
        self.frames = int(self._sound.frames)
        if self._junk_bytes:
            self.frames = min(self.frames, guess_frames(self._read, self._size, self._junk_bytes))

    def _open(self, step: int = 0) -> None:
        """A fresh decoder at the beginning, or at a step of an mp3's frames."""
        read, size, position = self._read, self._size, 0
        if self._mp3_frames is not None and (step or self._mp3_frames.made):
            read, size = self._mp3_frames.read_from(step, read, size)
            position = self._mp3_frames.begin_of(step)
        self._file = BlobFile(read, size)
        try:
            self._sound = steady_sound_file()(self._file)
        except RuntimeError as error:
            raise self._unreadable(error) from error
        self.position, self._has_sought = position, False

    @property
    def _most_frames(self) -> int:
        """More than any file of this size can hold."""
        return min(MAX_FRAMES, AT_ONCE + MAX_FRAMES_A_BYTE * self._size)

    @cached_property
    def _last_page(self) -> int:
        return last_page_start(self._read, self._size, self._claimed)

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Frames [start, stop) as (time, channel) float32; fewer where the recording ends or is damaged earlier."""
        out = np.empty((max(0, min(stop, self._most_frames) - start), self.channels), np.float32)
        try:
            if not self._goes_on(start):
                self._go_to(start)
            return out[: self._decode(out)]
        except UndecodableError:
            if not self._has_sought:
                raise
        self._trusts_seek = False  # the table that a seek goes by is wrong; the samples may all be there
        self._open()
        self._go_to(start)
        return out[: self._decode(out)]

    def _goes_on(self, start: int) -> bool:
        """Whether decoding on from here gives, bit by bit, what a fresh decoder would give."""
        return self.position == start and not (start and self._needs_lead_in)

    def _beginning_for(self, start: int) -> int:
        """Where to seek to, so that decoding on from there is right at `start`."""
        if self._needs_lead_in:
            return max(0, start - LEAD_IN) // STEP_SAMPLES * STEP_SAMPLES
        return min(start, max(0, self._last_page - 1)) if self.subtype == "VORBIS" and start else start

    def _go_to(self, start: int) -> None:
        begin = self._beginning_for(start)
        if not self.subtype.startswith(EXACT):
            steps = self._mp3_frames.offsets if self._mp3_frames is not None else ()
            self._open(begin // STEP_SAMPLES if begin // STEP_SAMPLES < len(steps) else 0)
        if not begin <= self.position <= start:
            self._seek(begin)
        at_once = min(max(1, AT_ONCE // self.channels), max(0, start - self.position))
        passed_over = np.empty((at_once, self.channels), np.float32)
        while self.position < start:
            if not self._decode(passed_over[: start - self.position]):
                return

    def _seek(self, begin: int) -> None:
        if begin and self._trusts_seek and self._sound.can_seek():
            self._has_sought = True
            try:
                self.position = self._sound.seek(begin)
            except RuntimeError as error:
                raise self._unreadable(error) from error
        elif begin < self.position or self.position < 0:
            self._open()

    def _decode(self, out: NDArray[np.float32]) -> int:
        """Fill with the next frames; how many there were. After an error the decoder stands nowhere."""
        try:
            num = len(self._sound.read(out=out)) if len(out) else 0
        except RuntimeError as error:
            self.position = -1
            raise self._unreadable(error) from error
        self.position += num
        self._file.check()
        return num

    def count(self) -> int:
        """Frames that can really be decoded; sets `frames`. Decodes everything where the claim cannot be trusted."""
        limit = self._most_frames
        trusted = 0 < self.frames <= limit and self.subtype != "VORBIS"  # its seek can miss the end
        if not (trusted and self._has_last_frame()):
            self.frames = self._count_by_decoding(limit)
        return self.frames

    def _has_last_frame(self) -> bool:
        try:
            return len(self.read(self.frames - 1, self.frames)) == 1
        except UndecodableError:
            return False
        finally:
            self._open()

    def _count_by_decoding(self, limit: int) -> int:
        """Decode until it fails, in ever smaller steps: what lies before the damage counts, if anything does."""
        counted, damage = 0, None
        for step in (max(1, AT_ONCE // self.channels), 64, 1):
            scratch = np.empty((step, self.channels), np.float32)
            try:
                if self.position != counted:
                    self._open()
                    self._go_to(counted)
                while num := self._decode(scratch):
                    counted += num
                    if counted > limit:
                        raise UndecodableError(f"more than {limit:,} frames in {self._size:,} bytes")
                break
            except UndecodableError as error:
                damage = error
                if counted > limit:
                    raise
        if not counted and (damage is not None or self.frames):
            raise damage or UndecodableError("none of its frames can be decoded")
        self._open()
        return counted

    def close(self) -> None:
        """Let go of the decoder."""
        self._sound.close()

    def _unreadable(self, error: Exception) -> UndecodableError:
        if self._file.failure is not None:
            raise self._file.failure
        reason = reason_of(error)
        why = find_modality("audio").why_unknown(self._read(0, HEAD_BYTES)) if reason == NOT_KNOWN else None
        return UndecodableError(why or reason)
