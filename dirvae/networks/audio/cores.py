"""What lets a decoder remember earlier rows, and never look at later ones: recurrent, or causal convolutions.

Both have one contract: (batch, row, channel) and a state → (batch, row, hidden) and the state after the last row.
Rows may come in pieces of any length; None is the state before the first row. A state is one tensor of floats,
(batch, …).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CausalConvCore", "Core", "RecurrentCore", "make_core"]

DILATIONS = (1, 3, 9, 27)
KERNEL = 3


class Core(nn.Module):
    """The contract of this file."""

    hidden: int

    def forward(self, rows: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(batch, row, channel) → (batch, row, hidden), and the state after the last row."""
        raise NotImplementedError

    def first_state(self, batch: int) -> Tensor:
        """The state before the first row, (batch, …): the same as None."""
        raise NotImplementedError


class RecurrentCore(Core):
    """A gated recurrent unit (Cho et al. 2014, arXiv 1406.1078). Its state is (batch, hidden)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.gru = nn.GRU(channels, hidden, batch_first=True)

    def forward(self, rows: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        made, last = self.gru(rows, None if state is None else state[None])
        return made, last[0]

    def first_state(self, batch: int) -> Tensor:
        return next(self.gru.parameters()).new_zeros(batch, self.hidden)


class CausalConvCore(Core):
    """Residual convolutions over this row and earlier ones, at dilations 1, 3, 9 and 27: 81 rows in all.

    Its state is (batch, 80, hidden): the last rows that the convolutions have seen, the first one's first.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.entry = nn.Linear(channels, hidden)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(hidden, hidden, KERNEL, dilation=dilation) for dilation in DILATIONS
        )
        self.pasts = [(KERNEL - 1) * dilation for dilation in DILATIONS]

    def forward(self, rows: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = self.entry(rows).transpose(1, 2)
        state = self.first_state(len(x)) if state is None else state
        lasts = []
        for convolution, past in zip(self.convolutions, torch.split(state, self.pasts, 1), strict=True):
            seen = torch.cat((past.transpose(1, 2), x), 2)
            lasts.append(seen[:, :, seen.shape[2] - past.shape[1] :].transpose(1, 2))
            x = x + F.silu(convolution(seen))
        return x.transpose(1, 2), torch.cat(lasts, 1)

    def first_state(self, batch: int) -> Tensor:
        return self.entry.weight.new_zeros(batch, sum(self.pasts), self.hidden)


def make_core(name: str, channels: int, hidden: int) -> Core:
    """The core called `name`, "gru" or "conv". ValueError for another name."""
    if name == "gru":
        return RecurrentCore(channels, hidden)
    if name == "conv":
        return CausalConvCore(channels, hidden)
    raise ValueError(f"no core is called {name!r}; use 'gru' or 'conv'.")
