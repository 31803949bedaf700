"""The autoencoder around encoders and decoders of several modalities."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dirvae import AutoEncoder, Dirichlet, autoencoder
from dirvae.latents import LATENTS
from dirvae.losses import GaussianLikelihood

MODALITIES = {
    "vectors": (nn.Linear(10, 6), nn.Linear(6, 10), (10,), ()),
    "audio": (nn.Conv1d(1, 6, 4, stride=4), nn.ConvTranspose1d(6, 1, 4, stride=4), (1, 32), (8,)),
    "images": (nn.Conv2d(3, 6, 4, stride=4), nn.ConvTranspose2d(6, 3, 4, stride=4), (3, 8, 12), (2, 3)),
    "video": (nn.Conv3d(3, 6, 2, stride=2), nn.ConvTranspose3d(6, 3, 2, stride=2), (3, 4, 6, 8), (2, 3, 4)),
}


@pytest.mark.parametrize("latent", sorted(LATENTS))
@pytest.mark.parametrize("modality", MODALITIES)
def test_any_modality_trains_and_samples(modality: str, latent: str) -> None:
    encoder, decoder, shape, grid = MODALITIES[modality]
    model = AutoEncoder(encoder, decoder, 6, latent=latent, grid=grid)
    x = torch.rand(5, *shape)
    out = model(x)
    assert out.reconstruction.shape == out.decoded.shape == x.shape
    assert out.latent.shape == out.features.shape == out.posterior.mean.shape == (5, 6, *grid)
    assert model.sample(2).shape == (2, *shape)
    assert model.decode(model.encode(x).mean).shape == x.shape
    model.zero_grad()
    model.loss(x, out)["loss"].backward()
    assert all(weight.grad.abs().sum() > 0 for weight in model.parameters())


def small_model(**options: object) -> AutoEncoder:
    torch.manual_seed(0)
    return AutoEncoder(nn.Linear(10, 6), nn.Linear(6, 10), 6, **options)


def test_the_loss_is_the_negative_bound_in_nats_per_example() -> None:
    model, x = small_model(), torch.rand(4, 10)
    out = model(x)
    terms = model.loss(x, out)
    density = torch.distributions.Normal(out.reconstruction, model.likelihood.scale)
    assert terms["reconstruction"].item() == pytest.approx(-density.log_prob(x).sum(1).mean().item(), rel=1e-5)
    assert terms["kl"].item() == pytest.approx(model.latent.kl(out.posterior).mean().item())
    assert terms["loss"].item() == pytest.approx((terms["reconstruction"] + terms["kl"]).item())
    assert {value.shape for value in terms.values()} == {()}


def test_the_kl_weight_weighs_the_kl_alone() -> None:
    model, x = small_model(), torch.rand(4, 10)
    out = model(x)
    full, none = model.loss(x, out), model.loss(x, out, kl_weight=0.0)
    half = model.loss(x, out, kl_weight=torch.tensor(0.5))
    assert none["loss"] == none["reconstruction"] == full["reconstruction"]
    assert half["kl"] == full["kl"]
    assert half["loss"].item() == pytest.approx((full["reconstruction"] + 0.5 * full["kl"]).item())


def test_free_nats_forgive_the_kl_up_to_them_and_change_no_term_of_the_bound() -> None:
    model, x = small_model(), torch.rand(4, 10)
    out = model(x)
    plain = model.loss(x, out)
    kl = plain["kl"].item()
    below, above = model.loss(x, out, free_nats=kl / 2), model.loss(x, out, free_nats=2 * kl, kl_weight=0.5)
    assert below == plain
    assert above["kl"] == plain["kl"]
    assert above["loss"].item() == pytest.approx(plain["reconstruction"].item() + kl)
    model.zero_grad()
    (above["loss"] - above["reconstruction"]).backward()
    assert all(weight.grad is None or not weight.grad.any() for weight in model.latent.parameters())


def test_padded_examples_change_neither_the_terms_nor_the_gradients() -> None:
    model, x = small_model(latent="gaussian"), torch.rand(6, 10)
    mask = torch.tensor([True, True, True, True, False, False])
    padded = torch.cat([x[:4], torch.full((2, 10), 1e3)])
    results = []
    for rows in (x, padded):
        out = model(rows, generator=torch.Generator().manual_seed(1))
        terms = model.loss(rows, out, mask=mask)
        model.zero_grad()
        terms["loss"].backward()
        results.append((terms, [weight.grad.clone() for weight in model.parameters()]))
    torch.testing.assert_close(results[0], results[1])
    density = torch.distributions.Normal(out.reconstruction, model.likelihood.scale)
    expected = -density.log_prob(padded)[:4].sum(1).mean()
    torch.testing.assert_close(results[1][0]["reconstruction"], expected)


def test_a_generator_decides_the_draw_and_the_samples() -> None:
    model, x = small_model(), torch.rand(4, 10)

    def seeded(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    assert torch.equal(model(x, generator=seeded(0)).latent, model(x, generator=seeded(0)).latent)
    assert not torch.equal(model(x, generator=seeded(0)).latent, model(x, generator=seeded(1)).latent)
    assert torch.equal(model.sample(3, generator=seeded(0)), model.sample(3, generator=seeded(0)))


def test_decoding_gives_the_likelihoods_mean() -> None:
    model = small_model(likelihood="bernoulli")
    out = model(torch.rand(4, 10))
    assert torch.equal(out.reconstruction, out.decoded.sigmoid())
    torch.testing.assert_close(model.decode(out.latent), out.reconstruction)


class Recorder(nn.Module):
    """Passes its input on, times two, and keeps it."""

    def forward(self, z: Tensor) -> Tensor:
        self.seen = z
        return 2 * z


def test_every_head_can_be_given() -> None:
    read, decode = Recorder(), Recorder()
    model = small_model(latent=Dirichlet(6, head=read), decode_head=decode)
    out = model(torch.rand(4, 10))
    assert torch.equal(read.seen, out.features)
    assert torch.equal(out.posterior.concentration, 30 * nn.functional.softplus(2 * out.features) + 1e-3)
    assert torch.equal(decode.seen, out.latent)
    assert torch.equal(out.decoded, model.decoder(2 * out.latent))


def test_a_likelihood_can_be_given() -> None:
    model = small_model(likelihood=GaussianLikelihood(scale=0.5, learned=False))
    x = torch.rand(4, 10)
    out = model(x)
    error = (x - out.reconstruction).square().sum(1).mean()
    expected = error / (2 * 0.25) + 10 * math.log(0.5 * math.sqrt(2 * math.pi))
    assert model.loss(x, out)["reconstruction"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_decoder_sees_values_of_about_one_whatever_the_size_of_the_simplex() -> None:
    for size in (4, 256):
        seen = Recorder()
        model = AutoEncoder(nn.Identity(), seen, size, latent=Dirichlet(size))
        model.decode_head[1] = nn.Identity()
        model.decode(model.latent.prior.sample(2_000, generator=torch.Generator().manual_seed(0)))
        assert abs(seen.seen.mean()) < 0.05
        assert seen.seen.std().item() == pytest.approx(1, rel=0.1)


def test_components_that_the_prior_leaves_almost_nothing_are_not_blown_up() -> None:
    """Broken sticks have shares down to 2e-5; one that is used all the same must not reach the decoder as 5,000."""
    seen = Recorder()
    model = AutoEncoder(nn.Identity(), seen, 50, latent="stick-breaking")
    model.decode_head[1] = nn.Identity()
    model.decode(torch.eye(50))
    assert seen.seen.abs().max() < 50
    model.decode(model.latent.prior.sample(2_000, generator=torch.Generator().manual_seed(0)))
    assert seen.seen.square().mean().sqrt().item() == pytest.approx(1, rel=0.1)


def test_an_output_shows_its_shapes() -> None:
    shown = repr(small_model()(torch.rand(4, 10)))
    assert shown == (
        "Output(reconstruction=(4, 10), latent=(4, 6), posterior=DirichletPosterior(concentration=(4, 6)), "
        "features=(4, 6), decoded=(4, 10))"
    )


def test_parts_that_do_not_fit_are_refused_with_both_sizes() -> None:
    with pytest.raises(ValueError, match="model_size 5, the autoencoder 6"):
        small_model(latent=Dirichlet(5))
    model = AutoEncoder(nn.Linear(10, 7), nn.Linear(6, 10), 6)
    with pytest.raises(ValueError, match=r"made \(4, 7\) of \(4, 10\); it must make \(batch, 6, \*grid\)"):
        model(torch.rand(4, 10))
    model = AutoEncoder(nn.Linear(10, 6), nn.Linear(6, 9), 6)
    x = torch.rand(4, 10)
    with pytest.raises(ValueError, match=r"made \(4, 9\), but the data is \(4, 10\)"):
        model.loss(x, model(x))


def test_a_decoder_of_maps_says_that_it_needs_the_grid() -> None:
    def make(**options: Any) -> AutoEncoder:
        encoder, decoder = nn.Conv1d(1, 4, 4, stride=4), nn.ConvTranspose1d(4, 1, 4, stride=4)
        return AutoEncoder(encoder, decoder, 4, **options)

    for num in (3, 4):  # one that torch refuses, one that it reads as a single map
        with pytest.raises(ValueError, match=rf"latents \({num}, 4\); give the autoencoder the grid="):
            make().sample(num)
    assert make(grid=(5,)).sample(4).shape == (4, 1, 20)


def test_alpha_and_beta_heads_are_those_of_the_named_latent() -> None:
    alpha, beta = Recorder(), nn.Linear(6, 6)
    model = small_model(latent="scaled-dirichlet", alpha=alpha, beta=beta)
    out = model(torch.rand(4, 10))
    assert torch.equal(alpha.seen, out.features)
    assert model.latent.rate_head is beta
    assert small_model(alpha=alpha).latent.head is alpha


def test_a_head_that_would_mean_nothing_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match="'dirichlet' has no head 'beta'; use latent='scaled-dirichlet'"):
        small_model(beta=nn.Linear(6, 6))
    with pytest.raises(
        ValueError, match="'gaussian' has no head 'alpha'; use latent='dirichlet' or 'scaled-dirichlet'"
    ):
        small_model(latent="gaussian", alpha=nn.Linear(6, 6))
    with pytest.raises(ValueError, match="'alpha' and a latent were given"):
        small_model(latent=Dirichlet(6), alpha=nn.Linear(6, 6))


def test_the_encoder_may_hand_the_heads_another_number_of_features() -> None:
    encoder = nn.Linear(10, 20)
    model = AutoEncoder(encoder, nn.Linear(6, 10), 6, alpha=nn.Linear(20, 6), features_size=20)
    out = model(torch.rand(4, 10))
    assert out.features.shape == (4, 20)
    assert out.latent.shape == (4, 6)


@autoencoder(model_size=6, latent="scaled-dirichlet", likelihood="bernoulli")
class Described:
    """Vectors of ten."""

    def __init__(self, width: int = 8, *, heads: bool = False) -> None:
        self.encoder = nn.Sequential(nn.Linear(10, width), nn.SiLU(), nn.Linear(width, 6))
        self.decoder = nn.Linear(6, 10)
        if heads:
            self.alpha, self.beta, self.decode = Recorder(), Recorder(), Recorder()


def test_a_described_class_is_an_autoencoder_that_trains_and_samples() -> None:
    model = Described(width=5)
    assert isinstance(model, AutoEncoder)
    assert isinstance(model, Described)
    assert (Described.__name__, Described.__doc__) == ("Described", "Vectors of ten.")
    assert model.encoder[0].out_features == 5
    x = (torch.rand(4, 10) > 0.5).float()
    model.loss(x, model(x))["loss"].backward()
    assert all(weight.grad is not None for weight in model.parameters())
    assert model.sample(3).shape == (3, 10)
    other = Described(width=5)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.encode(x).mean, model.encode(x).mean)


def test_a_described_class_brings_each_of_its_heads() -> None:
    model = Described(heads=True)
    out = model(torch.rand(4, 10))
    assert torch.equal(model.latent.concentration_head.seen, out.features)
    assert torch.equal(model.latent.rate_head.seen, out.features)
    assert torch.equal(model.decode_head.seen, out.latent)
    assert torch.equal(out.decoded, model.decoder(2 * out.latent))
    assert torch.equal(model.decode(out.latent), out.decoded.sigmoid())


def test_a_description_that_lacks_a_part_or_has_methods_is_refused() -> None:
    class Half:
        def __init__(self) -> None:
            self.encoder = nn.Linear(10, 6)

    with pytest.raises(TypeError, match="Half holds None as its decoder"):
        autoencoder(6)(Half)()

    class Busy(Half):
        def sing(self) -> None: ...

    with pytest.raises(TypeError, match="Busy has the method 'sing'"):
        autoencoder(6)(Busy)
