"""Every latent inside autocast, under torch.compile, and on a GPU."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable

import pytest
import torch
from torch import Generator, Tensor

from dirvae.latents import LATENTS, Dirichlet, Latent, LogisticNormal, MomentPrior, ScaledDirichlet, make_latent
from dirvae.latents.estimators import ESTIMATORS

MAKERS: dict[str, Callable[[], Latent]] = {
    **{name: lambda name=name: make_latent(name, 8) for name in LATENTS},
    **{
        f"dirichlet, {name}": lambda name=name: Dirichlet(8, estimator=name)
        for name in ESTIMATORS
        if name != "exact"
    },
    "dirichlet, learned": lambda: Dirichlet(8, prior=MomentPrior(8, burn_in=0), kl="multigamma"),
    "scaled-dirichlet, jensen": lambda: ScaledDirichlet(8, kl="jensen"),
    "scaled-dirichlet, multigamma": lambda: ScaledDirichlet(8, kl="multigamma"),
    "logistic-normal, logits": lambda: LogisticNormal(8, kl="logits"),
}
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None,
    reason="torch.compile needs a C++ compiler on the path; neither g++ nor clang++ is there",
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    """One function is compiled for many latents; the compiler counts that as recompiling without end."""
    torch.compiler.reset()


def terms(latent: Latent, features: Tensor) -> tuple[Tensor, Tensor]:
    """What a training step makes of a latent: one draw and its divergence."""
    posterior = latent.posterior(features)
    return posterior.rsample(), latent.kl(posterior)


@pytest.mark.parametrize("name", MAKERS)
def test_inside_bfloat16_autocast_a_latent_computes_as_outside(name: str) -> None:
    torch.manual_seed(0)
    latent = MAKERS[name]().eval()
    features = torch.randn(6, 8, 3).bfloat16()

    def values() -> dict[str, Tensor]:
        posterior = latent.posterior(features)
        z, weight = latent.weighted_draw(posterior, Generator().manual_seed(2))
        draw = posterior.rsample(Generator().manual_seed(1))
        found = {**posterior.parameters, "draw": draw, "z": z, "weight": weight, "kl": latent.kl(posterior)}
        return {
            **found,
            "mean": posterior.mean,
            "log_prob": posterior.log_prob(z),
            "prior": latent.prior.log_prob(z),
        }

    outside = values()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = values()
    for key, value in inside.items():
        assert value.dtype == (torch.float64 if key == "weight" else torch.float32), key
        assert torch.equal(value, outside[key]), key


@pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning"
)  # torch's own way to trace one
@pytest.mark.parametrize("name", MAKERS)
def test_a_latent_traces_without_a_graph_break_forward_and_backward(name: str) -> None:
    latent = MAKERS[name]()
    backend = "aot_eager" if name in LATENTS else "eager"  # the backward pass is traced once a latent
    traced = torch.compile(terms, fullgraph=True, backend=backend)
    features = torch.randn(4, 8, 3)
    for function in (terms, traced):
        latent.zero_grad()
        draw, kl = function(latent, features)
        (draw.square().sum() + kl.sum()).backward()
        assert all(weight.grad.isfinite().all() and weight.grad.abs().sum() > 0 for weight in latent.parameters())
    torch.testing.assert_close(traced(latent.eval(), features)[1], terms(latent, features)[1])


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("grid", [(), (3, 2)])
def test_a_dirichlet_traces_for_batches_of_any_size_with_the_draws_and_gradients_it_has(
    grid: tuple[int, ...],
) -> None:
    """As `compile` traces it: torch's own gradient of a gamma draw would cut the graph into pieces."""
    torch.manual_seed(0)
    latent = Dirichlet(8)
    traced = torch.compile(terms, fullgraph=True, backend="aot_eager")
    found = []
    for function, num in ((terms, 4), (traced, 4), (terms, 6), (traced, 6)):
        features = torch.linspace(-1, 1, num * 8 * math.prod(grid)).view(num, 8, *grid)
        torch._dynamo.maybe_mark_dynamic(features, 0)
        latent.zero_grad()
        torch.manual_seed(1)
        draw, kl = function(latent, features)
        (draw.square().sum() + kl.sum()).backward()
        found.append([draw.detach(), kl.detach(), *(weight.grad for weight in latent.parameters())])
    for outside, inside in (found[:2], found[2:]):
        for expected, value in zip(outside, inside, strict=True):
            torch.testing.assert_close(value, expected)


