"""What can be asked of packing recordings, and what becomes of one: kept, cut, encoded again, or refused with a reason.

The reasons go into the manifest, so they hold no address, path or time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from numbers import Real
from typing import Any, ClassVar

from ...decode.audio.resampling import import_soxr
from ...errors import ShardingError, SourceError
from ...order.checked_numbers import flag, whole_number
from ...storage.listing import SourceFile
from ..features import Feature, Features, named_features
from ..packing import Prepared
from ..source_reader import SourceReader, UnpackableError
from ..wording import printable
from .audio_encoding import import_soundfile
from .audio_examples import MOST_FLAC_CHANNELS, MOST_FLAC_HZ, WAV_SUFFIXES, Codec, RecordingJob
from .feature_rows import ComputedFields
from .open_recording import OpenRecording
from .segments import Curves, exact_seconds, segment_seconds

__all__ = ["AudioSettings"]


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
    features     what is computed of each recording and packed with it, by name: see `sharding.features`.
    overwrite_features   features replace fields of the same name that are beside the recordings.
    """

    modality: ClassVar[str] = "audio"

    decode: bool = False
    segment: float | None = None
    sample_rate: int | None = None
    channels: int | None = None
    codec: Codec = field(default="keep", metadata={"means": "keep, wav or flac"})
    curves: Mapping[str, float] = field(default_factory=dict)
    features: Features = field(default_factory=dict)
    overwrite_features: bool = False
    _features: tuple[Feature, ...] = field(default=(), init=False, repr=False)

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
        self._name_features()

    def _name_features(self) -> None:
        """Keep the features, which `features` only names from now on."""
        object.__setattr__(self, "overwrite_features", flag("overwrite_features", self.overwrite_features))
        object.__setattr__(self, "_features", named_features(self.features))
        object.__setattr__(self, "features", {feature.name: feature.target for feature in self._features})
        if self.overwrite_features and not self._features:
            raise ValueError("overwrite_features is True, but nothing is computed: it needs features.")
        for feature in self._features:
            if f"{feature.name}.npy" in self.curves:
                raise ValueError(
                    f"curves names {feature.name}.npy, which is a feature, too: its function gives its rows per second."
                )

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
        features = {"features": {one.name: one.target for one in self._features}} if self._features else {}
        return {**{name: getattr(self, name) for name in names}, "curves": dict(self.curves), **features}

    def check(self, files: Sequence[SourceFile]) -> tuple[str, ...]:
        """Remarks on what will become of these files.

        Raises `SourceError` for a curve that none of them has and for a feature that one of them has, `ShardingError`
        where a package they need is missing.
        """
        self._check_packages(files)
        self._check_features(files)
        fields = {suffix.lower() for file in files for suffix, _ in file.sidecars}
        if missing := sorted(self.curves.keys() - fields):
            raise SourceError(f"No recording has a field {missing[0]} beside it. Name another one with --curve.")
        made = {f"{feature.name}.npy" for feature in self._features}
        whole = sorted(name for name in fields - self.curves.keys() - made if name.endswith("npy"))
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

    def check_importable(self) -> None:
        """Raises `ShardingError` for a feature that worker processes cannot import."""
        for feature in self._features:
            feature.check_importable()

    def _check_features(self, files: Sequence[SourceFile]) -> None:
        for feature in self._features:
            for file in files:
                if any(suffix.lower() == f"{feature.name}.npy" for suffix, _ in file.sidecars):
                    self._refuse_taken(file.path, f"{feature.name}.npy")
            feature.load()

    def _refuse_taken(self, path: str, name: str) -> None:
        """Of a field that a feature makes, and a file beside the recording is."""
        if not self.overwrite_features:
            raise SourceError(
                f"{printable(path)}: {name} is beside it already, and a feature makes it, too. Leave the feature out, "
                "or replace what is there with --overwrite-features."
            )

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
            computed = job.computed(self._features) if self._features else ComputedFields({}, {})
            for name in sorted(computed.fields.keys() & fields.keys()):
                self._refuse_taken(file.path, name)
            for made in self._examples(job, file, suffix, {**fields, **computed.fields}, computed.rates):
                yield made._replace(curve_rates=computed.rates)

    def _examples(
        self,
        job: RecordingJob,
        file: SourceReader,
        suffix: str,
        fields: Mapping[str, bytes],
        rates: Mapping[str, Fraction],
    ) -> Iterator[Prepared]:
        if job.keeps_file:
            yield job.kept(file, suffix, fields)
        elif self.segment is None:
            yield job.whole(fields)
        else:
            seconds = exact_seconds(self.segment)
            for name, rate in rates.items():
                _check_whole_rows(name, rate, seconds)
            yield from job.segments(Curves.of(fields, {**self.curves, **rates}, seconds))


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
    try:
        _check_whole_rows(name, exact_seconds(rate), exact_seconds(segment))
    except UnpackableError as error:
        raise ValueError(f"{str(error)[:1].upper()}{str(error)[1:]}.") from None


def _check_whole_rows(name: str, rate: Fraction, seconds: Fraction) -> None:
    """Raise `UnpackableError` where segments of this length are not whole numbers of rows."""
    rows = seconds * rate
    if rows.denominator != 1:
        raise UnpackableError(
            f"a segment of {float(seconds):g} s is {float(rows):g} rows of {name} at {float(rate):g} per second; it "
            "must be a whole number of them"
        )
