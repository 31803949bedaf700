"""The steps of a training run give a GPU its work and never wait for it; and the noise of a step is seeded cheaply."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dirvae import AudioVAE, ResNetVAE
from dirvae.latents import Dirichlet, MomentPrior
from dirvae.networks.audio import SoundClips
from dirvae.seeding import seed_generators
from dirvae.training import FitConfig, Trainer
from dirvae.training.feed import Feed
from dirvae.training.objective import Bound
from pipelines import DataIterator, Example, Source
from pipelines.torch_bridge import DevicePrefetcher
from tests.dirvae.device_that_never_waits import WaitedForDevice, device_that_never_waits

Refuse = Callable[[], AbstractContextManager[None]]
WARM_UP, STEPS = 2, 5


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[torch.device, Refuse]]:
    """A device, and what refuses waiting for it."""
    with device_that_never_waits(monkeypatch) as found:
        yield found


class Switch:
    """Given to `Trainer.fit` as `should_stop`: after some steps waiting is refused, until the last one is done."""

    def __init__(self, refuse: Refuse) -> None:
        self._refuse, self._calls, self._refusing = refuse, 0, ExitStack()

    def __call__(self) -> bool:
        self._calls += 1
        if self._calls == WARM_UP + 1:
            self._refusing.enter_context(self._refuse())
        if self._calls <= STEPS:
            return False
        self._refusing.close()
        return True

    def close(self) -> None:
        self._refusing.close()


def fit_without_waiting(trainer: Trainer, refuse: Refuse) -> None:
    switch = Switch(refuse)
    try:
        assert trainer.fit(should_stop=switch) == STEPS
    finally:
        switch.close()


def settings(device: torch.device | str, **changes: Any) -> FitConfig:
    chosen = {"steps": 100, "log_every": 100, "save_every": 100, "kl_warmup": 0, "device": str(device), **changes}
    return FitConfig(**chosen)


def padded_batches() -> Iterator[SimpleNamespace]:
    """Batches of a caller's own, with a mask."""
    rng = np.random.default_rng(0)
    return (
        SimpleNamespace(
            data=rng.integers(0, 256, (4, 3, 16, 16), np.uint8), mask=np.array([True, True, True, False])
        )
        for _ in itertools.count()
    )


class Letters(Source):
    """Ten examples."""

    name = "letters"

    def __len__(self) -> int:
        return 10

    def read(self, indices: Any) -> list[Example]:
        return [Example(int(index), str(index), b"") for index in indices]


