"""Two levels, a vector and a map beside it: terms, draws, likelihood, weights of runs; against torch and SciPy."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor, nn
from torch.distributions import Dirichlet as TorchDirichlet
from torch.distributions import Normal, kl_divergence

from dirvae import ResNetVAE, VideoVAE, load_model
from dirvae.evaluate import choose_width, estimate_likelihood
from dirvae.evaluate.__main__ import main as evaluate
from dirvae.evaluate.held_out import HeldOut
from dirvae.latents.conditional_dirichlet import ConditionalDirichlet
from dirvae.latents.dirichlet import DirichletPosterior
from dirvae.level_weights import tensors_for_levels
from dirvae.levels import LevelledAutoEncoder, LevelOutput, MapLevel, has_map
from dirvae.noise import example_noise
from dirvae.report import ClipReportContent, Clips, write_clip_report
from dirvae.seeding import Purpose, derive_seed
from dirvae.train import main
from dirvae.training import ConfigError
from tests.dirvae.trained_runs import weights

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def small(**options: Any) -> ResNetVAE:
    torch.manual_seed(0)
    return ResNetVAE(16, levels="both", **{"model_size": 4, "map_size": 3, "map_dropped": 0.5, **options})


def stirred(model: nn.Module, *, by: float = 0.1) -> Any:
    """The model with all weights moved, so that no part is as it starts."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(by * torch.randn(value.shape, generator=generator))
    return model


def pictures(num: int = 6) -> Tensor:
    return torch.rand(num, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def cells(concentration: Tensor) -> Tensor:
    """(batch, K, *grid) → (batch, cell, K) float64, as torch's Dirichlet has it."""
    return concentration.detach().double().flatten(2).transpose(1, 2)


def test_the_terms_are_those_of_torch_with_a_map_and_without() -> None:
    model, x = stirred(small()).train(), pictures(32)
    out = model(x)
    assert isinstance(out, LevelOutput)
    assert 8 <= int(out.has_map.sum()) <= 24
    alone = Normal(out.decoded.double(), model.vector_likelihood.scale.double()).log_prob(x).flatten(1).sum(1)
    both = Normal(out.decoded.double(), model.likelihood.scale.double()).log_prob(x).flatten(1).sum(1)
    prior = TorchDirichlet(torch.full((4,), 0.75, dtype=torch.float64))
    of_vector = kl_divergence(TorchDirichlet(out.posterior.concentration.double()), prior)
    of_map = kl_divergence(
        TorchDirichlet(cells(out.map_posterior.concentration)), TorchDirichlet(cells(out.map_prior.concentration))
    ).sum(1)
    assert (out.map_prior.concentration.std((0, 2, 3)) > 0.01).all()  # each example and cell has its own
    terms = model.loss(x, out, kl_weight=0.3)
    expected = {
        "reconstruction": -torch.where(out.has_map, both, alone).mean(),
        "kl_global": of_vector.mean(),
        "kl_map": torch.where(out.has_map, of_map, 0.0).mean(),
    }
    expected["kl"] = expected["kl_global"] + expected["kl_map"]
    expected["loss"] = expected["reconstruction"] + 0.3 * expected["kl"]
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name].double(), value.detach(), rtol=1e-5, atol=1e-3, msg=name)
    mask = torch.arange(32) < 20
    cut = model.loss(x, out, mask=mask)
    torch.testing.assert_close(cut["kl_global"].double(), of_vector[:20].mean(), rtol=1e-5, atol=1e-3)


def test_without_a_map_an_example_is_decoded_as_by_the_vector_alone_and_evaluation_drops_none() -> None:
    model, x = stirred(small()).train(), pictures(16)
    out = model(x)
    alone = model.decode_raw(out.latent)
    both = model.decode_raw(out.latent, out.map_latent)
    is_alone = ~out.has_map
    torch.testing.assert_close(out.decoded[is_alone], alone[is_alone])
    torch.testing.assert_close(out.decoded[out.has_map], both[out.has_map])
    assert (alone - both).abs().flatten(1).amax(1).min() > 1e-3
    assert model.eval()(x).has_map.all()


