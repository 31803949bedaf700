"""What every latent promises, as one check: for ours, and for a user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from dirvae.latents.latent import Latent, Posterior

__all__ = ["GRIDS", "assert_latent_keeps_its_promises", "check_cells", "check_kl", "check_means", "check_shapes"]

GRIDS: tuple[tuple[int, ...], ...] = ((), (5,), (3, 2), (2, 3, 4))
NUM_DRAWS = 40_000


def assert_latent_keeps_its_promises(make: Callable[[], Latent]) -> None:
    """Make latents and hold them to the contract of `dirvae.latents.latent`; AssertionError names what is broken.

    Shapes on any grid, cells that do not meet, a KL divergence that is the mean log ratio of the densities, means that
    draws have, `widened` posteriors if there are any, gradients into every weight, a state that restores, a prior that
    moves with the module, float32 also inside autocast. Draws are seeded; takes about a second. A latent whose `kl` is
    a bound on purpose, or whose draws are approximate, fails.
    """
    torch.manual_seed(0)
    latent = make().eval()
    for grid in GRIDS:
        check_shapes(latent, grid)
    check_cells(latent)
    check_kl(latent)
    check_means(latent)
    _check_widened(latent)
    _check_gradients(latent)
    _check_state(latent, make())
    _check_autocast(latent)
    _check_device(make())


def check_shapes(latent: Latent, grid: tuple[int, ...]) -> None:
    """Everything a latent gives on a grid has the shape it should have, and is float32."""
    size = latent.model_size
    posterior = latent.posterior(torch.randn(4, size, *grid))
    z, weight = latent.weighted_draw(posterior)
    shapes = {
        "a draw": (posterior.rsample(), (4, size, *grid)),
        "a weighted draw": (z, (4, size, *grid)),
        "the posterior's mean": (posterior.mean, (4, size, *grid)),
        "the posterior's log_prob": (posterior.log_prob(z), (4,)),
        "kl": (latent.kl(posterior), (4,)),
        "a draw of the prior": (latent.prior.sample(3, *grid), (3, size, *grid)),
        "the prior's log_prob": (latent.prior.log_prob(z), (4,)),
    }
    for name, (value, shape) in shapes.items():
        assert value.shape == shape, f"{name} is {tuple(value.shape)} on a grid {grid}; it should be {shape}"
        assert value.dtype == torch.float32, f"{name} is {value.dtype}; it should be float32"
    assert weight.shape == (4,), f"a draw's weight is {tuple(weight.shape)}; it should be (4,)"
    assert weight.dtype == torch.float64, f"a draw's weight is {weight.dtype}; it should be float64"
    for name, value in posterior.parameters.items():
        assert value.shape[0] == 4, f"the parameter {name} has no example axis"
        assert value.shape[2:] == grid, f"the parameter {name} has the grid {tuple(value.shape[2:])}, not {grid}"


def check_cells(latent: Latent) -> None:
    """Each cell of a grid is a latent of its own, and divergences and densities add up over the cells."""
    features = torch.randn(2, latent.model_size, 3, 4)
    whole = latent.posterior(features)
    z = whole.rsample()
    cells = [latent.posterior(features[:, :, i, j]) for i in range(3) for j in range(4)]
    of_cells = [z[:, :, i, j] for i in range(3) for j in range(4)]
    torch.testing.assert_close(whole.mean[:, :, 1, 2], cells[6].mean)
    torch.testing.assert_close(latent.kl(whole), _sum(latent.kl(cell) for cell in cells))
    densities = [cell.log_prob(value) for cell, value in zip(cells, of_cells, strict=True)]
    torch.testing.assert_close(whole.log_prob(z), _sum(densities), rtol=1e-4, atol=1e-3)
    prior = [latent.prior.log_prob(value) for value in of_cells]
    torch.testing.assert_close(latent.prior.log_prob(z), _sum(prior), rtol=1e-4, atol=1e-3)


def check_kl(latent: Latent) -> None:
    """`kl` is the mean log ratio of the posterior's density to the prior's over the posterior's draws."""
    one, posterior = _one_and_many(latent)
    with torch.no_grad():
        _, weight = latent.weighted_draw(posterior, torch.Generator().manual_seed(1))
        divergence = latent.kl(one)[0].double()
    error = weight.std() / NUM_DRAWS**0.5
    assert (weight.mean() + divergence).abs() < 5 * error, (
        f"kl is {divergence}; draws give {-weight.mean()} ± {error}"
    )
    z = posterior.rsample(torch.Generator().manual_seed(2)).detach()
    ratio = (posterior.log_prob(z) - latent.prior.log_prob(z)).double()
    error = ratio.std() / NUM_DRAWS**0.5
    assert (ratio.mean() - divergence).abs() < 5 * error, (
        f"kl is {divergence}; densities give {ratio.mean()} ± {error}"
    )


