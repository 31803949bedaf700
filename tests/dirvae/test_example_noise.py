"""Noise keyed by example: batches in any pieces draw the same, from the laws of SciPy, also when compiled."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Generator, Tensor, nn

from dirvae import AudioVAE, example_draws, noise
from dirvae.float64 import wide_exponential
from dirvae.latents import LATENTS, Posterior, make_latent
from dirvae.latents.dirichlet import DirichletPosterior
from dirvae.latents.estimators import ESTIMATORS, exact_log_gamma
from dirvae.latents.gaussian import GaussianPosterior
from dirvae.latents.logistic_normal import LogisticNormalPosterior
from dirvae.latents.scaled_dirichlet import ScaledDirichletPosterior
from dirvae.latents.stick_breaking import StickBreakingPosterior
from dirvae.networks.audio import SoundClips
from dirvae.networks.audio.variation import equalised, varied
from dirvae.noise import example_noise
from dirvae.training.activations import CheckpointedActivations
from tests.dirvae.device_without_float64 import device_without_float64

NUM_DRAWS = 20_000
SEEDS = torch.tensor([5, -7, 1 << 61, 0, 1, 2])
PIECES = ([2, 4], [1] * 6)
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None,
    reason="torch.compile needs a C++ compiler on the path; neither g++ nor clang++ is there",
)


@pytest.fixture(params=["torch's samplers", "formulas"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How it is drawn: as on a CPU, or as on other devices."""
    monkeypatch.setattr(example_draws, "_is_counted_on_cpu", request.param == "formulas")
    return str(request.param)


@pytest.fixture
def formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example_draws, "_is_counted_on_cpu", True)


def drawn(draw: Callable[[], Any], seeds: Tensor = SEEDS) -> Any:
    with example_noise(seeds):
        return draw()


def twice(posterior: Posterior) -> Tensor:
    return torch.stack([posterior.rsample(), posterior.rsample()], 1)


def part_of(posterior: Posterior, part: slice) -> Posterior:
    """The posterior of some of the examples."""
    return type(posterior)(**{name: value[part] for name, value in posterior.parameters.items()})


def slices(sizes: Sequence[int]) -> Iterator[slice]:
    start = 0
    for size in sizes:
        yield slice(start, start + size)
        start += size


@pytest.mark.parametrize("grid", [(), (3, 2)])
@pytest.mark.parametrize("name", LATENTS)
def test_a_batch_drawn_in_pieces_is_the_batch_drawn_whole(name: str, grid: tuple[int, ...], way: str) -> None:
    torch.manual_seed(0)
    posterior = make_latent(name, 8).posterior(torch.randn(6, 8, *grid))
    whole = drawn(lambda: twice(posterior))
    for sizes in PIECES:
        parts = [drawn(lambda part=part: twice(part_of(posterior, part)), SEEDS[part]) for part in slices(sizes)]
        assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(drawn(lambda: twice(posterior)), whole)
    other = drawn(lambda: twice(posterior), SEEDS + 100)
    for one, another in ((whole[:, 0], whole[:, 1]), (whole, other), (whole[:1], whole[1:2])):
        assert (one - another).abs().max() > 1e-3
    assert (whole - drawn(lambda: twice(posterior), SEEDS.flip(0)).flip(0)).abs().max() > 1e-3


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_draws_by_example(name: str, way: str) -> None:
    concentration = torch.linspace(0.1, 9, 6 * 4 * 3).view(6, 4, 3)
    whole = drawn(lambda: ESTIMATORS[name](concentration, None))
    for sizes in PIECES:
        parts = [
            drawn(lambda part=part: ESTIMATORS[name](concentration[part], None), SEEDS[part])
            for part in slices(sizes)
        ]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-6, atol=1e-6)  # powers are rounded by place


def clips(num: int = 6) -> SoundClips:
    generator = torch.Generator().manual_seed(0)
    samples = 0.3 * torch.randn(num, 1600, generator=generator)
    return SoundClips(samples, torch.full((num, 50), 220.0), torch.full((num, 50), -20.0), torch.full((num,), 1600))


