"""Lightning's Trainer over our iterators: stopped after any batch, its own checkpoint brings exactly the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines import DataIterator, EpochLoader, RepeatedEpoch
from pipelines.torch_bridge import DevicePrefetcher, TorchLoader

from .lettered import Row, epochs_of, letters, rows, two_sources

L = pytest.importorskip("lightning", reason="lightning is not installed: pip install lightning")

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*deprecated:FutureWarning"),  # Lightning 2.6, torch 2.13
    pytest.mark.filterwarnings("ignore:This DataLoader will create .* worker processes:UserWarning"),
]


class Stopped(Exception):
    pass


class Learner(L.LightningModule):  # type: ignore[misc]
    """Notes what it is trained on; stops itself after so many steps, when they are saved."""

    def __init__(self, stop: int | None = None, path: Path | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.stop, self.path = stop, path
        self.trained: list[Row] = []
        self.epoch_ends: list[int] = []

    def training_step(self, batch: Any, index: int) -> Any:
        found = rows([batch])
        self.trained += found
        self.log("seen", float(index), batch_size=len(batch))
        return self.weight * len(found)

    def on_train_batch_end(self, *_: Any) -> None:
        if self.trainer.global_step == self.stop:
            self.trainer.save_checkpoint(self.path)
            raise Stopped

    def on_train_epoch_end(self) -> None:
        self.epoch_ends.append(len(self.trained))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Validated(Learner):
    """Notes also how far training was at each validation."""

    def __init__(self, stop: int | None = None, path: Path | None = None) -> None:
        super().__init__(stop, path)
        self.validated: list[list[Row]] = []
        self.validated_at: list[int] = []

    def on_validation_epoch_start(self) -> None:
        self.validated.append([])
        self.validated_at.append(len(self.trained))

    def validation_step(self, batch: Any, index: int) -> None:
        self.validated[-1] += rows([batch])


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Lightning sets its own loggers up at import."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


def trainer(**settings: Any) -> Any:
    switched_off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    defaults = {"max_epochs": 3, "accelerator": "cpu", "enable_model_summary": False}
    return L.Trainer(**{**switched_off, **defaults, **settings})


def stopped(loader: Any, stop: int, path: Path) -> list[Row]:
    learner = Learner(stop, path)
    with pytest.raises(Stopped):
        trainer().fit(learner, loader)
    return learner.trained


LOADERS: dict[str, Callable[[], Any]] = {
    "threads": letters,
    "workers": lambda: TorchLoader(letters(threads=1), 2),
    "prefetcher": lambda: DevicePrefetcher(letters(), "cpu"),
    "mixture": two_sources,
}
STOPS = [(kind, stop) for kind in LOADERS for stop in (range(1, 18) if kind == "threads" else (2, 6, 8))]


@pytest.mark.parametrize(("kind", "stop"), STOPS)
def test_a_checkpoint_after_any_batch_brings_exactly_the_rest(kind: str, stop: int, tmp_path: Path) -> None:
    path, whole = tmp_path / "x.ckpt", epochs_of(LOADERS[kind](), 3)
    trained = stopped(EpochLoader(LOADERS[kind]()), stop, path)
    learner = Learner()
    trainer().fit(learner, EpochLoader(LOADERS[kind]()), ckpt_path=path)
    assert trained + learner.trained == whole[0] + whole[1] + whole[2]
    ends = {len(whole[0]), len(whole[0]) + len(whole[1]), sum(map(len, whole))}
    assert {len(trained) + end for end in learner.epoch_ends} == {end for end in ends if end > len(trained)}


def test_without_the_epoch_loader_lightning_ends_epochs_where_they_do_not_end(tmp_path: Path) -> None:
    """Why there is one: `len` of an iterator is the batches left, to which Lightning adds those before."""
    stopped(letters(), 4, tmp_path / "x.ckpt")
    learner = Learner()
    trainer().fit(learner, letters(), ckpt_path=tmp_path / "x.ckpt")
    assert learner.epoch_ends[1:] != [7 + 23, 7 + 46]


@pytest.mark.parametrize(("batch_size", "epochs"), [(2, 3), (7, 2)])
def test_another_batch_size_in_mid_epoch_loses_and_repeats_nothing(
    batch_size: int, epochs: int, tmp_path: Path
) -> None:
    """Lightning takes 3 of 6 batches for 3 of 4, ends the epoch after one more, and counts the rest as another."""
    trained = stopped(EpochLoader(letters()), 3, tmp_path / "x.ckpt")
    learner = Learner()
    other = letters(batch_size=batch_size, threads=1)
    trainer().fit(learner, EpochLoader(other), ckpt_path=tmp_path / "x.ckpt")
    assert trained + learner.trained == [row for epoch in epochs_of(letters(), epochs) for row in epoch]


def test_validation_plays_the_same_batches_each_time_whatever_the_sanity_check_took() -> None:
    learner, held_out = Validated(), letters("b", 14)
    trainer(num_sanity_val_steps=2).fit(learner, EpochLoader(letters()), RepeatedEpoch(held_out))
    whole = rows(letters("b", 14))
    assert learner.validated == [whole[:8], whole, whole, whole]


def test_validation_within_an_epoch_comes_at_the_same_places_after_a_resume(tmp_path: Path) -> None:
    def run(learner: Validated, **more: Any) -> None:
        settings = {"val_check_interval": 0.5, "num_sanity_val_steps": 0}
        trainer(**settings).fit(learner, EpochLoader(letters()), RepeatedEpoch(letters("b", 6)), **more)

    whole, before, after = Validated(), Validated(7, tmp_path / "x.ckpt"), Validated()
    run(whole)
    with pytest.raises(Stopped):
        run(before)
    run(after, ckpt_path=tmp_path / "x.ckpt")
    places = before.validated_at + [len(before.trained) + place for place in after.validated_at]
    assert places == whole.validated_at == [12, 23, 35, 46, 58, 69]


def test_limited_epochs_go_through_the_data_one_after_another() -> None:
    learner = Learner()
    trainer(limit_train_batches=2).fit(learner, EpochLoader(letters()))
    assert learner.trained == rows(letters())


def test_a_model_gets_what_the_function_makes_of_a_batch_at_every_precision() -> None:
    class Pairs(L.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.found = torch.nn.Parameter(torch.zeros(1)), list[int]()

        def training_step(self, batch: Any, index: int) -> Any:
            x, y = batch
            assert x.dtype == self.weight.dtype == torch.float64
            self.found += y.tolist()
            return (self.weight * x).mean()

        configure_optimizers = Learner.configure_optimizers

    def pair(batch: Any) -> Any:
        data = batch.to("cpu").data
        return data[:, 1].float(), data[:, 2]

    learner = Pairs()
    trainer(precision="64-true", max_epochs=1).fit(learner, EpochLoader(letters(), pair))
    assert learner.found == [number for _, number in rows(letters())]


def test_the_loaders_say_how_long_a_whole_epoch_is_and_what_they_hold() -> None:
    iterator: DataIterator = letters()
    loader, repeated = EpochLoader(iterator), RepeatedEpoch(letters())
    for left in (6, 5):
        assert (len(loader), len(iterator), len(repeated)) == (6, left, 6)
        next(iter(loader))
        next(iter(repeated))
    assert repr(loader).startswith("EpochLoader(DataIterator(")
    assert repr(repeated).startswith("RepeatedEpoch(DataIterator(")
    halved = RepeatedEpoch(iterator, len)
    assert [list(halved), list(halved), len(halved)] == [[4, 4, 4, 3], [4, 4, 4, 3], 4]
