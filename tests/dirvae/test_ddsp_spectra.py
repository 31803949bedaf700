"""Units, mel filters, the multi-scale loss and reverb, against closed formulas, NumPy, SciPy and librosa."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import signal as scipy_signal
from torch import Tensor

from dirvae.ddsp import DecayReverb, Framing, MultiScaleSpectralLoss, Reverb, add_reverb, exp_sigmoid
from dirvae.ddsp.convolution import fft_convolve
from dirvae.ddsp.fft_lengths import fast_length
from dirvae.ddsp.mel import hz_to_mel, mel_filterbank, mel_spectrogram, mel_to_hz
from dirvae.ddsp.reverb import decay_impulse_response
from dirvae.ddsp.spectral_loss import spectral_sums, window_lengths
from dirvae.ddsp.units import amplitude_to_db, db_to_amplitude, hz_to_midi, midi_to_hz

NO_LIBROSA = "librosa is not installed: pip install librosa"


def test_units_are_those_of_closed_formulas() -> None:
    hz = torch.tensor([440.0, 880.0, 27.5], dtype=torch.float64)
    assert hz_to_midi(hz).tolist() == [69, 81, 21]
    torch.testing.assert_close(midi_to_hz(hz_to_midi(hz)), hz)
    assert hz_to_midi(torch.zeros(1)).item() == -math.inf
    amplitude = torch.tensor([1.0, 0.1, 0.0], dtype=torch.float64).requires_grad_()
    db = amplitude_to_db(amplitude)
    torch.testing.assert_close(db, torch.tensor([0.0, -20.0, -120.0], dtype=torch.float64))
    assert torch.autograd.grad(db.sum(), amplitude)[0].isfinite().all()
    torch.testing.assert_close(db_to_amplitude(db)[:2], amplitude[:2])
    x = torch.linspace(-30, 30, 101, dtype=torch.float64)
    torch.testing.assert_close(exp_sigmoid(x), 2 * torch.sigmoid(x) ** math.log(10) + 1e-7)
    steep = torch.tensor([-1e4, 1e4]).requires_grad_()
    assert torch.autograd.grad(exp_sigmoid(steep).sum(), steep)[0].isfinite().all()


def test_mel_scales_are_those_of_librosa() -> None:
    hz = torch.tensor([0, 440, 999.9, 1000, 4000, 11025], dtype=torch.float64)
    slaney = [0.0, 6.6, 14.9985, 15.0, 35.163760314616646, 49.91059448015905]
    htk = [0.0, 549.6386753811499, 999.9192414144051, 999.9855371396244, 2146.06452750619, 3176.318435512582]
    for scale, golden in {"slaney": slaney, "htk": htk}.items():
        mel = hz_to_mel(hz, scale=scale)
        np.testing.assert_allclose(mel.numpy(), golden, rtol=1e-12)
        np.testing.assert_allclose(mel_to_hz(mel, scale=scale).numpy(), hz.numpy(), rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "settings", "golden"),
    [
        ((22_050, 512, 40), {}, (0.9284445599272638, 0.005765309262905659, 48, 65.11288619866802)),
        (
            (16_000, 1024, 64),
            {"scale": "htk", "norm": None, "lowest_hz": 50, "highest_hz": 7000},
            (435.27833182161294, 0.9614777295138229, 112, 96505.91862670891),
        ),
        ((44_100, 5600, 80), {"lowest_hz": 20}, (10.158853087289726, 0.006780445682868886, 369, 6692.471662752664)),
    ],
)
def test_mel_filters_have_the_sums_of_librosas(
    arguments: tuple[int, int, int], settings: dict, golden: tuple[float, float, int, float]
) -> None:
    """Sum of all, peak of the middle filter, its bin, and all weighted by bin: from librosa 0.11."""
    filters = mel_filterbank(*arguments, **settings)
    middle = filters[arguments[2] // 2]
    weighted = (filters * torch.arange(filters.shape[1])).sum()
    found = (float(filters.sum()), float(middle.max()), int(middle.argmax()), float(weighted))
    assert found == pytest.approx(golden, rel=1e-9)


@pytest.mark.heavy
def test_mel_filters_and_spectra_are_librosas() -> None:
    librosa = pytest.importorskip("librosa", reason=NO_LIBROSA)
    for scale, norm in (("slaney", "slaney"), ("slaney", None), ("htk", "slaney"), ("htk", None)):
        for sample_rate, size, num in ((16_000, 512, 40), (44_100, 2048, 128), (48_000, 1000, 64)):
            mine = mel_filterbank(sample_rate, size, num, lowest_hz=30, scale=scale, norm=norm)
            theirs = librosa.filters.mel(
                sr=sample_rate, n_fft=size, n_mels=num, fmin=30, htk=scale == "htk", norm=norm, dtype=np.float64
            )
            np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-9, atol=1e-15)
    signal = torch.randn(2, 16_000, dtype=torch.float64)
    filters = mel_filterbank(16_000, 512, 40)
    for power in (1.0, 2.0):
        mine = mel_spectrogram(signal, Framing(512, 125, 16_000), filters, power=power)
        theirs = librosa.feature.melspectrogram(
            y=signal.numpy(), sr=16_000, n_fft=512, hop_length=128, n_mels=40, power=power, pad_mode="constant"
        )
        np.testing.assert_allclose(mine.transpose(1, 2).numpy(), theirs[..., :125], rtol=1e-6)


def test_a_tone_is_in_the_mel_filters_around_it() -> None:
    signal = torch.sin(2 * math.pi * 1000 / 16_000 * torch.arange(16_000))[None]
    filters = mel_filterbank(16_000, 512, 40)
    spectra = mel_spectrogram(signal, Framing(512, 100, 16_000), filters)
    assert spectra.shape == (1, 100, 40)
    edges = mel_to_hz(torch.linspace(0, float(hz_to_mel(torch.tensor(8000.0))), 42))
    nearest = int((edges[1:-1] - 1000).abs().argmin())
    assert (spectra[0, 5:95].argmax(1) == nearest).all()


def test_what_mel_filters_cannot_be_is_named() -> None:
    with pytest.raises(ValueError, match="scale is 'bark'; use one of slaney, htk"):
        hz_to_mel(torch.ones(1), scale="bark")
    with pytest.raises(ValueError, match="norm is 'l2'; use 'slaney' or None"):
        mel_filterbank(16_000, 512, 40, norm="l2")
    with pytest.raises(
        ValueError, match=r"40 mel filters from 0.0 to 9000 Hz; at least 1 filter, between 0 and 8000.0"
    ):
        mel_filterbank(16_000, 512, 40, highest_hz=9000)
    with pytest.raises(ValueError, match="filters has 257 bins; frames of 256 samples have 129"):
        mel_spectrogram(torch.zeros(1, 900), Framing(256, 100, 16_000), mel_filterbank(16_000, 512, 40))


def numpy_loss(predicted: np.ndarray, target: np.ndarray, windows: tuple[int, ...], log_weight: float) -> float:
    """The loss of one example, frame by frame."""
    total = 0.0
    for window in windows:
        hop, shape = window // 4, np.sin(np.pi * np.arange(window) / window) ** 2
        pairs = []
        for middle in range(0, len(predicted), hop):
            both = []
            for signal in (predicted, target):
                padded = np.pad(signal, window)
                both.append(np.abs(np.fft.rfft(padded[middle + window // 2 : middle + 3 * window // 2] * shape)))
            pairs.append(both)
        mine, theirs = np.array(pairs).transpose(1, 0, 2)
        total += np.abs(mine - theirs).mean()
        total += log_weight * np.abs(np.log(mine + 1e-5) - np.log(theirs + 1e-5)).mean()
    return float(total)


@pytest.mark.parametrize("sample_rate", [16_000, 22_050, 44_100])
@pytest.mark.parametrize("num_samples", [100, 3001])
def test_the_multi_scale_loss_is_that_of_numpy(sample_rate: int, num_samples: int) -> None:
    generator = torch.Generator().manual_seed(0)
    predicted, target = torch.randn(2, 2, num_samples, generator=generator, dtype=torch.float64)
    loss = MultiScaleSpectralLoss(sample_rate, log_weight=0.7)
    found = loss(predicted, target)
    expected = [
        numpy_loss(mine.numpy(), theirs.numpy(), loss.windows, 0.7)
        for mine, theirs in zip(predicted, target, strict=True)
    ]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10)
    np.testing.assert_allclose(loss(predicted.float(), target.float()).numpy(), expected, rtol=1e-4)


def test_identical_signals_and_silence_have_a_loss_of_zero_and_gradients_that_are_numbers() -> None:
    loss = MultiScaleSpectralLoss(16_000)
    signal = torch.randn(2, 4000).requires_grad_()
    assert (loss(signal, signal.detach()) == 0).all()
    silence = torch.zeros(2, 4000).requires_grad_()
    assert (loss(silence, torch.zeros(2, 4000)) == 0).all()
    loss(silence, signal.detach()).sum().backward()
    assert silence.grad.isfinite().all()


def test_sums_of_parts_make_the_loss_of_the_whole_batch_and_padding_does_not_count() -> None:
    loss = MultiScaleSpectralLoss(16_000)
    predicted, target = torch.randn(2, 3, 5000)
    whole = loss(predicted, target)
    torch.testing.assert_close(torch.cat((loss(predicted[:1], target[:1]), loss(predicted[1:], target[1:]))), whole)
    longer = torch.cat((target, torch.randn(3, 3000)), 1), torch.cat((predicted, torch.zeros(3, 3000)), 1)
    sums = loss.sums(*longer, torch.tensor([5000, 2048, 0]))
    hops, bins = torch.tensor([512, 256, 128, 64, 32, 16]), torch.tensor(loss.windows) // 2 + 1
    assert torch.equal(sums.count[0], torch.ceil(5000 / hops) * bins)
    assert torch.equal(sums.count[1], torch.ceil(2048 / hops) * bins)
    assert (sums.count[2] == 0).all()
    assert sums.loss()[2] == 0
    both = sums + sums
    torch.testing.assert_close(both.loss(), sums.loss())
    assert torch.equal(both.count, 2 * sums.count)


def test_padding_that_is_not_a_number_does_not_reach_the_loss() -> None:
    predicted, target = torch.randn(2, 1, 2000)
    target[:, 1500:] = math.nan
    lengths = torch.tensor([400])
    with_padding = predicted.clone().requires_grad_()
    sums = spectral_sums(with_padding, target, (64,), lengths=lengths)
    assert sums.loss().isfinite().all()


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_samples_that_are_not_finite_have_no_finite_loss(broken: float) -> None:
    loss, signal = MultiScaleSpectralLoss(16_000), torch.randn(2, 4000)
    damaged = signal.clone()
    damaged[0, 2000] = broken
    for pair in ((damaged, signal), (signal, damaged), (damaged, damaged)):
        found = loss(*pair)
        assert not found[0].isfinite()
        assert found[1].isfinite()


def test_the_loss_passes_gradcheck() -> None:
    target = torch.randn(2, 70, dtype=torch.float64)
    predicted = torch.randn(2, 70, dtype=torch.float64).requires_grad_()

    def loss(predicted: Tensor) -> Tensor:
        return spectral_sums(predicted, target, (16, 8)).loss()

    assert torch.autograd.gradcheck(loss, predicted, atol=1e-4)


def test_windows_follow_the_sample_rate() -> None:
    assert window_lengths(16_000) == (2048, 1024, 512, 256, 128, 64)
    assert window_lengths(48_000) == (6144, 3072, 1536, 768, 384, 192)
    for sample_rate in (8000, 11_025, 22_050, 44_100, 96_000):
        for halvings, window in enumerate(window_lengths(sample_rate)):
            assert window % 4 == 0
            assert window / sample_rate == pytest.approx(0.128 / 2**halvings, rel=0.1)
    with pytest.raises(ValueError, match="4 samples or more"):
        window_lengths(500)
    with pytest.raises(ValueError, match="windows is"):
        spectral_sums(torch.zeros(1, 50), torch.zeros(1, 50), (30,))
    with pytest.raises(ValueError, match="predicted has shape"):
        spectral_sums(torch.zeros(1, 50), torch.zeros(1, 51), (32,))


@pytest.mark.parametrize(
    ("num_samples", "taps"), [(1, 1), (1000, 333), (333, 1000), (7777, 4096), (30_000, 3), (40_001, 1500)]
)
def test_convolution_is_that_of_scipy(num_samples: int, taps: int) -> None:
    signal, response = torch.randn(2, num_samples), torch.randn(2, taps) / math.sqrt(taps)
    for given in (response, response[:1]):
        expected = scipy_signal.fftconvolve(signal.double().numpy(), given.double().expand(2, -1).numpy(), axes=1)
        np.testing.assert_allclose(fft_convolve(signal, given).numpy(), expected, atol=1e-5)
    with pytest.raises(ValueError, match="signal has shape"):
        fft_convolve(signal[0], response)
    assert fast_length(1001) == 1024
    assert fast_length(1) == 2


def test_reverb_is_dry_plus_wet_without_the_first_tap() -> None:
    reverb, dry = Reverb(16_000, seconds=0.05, scale=0.03), torch.randn(2, 3000)
    taps = reverb.impulse_response.detach().double().numpy().copy()
    assert taps.shape == (800,)
    taps[0] = 1
    expected = scipy_signal.fftconvolve(dry.double().numpy(), taps[None], axes=1)[:, :3000]
    np.testing.assert_allclose(reverb(dry).detach().numpy(), expected, atol=1e-5)
    reverb(dry).square().sum().backward()
    assert reverb.impulse_response.grad[0] == 0
    assert (reverb.impulse_response.grad[1:] != 0).all()
    with pytest.raises(
        ValueError, match=r"seconds is 0.0; at 16000 samples per second 2 samples or more are needed"
    ):
        Reverb(16_000, seconds=0.0)


def test_a_decay_is_sixty_decibels_down_when_it_says_and_is_learned() -> None:
    response = decay_impulse_response(
        torch.tensor([0.5]), torch.tensor([0.25]), torch.ones(1, 16_000), sample_rate=16_000
    )
    assert response[0, 0] == 0.5
    assert response[0, 4000].item() == pytest.approx(0.5e-3, rel=1e-5)
    reverb = DecayReverb(16_000, seconds=0.1, gain=0.1, decay_seconds=0.05)
    same = DecayReverb(16_000, seconds=0.1, gain=0.1, decay_seconds=0.05)
    assert torch.equal(reverb.impulse_response, same.impulse_response)
    assert set(reverb.state_dict()) == {"log_gain", "log_decay_seconds"}
    reverb(torch.randn(2, 500)).square().sum().backward()
    assert all(weight.grad.isfinite() and weight.grad != 0 for weight in reverb.parameters())
    for name in ("gain", "decay_seconds"):
        with pytest.raises(ValueError, match=f"{name} is 0; it must be above 0 and finite"):
            DecayReverb(16_000, **{name: 0})


def test_reverb_passes_gradcheck() -> None:
    dry = torch.randn(2, 20, dtype=torch.float64).requires_grad_()
    response = torch.randn(1, 9, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(add_reverb, (dry, response))
