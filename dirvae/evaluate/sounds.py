"""How good an `AudioVAE` is on recordings it did not train on: spectra, loudness and pitch of what it plays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from dirvae.ddsp.loudness import loudness_curve
from dirvae.ddsp.pitch import track_f0
from dirvae.ddsp.pitch.contract import CONFIDENT
from dirvae.ddsp.pitch.tracking import highest_pitch
from dirvae.metrics import latent_usage
from dirvae.networks.audio import AudioVAE, SoundClips

__all__ = ["HeldOutSounds", "loudness_error_db", "loudness_rows", "mean_latents", "pitch_error_semitones"]

MAX_CLIPS = 64
"""Clips in one evaluation: tracking the pitch of a second of sound takes about 15 ms."""


class HeldOutSounds:
    """Evaluates an `AudioVAE` on batches that give the same clips each time they are iterated; `limit` at most.

    `to_clips` makes `SoundClips` of a batch.
    """

    def __init__(
        self,
        batches: Iterable[Any],
        to_clips: Callable[[Any], SoundClips],
        *,
        seed: int = 0,
        limit: int = MAX_CLIPS,
    ) -> None:
        self._batches, self._to_clips = batches, to_clips
        self._seed, self._limit = seed, limit

    @torch.inference_mode()
    def __call__(self, model: AudioVAE) -> dict[str, Any]:
        """Numbers by name, means over the clips, of sounds made from the posteriors' means.

        `objective` is what training minimises at a KL weight of 1, with its sign changed; it is not a bound, because
        `reconstruction`, the multi-scale spectral loss, is not a likelihood. `kl` is in nats per clip, `kl_per_second`
        in nats per second. `loudness_error_db` and `pitch_error_semitones` are mean absolute differences from the
        original, the latter over rows where both have a pitch; `pitch_lost` is the share of the original's pitched rows
        that have none in the reconstruction. `components_in_use`, `effective_components` (on the simplex only) and
        `model_size` describe the latents.
        """
        model.eval()
        device = next(model.parameters()).device
        rows: list[dict[str, Tensor]] = []
        latents: list[Tensor] = []
        for clips in self._clips(device):
            out = model.reconstruct(clips, seed=self._seed + sum(len(row["kl"]) for row in rows))
            kl, per_second = model.kl(clips, out.posterior)
            spectral = model.spectral_loss(out.reconstruction, clips.samples, clips.lengths)
            is_real = model.real_rows(clips)
            played = out.reconstruction
            rows.append(
                {
                    "reconstruction": spectral,
                    "kl": kl,
                    "kl_per_second": per_second,
                    "loudness_error_db": loudness_error_db(model, played, clips, is_real),
                    **pitch_error_semitones(model, played, clips, is_real),
                }
            )
            if out.latent is not None:
                latents.append(out.latent.movedim(1, 2)[is_real].cpu())
        if not rows:
            raise ValueError("no batch was given to evaluate.")
        joined = {name: torch.cat([row[name].cpu().double() for row in rows]) for name in rows[0]}
        used = latent_usage(torch.cat(latents)) if latents else {}
        return {**_means(joined, model.nats_per_unit), **used, "examples": len(joined["kl"])}

    def _clips(self, device: torch.device) -> Iterator[SoundClips]:
        left = self._limit
        for batch in self._batches:
            clips = self._to_clips(batch)[:left].to(device)
            yield clips
            left -= len(clips)
            if left <= 0:
                return


@torch.inference_mode()
def mean_latents(model: AudioVAE, samples: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The mean latent of each clip (batch, 1, time) over its control rows: (batch, component).

    `lengths` (batch,): samples that are real; later rows do not count. None: all are. ValueError for a model
    without a latent.
    """
    means = model.encode(samples).mean
    if lengths is None:
        return means.mean(2)
    is_real = model.rows_within(lengths.to(means.device), means.shape[2])
    return torch.where(is_real[:, None], means, 0).sum(2) / is_real.sum(1, keepdim=True).clamp(min=1)


def loudness_error_db(model: AudioVAE, played: Tensor, clips: SoundClips, is_real: Tensor) -> Tensor:
    """Mean absolute difference of the loudness from the clips' own, over the rows that are real: (batch,) dB.

    Both are measured here, because curves of a whole recording hear what comes before and after a clip.
    """
    mine, theirs = (loudness_rows(model, sound, clips.num_rows) for sound in (played, clips.samples))
    return torch.where(is_real, (mine - theirs).abs(), 0).sum(1) / is_real.sum(1).clamp(min=1)


def pitch_error_semitones(model: AudioVAE, played: Tensor, clips: SoundClips, is_real: Tensor) -> dict[str, Tensor]:
    """Of each clip, (batch,): the sum of the absolute differences of f0 in semitones over rows where both are pitched,
    how many these are ("both"), and how many rows of the original are ("pitched").
    """
    rate, sample_rate = model.control_rate, model.sample_rate
    highest = highest_pitch(sample_rate)
    (f0, confidence), (own, own_confidence) = (
        (found.f0.values[:, : clips.num_rows], found.confidence.values[:, : clips.num_rows])
        for found in (
            track_f0(sound.cpu().nan_to_num(0.0, 0.0, 0.0), sample_rate, rate=rate, highest=highest)
            for sound in (played, clips.samples)
        )
    )
    real = is_real.cpu()[:, : f0.shape[1]]
    pitched = (own_confidence >= CONFIDENT) & real
    both = pitched & (confidence >= CONFIDENT)
    error = torch.where(both, 12 * torch.log2(f0 / own).abs(), 0).sum(1)
    return {"pitch_error": error, "both": both.sum(1), "pitched": pitched.sum(1)}


def loudness_rows(model: AudioVAE, sound: Tensor, num_rows: int) -> Tensor:
    """Loudness of sounds (batch, time) at the first rows of the model: (batch, row) dB."""
    levels = loudness_curve(sound, model.sample_rate, rate=model.control_rate).values
    missing = max(num_rows - levels.shape[1], 0)
    return torch.cat((levels, levels[:, -1:].expand(-1, missing)), 1)[:, :num_rows]


def _means(joined: dict[str, Tensor], nats_per_unit: float) -> dict[str, Any]:
    both, pitched = joined.pop("both").sum(), joined.pop("pitched").sum()
    error = joined.pop("pitch_error").sum()
    means = {name: float(values.mean()) for name, values in joined.items()}
    return {
        "objective": -(means["reconstruction"] + means["kl_per_second"] / nats_per_unit),
        **means,
        "pitch_error_semitones": float(error / both) if both else None,
        "pitch_lost": float(1 - both / pitched) if pitched else None,
    }