def clips_of(whole: SoundClips, part: slice) -> SoundClips:
    assert whole.lengths is not None
    return SoundClips(whole.samples[part], whole.f0[part], whole.loudness[part], whole.lengths[part])


def test_sounds_draw_latents_and_seeds_by_clip(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = AudioVAE(8_000, preset="tiny", num_bands=9, model_size=4)
    seen: list[Tensor] = []
    play = model.synthesiser.forward
    monkeypatch.setattr(
        model.synthesiser,
        "forward",
        lambda controls, seeds, num: (seen.append(seeds), play(controls, seeds, num))[1],
    )
    whole = clips()
    rows = model._row_posterior(whole)
    assert rows is not None
    monkeypatch.setattr(model, "_row_posterior", lambda given: part_of(rows, next(place)))  # of the same bits
    place = iter([slice(None)])
    expected = drawn(lambda: model(whole))
    for sizes in PIECES:
        place = iter([slice(part.start * 50, part.stop * 50) for part in slices(sizes)])
        found = [drawn(lambda part=part: model(clips_of(whole, part)), SEEDS[part]) for part in slices(sizes)]
        assert torch.equal(torch.cat([out.latent for out in found]), expected.latent)
        torch.testing.assert_close(
            torch.cat([out.reconstruction for out in found]), expected.reconstruction, atol=1e-5, rtol=0
        )
    assert torch.equal(torch.cat(seen[1:3]), seen[0])
    assert torch.equal(torch.cat(seen[3:]), seen[0])
    assert len(set(seen[0].tolist())) == 6
    assert (expected.latent[0] - expected.latent[1]).abs().max() > 1e-3


def test_clips_vary_by_example() -> None:
    vary: dict[str, Any] = {"num_samples": 1500, "num_rows": 47, "shift_semitones": 0.4, "gain_db": 6.0}
    equalise: dict[str, Any] = {"sample_rate": 8_000, "control_rate": 250, "equaliser_db": 12.0}

    def both(given: SoundClips) -> Tensor:
        return equalised(varied(given, **vary), **equalise).samples

    expected = drawn(lambda: both(clips()))
    for sizes in PIECES:
        parts = [drawn(lambda part=part: both(clips_of(clips(), part)), SEEDS[part]) for part in slices(sizes)]
        torch.testing.assert_close(torch.cat(parts), expected, atol=1e-6, rtol=0)
    assert (drawn(lambda: both(clips()), SEEDS + 1) - expected).abs().max() > 1e-2


def test_outside_the_context_draws_are_those_of_torch() -> None:
    a = torch.tensor([[0.3, 1.0, 4.0, 20.0]] * 2)
    m = torch.tensor([[-1.0, 0.0, 0.5, 2.0]] * 2)
    witness: dict[Any, list[float]] = {
        DirichletPosterior(a): [0.03404596, 0.05965691, 0.1169458, 0.7893513, 0.006632542],
        GaussianPosterior(m, a): [-0.5377011, -0.2934289, -8.215158, 13.36863, -1.325357],
        LogisticNormalPosterior(m, a): [9.131842e-07, 1.165855e-06, 4.229428e-10, 0.999998, 1.891522e-09],
        ScaledDirichletPosterior(a, m): [0.2804765, 0.1807995, 0.214968, 0.323756, 0.08471196],
        StickBreakingPosterior(a, a): [0.9999722, 1.967774e-05, 4.990848e-06, 2.815755e-06, 3.161468e-07],
        DirichletPosterior(a, ESTIMATORS["rsvi"]): [0.01459025, 0.09750227, 0.1736132, 0.7142943, 0.01481965],
        DirichletPosterior(a, ESTIMATORS["weibull"]): [0.05922002, 0.03777855, 0.1116753, 0.7913262, 0.006281661],
    }
    for posterior, expected in witness.items():
        torch.manual_seed(0)
        torch.testing.assert_close(posterior.rsample().flatten()[:5], torch.tensor(expected), rtol=2e-6, atol=0)
    torch.manual_seed(0)
    assert noise.seeds(3, a.device).tolist() == [900450186894289455, 3969543146641149120, 1895649597198586619]
    torch.manual_seed(0)
    found = noise.uniform((2, 3), a.device, axis=1)
    torch.manual_seed(0)
    assert torch.equal(found, torch.rand(2, 3))


def test_a_generator_counts_for_more_than_the_context_which_leaves_torchs_own_alone(way: str) -> None:
    like, start = torch.full((5, 3), 2.0), torch.get_rng_state()
    draws: list[Callable[[Generator | None], Tensor]] = [
        lambda generator: noise.standard_gamma(like, generator),
        lambda generator: noise.exponential(like, generator),
        lambda generator: noise.normal(like, generator),
        lambda generator: noise.uniform((5, 3), like.device, generator),
        lambda generator: noise.seeds(5, like.device, generator),
    ]
    for draw in draws:
        expected = draw(Generator().manual_seed(3))
        assert torch.equal(drawn(lambda draw=draw: draw(Generator().manual_seed(3))), expected)
        drawn(lambda draw=draw: draw(None), SEEDS[:5])
    assert torch.equal(torch.get_rng_state(), start)


def test_contexts_within_one_another_have_noise_of_their_own() -> None:
    like = torch.empty(6)
    first, second = drawn(lambda: (noise.normal(like), noise.normal(like)))
    with example_noise(SEEDS):
        assert torch.equal(noise.normal(like), first)
        with pytest.raises(ValueError, match="its first axis"):
            drawn(lambda: (noise.normal(like), noise.normal(like[:5])), SEEDS + 1)
        assert torch.equal(noise.normal(like), second)
    torch.manual_seed(0)
    outside = noise.normal(like)
    torch.manual_seed(0)
    assert torch.equal(outside, torch.empty(6).normal_())


def test_what_is_called_again_draws_the_same_and_moves_the_noise_once() -> None:
    like = torch.empty(6)
    first, second, third = drawn(lambda: [noise.normal(like) for _ in range(3)])
    kept: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def call(run: Callable[..., Any], *arguments: Any) -> Any:
        kept.append((run, arguments))
        return run(*arguments)

    with example_noise(SEEDS):
        assert torch.equal(noise.repeatable(call, noise.normal, like), first)
        assert torch.equal(noise.normal(like), second)
        (run, arguments), *_ = kept
        for _ in range(2):
            assert torch.equal(run(*arguments)[0], first)
        assert torch.equal(noise.normal(like), third)
    assert torch.equal(run(*arguments)[0], first)
    assert noise.repeatable(call, len, [1, 2]) == 2


@pytest.mark.parametrize("shape", [(7, 3), (3, 6), (0, 2), ()])
def test_a_draw_that_does_not_fit_the_examples_is_refused(shape: tuple[int, ...]) -> None:
    with (
        example_noise(SEEDS),
        pytest.raises(ValueError, match=r"example_noise of 6 examples; its first axis must be"),
    ):
        noise.normal(torch.empty(shape))


@pytest.mark.parametrize("seeds", [torch.ones(3), torch.ones(2, 2, dtype=torch.int64), SEEDS[:0], torch.tensor(3)])
def test_seeds_of_another_kind_are_refused(seeds: Tensor) -> None:
    with pytest.raises(ValueError, match="give one int64 per example"), example_noise(seeds):
        pass


def numbers(draw: Callable[[], Tensor], *, first_seed: int = 0) -> np.ndarray[Any, Any]:
    """Draws of 200 examples, of 100 each, in float64."""
    return drawn(draw, torch.arange(first_seed, first_seed + 200)).detach().double().numpy().ravel()


@pytest.mark.parametrize("alpha", [0.01, 0.3, 1.0, 2.5, 30.0, 1000.0])
def test_log_gammas_have_scipys_law_and_the_trigamma_as_gradient(alpha: float, way: str) -> None:
    concentration = torch.full((200, 100), alpha, requires_grad=True)
    made = drawn(lambda: exact_log_gamma(concentration), torch.arange(200))
    made.sum().backward()
    found = made.detach().double().numpy().ravel()
    assert stats.kstest(found, stats.loggamma(alpha).cdf).pvalue > 1e-3
    assert concentration.grad is not None
    slopes = concentration.grad.double().numpy().ravel()
    error = slopes.std() / NUM_DRAWS**0.5
    assert abs(slopes.mean() - special.polygamma(1, alpha)) < 4 * error
    assert abs(found.mean() - special.digamma(alpha)) < 4 * found.std() / NUM_DRAWS**0.5
    assert found.var() == pytest.approx(special.polygamma(1, alpha), rel=0.08)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("alpha", [1.0, 1.01, 3.0, 100.0, 1000.0, 10_000.0])
def test_gammas_have_scipys_law(alpha: float, dtype: torch.dtype, way: str) -> None:
    found = numbers(lambda: noise.standard_gamma(torch.full((200, 100), alpha, dtype=dtype)), first_seed=1000)
    assert stats.kstest(found, stats.gamma(alpha).cdf).pvalue > 1e-3
    assert abs(found.mean() - alpha) < 4 * (alpha / NUM_DRAWS) ** 0.5
    assert found.var() == pytest.approx(alpha, rel=0.06)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_draws_have_scipys_laws(dtype: torch.dtype, way: str) -> None:
    like = torch.empty(200, 100, dtype=dtype)
    for draw, law in (
        (lambda: noise.exponential(like), stats.expon()),
        (lambda: wide_exponential(like), stats.expon()),
        (lambda: noise.normal(like), stats.norm()),
        (lambda: noise.uniform(like.shape, like.device), stats.uniform()),
        (lambda: noise.seeds(NUM_DRAWS, like.device) / 2.0**62, stats.uniform()),
    ):
        found = numbers(draw)
        assert stats.kstest(found, law.cdf).pvalue > 1e-3
        assert abs(found.mean() - law.mean()) < 4 * law.std() / NUM_DRAWS**0.5
        assert found.var() == pytest.approx(law.var(), rel=0.06)
        assert len(np.unique(found)) > 0.99 * NUM_DRAWS
    assert drawn(lambda: noise.normal(like), torch.arange(200)).dtype == dtype


def test_examples_elements_and_draws_do_not_resemble_one_another(way: str) -> None:
    like = torch.empty(200, 100)
    first, second = drawn(lambda: (noise.normal(like), noise.normal(like)), torch.arange(200))
    shifted = drawn(lambda: noise.normal(like), torch.arange(200) + 1)
    assert torch.equal(shifted[:-1], first[1:])
    for one, other in (
        (first, second),
        (first[1:], first[:-1]),
        (first[:, 1:], first[:, :-1]),
        (first, second.roll(1)),
    ):
        assert abs(float((one * other).mean())) < 4 / one.numel() ** 0.5


def test_no_word_makes_a_logarithm_of_zero_or_a_uniform_of_zero_or_one(monkeypatch: pytest.MonkeyPatch) -> None:
    words = torch.tensor([0, -1, 1, -2, 1 << 62, -(1 << 63), (1 << 63) - 1])
    for dtype in (torch.float32, torch.float64):
        exponentials = example_draws._to_exponential(words, dtype)
        assert (exponentials > 0).all()
        assert exponentials.isfinite().all()
        torch.testing.assert_close(exponentials[:2].double(), torch.tensor([53 * np.log(2), 2.0**-53]).double())
        assert example_draws._to_normal(words, dtype).isfinite().all()
    monkeypatch.setattr(noise, "_words", lambda shape, device: words)
    made = drawn(lambda: noise.uniform(words.shape, words.device))
    assert 0 < made.min() < made.max() < 1


@pytest.mark.usefixtures("formulas")
def test_where_every_proposal_is_refused_a_gamma_is_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example_draws, "_to_exponential", lambda words, dtype, bits=0: torch.zeros(words.shape))
    found = drawn(lambda: noise.standard_gamma(torch.full((6, 3), 5.0)))
    torch.testing.assert_close(found, torch.full((6, 3), 5 - 1 / 3))


