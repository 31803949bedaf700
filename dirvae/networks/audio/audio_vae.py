"""`AudioVAE`: a variational autoencoder whose decoder is a synthesiser; each control frame mixes learned timbres."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from dirvae import noise
from dirvae.ddsp.curve import Curve, exact_rate
from dirvae.ddsp.pitch.tracking import highest_pitch, track_f0
from dirvae.ddsp.spectral_loss import MultiScaleSpectralLoss
from dirvae.ddsp.synthesiser import Controls, SynthesisedSound, Synthesiser
from dirvae.float64 import wide, wide_device
from dirvae.latents import Latent, Posterior, named_latent
from dirvae.latents.dense import Standardise
from dirvae.losses import masked_mean
from dirvae.networks.arguments import arguments_to_json
from dirvae.networks.audio.clips import SoundClips
from dirvae.networks.audio.ddsp_decoder import DDSPDecoder
from dirvae.networks.audio.mel_encoder import MelEncoder
from dirvae.networks.audio.presets import find_preset

__all__ = ["AudioOutput", "AudioVAE"]

NATS_PER_UNIT = 10_000.0
LONGEST_REVERB = 30.0


@dataclass(frozen=True, eq=False)
class AudioOutput:
    """What a forward pass gives.

    parts      the sound, (batch, time), and what it is made of
    controls   what the synthesiser played
    latent     the draw that was decoded, (batch, model_size, row); None without a latent
    posterior  what it was drawn from, each row an example: (batch · row, model_size); None without a latent
    """

    parts: SynthesisedSound
    controls: Controls
    latent: Tensor | None
    posterior: Posterior | None

    @property
    def reconstruction(self) -> Tensor:
        """The sound: (batch, time)."""
        return self.parts.sound


class AudioVAE(nn.Module):
    """A variational autoencoder of sound with given pitch and loudness.

    A latent of model_size components per control row is read from the spectrum of the sound; with f0 and loudness it is
    decoded to the controls of a synthesiser (harmonics, filtered noise, reverb). By default the latent is a Dirichlet:
    each row is a mixture of `model_size` timbres.

    sample_rate     samples per second, any
    control_rate    rows per second of the latent, f0 and loudness, any; the hop need not be a whole number of samples
    model_size      components of the latent
    latent          the name of one in `dirvae.latents.LATENTS`, a `Latent`, or None for a decoder without one
    prior           of the latent; None: its own default
    preset          "tiny", "small" or "full"
    core            what remembers earlier rows: "gru" or "conv"; None: that of the preset
    num_harmonics   None: so many that they reach half the sample rate down to the preset's lowest pitch
    num_bands       of the noise
    reverb_seconds  length of the reverb's impulse response; None: no reverb. A clip does not hear what was before it,
                    so that clips must be several times as long
    encoder_channels  of the encoder's convolutions; None: that of the preset
    encoder_harmonics  harmonics whose levels the encoder reads beside the mels, which needs f0; None: none
    reads_latent_last  whether the decoder's last layer reads the latent too, see `DDSPDecoder`
    plays_loudness  whether each row sounds exactly as loud as asked, whatever the network makes of it
    nats_per_unit   how many nats per second one unit of the spectral loss is worth. This loss is not a likelihood, so
                    its weight beside the KL divergence is a choice

    `config` holds the arguments as JSON values: `AudioVAE(**model.config)` is the same network, untrained.
    Raises `ValueError` for settings that do not fit.
    """

    def __init__(
        self,
        sample_rate: float = 16_000,
        *,
        control_rate: float = 250,
        model_size: int = 8,
        latent: str | Latent | None = "dirichlet",
        prior: float | Sequence[float] | str | None = None,
        preset: str = "small",
        core: str | None = None,
        num_harmonics: int | None = None,
        num_bands: int = 65,
        reverb_seconds: float | None = None,
        encoder_channels: int | None = None,
        encoder_harmonics: int | None = None,
        reads_latent_last: bool = False,
        plays_loudness: bool = False,
        nats_per_unit: float = NATS_PER_UNIT,
    ) -> None:
        super().__init__()
        size = find_preset(preset)
        _refuse_values(nats_per_unit, reverb_seconds)
        _refuse_counts(
            num_harmonics=num_harmonics, encoder_channels=encoder_channels, encoder_harmonics=encoder_harmonics
        )
        if num_harmonics is None:
            num_harmonics = math.ceil(float(sample_rate) / 2 / size.lowest_hz)
        self.sample_rate = exact_rate(sample_rate, "sample_rate")
        self.control_rate = exact_rate(control_rate, "control_rate")
        self.model_size, self.num_harmonics, self.nats_per_unit = model_size, num_harmonics, nats_per_unit
        self.latent: Latent | None = None
        self.encoder: MelEncoder | None = None
        self.standardise: Standardise | None = None
        if latent is not None:
            self.latent = named_latent(latent, model_size, prior)
            self.standardise = Standardise(self.latent.prior.mean, self.latent.prior.stddev)
            self.encoder = MelEncoder(
                self.sample_rate,
                self.control_rate,
                model_size,
                channels=size.channels if encoder_channels is None else encoder_channels,
                num_harmonics=encoder_harmonics or 0,
            )
        self.decoder = DDSPDecoder(
            0 if latent is None else model_size,
            num_harmonics,
            num_bands,
            size,
            core=core,
            reads_latent_last=reads_latent_last,
            levelled_at=self.sample_rate if plays_loudness else None,
        )
        self.synthesiser = Synthesiser(self.sample_rate, num_bands=num_bands, reverb_seconds=reverb_seconds)
        self.spectral_loss = MultiScaleSpectralLoss(self.sample_rate)
        self._config: dict[str, Any] = {
            "sample_rate": sample_rate,
            "control_rate": control_rate,
            "model_size": model_size,
            "latent": latent,
            "prior": prior,
            "preset": preset,
            "core": core,
            "num_harmonics": num_harmonics,
            "num_bands": num_bands,
            "reverb_seconds": reverb_seconds,
            "encoder_channels": encoder_channels,
            "encoder_harmonics": encoder_harmonics,
            "reads_latent_last": reads_latent_last,
            "plays_loudness": plays_loudness,
            "nats_per_unit": nats_per_unit,
        }

    @property
    def config(self) -> dict[str, Any]:
        """The arguments as JSON values. ValueError if the latent was given as a module."""
        return arguments_to_json(self._config)

    def activation_parts(self) -> list[nn.Module]:
        """The parts that `checkpoint_activations` of a `Trainer` computes twice."""
        parts = [self.encoder, self.decoder, self.synthesiser, self.spectral_loss]
        return [part for part in parts if part is not None]

    def num_rows(self, num_samples: int) -> int:
        """How many control rows stand in a sound of so many samples."""
        return math.ceil(num_samples * self.control_rate / self.sample_rate)

    def forward(self, clips: SoundClips, *, generator: Generator | None = None) -> AudioOutput:
        """Encode, draw a latent, decode, play. The seeds of the noise are drawn after the latent."""
        clips = self._in_own_type(clips)
        posterior = self._row_posterior(clips)
        latent = None if posterior is None else _of_clips(posterior.rsample(generator), len(clips))
        seeds = noise.seeds(len(clips), clips.samples.device, generator)
        return self._play(clips, latent, posterior, seeds)

    def encode(self, samples: Tensor, *, f0: Tensor | None = None, num_rows: int | None = None) -> Posterior:
        """Posterior of the latent of (batch, time) or (batch, 1, time): parameters (batch, component, row).

        f0        (batch, row) Hz, which an encoder that reads harmonics needs; tracked here by default
        num_rows  those of f0 or as many as stand in the sound by default

        ValueError for a model without a latent.
        """
        if self.latent is None or self.encoder is None:
            raise ValueError("this model has no latent (latent=None), so there is nothing to encode.")
        samples = samples.flatten(1)
        if num_rows is None:
            num_rows = self.num_rows(samples.shape[1]) if f0 is None else f0.shape[1]
        if f0 is None and self.encoder.num_harmonics:
            f0 = self.track_f0(samples)
        f0 = None if f0 is None else f0[:, :num_rows]
        return self.latent.posterior(self.encoder(samples, num_rows, f0))

    def track_f0(self, samples: Tensor) -> Tensor:
        """The pitch of sounds (batch, time) as the model reads it: (batch, row) Hz, by `dirvae.ddsp.track_f0`."""
        top = highest_pitch(self.sample_rate)
        place = wide_device(samples.device)
        tracked = track_f0(samples.to(place), self.sample_rate, rate=self.control_rate, highest=top)
        return tracked.f0.values.to(samples.device)

    def decode(self, latent: Tensor | None, f0: Tensor, loudness: Tensor) -> Controls:
        """Controls of a latent (batch, component, row), f0 (batch, row) Hz and loudness (batch, row) dB.

        `latent` is None for a model without one. Row k stands at k / control_rate seconds. Play them with
        `synthesiser(controls, seeds, num_samples)`.
        """
        rows, _ = self.decoder(self.decoder_input(latent), f0, loudness)
        return Controls(
            Curve(f0, self.control_rate),
            Curve(rows.amplitude, self.control_rate),
            Curve(rows.distribution, self.control_rate),
            Curve(rows.magnitudes, self.control_rate),
        )

    def _in_own_type(self, clips: SoundClips) -> SoundClips:
        """Clips as float64 for a model whose weights are; others as they are."""
        weights = next(self.parameters())
        return clips.as_type(torch.float64) if weights.dtype == torch.float64 else clips

    def decoder_input(self, latent: Tensor | None) -> Tensor | None:
        """A latent as its decoder reads it: (batch, component, row) → (batch, row, component), standardised."""
        if latent is None or self.standardise is None:
            return latent
        standard: Tensor = self.standardise(latent).transpose(1, 2)
        return standard

    @torch.no_grad()
    def reconstruct(self, clips: SoundClips, *, latent: Tensor | None = None, seed: int = 0) -> AudioOutput:
        """The clips by the mean of their posterior, or by another `latent` (batch, component, row): without a draw.

        `seed` is that of the noise.
        """
        clips = self._in_own_type(clips)
        posterior = self._row_posterior(clips) if latent is None else None
        if posterior is not None:
            latent = _of_clips(posterior.mean, len(clips))
        seeds = torch.arange(seed, seed + len(clips), device=clips.samples.device)
        return self._play(clips, latent, posterior, seeds)

    def _play(
        self, clips: SoundClips, latent: Tensor | None, posterior: Posterior | None, seeds: Tensor
    ) -> AudioOutput:
        controls = self.decode(latent, clips.f0, clips.loudness)
        return AudioOutput(self.synthesiser(controls, seeds, clips.num_samples), controls, latent, posterior)

    def loss(
        self,
        clips: SoundClips,
        out: AudioOutput,
        *,
        kl_weight: float | Tensor = 1.0,
        free_nats: float = 0.0,
        mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Terms of the objective as scalars, means over the examples of the batch.

        "reconstruction" is the multi-scale spectral loss, "kl" in nats per example and "kl_per_second" in nats per
        second, both over the rows that are not padding. "loss" = reconstruction + kl_weight · max(kl_per_second,
        free_nats) / nats_per_unit: a latent per row costs by time. `mask` (batch,) is False for padding.
        """
        with torch.autocast(clips.samples.device.type, enabled=False):
            spectral = self.spectral_loss(out.reconstruction, clips.samples, clips.lengths)
        reconstruction = masked_mean(spectral, mask)
        per_example, per_second = self.kl(clips, out.posterior)
        charged = masked_mean(per_second.clamp(min=free_nats), mask)
        return {
            "loss": reconstruction + kl_weight * charged / self.nats_per_unit,
            "reconstruction": reconstruction,
            "kl": masked_mean(per_example, mask),
            "kl_per_second": masked_mean(per_second, mask),
        }

    def kl(self, clips: SoundClips, posterior: Posterior | None) -> tuple[Tensor, Tensor]:
        """KL divergence from the prior in nats per example and in nats per second, (batch,) each, without padding.

        `posterior` is that of an `AudioOutput`.
        """
        if self.latent is None or posterior is None:
            zero = clips.samples.new_zeros(len(clips))
            return zero, zero
        per_row = torch.unflatten(self.latent.kl(posterior), 0, (len(clips), -1))
        is_real = self.real_rows(clips)
        total = torch.where(is_real, per_row, 0).sum(1)
        seconds = is_real.sum(1).clamp(min=1) / float(self.control_rate)
        return total, total / seconds

    def real_rows(self, clips: SoundClips) -> Tensor:
        """Which rows are not padding: (batch, row) bool."""
        if clips.lengths is None:
            return torch.ones_like(clips.f0, dtype=torch.bool)
        return self.rows_within(clips.lengths, clips.num_rows)

    def rows_within(self, lengths: Tensor, num_rows: int) -> Tensor:
        """Which of `num_rows` rows stand within the first `lengths` (batch,) samples: (batch, row) bool."""
        rows = wide(torch.arange(num_rows, device=lengths.device))
        is_within = rows * float(self.sample_rate / self.control_rate) < lengths.to(rows.device)[:, None]
        return is_within.to(lengths.device)

    def _row_posterior(self, clips: SoundClips) -> Posterior | None:
        """The posterior of every row as an example of its own, (batch · row, component); None without a latent."""
        if self.latent is None or self.encoder is None:
            return None
        features: Tensor = self.encoder(clips.samples, clips.num_rows, clips.f0)
        return self.latent.posterior(features.transpose(1, 2).flatten(0, 1))


def _refuse_values(nats_per_unit: float, reverb_seconds: float | None) -> None:
    if not 0 < nats_per_unit < math.inf:
        raise ValueError(f"nats_per_unit is {nats_per_unit}; it must be a finite number above 0.")
    if reverb_seconds is not None and not 0 < reverb_seconds <= LONGEST_REVERB:
        raise ValueError(
            f"reverb_seconds is {reverb_seconds}; it must be above 0 and at most {LONGEST_REVERB:g}, or None."
        )


def _refuse_counts(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ValueError(f"{name} is {count}; it must be 1 or more, or None.")


def _of_clips(rows: Tensor, batch: int) -> Tensor:
    """(batch · row, component) → (batch, component, row)."""
    return torch.unflatten(rows, 0, (batch, -1)).transpose(1, 2)
