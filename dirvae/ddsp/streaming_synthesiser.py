"""A synthesiser that plays block by block, while its controls are still coming in.

What the whole sound has at sample n is known when these rows have come (hop: samples from row to row, not rounded):

harmonics  the row after n,  whose amplitudes depend on f0 up to one row further           less than 2 hops after n
noise      the row after sample n + reach,  to which the zero-phase filters reach     less than reach + 1 hop after n

A row that stands exactly at sample m is needed after m only, because its Hann window begins there. So everything is
known ⌈2 hop⌉ - 1 and reach + ⌈hop⌉ - 1 samples later; the larger of both is the delay. Reverberation adds none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from dirvae.ddsp.curve import check_tensor, exact_rate
from dirvae.ddsp.short_blocks import LONGEST, ShortBlocks
from dirvae.ddsp.streaming_reverb import StreamingReverb
from dirvae.ddsp.synthesiser import Synthesiser

__all__ = ["StreamingSynthesiser"]

REVERB = "reverb."


class StreamingSynthesiser:
    """What a `Synthesiser` makes of all rows at once, in blocks of any length and `latency_samples` later.

    synthesiser    its reverb is taken as it is now
    rate           rows per second of the controls, any; row k stands at k / rate seconds
    num_harmonics  of the distribution
    seeds          (batch,) int64, of the noise

    The sound is that of `Synthesiser.forward` within float32 rounding, whatever the blocks; there is no gradient.
    """

    def __init__(self, synthesiser: Synthesiser, rate: Fraction | float, num_harmonics: int, seeds: Tensor) -> None:
        self.sample_rate, self.rate = synthesiser.sample_rate, exact_rate(rate, "rate")
        bands = synthesiser.noise.bands
        self.seeds = seeds.to(bands.device)
        hop = self.sample_rate / self.rate
        self._blocks = ShortBlocks(self.sample_rate, self.rate, num_harmonics, bands)
        reverb = synthesiser.reverb
        self._reverb = None if reverb is None else StreamingReverb(reverb.impulse_response, len(seeds))
        self._rows = self._blocks.responses.new_zeros(len(seeds), 0, sum(self._blocks.widths))
        self._phase = torch.zeros_like(self.seeds)
        self._position = 0
        self._latency = max(math.ceil(2 * hop), self._blocks.reach + math.ceil(hop)) - 1
        self._beginning = self.state_dict()

    @property
    def latency_samples(self) -> int:
        """How many samples later than in the whole sound everything is heard."""
        return self._latency

    @property
    def position(self) -> int:
        """How many samples have been played."""
        return self._position

    def rows_wanted(self, num_samples: int) -> int:
        """How many rows the next block of so many samples needs: those that stand at its samples. May be 0."""
        return self._count(self._position + num_samples) - self._count(self._position)

    def __call__(self, rows: Tensor | None, num_samples: int) -> Tensor:
        """The next samples, (batch, num_samples); 0 until the sound begins.

        rows  (batch, row, channel), as many as `rows_wanted` says: f0 in Hz, amplitude, distribution and magnitudes as
              in `Controls`, side by side; None for no rows

        Raises `ValueError` for rows of another number or shape.
        """
        if rows is None:
            rows = self._rows[:, :0]
        wanted = (len(self.seeds), self.rows_wanted(num_samples), sum(self._blocks.widths))
        if rows.shape != wanted:
            raise ValueError(
                f"rows has shape {tuple(rows.shape)}; the next {num_samples} samples need {wanted}: (batch, row, f0 + "
                "amplitude + harmonics + bands)."
            )
        with torch.inference_mode():
            self._rows = torch.cat((self._rows, rows.to(self._rows)), 1)
            self._position += num_samples
            sound = self._play(self._position - self.latency_samples, num_samples)
            self._rows = self._rows[:, self._rows.shape[1] - self._num_kept(self._position) :]
        return sound.clone()  # a tensor as any other

    def flush(self) -> Tensor:
        """The end of the sound, (batch, latency_samples): the last row is held, as the whole sound holds it.

        The next call then begins another sound, at sample 0 with the same seeds.
        """
        with torch.inference_mode():
            sound = self._play(self._position, self.latency_samples)
        self.load_state_dict({**self._beginning, "seeds": self.seeds})
        return sound.clone()

    def state_dict(self) -> dict[str, Tensor]:
        """Where it is: samples so far, rows that are still heard, phase, seeds, and the dry signal in the reverb.

        position () int64; rows (batch, row, channel), f0, amplitude, distribution and magnitudes side by side;
        phase and seeds (batch,) int64; reverb.recent and reverb.position of `StreamingReverb`, if there is one.
        """
        state = {"position": torch.tensor(self._position), "rows": self._rows.clone()}
        state |= {"phase": self._phase.clone(), "seeds": self.seeds.clone()}
        reverb = {} if self._reverb is None else self._reverb.state_dict()
        return state | {REVERB + name: value for name, value in reverb.items()}

    @torch.inference_mode()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state of the same synthesiser, rate and batch; the seeds are those of the state.

        Raises `ValueError` for a state that does not fit, and `TypeError` for values that are not tensors; it is then
        as it was.
        """
        self._check(state)
        if self._reverb is not None:
            mine = {name: value for name, value in state.items() if name.startswith(REVERB)}
            self._reverb.load_state_dict({name.removeprefix(REVERB): value for name, value in mine.items()})
        self._position = int(state["position"])
        self._rows = state["rows"].to(self._rows, copy=True)
        self._phase = state["phase"].to(self.seeds, copy=True)
        self.seeds = state["seeds"].to(self.seeds, copy=True)

    def _count(self, num_samples: int) -> int:
        """How many rows stand before this sample; `dirvae.ddsp.rows.count_rows`, without fractions."""
        return -(-num_samples * self._blocks.step.numerator // self._blocks.step.denominator)

    def _num_kept(self, position: int) -> int:
        """How many of the rows so far the samples after this position still depend on."""
        step, next_sample = self._blocks.step, max(position - self.latency_samples, 0)
        of_noise = (next_sample - self._blocks.reach) * step.numerator // step.denominator
        first = min(of_noise, next_sample * step.numerator // step.denominator - 1)
        return self._count(position) - max(first, 0)

    def _play(self, stop: int, num_samples: int) -> Tensor:
        """Samples up to `stop`, as many as asked for; 0 where they lie before sample 0."""
        num_heard = min(max(stop, 0), num_samples)
        if not num_heard:
            return self._rows.new_zeros(len(self.seeds), num_samples)
        sound = self._dry(range(stop - num_heard, stop))
        if self._reverb is not None:
            sound = self._reverb(sound)
        return F.pad(sound, (num_samples - num_heard, 0))

    def _dry(self, samples: range) -> Tensor:
        """Harmonics and noise: (batch, time)."""
        rows = self._blocks.prepare(self._rows, self._count(self._position) - self._rows.shape[1])
        pieces = []
        for start in range(samples.start, samples.stop, LONGEST):
            piece = range(start, min(start + LONGEST, samples.stop))
            sound, self._phase = self._blocks.play(rows, piece, self._phase, self.seeds)
            pieces.append(sound)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)

    def _check(self, state: Mapping[str, Tensor]) -> None:
        mine = self.state_dict()
        if set(state) != set(mine):
            raise ValueError(f"the state has the keys {sorted(state)}; it must have {sorted(mine)}.")
        for name, value in state.items():
            check_tensor(value, name)
        position = state["position"]
        if position.dtype != torch.int64 or position.ndim or position < 0:
            raise ValueError(f"position is {position}; it must be one int64 that is not below 0.")
        rows = (len(self.seeds), self._num_kept(int(position)), sum(self._blocks.widths))
        for name, shape in {"rows": rows, "phase": rows[:1], "seeds": rows[:1]}.items():
            if state[name].shape != shape or state[name].dtype != mine[name].dtype:
                raise ValueError(
                    f"{name} is {state[name].dtype} of shape {tuple(state[name].shape)}; it must be "
                    f"{mine[name].dtype} of shape {shape}. Use a synthesiser, rates and a batch as where it was saved."
                )
