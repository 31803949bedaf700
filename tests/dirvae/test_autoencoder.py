"""The autoencoder around encoders and decoders of several modalities."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from dirvae import AutoEncoder, Dirichlet
from dirvae.losses import GaussianLikelihood

MODALITIES = {
    "vectors": (nn.Linear(10, 6), nn.Linear(6, 10), (10,), ()),
    "audio": (nn.Conv1d(1, 6, 4, stride=4), nn.ConvTranspose1d(6, 1, 4, stride=4), (1, 32), (8,)),
    "images": (nn.Conv2d(3, 6, 4, stride=4), nn.ConvTranspose2d(6, 3, 4, stride=4), (3, 8, 12), (2, 3)),
    "video": (nn.Conv3d(3, 6, 2, stride=2), nn.ConvTranspose3d(6, 3, 2, stride=2), (3, 4, 6, 8), (2, 3, 4)),
}


@pytest.mark.parametrize("latent", ["dirichlet", "gaussian"])
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
