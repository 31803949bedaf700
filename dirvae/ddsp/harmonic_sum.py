"""The sum of harmonics, Σ_j a_j(n) sin(j φ(n)), as an operator of torch with its gradient.

By angle addition, sin((qR + r)φ) = sin(qRφ)·cos(rφ) + cos(qRφ)·sin(rφ): R + Q pairs of sines for K ≤ Q·R harmonics.
What is left, Σ_r a_(qR+r) cos(rφ), is a small matrix product per row of amplitudes. The R + Q pairs are powers of
exp(iφ) and of exp(iRφ), by products of powers that are known already; no product is deeper than log2(R), so that
rounding errors do not grow as in a recurrence. The two angles themselves are exact: a phase is a whole number of 2^-64
turns, sums and multiples of it wrap around as the angle does, and only what remains becomes a floating-point number.

Nothing is stored for the gradient but the inputs: both passes compute a chunk of rows at a time, so that the memory
does not grow with the number of harmonics times the number of samples. As an operator it is one node for
`torch.compile`, which does not look inside. It has no second derivative.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dirvae.ddsp.block import RowPositions
from dirvae.ddsp.envelopes import hann_rises
from dirvae.float64 import narrow, wide_device

__all__ = ["accumulate_phase", "factor_harmonics", "harmonic_sum", "shorten_phases"]

CHUNK_SAMPLES = 1 << 16
TURN = 2.0**64


def harmonic_sum(
    cycles: Tensor, amplitudes: Tensor, phase: Tensor, positions: RowPositions
) -> tuple[Tensor, Tensor]:
    """Σ_j a_j sin(2π j φ), φ(n) = phase + Σ_(m<n) cycles(m): (batch, time) in the dtype of `amplitudes`.

    cycles      (batch, time) float64, turns per sample: frequency / sample rate; on the CPU, as `phase` is, where the
                device of the amplitudes has no float64
    amplitudes  (batch, row, harmonic) float32 or float64; at the samples by overlapping Hann windows
    phase       (batch,) int64, turns · 2^64, of the first sample
    positions   where the samples stand between the rows

    Also returns the phase of the sample behind the last one, (batch,) int64. Differentiable in `cycles` and
    `amplitudes`.
    """
    p = positions
    sound, last = _harmonic_sum(cycles, amplitudes, phase, p.first_row, p.remainder, p.step, p.unit)
    return sound, last


def accumulate_phase(cycles: Tensor, phase: Tensor) -> tuple[Tensor, Tensor]:
    """Phase before each step and after the last: (batch, time) float64 and (batch,) → the same shapes, int64.

    In turns · 2^64, which wrap around by themselves. A step is rounded to 2^-64 turns once, and sums of whole numbers
    are exact in any order: blocks of any length have the phases of the whole.
    """
    steps = ((cycles - cycles.round()) * TURN).long()
    after = steps.cumsum(1) + phase[:, None]
    return after - steps, after[:, -1].clone()


@torch.library.custom_op("dirvae::harmonic_sum", mutates_args=())
def _harmonic_sum(
    cycles: Tensor, amplitudes: Tensor, phase: Tensor, first_row: int, remainder: int, step: int, unit: int
) -> tuple[Tensor, Tensor]:
    layout = _Layout(RowPositions(cycles.shape[1], first_row, remainder, step, unit), amplitudes)
    phases, last = accumulate_phase(cycles, phase)
    segments = layout.to_segments(shorten_phases(phases, amplitudes.dtype).to(amplitudes.device))
    sound = amplitudes.new_empty(segments.shape)
    for chunk in layout.chunks():
        pairs = _Pairs(segments[chunk.where], layout.inner, layout.outer, amplitudes.dtype)
        mixed = pairs.sines(layout.matrices(amplitudes, chunk))
        torch.lerp(mixed[:, 0], mixed[:, 1], chunk.repeated(layout.rise), out=sound[chunk.where].flatten(0, 1))
    broken = narrow(cycles * 0, sound)  # NaN where the frequency is no number, which whole numbers cannot say
    return layout.to_samples(sound).add_(broken), last


@_harmonic_sum.register_fake
def _(
    cycles: Tensor, amplitudes: Tensor, phase: Tensor, first_row: int, remainder: int, step: int, unit: int
) -> tuple[Tensor, Tensor]:
    return amplitudes.new_empty(cycles.shape), torch.empty_like(phase)


@torch.library.custom_op("dirvae::harmonic_sum_backward", mutates_args=())
def _harmonic_sum_backward(
    gradient: Tensor,
    cycles: Tensor,
    amplitudes: Tensor,
    phase: Tensor,
    positions: list[int],
    wants_cycles: bool,
) -> tuple[Tensor, Tensor]:
    layout = _Layout(RowPositions(cycles.shape[1], *positions), amplitudes)
    phases = shorten_phases(accumulate_phase(cycles, phase)[0], amplitudes.dtype)
    segments = layout.to_segments(phases.to(amplitudes.device))
    gradients = layout.to_segments(gradient.contiguous(), padded=True)
    of_angle = amplitudes.new_zeros(segments.shape if wants_cycles else (0,))
    of_rows = amplitudes.new_zeros(layout.batch, layout.num_segments + 1, layout.harmonics)
    numbers = torch.arange(layout.outer * layout.inner, dtype=amplitudes.dtype, device=amplitudes.device) + 1
    numbers = numbers.view(layout.outer, layout.inner)
    for chunk in layout.chunks():
        pairs = _Pairs(segments[chunk.where], layout.inner, layout.outer, amplitudes.dtype)
        upstream, rise = gradients[chunk.where].flatten(0, 1), chunk.repeated(layout.rise)
        of_next = upstream * rise
        of_both = pairs.of_matrices(torch.stack((upstream - of_next, of_next), 1))
        of_both = torch.unflatten(of_both.flatten(2)[:, :, : layout.harmonics], 0, chunk.shape)
        of_rows[chunk.where] += of_both[:, :, 0]
        of_rows[chunk.next] += of_both[:, :, 1]
        if wants_cycles:
            mixed = pairs.cosines(layout.matrices(amplitudes, chunk).mul_(numbers))
            slope = torch.lerp(mixed[:, 0], mixed[:, 1], rise)
            torch.mul(slope, upstream, out=of_angle[chunk.where].flatten(0, 1))
    of_amplitudes = layout.to_rows(of_rows)
    if not wants_cycles:
        return cycles.new_zeros(0), of_amplitudes
    so_far = layout.to_samples(of_angle).to(cycles.device).cumsum(1, dtype=torch.float64)
    return (so_far[:, -1:] - so_far).mul_(2 * math.pi), of_amplitudes


@_harmonic_sum_backward.register_fake
def _(
    gradient: Tensor,
    cycles: Tensor,
    amplitudes: Tensor,
    phase: Tensor,
    positions: list[int],
    wants_cycles: bool,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(cycles) if wants_cycles else cycles.new_empty(0), torch.empty_like(amplitudes)


def _set_up(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    cycles, amplitudes, phase, *ctx.positions = inputs
    ctx.save_for_backward(cycles, amplitudes, phase)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    wants_cycles = ctx.needs_input_grad[0]
    of_cycles, of_amplitudes = _harmonic_sum_backward(gradient, *ctx.saved_tensors, ctx.positions, wants_cycles)
    return of_cycles if wants_cycles else None, of_amplitudes, None, None, None, None, None


_harmonic_sum.register_autograd(_backward, setup_context=_set_up)


def shorten_phases(phases: Tensor, dtype: torch.dtype) -> Tensor:
    """Turns · 2^32, rounded, as int32 for float32: their multiples wrap around too. For float64 as they are."""
    return phases if dtype == torch.float64 else ((phases + (1 << 31)) >> 32).int()


def _cos_sin(phases: Tensor, multiple: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    turn = 2.0**32 if phases.dtype == torch.int32 else TURN
    angle = (phases * multiple).to(dtype).mul_(2 * math.pi / turn)
    return angle.cos(), angle.sin_()


def _fill_powers(powers: Tensor) -> None:
    """Fill (2, frame, power, sample), cosines and sines of 1, 2, 3, … times an angle, of which the first is there."""
    (cos, sin), known = powers, 1
    while known < cos.shape[1]:
        more = slice(known, min(2 * known, cos.shape[1]))
        low = slice(0, more.stop - known)
        last_cos, last_sin = cos[:, known - 1 : known], sin[:, known - 1 : known]
        torch.mul(cos[:, low], last_cos, out=cos[:, more])
        cos[:, more].addcmul_(sin[:, low], last_sin, value=-1)
        torch.mul(sin[:, low], last_cos, out=sin[:, more])
        sin[:, more].addcmul_(cos[:, low], last_sin)
        known = more.stop


class _Pairs:
    """Cosines and sines of rφ, r = 1 … R, and of qRφ, q = 0 … Q - 1, for phases (…, segment, sample)."""

    def __init__(self, phases: Tensor, inner: int, outer: int, dtype: torch.dtype) -> None:
        phases = phases.flatten(0, -2)
        frames, samples = phases.shape
        self.low = torch.empty(2, frames, inner, samples, dtype=dtype, device=phases.device)
        self.high = torch.empty(2, frames, outer, samples, dtype=dtype, device=phases.device)
        self.low[0, :, 0], self.low[1, :, 0] = _cos_sin(phases, 1, dtype)
        _fill_powers(self.low)
        self.high[0, :, 0], self.high[1, :, 0] = 1, 0
        if outer > 1:
            self.high[0, :, 1], self.high[1, :, 1] = _cos_sin(phases, inner, dtype)
            _fill_powers(self.high[:, :, 1:])

    def sines(self, matrices: Tensor) -> Tensor:
        """Σ a sin(jφ) of matrices (frame, 2, Q, R): (frame, 2, sample)."""
        by_cos, by_sin = self._inner_sums(matrices)
        cos, sin = self.high.unsqueeze(2)
        return by_cos.mul_(sin).addcmul_(by_sin, cos).sum(2)

    def cosines(self, matrices: Tensor) -> Tensor:
        """Σ a cos(jφ) of matrices (frame, 2, Q, R): (frame, 2, sample)."""
        by_cos, by_sin = self._inner_sums(matrices)
        cos, sin = self.high.unsqueeze(2)
        return by_cos.mul_(cos).addcmul_(by_sin, sin, value=-1).sum(2)

    def of_matrices(self, gradient: Tensor) -> Tensor:
        """Gradient of what `sines` made, (frame, 2, sample), in its matrices: (frame, 2, Q, R)."""
        cos, sin = self.high.unsqueeze(2)
        weights = (gradient.unsqueeze(2) * sin).flatten(1, 2)
        found = torch.bmm(weights, self.low[0].transpose(1, 2))
        torch.mul(gradient.unsqueeze(2), cos, out=weights.view(*gradient.shape[:2], -1, gradient.shape[2]))
        return torch.unflatten(found.baddbmm_(weights, self.low[1].transpose(1, 2)), 1, (2, -1))

    def _inner_sums(self, matrices: Tensor) -> tuple[Tensor, Tensor]:
        flat, both = matrices.flatten(1, 2), (2, matrices.shape[2])
        by_cos, by_sin = (torch.bmm(flat, pair) for pair in self.low)
        return torch.unflatten(by_cos, 1, both), torch.unflatten(by_sin, 1, both)


@dataclass(frozen=True)
class _Chunk:
    """Segments of some examples of the batch, computed at once."""

    examples: slice
    first: int
    stop: int

    @property
    def where(self) -> tuple[slice, slice]:
        return self.examples, slice(self.first, self.stop)

    @property
    def next(self) -> tuple[slice, slice]:
        return self.examples, slice(self.first + 1, self.stop + 1)

    @property
    def shape(self) -> tuple[int, int]:
        return self.examples.stop - self.examples.start, self.stop - self.first

    def repeated(self, of_segments: Tensor) -> Tensor:
        """Of (segment, sample) those of the chunk, for each of its examples."""
        return of_segments[self.first : self.stop].repeat(self.shape[0], 1)


class _Layout:
    """How samples lie as (batch, segment, sample of the segment), and amplitudes as matrices (Q, R)."""

    def __init__(self, positions: RowPositions, amplitudes: Tensor) -> None:
        device = amplitudes.device
        self.batch, self.num_rows, self.harmonics = amplitudes.shape
        self.num_segments, self.longest = positions.num_segments, positions.longest
        self.inner, self.outer = factor_harmonics(self.harmonics)
        has_whole_hop = positions.unit % positions.step == 0 and positions.remainder == 0
        self.is_even = has_whole_hop and positions.num_samples % self.longest == 0
        rise = narrow(hann_rises(positions, wide_device(device)), amplitudes)
        if not self.is_even:
            starts = positions.segment_starts(device)
            places = starts[:-1, None] + torch.arange(self.longest, device=device)
            self.is_inside = (places >= 0) & (places < starts[1:, None]) & (places < positions.num_samples)
            self.places = places.clamp(0, positions.num_samples - 1).flatten()
            segments = positions.segments(device)
            samples = torch.arange(positions.num_samples, device=device)
            self.back = segments * self.longest + samples - starts[segments]
            rise = rise[self.places]
        self.rise = rise.view(self.num_segments, self.longest)
        self.first_row = positions.first_row
        rows = torch.arange(self.num_segments + 1, device=device) + self.first_row
        self.rows = rows.clamp(0, self.num_rows - 1)
        self.num_before = min(max(-positions.first_row, 0), self.num_segments + 1)
        self.num_behind = min(max(positions.first_row + self.num_segments + 1 - self.num_rows, 0), len(self.rows))

    def to_segments(self, samples: Tensor, *, padded: bool = False) -> Tensor:
        """(batch, time) → (batch, segment, sample); what is outside is 0 if `padded`, or anything."""
        if self.is_even:
            return samples.view(self.batch, self.num_segments, self.longest)
        laid = samples.index_select(1, self.places).view(self.batch, self.num_segments, self.longest)
        return laid.masked_fill_(~self.is_inside, 0) if padded else laid

    def to_samples(self, laid: Tensor) -> Tensor:
        """The way back from `to_segments`."""
        return laid.flatten(1) if self.is_even else laid.flatten(1).index_select(1, self.back)

    def chunks(self) -> Iterator[_Chunk]:
        """Stretches of segments of one example, or several whole examples where they are short."""
        most = max(CHUNK_SAMPLES // self.longest, 1)
        together = max(most // self.num_segments, 1)
        parts = -(-self.num_segments // most)
        length = -(-self.num_segments // parts)
        for example in range(0, self.batch, together):
            examples = slice(example, min(example + together, self.batch))
            for first in range(0, self.num_segments, length):
                yield _Chunk(examples, first, min(first + length, self.num_segments))

    def matrices(self, amplitudes: Tensor, chunk: _Chunk) -> Tensor:
        """Amplitudes of each segment's row and of the next: (frame, 2, Q, R), 0 where there is no harmonic."""
        laid = amplitudes.new_zeros(*chunk.shape, 2, self.outer * self.inner)
        rows = amplitudes[chunk.examples].index_select(1, self.rows[chunk.first : chunk.stop + 1])
        laid[:, :, 0, : self.harmonics] = rows[:, :-1]
        laid[:, :, 1, : self.harmonics] = rows[:, 1:]
        return laid.view(-1, 2, self.outer, self.inner)

    def to_rows(self, of_segments: Tensor) -> Tensor:
        """Gradients (batch, segment + 1, harmonic) of the rows of segments → of the curve's own rows."""
        of_rows = of_segments.new_zeros(self.batch, self.num_rows, self.harmonics)
        stop = of_segments.shape[1] - self.num_behind
        of_rows[:, 0] += of_segments[:, : self.num_before].sum(1)
        of_rows[:, -1] += of_segments[:, stop:].sum(1)
        if self.num_before < stop:
            start = self.first_row + self.num_before  # not read from a tensor, which would wait for a GPU
            of_rows[:, start : self.first_row + stop] += of_segments[:, self.num_before : stop]
        return of_rows


def factor_harmonics(harmonics: int) -> tuple[int, int]:
    """R and Q with R · Q ≥ harmonics, of the least work as measured: an R costs less than a Q, fours are fast."""
    choices = [(inner, -(-harmonics // inner)) for inner in range(4, harmonics + 4, 4)]
    return min(choices, key=lambda pair: 2 * pair[0] + 6 * pair[1] + 0.4 * pair[0] * pair[1])
