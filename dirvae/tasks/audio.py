"""`--type audio`: clips of recordings with their pitch and loudness, an `AudioVAE`, a report to listen to."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from dirvae.choices import AUDIO_PRESETS, CONTROL_RATE, CORES, HIGHEST_RATE, LATENT_NAMES, is_latent
from dirvae.tasks.data import DataSettings, TaskData
from dirvae.tasks.flag_values import off_at_zero, prior_text
from dirvae.tasks.shown_label import shown_label
from dirvae.tasks.task import AddFlag, Task
from dirvae.training.errors import ConfigError
from dirvae.training.settings import FREE, Settings, is_count, is_positive

if TYPE_CHECKING:
    from torch import Tensor

    from dirvae.latents.latent import Posterior
    from dirvae.networks.audio import AudioVAE, SoundClips
    from dirvae.report.sound_report import SoundReport
    from dirvae.training.feed import FeedBatch
    from pipelines import AudioIterator
    from pipelines.sources import Source

__all__ = ["AUDIO", "CURVES", "AudioData", "AudioModel"]

CURVES = ("f0.npy", "loudness.npy")
NO_LATENT = "none"
MOST_SAMPLES = 1 << 24
"""Of a batch."""

SAMPLE_RATES = (1000, HIGHEST_RATE)
"""The lowest one whose pitch can be tracked in an evaluation, and the highest one of pitch and loudness, in Hz."""
NUM_IN_GALLERY = 64


@dataclass(frozen=True, kw_only=True)
class AudioData(DataSettings):
    """Which recordings, and the clips that are cut from them.

    A clip lasts `clip_seconds`; what comes after the end of its recording is padding. Clips of training begin anywhere,
    the others at whole multiples of their length. `sample_rate` (None: that of the first recording) is that of all
    clips: other recordings are resampled. `control_rate` (None: that of the curves) is in rows per second. Clips of
    training are shifted up or down by up to `shift_semitones` and made louder or softer by up to `gain_db` (None: not).
    They go through an equaliser of up to `equaliser_db` in either direction, another one at every step (None: not).
    """

    source: str = field(default="data/audio", metadata=FREE)
    batch_size: int = 8
    held_out: float | None = 0.1
    clip_seconds: float = 2.0
    sample_rate: int | None = None
    control_rate: float | None = None
    shift_semitones: float | None = None
    gain_db: float | None = None
    equaliser_db: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("clip_seconds", is_positive(self.clip_seconds), "a finite number > 0")
        lowest, highest = SAMPLE_RATES
        found = self.sample_rate is None or (is_count(self.sample_rate, lowest) and self.sample_rate <= highest)
        self.check("sample_rate", found, f"a whole number of Hz from {lowest:,} to {highest:,}")
        rate = self.control_rate is None or is_positive(self.control_rate)
        self.check("control_rate", rate, "a finite number > 0")
        shift = self.shift_semitones is None or (is_positive(self.shift_semitones) and self.shift_semitones <= 12)
        self.check("shift_semitones", shift, "a number of semitones in (0, 12]")
        gain = self.gain_db is None or (is_positive(self.gain_db) and self.gain_db <= 40)
        self.check("gain_db", gain, "a number of decibels in (0, 40]")
        equaliser = self.equaliser_db is None or (is_positive(self.equaliser_db) and self.equaliser_db <= 40)
        self.check("equaliser_db", equaliser, "a number of decibels in (0, 40]")

    @property
    def window(self) -> int:
        """Samples of a clip."""
        assert self.sample_rate is not None
        return max(1, round(self.clip_seconds * self.sample_rate))

    @property
    def num_rows(self) -> int:
        """Control rows of a clip."""
        assert self.sample_rate is not None
        assert self.control_rate is not None
        return max(1, int(self.window * Fraction(str(self.control_rate)) / self.sample_rate + Fraction(1, 2)))

    @property
    def is_varied(self) -> bool:
        """Whether clips of training are shifted, or made louder and softer."""
        return self.shift_semitones is not None or self.gain_db is not None

    @property
    def training_window(self) -> int:
        """Samples that a clip of training is made of."""
        if not self.is_varied:
            return self.window
        from dirvae.networks.audio.variation import longest_source

        return longest_source(self.window, self.shift_semitones or 0.0)


@dataclass(frozen=True, kw_only=True)
class AudioModel(Settings):
    """Which `AudioVAE`; the names are those of its arguments. `latent` "none" is a decoder without a latent."""

    preset: str = "small"
    core: str | None = None
    model_size: int = 8
    latent: str = "dirichlet"
    prior: float | str | None = None
    num_harmonics: int | None = None
    num_bands: int = 65
    reverb_seconds: float | None = None
    encoder_channels: int | None = None
    encoder_harmonics: int | None = None
    reads_latent_last: bool = False
    plays_loudness: bool = False
    nats_per_unit: float = 10_000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("preset", self.preset in AUDIO_PRESETS, f"one of {', '.join(AUDIO_PRESETS)}")
        self.check("core", self.core is None or self.core in CORES, f"one of {', '.join(CORES)}")
        self.check_counts("model_size", "num_bands", smallest=2)
        kinds = (*LATENT_NAMES, NO_LATENT)
        known = self.latent == NO_LATENT or is_latent(self.latent)
        self.check("latent", known, f"one of {', '.join(kinds)}")
        prior = self.prior is None or self.prior == "learned" or is_positive(self.prior)
        self.check("prior", prior, "'learned' or a finite number > 0")
        self.check_counts_or_none("num_harmonics", "encoder_channels", "encoder_harmonics")
        reverb = self.reverb_seconds is None or is_positive(self.reverb_seconds)
        self.check("reverb_seconds", reverb, "a finite number > 0")
        for name in ("reads_latent_last", "plays_loudness"):
            self.check(name, isinstance(getattr(self, name), bool), "true or false")
        self.check("nats_per_unit", is_positive(self.nats_per_unit), "a finite number > 0")


def _add_arguments(add: AddFlag) -> None:
    add("--clip-seconds", "length of a clip in seconds", type=float, metavar="SECONDS")
    add("--sample-rate", "of the clips, in Hz; that of the first recording by default", type=int, metavar="HZ")
    add(
        "--shift-semitones",
        "shift clips of training up or down by up to so many semitones; 0 for none",
        type=off_at_zero,
        metavar="NUM",
    )
    add(
        "--gain-db",
        "make clips of training louder or softer by up to so many decibels; 0 for none",
        type=off_at_zero,
        metavar="DB",
    )
    add(
        "--equaliser-db",
        "play clips of training through equalisers of up to so many decibels; 0 for none",
        type=off_at_zero,
        metavar="DB",
    )
    add("--preset", "size of the network", choices=AUDIO_PRESETS)
    add("--core", "what remembers earlier rows; that of the preset by default", choices=CORES)
    add("--model-size", "components of the latent: timbres, on the simplex", type=int, metavar="NUM")
    add("--latent", "kind of latent", choices=(*LATENT_NAMES, NO_LATENT))
    add(
        "--prior", "concentration of its prior, or 'learned'; its own by default", type=prior_text, metavar="NUMBER"
    )
    add(
        "--num-harmonics",
        "harmonics; as many as reach half the sample rate by default",
        type=int,
        metavar="NUM",
    )
    add(
        "--encoder-harmonics",
        "harmonics whose levels the encoder reads too; none by default",
        type=int,
        metavar="NUM",
    )
    add(
        "--reads-latent-last",
        "let the decoder's last layer read the latent too; not by default",
        action=argparse.BooleanOptionalAction,
    )
    add(
        "--plays-loudness",
        "scale what is played to exactly the loudness of the sound; not by default",
        action=argparse.BooleanOptionalAction,
    )
    add("--num-bands", "bands of the noise", type=int, metavar="NUM")
    add(
        "--reverb-seconds",
        "length of a reverb that is learned, in seconds; none by default",
        type=float,
        metavar="SECONDS",
    )
    add(
        "--nats-per-unit",
        "nats per second of KL that one unit of the spectral loss is worth",
        type=float,
        metavar="NATS",
    )


def _settle(settings: AudioData) -> AudioData:
    """The settings with what the data itself says: its sample rate and the rate of its curves."""
    from pipelines import open_source
    from pipelines.iterators.audio import first_sample_rate

    source = open_source(settings.source, modality="audio")
    try:
        control_rate = _control_rate(source)
        if settings.control_rate is not None and settings.control_rate != control_rate:
            raise ConfigError(
                f"the control rate is {settings.control_rate:g}, but the curves of {source.name} have {control_rate:g} "
                "rows per second. Leave it out, or pack the recordings again."
            )
        sample_rate = settings.sample_rate
        if sample_rate is None:
            sample_rate = round(first_sample_rate(source))
    finally:
        source.close()
    settled = replace(settings, sample_rate=sample_rate, control_rate=control_rate)
    if (num := settings.batch_size * settings.clip_seconds * sample_rate) > MOST_SAMPLES:
        raise ConfigError(
            f"a batch of {settings.batch_size} clips of {settings.clip_seconds:g} s holds {num:,.0f} samples; training "
            f"takes about a kilobyte for each, and up to {MOST_SAMPLES:,} are taken. Lower --clip-seconds or "
            "--batch-size."
        )
    return settled


def _control_rate(source: Source) -> float:
    """Rows per second of both curves. Raises `ConfigError` where they are missing or differ."""
    rates = [source.curve_rates.get(name, ()) for name in CURVES]
    if not all(rates):
        missing = " and ".join(name for name, found in zip(CURVES, rates, strict=True) if not found)
        raise ConfigError(
            f"{source.name}: its recordings have no {missing} of a known rate, which the decoder plays from. Pack them "
            "with python tools/make_shards.py FOLDER --features f0,loudness; add --overwrite-features where files "
            "of these names lie beside them."
        )
    if len(set(rates[0]) | set(rates[1])) > 1:
        raise ConfigError(
            f"{source.name}: {' and '.join(CURVES)} have different rates, "
            f"{', '.join(str(rate) for rate in sorted({*rates[0], *rates[1]}))} rows per second. Pack the recordings "
            "again with --features f0,loudness --overwrite-features."
        )
    rate = rates[0][0]
    if Fraction(str(float(rate))) != rate:
        raise ConfigError(
            f"{source.name}: its curves have {rate} rows per second, which is not a short decimal number. Pack the "
            "recordings again with --features f0,loudness --overwrite-features, which has 250."
        )
    return float(rate)


def _open_iterator(source: Any, settings: AudioData, *, is_training: bool = False, **order: Any) -> AudioIterator:
    from pipelines import AudioIterator

    assert settings.sample_rate is not None
    try:
        return AudioIterator(
            source,
            window=settings.training_window if is_training else settings.window,
            sample_rate=settings.sample_rate,
            channels=1,
            curves=CURVES,
            random_offset=is_training,
            batch_size=settings.batch_size,
            threads=settings.threads,
            on_error=settings.on_error,
            **order,
        )
    except (ImportError, ValueError) as error:  # soxr is absent, or a clip of so many samples is refused
        raise ConfigError(f"{str(error).rstrip('.')}.") from error


def _build_model(data: AudioData, model: AudioModel) -> AudioVAE:
    from dirvae.networks.audio import AudioVAE

    settings = model.to_json()
    settings["latent"] = None if model.latent == NO_LATENT else model.latent
    assert data.sample_rate is not None
    assert data.control_rate is not None
    try:
        return AudioVAE(data.sample_rate, control_rate=data.control_rate, **settings)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def clips_of(settings: AudioData) -> Callable[[Any], SoundClips]:
    """What makes `SoundClips` of the batches of a run with these settings."""
    from dirvae.networks.audio import SoundClips

    rate = CONTROL_RATE if settings.control_rate is None else settings.control_rate

    def to_clips(batch: Any) -> SoundClips:
        return SoundClips.from_batch(batch, rate=rate)

    return to_clips


def _read_batch(settings: AudioData, batch: FeedBatch) -> SoundClips:
    from dirvae.float64 import has_float64
    from dirvae.networks.audio.variation import equalised, varied

    if not has_float64(batch.data.device):
        raise ConfigError(
            f"device {batch.data.device} has no float64, which gradients of sound need here. Give --device cpu."
        )
    clips = clips_of(settings)(batch.source).to(batch.data.device)
    if settings.is_varied:
        clips = varied(
            clips,
            num_samples=settings.window,
            num_rows=settings.num_rows,
            shift_semitones=settings.shift_semitones or 0.0,
            gain_db=settings.gain_db or 0.0,
        )
    if settings.equaliser_db is None:
        return clips
    assert settings.sample_rate is not None
    assert settings.control_rate is not None
    return equalised(
        clips,
        sample_rate=settings.sample_rate,
        control_rate=settings.control_rate,
        equaliser_db=settings.equaliser_db,
    )


def _make_evaluation(data: TaskData, seed: int) -> Callable[[Any], dict[str, Any]]:
    from dirvae.evaluate.sounds import HeldOutSounds

    assert data.held_out is not None
    assert isinstance(data.settings, AudioData)
    return HeldOutSounds(data.held_out, clips_of(data.settings), seed=seed)


def _posterior(model: AudioVAE, settings: AudioData, batch: Any) -> Posterior:
    clips = clips_of(settings)(batch).to(next(model.parameters()).device)
    return model.encode(clips.samples, f0=clips.f0, num_rows=clips.num_rows)


def _encode(model: AudioVAE, samples: Tensor, lengths: Tensor | None) -> Tensor:
    from dirvae.evaluate.sounds import mean_latents

    return mean_latents(model, samples, lengths).cpu()


def _measure(model: AudioVAE, batches: Iterable[Any], settings: AudioData, seed: int) -> dict[str, dict[str, Any]]:
    from dirvae.evaluate.sounds import HeldOutSounds

    return {"sound": HeldOutSounds(batches, clips_of(settings), seed=seed)(model)}


def _open_report(data: TaskData, seed: int) -> SoundReport:
    from dirvae.report.sound_report import SoundReport

    assert isinstance(data.settings, AudioData)
    clips, keys = first_clips(data.encoded, clips_of(data.settings), NUM_IN_GALLERY)
    label = shown_label(data.encoded, len(keys), data.settings.label)
    return SoundReport(clips, keys, data.held_out is not None, seed, label)


def first_clips(
    batches: Iterable[Any], to_clips: Callable[[Any], SoundClips], num: int
) -> tuple[SoundClips, list[str]]:
    """The first `num` clips of batches, fewer if there are no more, and their keys."""
    from dirvae.networks.audio import SoundClips

    parts: list[SoundClips] = []
    keys: list[str] = []
    for batch in batches:
        parts.append(to_clips(batch))
        keys += batch.keys
        if len(keys) >= num:
            break
    return SoundClips.join(parts)[:num], keys[:num]


AUDIO = Task(
    name="audio",
    example="clip",
    kl_unit="second",
    data=AudioData,
    model=AudioModel,
    add_arguments=_add_arguments,
    settle=_settle,
    open_iterator=_open_iterator,
    read_batch=_read_batch,
    build_model=_build_model,
    make_evaluation=_make_evaluation,
    open_report=_open_report,
    encode=_encode,
    posterior=_posterior,
    measure=_measure,
)
