"""The trainer as it is used from Python: other people's loaders, wrappers, schedulers and values, and Ctrl-C."""

import json
import math
import os
import random
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from dirvae import MLPVAE, AudioVAE, AutoEncoder, ResNetVAE, load_model
from dirvae.evaluate import estimate_likelihood
from dirvae.evaluate.__main__ import main as evaluate
from dirvae.latents import LATENTS, Dirichlet, MomentPrior
from dirvae.losses import LIKELIHOODS, make_likelihood
from dirvae.networks.audio import SoundClips
from dirvae.run.config import read_config
from dirvae.run.evaluation import EvaluateConfig, evaluate_run
from dirvae.run.report import write_run_report
from dirvae.train import main as train
from dirvae.training import CheckpointError, ConfigError, FitConfig, Trainer, TrainingWarning
from dirvae.training.checkpoint import CheckpointFolder
from dirvae.training.json_values import json_value
from dirvae.training.logging import read_metrics
from dirvae.training.states import model_to_tensors
from dirvae.training.wrappers import unwrapped
from pipelines import ImageIterator, hold_out, make_shards, open_source
from pipelines.samples.scenes import make_sample_data

BITS = (torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(0)) > 0.5).float()


@pytest.fixture(autouse=True)
def _one_torch_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small(**options) -> MLPVAE:
    torch.manual_seed(0)
    return MLPVAE((1, 4, 4), model_size=3, widths=(6,), **options)


def settings(**changes) -> FitConfig:
    return FitConfig(**{"steps": 4, "kl_warmup": 0, "device": "cpu", "cooldown": None, **changes})