@pytest.mark.parametrize("name", LATENTS)
def test_inside_autocast_and_with_float64_latents_draw_in_their_own_type(name: str, way: str) -> None:
    torch.manual_seed(0)
    latent, features = make_latent(name, 4), torch.randn(6, 4)
    plain = drawn(lambda: latent.posterior(features).rsample())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = drawn(lambda: latent.posterior(features).rsample())
    assert torch.equal(cast, plain)
    assert plain.dtype == torch.float32
    double = drawn(lambda: latent.double().posterior(features.double()).rsample())
    assert double.dtype == torch.float64
    assert double.isfinite().all()


@pytest.mark.usefixtures("formulas")
@pytest.mark.parametrize("name", [*LATENTS, "weibull"])
def test_a_device_without_float64_draws_what_the_cpu_does_by_formulas(name: str) -> None:
    torch.manual_seed(0)
    latent = make_latent("dirichlet", 4, estimator=name) if name in ESTIMATORS else make_latent(name, 4)
    features = torch.randn(6, 4)
    expected = drawn(lambda: latent.posterior(features).rsample())
    with device_without_float64() as device:
        moved, there = latent.to(device), features.to(device)
        found = drawn(lambda: moved.posterior(there).rsample(), SEEDS.to(device))
        found.square().sum().backward()
        assert found.device == device
        torch.testing.assert_close(found.detach().cpu(), expected.detach(), rtol=1e-4, atol=1e-6)
        assert drawn(lambda: noise.seeds(6, device), SEEDS.to(device)).device == device