def test_the_levels_draw_from_noise_of_their_own_and_an_example_draws_the_same_in_any_batch() -> None:
    model, x = small(model_size=3).train(), pictures(8)
    seeds = torch.arange(8) + 100
    with example_noise(seeds):
        whole = model(x)
    with example_noise(seeds[5:]):
        part = model(x[5:])
    for name in ("latent", "map_latent"):
        torch.testing.assert_close(getattr(part, name), getattr(whole, name)[5:], rtol=1e-4, atol=1e-5)
    assert torch.equal(part.has_map, whole.has_map[5:])
    with example_noise(seeds):  # of one law, on one seed, they are not the same draw
        one = DirichletPosterior(torch.ones(8, 3)).rsample()
        other = DirichletPosterior(torch.ones(8, 3)).rsample()
    assert (one - other).abs().amax(1).min() > 1e-3


def test_an_untrained_map_has_the_usual_prior_and_the_prior_learns_from_the_divergence() -> None:
    model = small()
    latent = model.latent.prior.sample(2)
    torch.testing.assert_close(model.map_prior(latent).concentration, torch.full((2, 3, 8, 8), 1 - 1 / 3))
    of_map = ConditionalDirichlet(3, prior_head=nn.Conv2d(2, 3, 1))
    condition = torch.randn(2, 2, 4, 4)
    posterior, prior = of_map.posterior(torch.randn(2, 3, 4, 4)), of_map.prior(condition)
    of_map.kl(posterior, prior).sum().backward()
    assert of_map.prior_head.weight.grad.abs().min() > 0
    m, weight = of_map.weighted_draw(posterior, prior)
    ratio = TorchDirichlet(cells(prior.concentration)).log_prob(cells(m) / cells(m).sum(2, keepdim=True))
    ratio -= TorchDirichlet(cells(posterior.concentration)).log_prob(cells(m) / cells(m).sum(2, keepdim=True))
    torch.testing.assert_close(weight, ratio.sum(1), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("width", [1.0, 1.4])
def test_the_likelihood_is_a_plain_loop_of_its_formula(width: float) -> None:
    """log mean of p(x|z,m) p(z) p(m|z) / (q(z|x) q(m|x)), with the densities of torch, draw by draw."""
    model, x = stirred(small()).eval(), pictures(3)
    estimate = estimate_likelihood(model, x, samples=7, seed=5, width=width)
    generator = torch.Generator().manual_seed(derive_seed(5, Purpose.IMPORTANCE, 0))
    levels = model.encode_levels(x)
    q_z, q_m = levels.vector.concentration.detach() / width, levels.map.concentration.detach() / width
    logs = []
    with torch.no_grad():
        for _ in range(7):
            z = DirichletPosterior(q_z).log_rsample(generator).double().softmax(1)
            m = DirichletPosterior(q_m).log_rsample(generator).double().softmax(1)
            trunk = model.decoder.start(model.decode_head(z.float()))
            p_m = model.map_level.latent.prior_head(trunk).exp()
            mean = model.decoder.finish(trunk + model.map_level(m.float())).double()
            log_weight = Normal(mean, model.likelihood.scale.double()).log_prob(x.double()).flatten(1).sum(1)
            log_weight += TorchDirichlet(torch.full((4,), 0.75, dtype=torch.float64)).log_prob(z)
            log_weight += TorchDirichlet(cells(p_m)).log_prob(cells(m)).sum(1)
            log_weight -= TorchDirichlet(q_z.double()).log_prob(z)
            log_weight -= TorchDirichlet(cells(q_m)).log_prob(cells(m)).sum(1)
            logs.append(log_weight)
    expected = torch.stack(logs).logsumexp(0) - math.log(7)
    torch.testing.assert_close(estimate.log_likelihood, expected, rtol=1e-4, atol=0.02)


class CoinEncoder(nn.Module):
    """Features that do not depend on the coin."""

    def forward(self, x: Tensor) -> Tensor:
        return self.levels(x)[0]

    def levels(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(x), 2), torch.zeros(len(x), 2, 1)


class CoinDecoder(nn.Module):
    """The trunk is the vector's first share; the logit of the coin is four times the trunk with the map, less one."""

    def start(self, latent: Tensor) -> Tensor:
        return latent[:, :1, None]

    def finish(self, trunk: Tensor) -> Tensor:
        return 4 * trunk[:, :, 0] - 1

    def forward(self, latent: Tensor) -> Tensor:
        return self.finish(self.start(latent))


class Twofold(nn.Module):
    """Log concentrations of a cell, t / 3 and -t / 3 of a trunk t."""

    def forward(self, trunk: Tensor) -> Tensor:
        return torch.cat([trunk, -trunk], 1) / 3


class FirstShare(nn.Module):
    """What a map adds: three times its first standardised share."""

    def forward(self, m: Tensor) -> Tensor:
        return 3 * m[:, :1]


def test_a_coin_of_two_levels_is_integrated_as_quadrature_does() -> None:
    """z ~ Beta(1/2, 1/2), m ~ Beta(e^(t/3), e^(-t/3)) given t of z: p(x) is an integral over both that SciPy takes."""
    torch.manual_seed(0)
    map_level = MapLevel(
        read=nn.Identity(), latent=ConditionalDirichlet(2, prior_head=Twofold()), entry=FirstShare()
    )
    model = LevelledAutoEncoder(
        CoinEncoder(), CoinDecoder(), 2, map_level=map_level, map_grid=(1,), likelihood="bernoulli"
    ).eval()
    with torch.no_grad():
        for head in (model.latent.head, map_level.latent.head):
            head.weight.zero_()
            head.bias.fill_(math.log(math.expm1(0.55 / 30)))  # a concentration of 0.55, wide enough for a proposal

        def trunk(share: float) -> float:
            z = torch.tensor([[share, 1 - share]])
            return float(model.decoder.start(model.decode_head(z)))

        scale = float(map_level.latent.standardise.scale)

        def given(share: float) -> float:
            t = trunk(share)
            law = stats.beta(math.exp(t / 3), math.exp(-t / 3))
            ways = (np.arange(4000) + 0.5) / 4000
            logit = 4 * (t + 3 * (law.ppf(ways) - 0.5) / scale) - 1
            return float((1 / (1 + np.exp(-logit))).mean())

        chance, _ = integrate.quad(
            lambda angle: 2 / math.pi * given(math.sin(angle) ** 2), 0, math.pi / 2, epsabs=1e-4
        )
    assert 0.2 < chance < 0.8
    for side, expected in ((1.0, chance), (0.0, 1 - chance)):
        estimate = estimate_likelihood(model, torch.full((4000, 1), side), samples=100, rows=4000)
        assert estimate.log_likelihood.exp().mean().item() == pytest.approx(expected, rel=0.02)


def test_a_width_is_chosen_for_both_levels() -> None:
    model, x = stirred(small()).eval(), pictures(4)
    assert choose_width(model, x, samples=20) in (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
    levels = model.encode_levels(x)
    wider = levels.widened(2.0)
    torch.testing.assert_close(wider.vector.concentration * 2, levels.vector.concentration)
    torch.testing.assert_close(wider.map.concentration * 2, levels.map.concentration)


class Batch:
    def __init__(self, data: Tensor) -> None:
        self.data, self.mask = data, None


def test_an_evaluation_says_what_each_level_carries_and_what_an_exchange_loses() -> None:
    model, x = stirred(small()).eval(), pictures(5)
    numbers = HeldOut([Batch(x)], mean=x.mean(0), seed=4)(model)
    assert numbers["kl"] == pytest.approx(numbers["kl_global"] + numbers["kl_map"], rel=1e-5)
    with torch.no_grad():
        error = (model.decode(model.encode(x).mean).clamp(0, 1) - x).square().flatten(1).mean(1)
    assert numbers["global_psnr_db"] == pytest.approx(float((-10 * error.log10()).mean()), rel=1e-4)
    torch.manual_seed(derive_seed(4, Purpose.EVALUATION, 0))
    with torch.no_grad():
        out = model(x)
        scale, lost = model.likelihood.scale, 0.0
        for one in range(5):
            other = out.latent[one - 1][None]
            mean = model.decode(other, out.map_latent[one][None])
            lost += float(Normal(out.decoded[one], scale).log_prob(x[one]).sum())
            lost -= float(Normal(mean[0], scale).log_prob(x[one]).sum())
        vector = Normal(model.decode_raw(out.latent), model.vector_likelihood.scale).log_prob(x).sum() / 5
    assert numbers["lost_by_exchange"] == pytest.approx(lost / 5, rel=1e-3)
    assert numbers["global_bound"] == pytest.approx(float(vector) - numbers["kl_global"], rel=1e-4)
    single = HeldOut([Batch(x[:1])], mean=x.mean(0))(model)
    assert single["lost_by_exchange"] is None


@pytest.mark.parametrize(
    ("size", "grid", "expected"),
    [
        (64, None, (8, 8)),
        (128, None, (16, 16)),
        (64, 16, (16, 16)),
        (28, None, (14, 14)),
        ((64, 96), None, (8, 12)),
    ],
)
def test_a_map_has_a_cell_for_eight_pixels_or_the_grid_that_is_asked_for(
    size: Any, grid: int | None, expected: tuple[int, int]
) -> None:
    model = ResNetVAE(size, levels="both", grid=grid, model_size=4, map_size=3)
    sides = (size, size) if isinstance(size, int) else size
    out = model(torch.rand(2, 3, *sides))
    assert model.map_grid == expected
    assert out.map_latent.shape == (2, 3, *expected)
    assert out.latent.shape == (2, 4)
    assert model.sample(2).shape == model.reconstruct(torch.rand(2, 3, *sides)).shape == (2, 3, *sides)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": "all"}, "levels is 'all'; use one of vector, map, both"),
        ({"levels": "vector", "grid": 8}, "'vector', which has no grid, but the grid is 8"),
        ({"levels": "both", "grid": 1}, "a map of one cell is a vector"),
        (
            {"levels": "both", "grid": 12},
            "12×12 latents does not fit beside the vector .* one of 32×32, 16×16, 8×8",
        ),
        ({"levels": "both", "size": 6}, "6 pixels are too small for two levels"),
        ({"levels": "both", "map_dropped": 1.0}, "map_dropped is 1.0"),
    ],
)
def test_levels_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResNetVAE(**options)


