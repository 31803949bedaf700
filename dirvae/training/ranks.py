"""`Ranks`: which of the processes that train together this one is, and what they decide together.

What is on the device goes through the device's own backend (NCCL, or gloo on a CPU); what the hosts must agree on goes
through gloo, so that no host waits for a GPU.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from dirvae.training.errors import ConfigError, FirstRankError, TrainingError
from dirvae.training.signals import StopNow

__all__ = ["ONE_RANK", "Ranks", "leave_processes", "lost_process_told", "ranks_of_environment"]

PR_SET_PDEATHSIG = 1
"""Of `prctl` in Linux: which signal a process gets when its parent ends."""


@dataclass(frozen=True)
class Ranks:
    """This process is `rank` of `world_size`. One process decides alone, without `torch.distributed`.

    With several, torch's default process group must exist, and have gloo for tensors on the CPU. ValueError for a rank
    outside [0, world_size).
    """

    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(
                f"rank is {self.rank} of {self.world_size}; it must be 0 or more and below world_size."
            )

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files of the run and shows its progress."""
        return self.rank == 0

    def index(self, step: int) -> int:
        """A number of this rank's own for each step, for noise: `step` itself where there is one rank."""
        return step * self.world_size + self.rank

    def any(self, flag: Tensor) -> Tensor:
        """Whether a scalar flag, on the device, is True on some rank: `flag` itself where there is one rank."""
        if self.world_size == 1:
            return flag
        reduced = flag.to(torch.int32)
        torch.distributed.all_reduce(reduced, op=torch.distributed.ReduceOp.MAX)
        return reduced > 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all ranks of a tensor on the device: `values` itself where there is one rank."""
        if self.world_size == 1:
            return values
        reduced = values.clone()
        torch.distributed.all_reduce(reduced)
        return reduced

    def sums(self, numbers: Sequence[int]) -> list[int]:
        """Each number summed over all ranks, between hosts: no device is waited for."""
        if self.world_size == 1:
            return list(numbers)
        reduced = torch.tensor(numbers, dtype=torch.int64)
        torch.distributed.all_reduce(reduced)
        return [int(number) for number in reduced]

    def agree(self, flag: bool) -> bool:
        """Whether a flag of the host is True on some rank."""
        return flag if self.world_size == 1 else self.sums([int(flag)])[0] > 0

    def _of_first(self, value: Any) -> Any:
        """The first rank's value, which must be JSON; what the other ranks give does not count."""
        if self.world_size == 1:
            return value
        text = json.dumps(value).encode() if self.is_first else b""
        length = torch.tensor([len(text)])
        torch.distributed.broadcast(length, 0)
        sent = torch.zeros(int(length), dtype=torch.uint8)
        if self.is_first:
            sent.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
        torch.distributed.broadcast(sent, 0)
        return json.loads(bytes(sent.tolist()))

    def by_first(self, make: Callable[[], Any]) -> Any:
        """What the first rank makes, as JSON. What it raises passes through there, and ends the others too.

        `StopNow` is raised on all ranks.
        """
        if self.world_size == 1:
            return make()
        if not self.is_first:
            found = self._of_first(None)
        else:
            try:
                found = {"made": make()}
            except BaseException as error:
                self._of_first({"error": type(error).__name__})
                raise
            self._of_first(found)
        if found.get("error") == StopNow.__name__:
            raise StopNow
        if "error" in found:
            raise FirstRankError(f"rank 0 failed with {found['error']}; it says why.")
        return found["made"]

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model with gradients that are means over all ranks; the model itself where there is one rank."""
        if self.world_size == 1:
            return model
        known = signature(nn.parallel.DistributedDataParallel).parameters
        no_buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        options: dict[str, Any] = {no_buffers: False, "gradient_as_bucket_view": True}
        return nn.parallel.DistributedDataParallel(model, **options)

    def apart(self, model: nn.Module) -> AbstractContextManager[Any]:
        """A context whose backward passes leave the gradients of a `parallel` model to the next one outside of it."""
        return model.no_sync() if isinstance(model, nn.parallel.DistributedDataParallel) else nullcontext()


ONE_RANK = Ranks()
"""A process that trains alone."""


def ranks_of_environment(environment: Mapping[str, str] = os.environ) -> Ranks:
    """Join the processes that `torchrun` started, as its variables say; `ONE_RANK` without them.

    On a machine with GPUs, each process takes the one of its LOCAL_RANK. Where all processes are on one machine they
    talk over the loopback device, unless GLOO_SOCKET_IFNAME says otherwise: no name has to be resolved. Raises
    `ConfigError` for variables that do not fit and where the others cannot be reached.
    """
    world_size = _number(environment, "WORLD_SIZE", least=1)
    if world_size in (None, 1):
        if environment.get("TORCHELASTIC_RUN_ID"):
            _end_with_parent(signal.SIGTERM)
        return ONE_RANK
    rank, local = _number(environment, "RANK"), _number(environment, "LOCAL_RANK")
    if rank is None or not environment.get("MASTER_ADDR"):
        raise ConfigError(
            f"WORLD_SIZE is {world_size}, but RANK or MASTER_ADDR is missing. Start the processes with torchrun."
        )
    _end_with_parent(signal.SIGKILL)  # while it waits for the others it hears nothing
    if torch.cuda.is_available():
        torch.cuda.set_device((local or 0) % torch.cuda.device_count())
    if _number(environment, "LOCAL_WORLD_SIZE") == world_size:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        torch.distributed.init_process_group(backend)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"the {world_size} processes cannot be joined ({reason}).") from error
    _end_with_parent(signal.SIGTERM)
    return Ranks(rank, world_size)


@contextmanager
def lost_process_told(ranks: Ranks) -> Iterator[None]:
    """Within this block an error of talking to another process, which is gone, becomes a `TrainingError` in words."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if ranks.world_size == 1 or not any(word in text for word in ("gloo", "NCCL", "Connection", "peer")):
            raise
        raise TrainingError(
            f"rank {ranks.rank} lost another process, which ended or was killed; the run continues from its last "
            "checkpoint with --resume."
        ) from error


def leave_processes() -> None:
    """End what `ranks_of_environment` began, if it did."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _end_with_parent(number: signal.Signals) -> None:
    """Let the kernel send a signal when torchrun is gone, which would leave this process training; on Linux."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it ended before
            os.kill(os.getpid(), number)


def _number(environment: Mapping[str, str], name: str, *, least: int = 0) -> int | None:
    text = environment.get(name, "")
    if not text:
        return None
    if not text.isdigit() or int(text) < least:
        raise ConfigError(f"{name} is {text!r} in the environment; it must be a whole number of {least} or more.")
    return int(text)