def test_other_devices_are_never_waited_for() -> None:
    keys, number = SEEDS.to("meta"), torch.tensor(0, device="meta")  # there nothing has a value that could be read
    concentration = torch.ones(6, 3, device="meta")
    made = [
        example_draws.draw_gamma._init_fn(concentration, keys, number),
        example_draws.draw_normal._init_fn(keys, number, (6, 3), torch.float32),
        example_draws.draw_exponential._init_fn(keys, number, (6, 3), torch.float32),
        example_draws.draw_words._init_fn(keys, number, 3),
        *drawn(lambda: (noise.seeds(6, keys.device), noise.uniform((2, 6), keys.device, axis=1)), keys),
    ]
    assert [tuple(value.shape) for value in made] == [(6, 3)] * 4 + [(6,), (2, 6)]
    assert all(value.device == keys.device and value.is_contiguous() for value in made[:5])


class Bare(nn.Module):
    """A layer that draws."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        shown = torch.tanh(x * self.scale + noise.normal(x))
        return shown * noise.standard_gamma(1 + self.scale.exp().expand_as(x))


class Drawing(Bare):
    """One that counts its calls, too."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


@pytest.mark.parametrize("is_backward_inside", [True, False])
def test_what_is_computed_again_draws_the_same_again(is_backward_inside: bool, way: str) -> None:
    model = nn.Sequential(*(Drawing() for _ in range(5)))
    x = torch.linspace(-1, 1, 24).view(6, 4)

    def gradients(is_checkpointed: bool) -> list[Tensor]:
        model.zero_grad()
        applied = CheckpointedActivations(model).applied() if is_checkpointed else nullcontext()
        with example_noise(SEEDS):
            with applied:
                loss = model(x).square().sum() + (noise.normal(x) * model[0].scale).sum()
            after = noise.normal(x)
            if is_backward_inside:
                loss.backward()
            assert torch.equal(noise.normal(x), drawn(lambda: [noise.normal(x) for _ in range(13)][-1]))
        if not is_backward_inside:
            with example_noise(SEEDS + 1):  # of the next batch
                loss.backward()
        return [after, *(value.grad.clone() for value in model.parameters() if value.grad is not None)]

    expected, found = gradients(False), gradients(True)
    assert len(found) == 6
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one, other)
    assert model[0].calls == 2