def test_levels_have_the_meaning_that_a_grid_alone_has() -> None:
    assert ResNetVAE(32, levels="map", grid=4).config == ResNetVAE(32, grid=4).config
    assert ResNetVAE(64, levels="map").config == ResNetVAE(64, grid=(8, 8)).config
    assert ResNetVAE(32, levels="vector").config == ResNetVAE(32).config
    assert "levels" not in ResNetVAE(32).config  # as it was before there were levels
    assert not has_map(ResNetVAE(32))
    both = ResNetVAE(32, levels="both", map_size=5, map_dropped=0.2)
    assert ResNetVAE(**json.loads(json.dumps(both.config))).config == both.config


def test_clips_have_both_levels_too() -> None:
    torch.manual_seed(0)
    model = VideoVAE(16, clip_frames=6, levels="both", model_size=4, map_size=3)
    x = torch.rand(2, 3, 6, 16, 16)
    out = model(x)
    assert out.map_latent.shape == (2, 3, 6, 8, 8)
    model.loss(x, out)["loss"].backward()
    assert all(value.grad is not None for value in model.parameters())
    assert model.sample(2).shape == model.reconstruct(x).shape == x.shape


def test_the_vector_of_two_levels_is_the_vector_of_one_and_gives_its_weights_to_it() -> None:
    both, x = stirred(small()).eval(), pictures(3)
    vector = ResNetVAE(16, model_size=4).eval()
    tensors, part = tensors_for_levels(vector, both.state_dict())
    assert part == "vector"
    vector.load_state_dict(tensors)
    torch.testing.assert_close(vector.reconstruct(x), both.decode(both.encode(x).mean))
    assert vector.likelihood.scale == both.vector_likelihood.scale != both.likelihood.scale
    fresh = small()
    tensors, part = tensors_for_levels(fresh, vector.state_dict())
    before = {name: value.clone() for name, value in fresh.map_level.state_dict().items()}
    fresh.load_state_dict(tensors)
    torch.testing.assert_close(fresh.eval().decode(fresh.encode(x).mean), vector.reconstruct(x))
    assert fresh.vector_likelihood.scale == fresh.likelihood.scale == vector.likelihood.scale
    assert all(torch.equal(value, before[name]) for name, value in fresh.map_level.state_dict().items())
    assert tensors_for_levels(fresh, both.state_dict())[1] is None


