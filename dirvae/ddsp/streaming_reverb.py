"""Reverberation block by block, without delay: what `add_reverb` makes of the whole signal.

Uniformly partitioned convolution by overlap-save (Gardner 1995; Wefers 2015, Partitioned convolution algorithms for
real-time auralization). The impulse response is cut into parts of B taps. The spectrum of two neighbouring partitions
of the dry signal, 2 B samples, times that of part p, is the sound that arrives p partitions later:

partition   m-2     m-1      m
dry        |......|......|...     m is being filled, by blocks of any length
            part 2  part 1 part 0
parts 1, 2, …   need whole partitions only: their sum is computed once, when partition m - 1 is full
part 0          needs the newest samples: one transform and its inverse per block
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from dirvae.ddsp.curve import at_least_single, check_tensor

__all__ = ["StreamingReverb"]


class StreamingReverb:
    """Dry plus wet of one block after another: (batch, time) → (batch, time), for playing, without gradients.

    impulse_response  (tap,) floating point, 1 tap or more, on any device; tap 0 counts as 0, as in `add_reverb`
    batch             signals that are played side by side through the same response
    partition         samples that are transformed together. It changes the cost, not the sound: no sample waits for it

    Blocks may have any length, a different one each time. Zeros after the end of the signal let the sound die away.
    Memory stays the same: about 4 times that of the taps, and 3 times more for each signal.
    Raises `ValueError` for an impulse response of another shape, a batch or a partition below 1, and `TypeError` for
    an impulse response that is not floating point.
    """

    def __init__(self, impulse_response: Tensor, batch: int = 1, *, partition: int = 1024) -> None:
        _check_response(impulse_response)
        for name, number in {"batch": batch, "partition": partition}.items():
            if number < 1:
                raise ValueError(f"{name} is {number}; it must be 1 or more.")
        self.batch, self.partition = batch, partition
        parts = _spectra_of_parts(impulse_response, partition)
        self._newest_part = parts[0]
        self._later_parts = parts[1:].flip(0).repeat(2, 1)  # any rotation is one slice
        self._num_later = len(parts) - 1
        samples = at_least_single(impulse_response)
        self._before = samples.new_zeros(batch, self._num_later, partition)  # slot m % num_later: partition m - 1
        self._spectra = parts.new_zeros(batch, self._num_later, partition + 1)  # and the spectrum of m - 1 and m
        self._window = samples.new_zeros(batch, 2 * partition)  # the last full partition, and the one being filled
        self._arriving = samples.new_zeros(batch, partition)  # from all parts but the newest
        self._position = 0

    @torch.no_grad()
    def __call__(self, dry: Tensor) -> Tensor:
        """The next block with its reverberation: (batch, time) → (batch, time), 1 sample or more.

        The sound has the dtype of the impulse response, float32 at least. Raises `ValueError` for another shape,
        `TypeError` for what is not a floating-point tensor.
        """
        self._check_block(dry)
        dry = dry.to(self._window.dtype)
        pieces, done = [], 0
        while done < dry.shape[1]:
            room = self.partition - self._position % self.partition
            pieces.append(self._piece(dry[:, done : done + room]))
            done += room
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)

    def state_dict(self) -> dict[str, Tensor]:
        """Where it is, to continue from later.

        recent    (batch, time) the dry signal as far back as it is still heard, in whole partitions; the last partition
                  is the one being filled, with zeros where nothing has come yet
        position  () int64: samples so far
        """
        before = self._before.roll(-self._slot(), 1).flatten(1)
        return {"recent": torch.cat((before, self._window), 1), "position": torch.tensor(self._position)}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state of a reverb with as many taps, the same batch and the same partition.

        The sound that follows is the same to the bit on the same kind of machine. Raises `ValueError` for a state that
        does not fit, and `TypeError` for values that are not tensors; the reverb is then as it was.
        """
        recent, position = self._checked(state)
        length, self._position = self.partition, position
        for number in range(self._num_later):
            slot = (self._slot() + number) % self._num_later
            pair = recent[:, number * length : (number + 2) * length].clone(memory_format=torch.contiguous_format)
            self._before[:, slot] = pair[:, :length]
            self._spectra[:, slot] = torch.fft.rfft(pair)  # one by one, as when playing: the same bits
        self._window.copy_(recent[:, -2 * length :])
        self._arriving.copy_(self._arriving_from_later())

    def _piece(self, dry: Tensor) -> Tensor:
        """Dry plus wet of samples that belong to one partition."""
        start = self._position % self.partition
        here = slice(self.partition + start, self.partition + start + dry.shape[1])
        self._window[:, here] = dry
        spectrum = torch.fft.rfft(self._window)
        wet = torch.fft.irfft(spectrum * self._newest_part, 2 * self.partition)[:, here]
        sound: Tensor = dry + wet + self._arriving[:, start : start + dry.shape[1]]
        self._position += dry.shape[1]
        if self._position % self.partition == 0:
            self._finish_partition(spectrum)
        return sound

    def _finish_partition(self, spectrum: Tensor) -> None:
        """Keep a full partition, and compute what arrives during the next one from all that came before."""
        before, full = self._window[:, : self.partition], self._window[:, self.partition :]
        if self._num_later:
            slot = (self._position // self.partition - 1) % self._num_later
            self._before[:, slot] = before
            self._spectra[:, slot] = spectrum
            self._arriving = self._arriving_from_later()
        before.copy_(full)
        full.zero_()

    def _arriving_from_later(self) -> Tensor:
        if not self._num_later:
            return torch.zeros_like(self._arriving)
        first = (-self._slot()) % self._num_later
        parts = self._later_parts[first : first + self._num_later]
        whole: Tensor = torch.fft.irfft((self._spectra * parts).sum(1), 2 * self.partition)
        return whole[:, self.partition :]

    def _slot(self) -> int:
        """Of the oldest partition, which the next one will replace."""
        return self._position // self.partition % self._num_later if self._num_later else 0

    def _check_block(self, dry: Tensor) -> None:
        check_tensor(dry, "dry")
        if dry.ndim != 2 or dry.shape[0] != self.batch or not dry.shape[1]:
            raise ValueError(
                f"dry has shape {tuple(dry.shape)}; it must be ({self.batch}, time), with 1 sample or more."
            )
        if not dry.is_floating_point():
            raise TypeError(f"dry is {dry.dtype}; it must be floating point. Convert it first.")

    def _checked(self, state: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        if set(state) != {"recent", "position"}:
            raise ValueError(f"the state has the keys {sorted(state)}; it must have 'position' and 'recent'.")
        recent, position = state["recent"], state["position"]
        check_tensor(recent, "recent")
        check_tensor(position, "position")
        shape = (self.batch, (self._num_later + 2) * self.partition)
        if tuple(recent.shape) != shape:
            raise ValueError(
                f"recent has shape {tuple(recent.shape)}; it must be {shape}. Use an impulse response of as many taps, "
                "the same batch and the same partition as where the state was saved."
            )
        if position.dtype != torch.int64 or position.ndim or position < 0:
            raise ValueError(f"position is {position}; it must be one int64 that is not below 0.")
        return recent.to(self._window), int(position)


def _check_response(impulse_response: Tensor) -> None:
    check_tensor(impulse_response, "impulse_response")
    if impulse_response.ndim != 1 or not len(impulse_response):
        raise ValueError(
            f"impulse_response has shape {tuple(impulse_response.shape)}; it must be (tap,), with 1 tap or more."
        )
    if not impulse_response.is_floating_point():
        raise TypeError(
            f"impulse_response is {impulse_response.dtype}; it must be floating point. Convert it first."
        )


def _spectra_of_parts(impulse_response: Tensor, partition: int) -> Tensor:
    """(part, partition + 1) complex: each part of the response, tap 0 being 0, with as many zeros behind it."""
    taps = at_least_single(impulse_response.detach())
    num_parts = -(-len(taps) // partition)
    padded = F.pad(taps[1:], (1, num_parts * partition - len(taps)))
    spectra: Tensor = torch.fft.rfft(padded.view(num_parts, partition), 2 * partition)
    return spectra
