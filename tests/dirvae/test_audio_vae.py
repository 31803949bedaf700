"""`AudioVAE`: shapes, rows in pieces, the terms of its loss by hand, and what its encoder and decoder may not see."""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dirvae import AudioVAE
from dirvae.ddsp.spectral_loss import MultiScaleSpectralLoss
from dirvae.latents.dirichlet_density import dirichlet_kl
from dirvae.networks.audio import PRESETS, SoundClips
from dirvae.networks.audio.clips import shifted_rows
from dirvae.networks.audio.cores import make_core

SMALL: dict[str, Any] = {"preset": "tiny", "model_size": 3, "num_harmonics": 12, "num_bands": 9}


def tones(num: int, *, seconds: float = 0.4, sample_rate: int = 16_000, hz: float = 300.0) -> SoundClips:
    """Tones with two harmonics at 250 rows per second, the last clip padded to twice its length."""
    time = torch.arange(round(seconds * sample_rate)) / sample_rate
    rates = hz * torch.linspace(1, 1.5, num)[:, None]
    samples = 0.3 * torch.sin(2 * torch.pi * rates * time) + 0.1 * torch.sin(4 * torch.pi * rates * time)
    rows = math.ceil(len(time) * 250 / sample_rate)
    lengths = torch.full((num,), len(time))
    lengths[-1] = len(time) // 2
    samples[-1, len(time) // 2 :] = 0
    return SoundClips(samples, rates.expand(num, rows).clone(), torch.full((num, rows), -12.0), lengths)


@pytest.mark.parametrize("name", ["gru", "conv"])
def test_rows_in_pieces_are_the_whole_and_no_row_sees_a_later_one(name: str) -> None:
    torch.manual_seed(0)
    core = make_core(name, 5, 8)
    rows = torch.randn(2, 100, 5)
    whole, last = core(rows)
    state, pieces = None, []
    for piece in torch.split(rows, [1, 2, 30, 67], 1):
        made, state = core(piece, state)
        pieces.append(made)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-6, rtol=0)
    assert state is not None
    torch.testing.assert_close(state, last, atol=1e-6, rtol=0)
    changed = rows.clone()
    changed[:, 60:] += 1
    again, _ = core(changed)
    torch.testing.assert_close(again[:, :60], whole[:, :60], atol=1e-6, rtol=0)
    assert not torch.allclose(again[:, 60], whole[:, 60], atol=1e-3)


@pytest.mark.parametrize("sample_rate", [16_000, 44_100])
@pytest.mark.parametrize("latent", ["dirichlet", "gaussian", None])
def test_a_forward_pass_has_the_shapes_it_promises(sample_rate: int, latent: str | None) -> None:
    clips = tones(3, sample_rate=sample_rate)
    model = AudioVAE(sample_rate, latent=latent, **SMALL)
    out = model(clips)
    assert out.reconstruction.shape == clips.samples.shape
    assert out.controls.distribution.values.shape == (3, clips.num_rows, 12)
    assert out.controls.magnitudes.values.shape == (3, clips.num_rows, 9)
    assert all(
        getattr(out.controls, name).values.min() >= 0 for name in ("amplitude", "distribution", "magnitudes")
    )
    if latent is None:
        assert out.latent is out.posterior is None
        with pytest.raises(ValueError, match="no latent"):
            model.encode(clips.samples)
    else:
        assert out.latent.shape == (3, 3, clips.num_rows)
        assert model.encode(clips.samples[:, None]).mean.shape == (3, 3, model.num_rows(clips.num_samples))
    terms = model.loss(clips, out)
    terms["loss"].backward()
    dead = [
        name for name, value in model.named_parameters() if value.grad is None or not value.grad.isfinite().all()
    ]
    assert dead == []


