"""What can be asked of packing recordings, and what becomes of one: kept, cut, encoded again, or refused with a reason.

The reasons go into the manifest, so they hold no address, path or time.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, ClassVar

from ...decode.audio.resampling import import_soxr
from ...errors import ShardingError, SourceError
from ...order.checked_numbers import flag, whole_number
from ...storage.listing import SourceFile
from ..packing import Prepared
from ..source_reader import SourceReader, UnpackableError
from .audio_encoding import import_soundfile
from .audio_examples import MOST_FLAC_CHANNELS, MOST_FLAC_HZ, WAV_SUFFIXES, Codec, RecordingJob
from .open_recording import OpenRecording
from .segments import Curves, exact_seconds, segment_seconds

__all__ = ["AudioSettings", "add_arguments"]


@dataclass(frozen=True)
class AudioSettings:
    """What becomes of each recording. Raises `ValueError` or `TypeError` for nonsense.

    decode       decode every recording whole, not just its header and its end.
    segment      seconds of the examples that recordings are cut into, the last of each shorter; None: whole.
    sample_rate  in Hz, of what is packed; None: as it is.
    channels     of what is packed: their mean for one, one repeated, else the first of them; None: as they are.
    codec        "keep" leaves files as they are where nothing has to be changed, and keeps wav as wav and flac as
                 flac where something has; other formats become flac. "wav" and "flac" make everything so.
    curves       which npy fields are curves that are cut with their recording, and their rows per
                 second: {"f0.npy": 250}. Other fields are repeated with every segment.
    """

    modality: ClassVar[str] = "audio"

    decode: bool = False
    segment: float | None = None
    sample_rate: int | None = None
    channels: int | None = None
    codec: Codec = field(default="keep", metadata={"means": "keep, wav or flac"})
    curves: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decode", flag("decode", self.decode))
        object.__setattr__(self, "segment", segment_seconds(self.segment))
        for name, value in (("sample_rate", self.sample_rate), ("channels", self.channels)):
            if value is not None:
                object.__setattr__(self, name, _hz_or_channels(name, value))
        if self.codec not in ("keep", "wav", "flac"):
            raise ValueError(f"codec is {self.codec!r}; it must be keep, wav or flac.")
        if self.codec == "flac":
            _check_flac(self.sample_rate or 1, self.channels or 1)
        ordered = _ordered(self.curves)
        object.__setattr__(self, "curves", ordered)
        for name, rate in ordered.items():
            _check_curve(name, rate, self.segment)

    @property
    def cuts(self) -> bool:
        """Whether recordings are cut into segments."""
        return self.segment is not None

    @property
    def keeps_files(self) -> bool:
        """Whether the files are packed as they are."""
        return (self.segment, self.sample_rate, self.channels, self.codec) == (None, None, None, "keep")

    def describe(self) -> dict[str, Any]:
        """The settings as they stand in the manifest."""
        names = ("decode", "segment", "sample_rate", "channels", "codec")
        return {**{name: getattr(self, name) for name in names}, "curves": dict(self.curves)}

    def check(self, files: Sequence[SourceFile]) -> tuple[str, ...]:
        """Remarks on what will become of these files.

        Raises `SourceError` for a curve that none of them has, `ShardingError` where a package they need is missing.
        """
        self._check_packages(files)
        fields = {suffix.lower() for file in files for suffix, _ in file.sidecars}
        if missing := sorted(self.curves.keys() - fields):
            raise SourceError(f"No recording has a field {missing[0]} beside it. Name another one with --curve.")
        whole = sorted(name for name in fields - self.curves.keys() if name.endswith("npy"))
        if self.segment is None or not whole:
            return ()
        return (
            f"{', '.join(whole)}: repeated whole with every segment. Cut a curve with --curve {whole[0]}=ROWS.",
        )

    def _check_packages(self, files: Sequence[SourceFile]) -> None:
        try:
            if self.codec == "flac" or any(file.suffix not in WAV_SUFFIXES for file in files):
                import_soundfile()
            if self.sample_rate is not None:
                import_soxr()
        except ImportError as error:
            raise ShardingError(f"{str(error)[:1].upper()}{str(error)[1:].rstrip('.')}.") from error

    def prepare(self, file: SourceReader, suffix: str, fields: Mapping[str, bytes]) -> Iterator[Prepared]:
        """The examples of a recording: one, or its segments in order. Raises `UnpackableError` with the reason."""
        with OpenRecording(file) as recording:
            if self.decode:
                _decode_whole(recording)
            job = RecordingJob(
                recording,
                suffix,
                segment=self.segment,
                sample_rate=self.sample_rate,
                channels=self.channels,
                codec=self.codec,
            )
            if job.keeps_file:
                yield job.kept(file, suffix, fields)
            elif self.segment is None:
                yield job.whole(fields)
            else:
                yield from job.segments(Curves.of(fields, self.curves, exact_seconds(self.segment)))


def add_arguments(group: Any) -> None:
    """The flags of these settings."""
    add = group.add_argument
    add("--segment", type=float, metavar="SECONDS", help="cut into examples of this length, the last shorter")
    add("--sample-rate", type=int, metavar="HZ", help="resample to this rate")
    add("--channels", type=int, metavar="NUM", help="1 is their mean, more are the first of them or one repeated")
    add("--codec", metavar="NAME", help="pack all as wav or flac (default: keep, files as they are)")
    add(
        "--curve",
        dest="curves",
        type=_parse_curve,
        action=_AddCurve,
        metavar="FIELD=ROWS",
        help="with --segment: an npy field that is cut as well, and its rows per second: f0.npy=250",
    )


class _AddCurve(argparse.Action):
    """Collects the curves, as `AudioSettings` has them."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        name, rate = values
        setattr(namespace, self.dest, {**(getattr(namespace, self.dest, None) or {}), name: rate})