def weights(model) -> list[torch.Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def are_equal(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


class Noisy(Dataset):
    """Examples that draw from every global generator there is."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        chance = (torch.rand(()) + np.random.rand() + random.random() + index / 12) / 4  # noqa: NPY002
        return torch.bernoulli(torch.full((1, 4, 4), float(chance)))


def loader(**options) -> DataLoader:
    return DataLoader(Noisy(), batch_size=2, shuffle=True, **options)


@pytest.mark.parametrize("has_generator", [False, True])
def test_a_loader_whose_examples_are_random_resumes_exactly_anywhere(tmp_path, has_generator):
    def run(out, stop, seen):
        def loss(model, batch):
            seen[batch.step] = batch.data.clone()
            return model.loss(batch.data, model(batch.data))

        options = {"generator": torch.Generator().manual_seed(9)} if has_generator else {}
        model = small()
        trained = Trainer(model, loader(**options), loss=loss, config=settings(steps=9), out=out)
        trained.resume()
        np.random.seed(stop)  # noqa: NPY002
        random.seed(stop)
        trained.fit(should_stop=lambda: trained.step >= stop)
        return weights(model)

    seen, others = {}, {}
    whole = run(tmp_path / "whole", 9, seen)
    for stop in (2, 6, 8, 9):  # an epoch has 6 batches
        resumed = run(tmp_path / "run", stop, others)
    assert [step for step in seen if not torch.equal(seen[step], others[step])] == []
    assert are_equal(whole, resumed)


def test_a_run_of_the_first_noise_keeps_the_order_of_its_loader(tmp_path):
    def make():
        batches = loader(generator=torch.Generator().manual_seed(9))
        return Trainer(small(), batches, config=settings(steps=2), out=tmp_path)

    first = make()
    first.fit(should_stop=lambda: first.step >= 1)
    path = tmp_path / "checkpoints" / "00000001" / "state.json"
    state = json.loads(path.read_text())
    assert state["feed"].pop("noise_version") == 3
    path.write_text(json.dumps(state))
    second = make()
    second.resume()
    second.fit()
    newest = CheckpointFolder(tmp_path / "checkpoints").newest()
    assert newest is not None
    assert newest.state["feed"]["noise_version"] == 1


def test_training_leaves_every_global_generator_alone():
    trained = Trainer(small(), loader(), config=settings())
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    trained.fit()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert random.getstate() == before[2]


def test_an_evaluation_that_draws_is_a_function_of_the_step(tmp_path):
    seen = []

    def evaluate(model):
        seen.append(float(torch.rand(())))
        return {"bound": 1.0}

    trained = Trainer(small(), [BITS], config=settings(), evaluate=evaluate)
    trained.fit()
    torch.manual_seed(5)
    trained.evaluate()
    assert seen[0] == seen[1]


def test_every_likelihood_checks_its_data():
    levels, greys = torch.arange(256) / 255, torch.rand(2, 3)
    for name in LIKELIHOODS:
        assert make_likelihood(name).check(torch.tensor([0.0, 1.0, math.nan])) is None
    for name in ("bernoulli", "discretized-logistic"):
        likelihood = make_likelihood(name)
        for wrong in (255 * greys, 2 * greys - 2):
            with pytest.raises(ValueError, match=f"but {name} is defined from 0 to 1 only"):
                likelihood.check(wrong)
            assert not likelihood.is_density_of(wrong)
        assert likelihood.check(greys) is not None
        assert not likelihood.is_density_of(greys)
    assert make_likelihood("discretized-logistic").is_density_of(levels)
    assert make_likelihood("gaussian").is_density_of(255 * greys)


@pytest.mark.parametrize("name", ["bernoulli", "discretized-logistic"])
def test_no_likelihood_is_estimated_of_data_that_has_none(name):
    model = small(likelihood=name)
    with pytest.raises(ValueError, match="the data holds values"):
        estimate_likelihood(model, torch.rand(2, 1, 4, 4), samples=2)
    estimate_likelihood(model, BITS, samples=2)


def fit(batch, **options):
    Trainer(small(), [batch], config=settings(steps=2), **options).fit()


def own_loss(model, batch):
    return model.loss(batch.data, model(batch.data))


def test_the_first_batch_is_checked_once():
    with pytest.warns(TrainingWarning, match="uint8 zeros and ones, which are scaled"):
        fit(BITS.to(torch.uint8))
    with pytest.raises(ConfigError, match="from 0 to 255, but bernoulli"):
        fit(255 * BITS)
    with pytest.warns(TrainingWarning, match="The loss can also prepare the data itself"):
        fit(255 * BITS, loss=own_loss)
    with pytest.warns(TrainingWarning, match="a cross entropy and not a likelihood"):
        fit(BITS / 2)
    levels = small(likelihood="gaussian")
    with pytest.warns(TrainingWarning, match="whole numbers up to 255") as told:
        Trainer(levels, [255 * BITS], config=settings(steps=3)).fit()
    assert len(told) == 1


@pytest.mark.parametrize("wrap", [lambda model: torch.compile(model, backend="eager"), nn.DataParallel])
def test_wrappers_are_looked_through(tmp_path, wrap):
    plain = small()
    trained = Trainer(
        wrap(plain),
        [BITS],
        config=settings(),
        out=tmp_path,
        evaluate=lambda model: {"bound": float(model is plain)},
    )
    trained.fit()
    assert trained.evaluation == {"bound": 1.0}
    again = load_model(tmp_path)
    assert type(again) is MLPVAE
    assert are_equal(weights(plain), weights(again))
    assert all(
        name in plain.state_dict() for name in CheckpointFolder(tmp_path / "checkpoints").open(4).model_tensors()
    )
    resumed = Trainer(small(), [BITS], config=settings(steps=5), out=tmp_path)
    assert resumed.resume()
    assert load_model(tmp_path, model=wrap(small())) is not None


def test_names_are_clean_where_a_part_is_compiled():
    model = small()
    names = list(model.state_dict())
    model.encoder = torch.compile(model.encoder, backend="eager")
    assert list(model_to_tensors(model)) == names
    assert unwrapped(model) is model


def test_values_of_callers_become_json():
    values = {
        "torch": torch.tensor(1.5), "numpy": np.float32(1.5), "whole": np.int64(3), "flag": np.bool_(True),
        "nested": {"list": (1, np.array([1.0, math.nan]))}, "endless": math.inf,
    }  # fmt: skip
    assert json.loads(json.dumps(json_value(values))) == {
        "torch": 1.5, "numpy": 1.5, "whole": 3, "flag": True, "nested": {"list": [1, [1.0, None]]}, "endless": None,
    }  # fmt: skip
    for wrong in (3j, object(), {1: 2}):
        with pytest.raises(TypeError):
            json_value(wrong)


@pytest.mark.parametrize("value", [object(), ZeroDivisionError()])
def test_a_failed_evaluation_costs_no_weights(tmp_path, value):
    def evaluate(model):
        if isinstance(value, Exception):
            raise value
        return {"bound": value}

    trained = Trainer(small(), [BITS], config=settings(), out=tmp_path, evaluate=evaluate)
    with pytest.raises((ZeroDivisionError, ConfigError)) as caught:
        trained.fit()
    if not isinstance(value, Exception):
        assert "'bound' cannot be written as JSON (object is not a number" in str(caught.value)
    assert are_equal(weights(load_model(tmp_path)), weights(trained.model))


def test_a_network_whose_config_is_no_json_is_saved_all_the_same(tmp_path):
    inner = nn.Sequential(nn.Linear(3, 1))
    inner.config = object()
    batches = [torch.ones(2, 3)]
    run = Trainer(
        inner, batches, loss=lambda one, batch: {"loss": one(batch.data).mean()}, config=settings(), out=tmp_path
    )
    run.fit()
    assert CheckpointFolder(tmp_path / "checkpoints").steps() == [4]


def test_a_skipped_update_leaves_no_trace_in_buffers():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    prior = MomentPrior(3, burn_in=0)
    model = AutoEncoder(encoder, nn.Linear(3, 5), 3, latent=Dirichlet(3, prior=prior))
    good, bad = torch.rand(6, 5), torch.full((6, 5), math.nan)

    def loss(one, batch):
        terms = one.loss(batch.data, one(batch.data))
        return {**terms, "loss": terms["loss"] * (math.nan if batch.step == 2 else 1.0)}

    trained = Trainer(model, [good, bad, good], loss=loss, config=settings(steps=3))
    kept = []
    with pytest.warns(TrainingWarning, match="updates skipped"):
        trained.fit(should_stop=lambda: kept.append([value.clone() for value in model.buffers()]))
    assert trained.skipped_updates == 2
    assert are_equal(kept[1], [value.clone() for value in model.buffers()])
    assert not are_equal(kept[0], kept[1])
    assert (int(prior.num_updates), int(encoder[1].num_batches_tracked)) == (1, 1)


def with_schedule(out=None, *, is_given=True, steps=6):
    model = small()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    rates = []

    def loss(one, batch):
        rates.append(optimizer.param_groups[0]["lr"])
        return own_loss(one, batch)

    if not is_given:
        optimizer.register_step_post_hook(lambda *_: scheduler.step())
    options = {"scheduler": scheduler} if is_given else {}
    trained = Trainer(
        model, [BITS], loss=loss, optimizer=optimizer, config=settings(steps=steps), out=out, **options
    )
    return trained, rates


def test_the_caller_s_scheduler_decides_and_is_resumed(tmp_path):
    cosine = [0.005 * (1 + math.cos(math.pi * step / 6)) for step in range(6)]
    for is_given in (True, False):
        trained, rates = with_schedule(is_given=is_given)
        trained.fit()
        assert rates == pytest.approx(cosine)
    first, _ = with_schedule(tmp_path)
    first.fit(should_stop=lambda: first.step >= 2)
    second, rates = with_schedule(tmp_path)
    second.resume()
    second.fit()
    assert rates == pytest.approx(cosine[2:])
    model = small()
    without = {"optimizer": torch.optim.AdamW(model.parameters()), "config": settings(steps=6), "out": tmp_path}
    with pytest.raises(CheckpointError, match="the checkpoint has a scheduler and this Trainer has none"):
        Trainer(model, [BITS], **without).resume()


def test_a_learning_rate_that_the_caller_sets_stays():
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    rates = []

    def loss(one, batch):
        rates.append(optimizer.param_groups[0]["lr"])
        if batch.step == 1:
            optimizer.param_groups[0]["lr"] = 0.5
        return own_loss(one, batch)

    Trainer(model, [BITS], loss=loss, optimizer=optimizer, config=settings(learning_rate_warmup=0)).fit()
    assert rates == [0.01, 0.01, 0.5, 0.5]


def test_parts_that_cannot_be_trained_are_refused_in_one_sentence():
    model = small()
    lazy = AutoEncoder(nn.LazyLinear(3), nn.Linear(3, 5), 3)
    other = torch.optim.Adam(small().parameters())
    for given, optimizer, sentence in (
        (lazy, None, "the shape of encoder.weight is not known yet; call the model once"),
        (model, torch.optim.LBFGS(model.parameters()), "LBFGS computes the loss several times per step"),
        (model, other, "Adam holds none of the model's parameters"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            Trainer(given, [BITS], optimizer=optimizer)


def test_weights_that_the_optimiser_does_not_know_gather_no_gradients():
    model = small()
    optimizer = torch.optim.SGD(model.decoder.parameters(), lr=0.0)
    norms = []

    def loss(one, batch):
        norms.append(sum(float(value.grad.norm()) for value in one.encoder.parameters() if value.grad is not None))
        return {"loss": one.loss(batch.data, one(batch.data, generator=torch.Generator().manual_seed(0)))["loss"]}

    Trainer(model, [BITS], loss=loss, optimizer=optimizer, config=settings(clip=None)).fit()
    assert norms[1:] == pytest.approx([norms[1]] * 3)


def test_python_warns_of_a_warm_up_longer_than_the_run_and_of_a_clip_that_always_binds(tmp_path):
    with pytest.warns(TrainingWarning, match="the run ends after 4 steps, before the KL weight.*at step 300"):
        Trainer(small(), [BITS], config=settings(kl_warmup=300)).fit()
    with pytest.warns(
        TrainingWarning, match=r"step 20: the gradients of all 20 updates were larger than clip"
    ) as told:
        Trainer(small(), [BITS], config=settings(steps=20, clip=0.01, log_every=4), out=tmp_path).fit()
    assert len(told) == 1
    assert all(line["clipped_share"] == 1 for line in read_metrics(tmp_path / "metrics.jsonl"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Trainer(small(), [BITS], config=settings(kl_warmup=300, kl_weight=0)).fit()
        Trainer(small(), [BITS], config=settings(steps=20, clip=1e6)).fit()


def test_ctrl_c_saves_first(tmp_path):
    def loss(model, batch):
        if batch.step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return own_loss(model, batch)

    trained = Trainer(small(), [BITS], loss=loss, config=settings(), out=tmp_path)
    with pytest.raises(KeyboardInterrupt, match="stopped after step 2, which is saved"):
        trained.fit()
    assert CheckpointFolder(tmp_path / "checkpoints").steps() == [2]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    again = Trainer(small(), [BITS], config=settings(), out=tmp_path)
    again.resume()
    assert again.fit() == 4


@pytest.mark.parametrize(
    ("is_default", "latent"), [(True, "dirichlet"), *((False, name) for name in sorted(LATENTS))]
)
def test_weights_of_double_precision_are_trained_in_it(is_default, latent):
    before = torch.get_default_dtype()
    try:
        if is_default:
            torch.set_default_dtype(torch.float64)
        model = small(latent=latent).double()
        Trainer(model, [BITS.float(), BITS.to(torch.bool)], config=settings()).fit()
        model.decode(model.encode(BITS.double()).mean)
    finally:
        torch.set_default_dtype(before)
    assert all(value.dtype == torch.float64 for value in model.parameters())


def test_a_run_from_python_is_evaluated_and_reported(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (12, 8, 8), np.uint8)
    for number, picture in enumerate(pixels):
        (tmp_path / f"{number:02d}.pgm").write_bytes(b"P5\n8 8\n255\n" + picture.tobytes())
    training, _ = hold_out(open_source(tmp_path, modality="image"), 0.25)
    images = ImageIterator(training, size=8, batch_size=4, shuffle=True, grayscale=True, threads=1)
    run = tmp_path / "run"
    model, own = ResNetVAE(size=8, channels=1, model_size=4), {"evaluate": lambda model: {"bound": 1.0}}
    Trainer(model, images, config=settings(steps=1), out=run, **own).fit()
    config = read_config(run)
    assert (config.type, config.data.channels, config.data.held_out, config.model.model_size) == (
        "image",
        1,
        0.25,
        4,
    )
    content = evaluate_run(run, EvaluateConfig(samples=2))
    assert (content["examples"], content["is_held_out"]) == (3, True)
    assert "<span>held-out PSNR</span>" in write_run_report(run).read_text()
    torch.manual_seed(0)
    nothing = tmp_path / "nothing"
    Trainer(small(), [BITS], config=settings(steps=1), out=nothing).fit()
    with pytest.raises(ConfigError, match=r"nothing: a Trainer in Python made this run.* Continue it in Python"):
        read_config(nothing)


def test_a_run_from_python_over_a_whole_set_of_shards_is_evaluated_and_resumed_by_the_commands(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    make_sample_data("data", num=12, size=16)
    make_shards("data", "shards")
    images = ImageIterator("shards", size=8, batch_size=4, shuffle=True, threads=1)
    Trainer(ResNetVAE(size=8, model_size=4), images, config=settings(steps=1), out="whole").fit()
    config = read_config(Path("whole"))
    assert (config.data.source, config.data.held_out) == ("shards", None)
    assert evaluate(["whole", "--samples", "2"]) == 0
    assert "12 images of the training, because none were held out" in capsys.readouterr().out
    assert train(["--resume", "--out", "whole", "--steps", "2"]) == 0
    assert read_metrics("whole/metrics.jsonl")[-1]["step"] == 2
    Path("whole/config.json").unlink()  # as before --resume
    assert train(["--config", "whole", "--out", "again", "--steps", "1"]) == 0
    assert read_config(Path("again")).data == config.data


def test_a_run_from_python_over_a_selection_is_not_blamed_on_the_data(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_sample_data("data", num=12, size=16)
    images = ImageIterator("data", size=8, batch_size=4, shuffle=True, threads=1, limit=8)
    Trainer(ResNetVAE(size=8, model_size=4), images, config=settings(steps=1), out="some").fit()
    sentence = (
        "some: a Trainer in Python made this run, by its checkpoint over all examples of data, but these are not"
    )
    assert evaluate(["some", "--samples", "2"]) == 1
    assert sentence in capsys.readouterr().err
    assert train(["--resume", "--out", "some", "--steps", "2"]) == 1
    err = capsys.readouterr().err
    assert sentence in err
    assert "continue it in Python with resume()" in err
    assert not Path("some/config.json").exists()


@pytest.mark.parametrize("is_default", [True, False])
def test_an_audio_model_of_double_precision_plays_and_learns(is_default):
    samples, before = torch.full((1, 2000), 0.1), torch.get_default_dtype()
    try:
        if is_default:
            torch.set_default_dtype(torch.float64)
        model = AudioVAE(sample_rate=8000, preset="tiny").double()
        curves = torch.ones(2, 1, model.num_rows(2000), dtype=torch.float32)
        clips = SoundClips(samples, 220 * curves[0], -20 * curves[1])
        model.loss(clips, model(clips))["loss"].backward()
    finally:
        torch.set_default_dtype(before)
    assert all(value.grad is None or value.grad.dtype == torch.float64 for value in model.parameters())