def assert_compiles(latent: Latent, device: str, num: int = 20_000) -> None:
    """Compiled draws, divergences and their gradients are those of the latent as it is, up to chance."""
    features = torch.randn(1, latent.model_size, device=device).expand(num, -1)
    latent = latent.to(device).eval()
    compiled = torch.compile(terms, fullgraph=True)
    found = []
    for function in (terms, compiled):
        latent.zero_grad()
        draw, kl = function(latent, features)
        draw[:, 0].mean().backward(retain_graph=True)
        of_draw = torch.cat([weight.grad.flatten() for weight in latent.parameters()])
        latent.zero_grad()
        kl.mean().backward()
        of_kl = torch.cat([weight.grad.flatten() for weight in latent.parameters()])
        found.append((draw.detach(), of_draw, kl.detach(), of_kl))
    (draw, of_draw, kl, of_kl), (compiled_draw, compiled_of_draw, compiled_kl, compiled_of_kl) = found
    error = draw.std(0) * (2 / num) ** 0.5
    assert ((draw.mean(0) - compiled_draw.mean(0)).abs() < 6 * error).all()
    torch.testing.assert_close(compiled_of_draw, of_draw, rtol=0, atol=0.05 * of_draw.abs().max().item())
    torch.testing.assert_close(compiled_kl, kl)
    torch.testing.assert_close(compiled_of_kl, of_kl, rtol=1e-4, atol=1e-6)


@needs_compiler
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_dirichlet_latent_compiles_forward_and_backward() -> None:
    torch.manual_seed(0)
    assert_compiles(Dirichlet(6), "cpu")


@pytest.mark.gpu
@needs_gpu
@needs_compiler
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", MAKERS)
def test_a_latent_compiles_forward_and_backward_on_a_gpu(name: str) -> None:
    torch.manual_seed(0)
    assert_compiles(MAKERS[name](), "cuda")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e4])
def test_on_a_gpu_draws_never_become_the_uniform_vector(alpha: float) -> None:
    concentration = torch.full((256, 1024), alpha, device="cuda", requires_grad=True)
    latent = Dirichlet(1024, head=torch.nn.Identity()).cuda()
    posterior = type(latent.posterior(concentration))(concentration)
    log_z = posterior.log_rsample()
    log_z.exp().square().sum().backward()
    assert log_z.isfinite().all()
    assert concentration.grad.isfinite().all()
    if alpha < 1:
        assert (log_z.exp().amax(1) > 0.1).all()


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("name", sorted(LATENTS))
def test_on_a_gpu_a_latent_gives_what_it_gives_on_the_cpu(name: str) -> None:
    torch.manual_seed(0)
    latent = make_latent(name, 8).eval()
    features = torch.randn(6, 8, 3)
    posterior = latent.posterior(features)
    z = posterior.rsample().detach()
    expected = (posterior.mean, latent.kl(posterior), posterior.log_prob(z), latent.prior.log_prob(z))
    posterior = latent.cuda().posterior(features.cuda())
    ours = (posterior.mean, latent.kl(posterior), posterior.log_prob(z.cuda()), latent.prior.log_prob(z.cuda()))
    for value, on_cpu in zip(ours, expected, strict=True):
        torch.testing.assert_close(value.cpu(), on_cpu, rtol=1e-4, atol=1e-4)