def test_parts_without_buffers_draw_the_same_again_too() -> None:
    model = nn.Sequential(*(Bare() for _ in range(3)))
    x, found = torch.ones(6, 4), []
    for context in (nullcontext(), CheckpointedActivations(model).applied()):
        model.zero_grad()
        with context, example_noise(SEEDS):
            loss = model(x).sum()
        loss.backward()
        found.append([value.grad.clone() for value in model.parameters() if value.grad is not None])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def traced(name: str, backend: str) -> None:
    """A latent in the context, compiled, is what it is without, and is compiled once for all seeds and batches."""
    from torch._dynamo.testing import CompileCounterWithBackend  # slow to import

    torch.manual_seed(0)
    torch.compiler.reset()
    latent, counter = make_latent(name, 4), CompileCounterWithBackend(backend)

    def step(x: Tensor) -> tuple[Tensor, Tensor]:
        posterior = latent.posterior(x)
        return posterior.rsample() + posterior.rsample(), noise.seeds(x.shape[0], x.device)

    compiled = torch.compile(step, fullgraph=True, backend=counter)
    for seeds in (SEEDS, SEEDS + 50, SEEDS[:4]):
        features = torch.randn(len(seeds), 4)
        torch._dynamo.maybe_mark_dynamic(features, 0)
        found = []
        for function in (step, compiled):
            with example_noise(seeds):
                z, of_sound = function(features)
                after = noise.normal(z)
            gradients = torch.autograd.grad(z.square().sum(), list(latent.parameters()), allow_unused=True)
            found.append([z.detach(), of_sound, after, *(value for value in gradients if value is not None)])
        for eager, made in zip(*found, strict=True):
            torch.testing.assert_close(made, eager, rtol=1e-4, atol=1e-5)
    assert counter.frame_count == 1


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("name", LATENTS)
def test_a_latent_is_compiled_once_for_all_seeds(name: str, backend: str) -> None:
    traced(name, backend)


