"""Speed of models of sound: training steps, and decoding as a multiple of real time."""

from __future__ import annotations

from typing import Any

import torch

from dirvae import AudioVAE
from dirvae.networks.audio import SoundClips
from dirvae.training import Trainer
from dirvae.training.objective import Bound
from gpu_parts.machine import DEVICE, IS_CUDA, in_memory, peak_memory_gib, quiet, seconds_per_call, settings
from gpu_parts.stopwatch import Stopwatch

PRESETS = ("small", "full", "tiny") if IS_CUDA else ("tiny",)
PRECISIONS = ("fp32", "bf16") if IS_CUDA else ("fp32",)
BATCH_SIZE, CLIP_SECONDS, DECODED_SECONDS = (16, 2.0, 10.0) if IS_CUDA else (2, 0.2, 0.2)
TIMED_SECONDS = 0.5 if IS_CUDA else 0.01
SAMPLE_RATE, CONTROL_RATE = 16_000, 250


def sound(preset: str, precision: str) -> dict[str, Any]:
    """Clips per second of whole training steps, and how many seconds of sound are decoded in one, clip by clip."""
    return in_memory(lambda batch_size: _measured(preset, precision, batch_size), BATCH_SIZE)


def make_clips(num: int, seconds: float) -> SoundClips:
    """Noise with a steady pitch, on the device."""
    rows = round(seconds * CONTROL_RATE)
    samples = 0.1 * torch.randn(num, round(seconds * SAMPLE_RATE), device=DEVICE)
    f0 = torch.linspace(110, 440, num, device=DEVICE)[:, None].repeat(1, rows)
    return SoundClips(samples, f0, torch.full_like(f0, -20.0))


def _measured(preset: str, precision: str, batch_size: int) -> dict[str, Any]:
    torch.manual_seed(0)
    model = AudioVAE(SAMPLE_RATE, control_rate=CONTROL_RATE, preset=preset)
    clips, config, watch = make_clips(batch_size, CLIP_SECONDS), settings(precision=precision), Stopwatch()
    bound = Bound(config, lambda batch: clips)
    trainer = Trainer(model, [clips.samples[:, None]] * 1000, loss=bound, config=config)
    try:
        with quiet():
            trainer.fit(should_stop=watch)
    finally:
        watch.close()
    memory = peak_memory_gib()
    return {
        "preset": preset,
        "precision": precision,
        "clip_seconds": CLIP_SECONDS,
        **watch.found(batch_size),
        "peak_memory_gib": memory,
        "times_real_time": _times_real_time(model, trainer),
    }


def _times_real_time(model: AudioVAE, trainer: Trainer) -> float:
    """Of decoding one clip from its latent, pitch and loudness."""
    model.eval()
    clip = make_clips(1, DECODED_SECONDS)
    with torch.no_grad(), trainer.precision.autocast():
        latent = model.encode(clip.samples, num_rows=clip.num_rows).mean
        seconds = seconds_per_call(lambda: model.reconstruct(clip, latent=latent), at_least=TIMED_SECONDS)
    return DECODED_SECONDS / seconds