def grey(example: Example, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    return np.full((3, 16, 16), 99, np.uint8)


@pytest.mark.parametrize("is_learned", [False, True])
def test_steps_on_pictures_wait_for_nothing(place: tuple[torch.device, Refuse], is_learned: bool) -> None:
    device, refuse = place
    latent = Dirichlet(8, prior=MomentPrior(8, burn_in=1) if is_learned else None)
    model = ResNetVAE(size=16, preset="tiny", model_size=8, latent=latent).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    config = settings(device, ema=0.99, accumulate=2)
    trainer = Trainer(model, padded_batches(), optimizer=optimizer, config=config)
    before = [value.detach().cpu() for value in model.parameters()]
    fit_without_waiting(trainer, refuse)
    assert trainer.skipped_updates == 0
    assert not all(map(torch.equal, before, [value.detach().cpu() for value in model.parameters()]))


def test_steps_on_sounds_wait_for_nothing(place: tuple[torch.device, Refuse]) -> None:
    device, refuse = place
    trainer = sound_trainer(device, core="conv")
    fit_without_waiting(trainer, refuse)
    assert trainer.skipped_updates == 0


def sound_trainer(device: torch.device | str, *, core: str) -> Trainer:
    """Clips go to the device at every step, as those of an iterator do."""
    model = AudioVAE(16_000, preset="tiny", core=core, model_size=3, num_harmonics=6, num_bands=5).to(device)
    samples = 0.1 * torch.randn(2, 640, generator=torch.Generator().manual_seed(0))
    clips = SoundClips(samples, torch.full((2, 10), 300.0), torch.full((2, 10), -20.0), torch.tensor([640, 320]))
    config = settings(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    bound = Bound(config, lambda batch: clips.to(batch.data.device))
    return Trainer(model, [samples[:, None]] * STEPS, loss=bound, optimizer=optimizer, config=config)


def test_the_device_refuses_what_waits(place: tuple[torch.device, Refuse]) -> None:
    device, refuse = place
    there, here = torch.ones(3).to(device), torch.ones(3)
    waits: list[Callable[[], object]] = [
        lambda: bool(there.sum() > 0),
        there.sum().item,
        there.tolist,
        there.cpu,
        lambda: here.to(device),
        lambda: here.to(device, non_blocking=True),
        lambda: here.pin_memory().to(device),
        lambda: there.copy_(here),
        lambda: there[there > 0],
        lambda: there.nonzero(),
    ]
    with refuse():
        for wait in waits:
            with pytest.raises(WaitedForDevice):
                wait()
        assert here.pin_memory().to(device, non_blocking=True).device == device


def test_examples_of_a_padded_batch_are_counted_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    iterator = DataIterator(Letters(), grey, batch_size=4, rank=0, world_size=1, tail="pad")
    feed = Feed(iterator, torch.device("cpu"))
    sums: list[Tensor] = []
    monkeypatch.setattr(Tensor, "sum", lambda tensor: sums.append(tensor))
    assert [feed.take(number).num_examples for number in range(4)] == [4, 4, 2, 4]
    assert not sums
    feed.close()
    prefetcher = DevicePrefetcher(iterator, "cpu")
    assert prefetcher.num_examples is None
    assert [prefetcher.num_examples for _ in prefetcher] == [4, 2], "the rest of an epoch"


def test_a_step_seeds_the_generator_of_its_device_alone_with_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = [torch.Generator().manual_seed(7) for _ in range(2)]
    module = SimpleNamespace(default_generators=tuple(own), current_device=lambda: 0)
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    state = torch.get_rng_state()
    seed = 2**64 - 5
    torch.manual_seed(seed)
    expected = torch.rand(3)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "manual_seed", None)
        for device, index in (("cuda:1", 1), ("cuda", 0)):
            seed_generators(seed, torch.device(device))
            assert torch.equal(torch.rand(3), expected)
            assert torch.equal(torch.rand(3, generator=own[index]), expected)
    module.default_generators = ()  # a device that is not in use yet
    seed_generators(seed, torch.device("cuda"))
    assert torch.equal(torch.rand(3), expected)
    torch.set_rng_state(state)


gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode"),
]
ON_A_GPU: dict[str, Callable[[], Any]] = {
    "arrays": lambda: [np.full((4, 3, 16, 16), 99, np.uint8)] * (2 * STEPS),
    "masks": padded_batches,
    "an iterator": lambda: DataIterator(Letters(), grey, batch_size=4, rank=0, world_size=1, tail="pad"),
}


@pytest.mark.parametrize("batches", [pytest.param(make, id=name, marks=gpu) for name, make in ON_A_GPU.items()])
def test_on_a_gpu_no_step_between_two_logs_waits(batches: Callable[[], Any]) -> None:
    torch.manual_seed(0)
    model = ResNetVAE(size=16, preset="tiny", model_size=16)
    config = settings("cuda", precision="bf16", ema=0.99, accumulate=2)
    trainer = Trainer(model, batches(), config=config)
    fit_without_waiting(trainer, refusing_on_cuda)
    assert trainer.skipped_updates == 0


@pytest.mark.parametrize("core", [pytest.param(core, marks=gpu) for core in ("gru", "conv")])
def test_on_a_gpu_no_step_on_sounds_waits(core: str) -> None:
    torch.manual_seed(0)
    trainer = sound_trainer("cuda", core=core)
    fit_without_waiting(trainer, refusing_on_cuda)
    assert trainer.skipped_updates == 0


@contextmanager
def refusing_on_cuda() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