def test_the_terms_of_the_loss_are_those_made_by_hand() -> None:
    torch.manual_seed(0)
    clips, model = tones(3), AudioVAE(nats_per_unit=50.0, **SMALL)
    out = model(clips)
    terms = model.loss(clips, out, kl_weight=0.5)
    spectral = MultiScaleSpectralLoss(16_000)(out.reconstruction, clips.samples, clips.lengths)
    concentration = out.posterior.parameters["concentration"]
    per_row = dirichlet_kl(concentration, torch.full_like(concentration, 1 - 1 / 3)).view(3, 100)
    real = torch.tensor([100, 100, 50])
    kl = torch.stack([row[:num].sum() for row, num in zip(per_row, real, strict=True)])
    torch.testing.assert_close(terms["reconstruction"], spectral.mean())
    torch.testing.assert_close(terms["kl"], kl.mean())
    torch.testing.assert_close(terms["kl_per_second"], (kl / (real / 250)).mean())
    torch.testing.assert_close(terms["loss"], spectral.mean() + 0.5 * terms["kl_per_second"] / 50)
    free = model.loss(clips, out, free_nats=1e6)
    torch.testing.assert_close(free["loss"], spectral.mean() + 1e6 / 50)
    masked = model.loss(clips, out, mask=torch.tensor([True, True, False]))
    torch.testing.assert_close(masked["reconstruction"], spectral[:2].mean())
    torch.testing.assert_close(masked["kl"], kl[:2].mean())


def test_what_comes_after_the_end_of_a_clip_does_not_change_its_divergence() -> None:
    clips, model = tones(2), AudioVAE(**SMALL)
    louder = clips.samples.clone()
    frame = model.encoder.framing.frame_length if model.encoder is not None else 0
    louder[-1, int(clips.lengths[-1]) + 4 * frame :] = (
        0.5  # what the last real row's window and its neighbours see not
    )
    found = []
    for samples in (clips.samples, louder):
        torch.manual_seed(1)
        given = SoundClips(samples, clips.f0, clips.loudness, clips.lengths)
        terms = model.loss(given, model.reconstruct(given))
        found.append(terms["kl"])
    assert clips.lengths is not None
    torch.testing.assert_close(found[0], found[1])


def test_the_encoder_hears_the_spectrum_and_not_the_level() -> None:
    clips, model = tones(2), AudioVAE(**SMALL)
    assert model.encoder is not None
    loud, soft = (model.encoder.spectra(level * clips.samples[:1], 100) for level in (1.0, 0.25))
    inner = slice(10, 90)
    torch.testing.assert_close(loud[..., inner], soft[..., inner], atol=0.02, rtol=0)
    assert (loud[..., inner] - model.encoder.spectra(clips.samples.flip(0)[:1], 100)[..., inner]).abs().max() > 0.2


def test_a_clip_out_of_a_steady_tone_sounds_the_same_to_its_ends() -> None:
    """Frames at the ends are half beyond the clip; as silence they would hear a click."""
    clips, model = tones(1), AudioVAE(**SMALL)
    assert model.encoder is not None
    spectra = model.encoder.spectra(clips.samples[:, :3200], 50)[0]
    middle = spectra[:, 25:26]
    assert (spectra - middle).abs().mean(0).max() < 0.3, "6 dB on average over the mels"