def check_means(latent: Latent) -> None:
    """Draws have the mean that a posterior promises, and the mean and deviation that the prior does."""
    one, posterior = _one_and_many(latent)
    z = posterior.rsample(torch.Generator().manual_seed(3)).detach()
    error = z.std(0) / NUM_DRAWS**0.5
    off = (z.mean(0) - one.mean[0]).abs() / error
    assert (off < 6).all(), f"the mean of draws is off by {off.max():.1f} standard errors"
    drawn = latent.prior.sample(NUM_DRAWS, generator=torch.Generator().manual_seed(4))
    mean, stddev = latent.prior.mean, latent.prior.stddev
    for name, value in (("mean", mean), ("stddev", stddev)):
        assert value.shape == (latent.model_size,), f"the prior's {name} is {tuple(value.shape)}"
        assert value.dtype == torch.float32, f"the prior's {name} is {value.dtype}; it should be float32"
    off = (drawn.mean(0) - mean).abs() * NUM_DRAWS**0.5 / stddev
    assert (off < 6).all(), f"the mean of the prior's draws is off by {off.max():.1f} standard errors"
    torch.testing.assert_close(drawn.std(0), stddev, rtol=0.05, atol=0)


def _check_widened(latent: Latent) -> None:
    """A wider posterior, where the latent has one, is a law of its own that covers the posterior."""
    one, posterior = _one_and_many(latent)
    if not hasattr(posterior, "widened"):
        return
    wider = posterior.widened(2.0)
    z = wider.rsample(torch.Generator().manual_seed(5)).detach()
    ratio = (posterior.log_prob(z.double()) - wider.log_prob(z.double())).exp()
    error = ratio.std() / NUM_DRAWS**0.5
    assert (ratio.mean() - 1).abs() < 5 * error, (
        f"densities of the widened posterior do not fit its draws: mean ratio {ratio.mean()} ± {error}"
    )
    narrow = posterior.rsample(torch.Generator().manual_seed(5)).detach()
    assert z.var(0).sum() > narrow.var(0).sum(), "the widened posterior is no wider than the posterior"
    for name, value in one.widened(1.0).parameters.items():  # type: ignore[attr-defined]
        torch.testing.assert_close(value, one.parameters[name], rtol=1e-4, atol=1e-6)


def _check_gradients(latent: Latent) -> None:
    posterior = latent.posterior(torch.randn(8, latent.model_size, 2))
    for name, value in (("a draw", posterior.rsample().square().sum()), ("kl", latent.kl(posterior).sum())):
        latent.zero_grad()
        value.backward(retain_graph=True)  # type: ignore[no-untyped-call]
        for weight_name, weight in latent.named_parameters():
            assert weight.grad is not None, f"{name} gives {weight_name} no gradient"
            assert weight.grad.isfinite().all(), f"{name} gives {weight_name} a gradient that is not finite"
            assert weight.grad.abs().sum() > 0, f"{name} gives {weight_name} a gradient of zero"


def _check_state(latent: Latent, other: Latent) -> None:
    features = torch.randn(3, latent.model_size)
    other.load_state_dict(latent.state_dict())
    other.eval()
    for name, value in latent.posterior(features).parameters.items():
        assert torch.equal(other.posterior(features).parameters[name], value), (
            f"{name} is not restored from the state"
        )
    assert torch.equal(other.prior.mean, latent.prior.mean), "the prior is not restored from the state"


def _check_autocast(latent: Latent) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        posterior = latent.posterior(torch.randn(4, latent.model_size).bfloat16())
        values = {"a draw": posterior.rsample(), "kl": latent.kl(posterior), "the posterior's mean": posterior.mean}
    for name, value in {**values, **posterior.parameters}.items():
        assert value.dtype == torch.float32, f"{name} is {value.dtype} inside autocast; it should be float32"


def _check_device(latent: Latent) -> None:
    """On the meta device nothing is computed, but everything says where it would be."""
    moved = latent.to("meta").prior
    for name, value in (("mean", moved.mean), ("stddev", moved.stddev)):
        assert value.device.type == "meta", f"the prior's {name} does not move with the latent; make it a buffer"
    try:
        place = moved.log_prob(torch.empty(2, latent.model_size, device="meta")).device.type
    except RuntimeError as error:
        raise AssertionError(f"the prior's log_prob fails once the latent has moved: {error}") from error
    assert place == "meta", "the prior's log_prob does not move with the latent; make what it is made of a buffer"


def _one_and_many(latent: Latent) -> tuple[Posterior, Posterior]:
    """The posterior of one example, and of that example many times over."""
    features = torch.randn(1, latent.model_size)
    return latent.posterior(features), latent.posterior(features.expand(NUM_DRAWS, -1))


def _sum(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).sum(0)
