"""`AudioVAE(plays_loudness=True)`: sounds are as loud as asked, by an analysis that knows nothing of controls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dirvae import AudioVAE
from dirvae.ddsp.curve import Curve
from dirvae.ddsp.synthesiser import Controls
from dirvae.networks.audio import DDSPStream
from dirvae.networks.audio.levelling import Levelling
from pipelines.decode.audio import loudness

ROWS = 400


def levels(samples: torch.Tensor, sample_rate: int) -> np.ndarray[Any, Any]:
    """dB of each row, without those at the ends."""
    return np.stack([loudness.loudness_curve(one, sample_rate, 250)[10:-10] for one in samples.numpy()])


def a_model(sample_rate: int, **options: Any) -> AudioVAE:
    """One whose decoder is far from its first weights: a colour of its own in each of its rows."""
    torch.manual_seed(0)
    model = AudioVAE(sample_rate, preset="tiny", latent=None, plays_loudness=True, **options).eval()
    with torch.no_grad():
        model.decoder.head.weight.normal_(std=0.2)
        model.decoder.head.bias.normal_()
    return model


@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("asked", [-60.0, -20.0])
def test_sounds_are_as_loud_as_asked(sample_rate: int, asked: float) -> None:
    model = a_model(sample_rate)
    f0 = torch.tensor([110.0, 233.0, 700.0])[:, None].expand(-1, ROWS)
    controls = model.decode(None, f0, torch.full_like(f0, asked))
    with torch.inference_mode():
        sound = model.synthesiser(controls, torch.arange(3), sample_rate * ROWS // 250).dry
    found = levels(sound, sample_rate)
    np.testing.assert_allclose(10 * np.log10(np.mean(10 ** (found / 10), axis=1)), asked, atol=0.3)


@pytest.mark.parametrize("part", ["harmonics", "noise"])
def test_each_part_alone_is_as_loud_as_asked(part: str) -> None:
    """So that neither makes up for the other."""
    levelling = Levelling(16_000, 50, 65)
    f0 = torch.full((2, ROWS), 150.0)
    raw = torch.rand(2, 1, 116, generator=torch.Generator().manual_seed(1)).expand(-1, ROWS, -1).clone()
    raw[..., 51:] *= 0.0 if part == "harmonics" else 1.0
    raw[..., :1] *= 0.0 if part == "noise" else 1.0
    with torch.inference_mode():
        amplitude, distribution, magnitudes = torch.split(
            levelling(raw, f0, torch.full_like(f0, -30.0)), [1, 50, 65], 2
        )
    assert torch.equal(distribution, raw[..., 1:51])
    rows = [Curve(value, 250) for value in (f0, amplitude[..., 0], distribution, magnitudes)]
    sound = AudioVAE(16_000, preset="tiny", latent=None).synthesiser(Controls(*rows), torch.arange(2), 25_600).dry
    found = levels(sound, 16_000)
    np.testing.assert_allclose(
        10 * np.log10(np.mean(10 ** (found / 10), axis=1)), -30, atol=0.1 if part == "harmonics" else 0.4
    )


def test_a_tone_below_hearing_is_not_made_enormous() -> None:
    levelling = Levelling(16_000, 1, 9)
    controls = torch.cat((torch.ones(1, 1, 2), torch.zeros(1, 1, 9)), 2)
    with torch.inference_mode():
        gain = levelling(controls, torch.tensor([[15.0]]), torch.tensor([[-20.0]]))[0, 0, 0]
    assert gain == pytest.approx(10 ** (-20 / 20) * 10 ** (30 / 20), rel=1e-3)


def test_silence_stays_silent_and_gradients_are_finite() -> None:
    model = a_model(16_000).train()
    f0 = torch.full((1, ROWS), 200.0)
    controls = model.decode(None, f0, torch.full_like(f0, -80.0))
    sound = model.synthesiser(controls, torch.arange(1), 25_600).dry
    assert sound.abs().max() < 1e-3
    sound.square().sum().backward()
    for name, value in model.decoder.named_parameters():
        assert value.grad is not None, name
        assert torch.isfinite(value.grad).all(), name


@pytest.mark.parametrize("core", ["gru", "conv"])
def test_a_stream_plays_it_too(core: str) -> None:
    model = a_model(16_000, core=core)
    generator = torch.Generator().manual_seed(2)
    f0 = 80 * 2 ** (4 * torch.rand(2, ROWS, generator=generator))
    asked = -40 + 30 * torch.rand(2, ROWS, generator=generator)
    with torch.inference_mode():
        whole = model.synthesiser(model.decode(None, f0, asked), torch.arange(2), 25_600).sound
    stream, done, played = DDSPStream(model, batch=2), 0, []
    while stream.position < 25_600:
        length = min(500, 25_600 - stream.position)
        rows = stream.rows_wanted(length)
        played.append(stream(f0[:, done : done + rows], asked[:, done : done + rows], None, length))
        done += rows
    sound = torch.cat([*played, stream.flush()], 1)
    torch.testing.assert_close(sound[:, stream.latency_samples :], whole, atol=1e-5, rtol=0)