def test_levels_of_single_harmonics_are_read_as_they_were_made() -> None:
    """Mels are 300 Hz wide up there; the levels made here alternate by 20 dB from one harmonic to the next."""
    num, hz, sample_rate = 24, 211.0, 16_000
    decibels = torch.tensor([0.0, -20.0]).repeat(num // 2) - torch.arange(num) * 0.5
    time = torch.arange(sample_rate) / sample_rate
    phases = 2 * torch.pi * hz * torch.arange(1, num + 1)[:, None] * time
    sound = (0.05 * 10 ** (decibels[:, None] / 20) * torch.sin(phases + torch.arange(num)[:, None])).sum(0)
    model = AudioVAE(encoder_harmonics=40, **SMALL)
    assert model.encoder is not None
    spectra = model.encoder.spectra(torch.stack((sound, sound / 8)), 250, torch.full((2, 250), hz))
    assert spectra.shape == (2, 64 + 40, 250)
    levels = 20 * spectra[:, 64:, 20:-20]
    made = torch.cat((decibels, torch.full((37 - num,), -60.0)))  # 37 lie below half the sample rate
    torch.testing.assert_close(
        levels[:, :num] - levels[:, :1], (made - made[0])[None, :num, None].expand(2, -1, 210), atol=2.0, rtol=0
    )
    assert levels[:, num:37].sub(levels[:, :1]).max() < -45
    assert not levels[:, 37:].any()
    with pytest.raises(ValueError, match="reads the levels of harmonics, so it needs f0"):
        model.encoder(sound[None], 250)


def test_pitch_that_is_not_given_to_the_encoder_is_tracked() -> None:
    clips, model = tones(1), AudioVAE(encoder_harmonics=8, **SMALL)
    sound = clips.samples[:, :3200]
    given = model.encode(sound, f0=clips.f0[:, :50]).mean
    torch.testing.assert_close(model.encode(sound).mean, given, atol=1e-3, rtol=0)
    out = model.reconstruct(SoundClips(sound, clips.f0[:, :50], clips.loudness[:, :50]))
    torch.testing.assert_close(out.latent, given)
    assert (model.encode(sound, f0=1.5 * clips.f0[:, :50]).mean - given).abs().max() > 2e-3


def test_an_untrained_decoder_follows_the_loudness() -> None:
    clips, model = tones(1), AudioVAE(latent=None, **SMALL)
    with torch.no_grad():
        for head in (model.decoder.loudness_stack[0],):
            head.weight.zero_()  # what is learned about loudness
        soft, loud = (
            model.decode(None, clips.f0, clips.loudness + gain).amplitude.values for gain in (-60.0, -40.0)
        )
    assert 20 * torch.log10(loud / soft).mean() == pytest.approx(20, abs=1)


def test_a_last_layer_that_reads_the_latent_mixes_spectra_in_logarithms() -> None:
    """With all other weights at 0, harmonics are exp_sigmoid of a mixture of one row of weights per component."""
    model = AudioVAE(reads_latent_last=True, latent="gaussian", **SMALL)
    decoder, size = model.decoder, model.model_size
    assert decoder.direct is not None
    spectra = torch.randn(size, 12)
    with torch.no_grad():
        decoder.head.weight.zero_()
        decoder.head.bias.zero_()
        decoder.direct.weight[1:13] = spectra.T
    latent, f0 = torch.randn(2, size, 5), torch.full((2, 5), 200.0)
    found = model.decode(latent, f0, f0 * 0).distribution.values
    assert model.standardise is not None
    mixed = torch.einsum("bkr,kh->brh", model.standardise(latent), spectra)
    expected = 2 * torch.sigmoid(mixed) ** math.log(10) + 1e-7
    torch.testing.assert_close(found, expected)
    assert AudioVAE(latent=None, reads_latent_last=True, **SMALL).decoder.direct is None


def test_a_model_is_made_again_from_its_config() -> None:
    model = AudioVAE(
        44_100, latent="gaussian", reverb_seconds=0.1, encoder_harmonics=5, reads_latent_last=True, **SMALL
    )
    again = AudioVAE(**model.config)
    again.load_state_dict(model.state_dict())
    assert again.config == model.config
    assert AudioVAE(44_100).synthesiser.reverb is None
    assert AudioVAE(44_100, preset="small").num_harmonics == math.ceil(22_050 / PRESETS["small"].lowest_hz)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"preset": "huge"}, "no preset is called 'huge'; use one of tiny, small, full"),
        ({"core": "lstm"}, "no core is called 'lstm'; use 'gru' or 'conv'"),
        ({"latent": "cauchy"}, "no latent is called 'cauchy'"),
        ({"nats_per_unit": 0.0}, "nats_per_unit is 0.0; it must be a finite number above 0"),
        ({"num_harmonics": 0}, "num_harmonics is 0; it must be 1 or more"),
        ({"encoder_harmonics": 0}, "encoder_harmonics is 0; it must be 1 or more, or None"),
        ({"reverb_seconds": 1e9}, "reverb_seconds is 1000000000.0; it must be above 0 and at most 30"),
        ({"sample_rate": 0}, "sample_rate is 0; it must be a number per second, above 0"),
        ({"num_bands": 1}, "num_bands is 1; a filter has 2 bands or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        AudioVAE(**{**SMALL, **settings})


def test_rows_are_moved_to_even_times_as_numpy_interpolates_them() -> None:
    rng = np.random.default_rng(0)
    values, starts = rng.normal(size=(4, 9)), np.array([0.0, 0.5, -0.5, 0.2])
    moved = shifted_rows(torch.from_numpy(values), torch.from_numpy(starts))
    for row, start, found in zip(values, starts, moved, strict=True):
        np.testing.assert_allclose(found, np.interp(np.arange(9), np.arange(9) + start, row), atol=1e-12)


def batch(**fields: Any) -> Any:
    samples = np.zeros((2, 1, 640), np.float32)
    return SimpleNamespace(data=samples, keys=["a@0", "b@5"], fields=fields, lengths=None)


def test_clips_of_a_batch_have_rows_at_even_times() -> None:
    rows = np.tile(np.arange(10, dtype=np.float32), (2, 1)) + 100
    starts = np.array([0.0, 0.001])
    given = batch(**{"f0.npy": rows, "loudness.npy": -rows, "f0.npy@start": starts, "loudness.npy@start": starts})
    clips = SoundClips.from_batch(given, rate=Fraction(250))
    np.testing.assert_allclose(clips.f0[0], rows[0])
    np.testing.assert_allclose(clips.f0[1, 1:], rows[1, 1:] - 0.25, atol=1e-5)
    np.testing.assert_allclose(clips.loudness[1, 1:], 0.25 - rows[1, 1:], atol=1e-5)


def test_a_clip_without_pitch_is_named() -> None:
    with pytest.raises(ValueError, match=r"has no f0\.npy\. Pack the recordings with --features f0,loudness"):
        SoundClips.from_batch(batch(), rate=250)
    one = batch(**{"f0.npy": [np.ones(10), None]})
    with pytest.raises(ValueError, match=r"^b@5: has no f0\.npy"):
        SoundClips.from_batch(one, rate=250)
    with pytest.raises(ValueError, match=r"loudness has shape \(2, 4\)|f0 has shape"):
        SoundClips(torch.zeros(2, 8), torch.ones(2, 3), torch.ones(2, 4))


def test_half_precision_is_left_to_the_layers_that_can_do_with_it() -> None:
    torch.manual_seed(0)
    clips, model = tones(2), AudioVAE(**SMALL)
    latent = model.encode(clips.samples, num_rows=clips.num_rows).mean.detach()
    whole = model.reconstruct(clips, latent=latent)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model.reconstruct(clips, latent=latent)
        terms = model.loss(clips, model(clips))
    assert half.controls.amplitude.values.dtype == half.reconstruction.dtype == torch.float32
    torch.testing.assert_close(half.reconstruction, whole.reconstruction, atol=0.1, rtol=0)
    for term in terms.values():
        assert term.dtype == torch.float32
        assert term.isfinite()
    terms["loss"].backward()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_a_gpu_plays_and_learns_what_the_cpu_does(preset: str) -> None:
    torch.manual_seed(0)
    clips, model = tones(2), AudioVAE(**{**SMALL, "preset": preset, "reverb_seconds": 0.05})
    expected = model.reconstruct(clips)
    on_gpu = model.to("cuda")
    there = clips.to("cuda")
    found = on_gpu.reconstruct(there, latent=None if expected.latent is None else expected.latent.to("cuda"))
    torch.testing.assert_close(found.reconstruction.cpu(), expected.reconstruction, atol=2e-3, rtol=0)
    terms = on_gpu.loss(there, on_gpu(there))
    terms["loss"].backward()
    for name, value in on_gpu.named_parameters():
        assert value.grad is not None, name
        assert value.grad.isfinite().all(), name