RUN = [
    *("--size", "16", "--batch-size", "4", "--model-size", "4", "--map-size", "3", "--held-out", "0.25"),
    *("--threads", "1", "--device", "cpu", "--kl-warmup", "2", "--save-every", "2", "--cooldown", "0"),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with twelve images."""
    folder = tmp_path / "data" / "image"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(12):
        (folder / f"{number:02d}.ppm").write_bytes(b"P6\n16 16\n255\n" + rng.bytes(768))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_of_both_is_resumed_to_the_bit_evaluated_reported_and_started_from(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = [*RUN, "--levels", "both"]
    assert main([*both, "--steps", "6", "--out", "whole"]) == 0
    assert main([*both, "--steps", "2", "--out", "parts"]) == 0
    assert main(["--resume", "--steps", "6", "--out", "parts"]) == 0
    assert weights(Path("parts")) == weights(Path("whole"))
    lines = [json.loads(line) for line in Path("whole/metrics.jsonl").read_text().splitlines()]
    for line in lines:
        assert line["kl"] == pytest.approx(line["kl_global"] + line["kl_map"], rel=1e-4)
    page = Path("whole/report.html").read_text("utf-8")
    for words in (
        "the two levels apart",
        "From one global latent",
        "One global latent, many maps",
        "8 × 8 simplexes of 3",
    ):
        assert words in page
    assert Path("whole/pictures/levels-exchanged.png").exists()
    capsys.readouterr()
    assert evaluate(["whole", "--samples", "3"]) == 0
    table = capsys.readouterr().out
    content = json.loads(Path("whole/evaluation.json").read_text())
    assert f"KL of the global latent         {content['levels']['kl_global']:,.2f} nats" in table
    assert "lost by another's global latent" in table
    assert content["levels"]["map"]["model_size"] == 3
    model = load_model("whole")
    assert has_map(model)
    assert model.sample(2).shape == (2, 3, 16, 16)
    capsys.readouterr()
    for flags, origin, out, part in (
        (RUN, "whole", "vector", " of the vector"),
        (both, "vector", "again", " of the vector"),
        (both, "again", "third", ""),
    ):
        assert main([*flags, "--steps", "1", "--init-from", origin, "--out", out]) == 0
        assert f"starting from the weights{part} of {origin}" in capsys.readouterr().out
    assert main([*both, "--steps", "1", "--resume", "--out", "whole", "--map-dropped", "0.1"]) == 1
    assert "map-dropped: 0.3 → 0.1" in capsys.readouterr().err


def test_the_page_of_clips_shows_the_vector_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = VideoVAE(16, clip_frames=4, levels="both", model_size=4, map_size=3).eval()
    clips = Clips(torch.rand(3, 3, 4, 16, 16), ["a", "b", "c"], [[0.0, 0.1, 0.2, 0.3]] * 3)
    summary = {"step": 1, "total_steps": 1, "parameters": 5, "evaluation": None}
    config = {"latent": "dirichlet", "model_size": 4, "map_size": 3, "clip_frames": 4, "size": 16}
    data = {"training_examples": 3, "training_clips": 3}
    page = write_clip_report(tmp_path, model, ClipReportContent(clips, None, data, config, summary), seed=0)
    text = page.read_text("utf-8")
    with torch.no_grad():
        error = (model.decode(model.encode(clips.data).mean).clamp(0, 1) - clips.data).square().flatten(1).mean(1)
    for value in -10 * error.log10():
        assert f"alone, {float(value):.1f} dB" in text


def test_a_run_without_levels_in_its_settings_is_what_it_was(home: Path) -> None:
    assert main([*RUN, "--steps", "1", "--out", "old", "--grid", "4"]) == 0
    path = Path("old/config.json")
    content = json.loads(path.read_text())
    for name in ("levels", "map_size", "map_dropped"):
        content.pop(name)
    path.write_text(json.dumps(content))
    assert main(["--resume", "--steps", "2", "--out", "old"]) == 0
    assert load_model("old").grid == (4, 4)
    assert evaluate(["old", "--samples", "2"]) == 0
    assert json.loads(Path("old/evaluation.json").read_text())["levels"] is None


def test_a_level_that_is_not_known_is_refused_in_settings(home: Path) -> None:
    from dirvae.tasks.image import ImageModel

    with pytest.raises(ConfigError, match="levels is 'all'; it must be None or one of vector, map, both"):
        ImageModel(levels="all")
    with pytest.raises(ConfigError, match=r"map_dropped is 1\.5; it must be a share"):
        ImageModel(map_dropped=1.5)
