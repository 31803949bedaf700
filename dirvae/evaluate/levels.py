"""What each of two levels carries: nats, PSNR of the vector alone, and what another example's vector costs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dirvae.float64 import wide, wide_device
from dirvae.levels import LevelledAutoEncoder, LevelOutput
from dirvae.metrics import psnr

__all__ = ["LevelSums"]

MAX_PSNR_DB = 100.0


class LevelSums:
    """Sums of the levels' numbers over batches of examples."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(4, dtype=torch.float64, device=wide_device(device))
        self._lost = torch.zeros(2, dtype=torch.float64, device=wide_device(device))
        self._num = self._num_exchanged = 0

    def add(self, model: LevelledAutoEncoder, x: Tensor, out: LevelOutput) -> None:
        """Add examples (batch, channel, *dims) and their forward pass, in evaluation mode.

        In a batch of two or more, each example is also decoded from its own map and the vector of the one before it.
        """
        assert model.map_level is not None
        assert model.vector_likelihood is not None
        kl_global = model.latent.kl(out.posterior)
        kl_map = model.map_level.latent.kl(out.map_posterior, out.map_prior)
        alone = -model.vector_likelihood.log_prob(x, model.decode_raw(out.latent))
        decoded = psnr(model.decode(out.posterior.mean).clamp(0, 1), x).clamp(max=MAX_PSNR_DB)
        self._sums += wide(torch.stack([kl_global, kl_map, alone, decoded])).sum(1)
        self._num += len(x)
        if len(x) < 2:
            return
        before = model.likelihood.log_prob(x, out.decoded)
        other = out.latent.roll(1, dims=0)
        after = model.likelihood.log_prob(x, model.decode_raw(other, out.map_latent))
        dearer = model.map_level.latent.kl(out.map_posterior, model.map_prior(other)) - kl_map
        self._lost += wide(torch.stack([before - after, dearer])).sum(1)
        self._num_exchanged += len(x)

    def means(self) -> dict[str, Any]:
        """Means over the examples, in nats unless the name says dB.

        kl_global, kl_map   KL divergences of the vector and of the map
        global_bound        the bound of the vector alone
        global_psnr_db      PSNR of the vector's mean, decoded alone
        lost_by_exchange    how much the log likelihood falls with another example's vector: the vector matters if this
                            is more than kl_global
        kl_map_by_exchange  how much kl_map grows with it; both are None if no batch held two examples
        """
        kl_global, kl_map, alone, decoded = (self._sums / self._num).tolist()
        lost, dearer = (self._lost / self._num_exchanged).tolist() if self._num_exchanged else (None, None)
        return {
            "kl_global": kl_global,
            "kl_map": kl_map,
            "global_bound": -alone - kl_global,
            "global_psnr_db": decoded,
            "lost_by_exchange": lost,
            "kl_map_by_exchange": dearer,
        }