def _parse_curve(text: str) -> tuple[str, float]:
    name, _, rate = text.partition("=")
    try:
        return name, float(rate)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a field with its rows per second, such as f0.npy=250"
        ) from None


def _is_number(value: object) -> bool:
    return type(value) is not bool and isinstance(value, Real) and math.isfinite(value)


def _hz_or_channels(name: str, value: object) -> int:
    """A whole number, which may be written as a float: 48e3."""
    is_whole = isinstance(value, float) and value.is_integer()
    return whole_number(name, int(value) if is_whole else value, most=(1 << 31) - 1)  # type: ignore[call-overload]


def _ordered(curves: object) -> dict[str, float]:
    if not isinstance(curves, Mapping) or not all(isinstance(name, str) for name in curves):
        raise ValueError(f'curves is {curves!r}; it must give fields their rows per second: {{"f0.npy": 250}}.')
    for name, rate in curves.items():
        if not _is_number(rate):
            raise ValueError(f"curves has {name}={rate!r}; a rate is a number of rows per second, above 0.")
    return {name.lower(): float(rate) for name, rate in sorted(curves.items())}


def _decode_whole(recording: OpenRecording) -> None:
    for _ in recording.blocks():
        pass
    if recording.frames < recording.claimed:
        raise UnpackableError(f"damaged: {recording.frames:,} of {recording.claimed:,} frames can be decoded")


def _check_flac(sample_rate: int, channels: int) -> None:
    if channels > MOST_FLAC_CHANNELS or sample_rate > MOST_FLAC_HZ:
        raise ValueError(
            f"{channels} channels at {sample_rate:,} Hz do not fit flac, which holds {MOST_FLAC_CHANNELS} at "
            f"{MOST_FLAC_HZ:,} Hz: use --codec wav."
        )


def _check_curve(name: str, rate: float, segment: float | None) -> None:
    if segment is None:
        raise ValueError(f"curves names {name}, but nothing is cut: it needs segment.")
    if not name.endswith("npy") or not (rate > 0 and math.isfinite(rate)):
        raise ValueError(
            f"curves has {name}={rate:g}; a curve is an npy field with some rows per second: f0.npy=250."
        )
    rows = exact_seconds(segment) * exact_seconds(rate)
    if rows.denominator != 1:
        raise ValueError(
            f"A segment of {segment:g} s is {float(rows):g} rows of {name} at {rate:g} per second; it must be a whole "
            "number of them."
        )
