"""A recording played again by a model: its pitch and loudness, moved as wanted, with its own timbre or another one.

samples ─┬─▶ f0 ────────▶ transposed ─┐
         ├─▶ loudness ──▶ + dB ───────┼─▶ DDSPStream ─▶ sound
         └─▶ latent, or a timbre ─────┘

Besides the samples and the rows of a recording only pieces of it are in memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from dirvae.ddsp.loudness import loudness_curve
from dirvae.latents.latent import SimplexLatent
from dirvae.networks.audio.audio_vae import AudioVAE
from dirvae.networks.audio.stream import DDSPStream

__all__ = ["encode_rows", "mean_timbre", "mixed_timbre", "play_rows", "resynthesise"]

ROWS_AT_ONCE = 2048
BLOCK_SAMPLES = 1 << 13
QUIETEST_DB = -55.0
"""Rows below have no part in the timbre of a recording."""


@torch.no_grad()
def resynthesise(
    model: AudioVAE,
    samples: Tensor,
    *,
    semitones: float = 0.0,
    loudness_db: float = 0.0,
    timbre: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """A sound with the pitch and the loudness of another, as the model plays it: (time,) → (time,).

    samples      float32 in [-1, 1] at the model's sample rate
    semitones    added to the pitch; 12 is an octave
    loudness_db  added to the loudness
    timbre       (component,), the latent of every row; None: that of each row of the sound
    seed         of the noise

    Raises `ValueError` for samples of another shape or that are not finite, and for a timbre that does not fit.
    """
    if samples.ndim != 1 or not len(samples):
        raise ValueError(f"samples has shape {tuple(samples.shape)}; it must be (time,), with 1 sample or more.")
    sound = samples[None]
    f0 = model.track_f0(sound)
    loudness = loudness_curve(sound, model.sample_rate, rate=model.control_rate).values
    latent = None
    if timbre is not None:
        latent = _checked(model, timbre)[None, :, None].expand(-1, -1, f0.shape[1])
    elif model.latent is not None:
        latent = encode_rows(model, samples, f0[0])[None]
    rows = f0 * 2 ** (semitones / 12), loudness + loudness_db, latent
    return play_rows(model, *rows, num_samples=len(samples), seed=seed)[0]


@torch.no_grad()
def play_rows(
    model: AudioVAE, f0: Tensor, loudness: Tensor, latent: Tensor | None, *, num_samples: int, seed: int = 0
) -> Tensor:
    """The sound of rows, (batch, num_samples) on the CPU, without its latency, played by `DDSPStream`.

    f0 (batch, row) Hz, loudness (batch, row) dB, latent (batch, component, row) or None: `model.num_rows(num_samples)`
    rows, on any device. Raises `ValueError` for other shapes.
    """
    stream = DDSPStream(model, len(f0), seed=seed)
    sound, row = torch.empty(len(f0), num_samples + stream.latency_samples), 0
    while stream.position < num_samples:
        start = stream.position
        length = min(BLOCK_SAMPLES, num_samples - start)
        part = slice(row, row + stream.rows_wanted(length))
        block = stream(f0[:, part], loudness[:, part], None if latent is None else latent[:, :, part], length)
        sound[:, start : start + length] = block
        row = part.stop
    sound[:, num_samples:] = stream.flush()
    return sound[:, stream.latency_samples :]


@torch.no_grad()
def encode_rows(
    model: AudioVAE, samples: Tensor, f0: Tensor | None = None, *, rows_at_once: int = ROWS_AT_ONCE
) -> Tensor:
    """The mean of the posterior of each row, (time,) → (component, row) on the CPU, in pieces of a recording.

    `f0` (row,) in Hz is read by an encoder of harmonics; tracked by default. Each piece is read with so much beside it
    that its rows are those of the whole recording. Raises `ValueError` for a model without a latent.
    """
    if model.encoder is None:
        raise ValueError("this model has no latent (latent=None), so there is nothing to encode.")
    hop = model.sample_rate / model.control_rate
    num_rows, margin = model.num_rows(len(samples)), model.encoder.margin_rows
    device = next(model.parameters()).device
    if f0 is None and model.encoder.num_harmonics:
        f0 = model.track_f0(samples[None])[0]
    found = []
    for first in range(0, num_rows, rows_at_once):
        stop = min(first + rows_at_once, num_rows)
        begin = max(first - margin, 0) // hop.denominator * hop.denominator  # a row at a whole sample
        end = min(stop + margin, num_rows)
        last_sample = len(samples) if end == num_rows else math.ceil(end * hop)
        piece = samples[int(begin * hop) : last_sample].to(device)
        pitch = None if f0 is None else f0[None, begin:end].to(device)
        mean = model.encode(piece[None], f0=pitch, num_rows=end - begin).mean[0]
        found.append(mean[:, first - begin : stop - begin].cpu())
    return torch.cat(found, 1)


@torch.no_grad()
def mean_timbre(model: AudioVAE, samples: Tensor) -> Tensor:
    """The latent of a recording, (time,) → (component,): the mean over its rows of -55 dB(A) or more.

    Raises `ValueError` for a recording without such rows, and for a model without a latent.
    """
    rows = encode_rows(model, samples)
    level = loudness_curve(samples[None], model.sample_rate, rate=model.control_rate).values[0]
    is_heard = level >= QUIETEST_DB
    if not is_heard.any():
        raise ValueError(f"nothing in it is louder than {QUIETEST_DB:g} dB, so it has no timbre.")
    return rows[:, is_heard].mean(1)


def mixed_timbre(model: AudioVAE, weights: Mapping[int, float]) -> Tensor:
    """Components by their numbers, from 0 on, with weights that are scaled to a sum of 1: (component,).

    Raises `ValueError` for numbers that are not there, for weights that are not finite and above 0, and for models
    whose latent is not a mixture.
    """
    if not isinstance(model.latent, SimplexLatent):
        kind = "has no latent" if model.latent is None else f"has a latent of the kind {model.config['latent']}"
        raise ValueError(f"this model {kind}, whose components are not timbres that can be mixed.")
    timbre = torch.zeros(model.model_size)
    largest = max(weights.values(), default=1.0)
    for component, weight in weights.items():
        if not 0 <= component < model.model_size:
            raise ValueError(f"there is no component {component}; this model has 0 to {model.model_size - 1}.")
        if not 0 < weight < math.inf:
            raise ValueError(f"the weight of component {component} is {weight:g}; it must be finite and above 0.")
        timbre[component] = weight / largest  # in double precision: float32 has neither 1e-50 nor 1e300
    return timbre / timbre.sum()


def _checked(model: AudioVAE, timbre: Tensor) -> Tensor:
    if model.latent is None:
        raise ValueError("this model has no latent, so it has one timbre only; leave timbre out.")
    if timbre.shape != (model.model_size,):
        raise ValueError(f"timbre has shape {tuple(timbre.shape)}; it must be ({model.model_size},).")
    return timbre