@pytest.mark.heavy
@needs_compiler
@pytest.mark.parametrize("name", LATENTS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, as it loads its compiler
def test_a_latent_is_compiled_to_machine_code_once_for_all_seeds(name: str) -> None:
    traced(name, "inductor")


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_model_draws_the_same_again_in_its_backward_pass(backend: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(Bare() for _ in range(5)))
    x = torch.linspace(-1, 1, 24).view(6, 4)

    def gradients(run: Callable[[Tensor], Tensor], *, is_checkpointed: bool) -> list[Tensor]:
        model.zero_grad()
        applied = CheckpointedActivations(model).applied() if is_checkpointed else nullcontext()
        with applied, example_noise(SEEDS):
            loss = run(x).square().mean()
            after = noise.normal(x)
        loss.backward()
        return [after, *(value.grad.clone() for value in model.parameters() if value.grad is not None)]

    expected = gradients(model, is_checkpointed=False)
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    found = gradients(torch.compile(model, backend=backend), is_checkpointed=True)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other)
    assert not torch._dynamo.utils.counters["graph_break"]


def test_the_operators_are_as_torch_wants_them(way: str) -> None:
    keys, number = torch.tensor([1, 2]), torch.tensor(3)
    concentration = torch.full((4, 3), 2.0, requires_grad=True)
    torch.library.opcheck(example_draws.draw_gamma, (concentration, keys, number))
    torch.library.opcheck(example_draws.draw_normal, (keys, number, (4, 3), torch.float32))
    torch.library.opcheck(example_draws.draw_exponential, (keys, number, (4, 3), torch.float64))
    torch.library.opcheck(example_draws.draw_words, (keys, number, 5))
