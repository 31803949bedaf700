"""The gradient guard: it skips and counts updates that are not finite, and ends training after too many in a row.

Everything is computed on the device, and the host does not wait for it: whether this step is finite, how many were
not, how many in a row, and which loss term or parameter was the first. `read` fetches the tally.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dirvae.training.errors import NonFiniteError
from dirvae.training.ranks import ONE_RANK, Ranks

__all__ = ["MAX_SKIPPED_IN_A_ROW", "GradientGuard", "GuardTally"]

MAX_SKIPPED_IN_A_ROW = 20


@dataclass(frozen=True)
class GuardTally:
    """Updates skipped since the run started, and in a row until now. `culprit` is the loss term or the gradient that
    was the first to be not finite in the latest row, None if there was none since the start or a resume.
    """

    skipped: int
    in_a_row: int
    culprit: str | None


class GradientGuard:
    """Checks each update of a model's parameters: its loss terms, then its gradients, in the model's order.

    Buffers that a forward pass changes are not checked: `KeptBuffers` gives them back. With several ranks, an update
    that is not finite on one of them is skipped on all; the culprit is the rank's own.
    """

    def __init__(self, model: nn.Module, device: torch.device, *, ranks: Ranks = ONE_RANK) -> None:
        self._ranks = ranks
        self._parameters = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
        self._names: list[str] = []
        self._zero = torch.zeros((), device=device)
        self._skipped = torch.zeros((), dtype=torch.int64, device=device)
        self._in_a_row = torch.zeros_like(self._skipped)
        self._longest_row = torch.zeros_like(self._skipped)  # since the last reading
        self._culprit = torch.full_like(self._skipped, -1)

    def check(
        self, terms: Mapping[str, Tensor], *, clip: float | None, may_overflow: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Check the terms and the model's gradients, and scale the gradients to a norm of at most `clip`.

        `may_overflow` (a bool scalar): gradients that are not finite are put down to the loss scale of fp16, which is
        lowered then; the update is skipped, but not counted as a bad one. Returns (is_finite, norm), on the device: a
        bool scalar, and the norm of all gradients before clipping.
        """
        ordered = sorted(terms, key=lambda name: name == "loss")  # the loss last: it is NaN if another term is
        gradients = [value.grad for _, value in self._parameters if value.grad is not None]
        found = iter(torch._foreach_norm(gradients))
        norms = torch.stack([self._zero if value.grad is None else next(found) for _, value in self._parameters])
        norm = torch.linalg.vector_norm(norms)
        if clip is not None:
            torch._foreach_mul_(gradients, (clip / (norm + 1e-6)).clamp(max=1.0))
        values = torch.stack([terms[name].detach().float() for name in ordered])
        self._names = [*ordered, *(f"the gradient of {name}" for name, _ in self._parameters), "the gradient norm"]
        is_bad = ~torch.isfinite(torch.cat([values, norms, norm[None]]))
        if may_overflow is None:
            return ~self._count(is_bad), norm
        is_overflow = may_overflow & ~is_bad[: len(values)].any()
        any_bad = self._count(is_bad & ~is_overflow)
        return ~(any_bad | self._ranks.any(is_bad.any())), norm

    @property
    def culprit(self) -> str | None:
        """The loss term or gradient that was the first to be not finite in the latest row, on this rank."""
        index = int(self._culprit)
        return self._names[index] if index >= 0 else None

    def read(self) -> GuardTally:
        """Fetch the tally from the device. Raises `NonFiniteError` after too many skipped updates in a row."""
        counts = torch.stack([self._skipped, self._in_a_row, self._longest_row, self._culprit])
        skipped, in_a_row, longest_row, index = counts.tolist()
        self._longest_row.zero_()
        culprit = self._names[index] if index >= 0 else None
        first = culprit or "a value on another rank"
        if longest_row >= MAX_SKIPPED_IN_A_ROW:
            raise NonFiniteError(
                f"{longest_row} updates in a row were not finite and were skipped; {first} was the first to be "
                "NaN or infinite. Lower the learning rate, train with precision fp32, or check the data for such "
                "values."
            )
        return GuardTally(skipped, in_a_row, culprit)

    def state_dict(self) -> dict[str, int]:
        """The counts, as JSON."""
        return {"skipped": int(self._skipped), "in_a_row": int(self._in_a_row)}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue counting from `state_dict()`."""
        self._skipped.fill_(state["skipped"])
        self._in_a_row.fill_(state["in_a_row"])

    def _count(self, is_bad: Tensor) -> Tensor:
        mine = is_bad.any()
        any_bad = self._ranks.any(mine)
        is_first = mine & (self._in_a_row == 0)
        self._culprit = torch.where(is_first, is_bad.int().argmax(), self._culprit)
        self._in_a_row = torch.where(any_bad, self._in_a_row + 1, 0)
        self._longest_row = torch.maximum(self._longest_row, self._in_a_row)
        self._skipped = self._skipped + any_bad
        return any_bad
