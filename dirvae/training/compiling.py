"""`compile`: the model's forward pass through `torch.compile`, and without it where that fails."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dirvae.training.errors import TrainingWarning

__all__ = ["Compiler"]


class Compiler:
    """Compiles the forward pass of a model in place: its weights keep their names, and whoever calls it is served fast.

    Random numbers are those of the model as it is, so that compiling does not change what a run learns but by rounding.
    Batches of another size are not compiled again. `is_tried`: whether it was done, or found to fail.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._model, self._device = model, device
        self.is_tried = False

    def prepare(self, data: Tensor, rehearse: Callable[[], object]) -> None:
        """Before a forward pass on `data` (batch, …). The first time the model is compiled, and tried by `rehearse`.

        `rehearse` goes forward and backward once and leaves no trace; generators are put back here. If it fails because
        of the compiler, a `TrainingWarning` says so and the model is used as it is.
        """
        if not self.is_tried:
            self._compile(data, rehearse)
            self.is_tried = True
        self._let_size_vary(data)

    def _compile(self, data: Tensor, rehearse: Callable[[], object]) -> None:
        from torch._dynamo.exc import TorchDynamoException
        from torch._inductor.exc import CppCompileError, InductorError

        self._model.compile(options={"fallback_random": True})
        self._let_size_vary(data)
        devices = [self._device] if self._device.type == "cuda" else []
        try:
            with torch.random.fork_rng(devices):
                rehearse()
        except (TorchDynamoException, InductorError, CppCompileError) as error:
            self._model._compiled_call_impl = None
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            warnings.warn(
                f"the model cannot be compiled here ({type(error).__name__}: {reason}); training goes on without. On "
                "the CPU compiling needs a C++ compiler, such as g++.",
                TrainingWarning,
                stacklevel=2,
            )

    def _let_size_vary(self, data: Tensor) -> None:
        torch._dynamo.maybe_mark_dynamic(data, 0)
