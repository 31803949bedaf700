"""`DDSPStream`: an `AudioVAE` that plays block by block, with a state to continue from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from dirvae.ddsp.curve import check_tensor
from dirvae.ddsp.streaming_synthesiser import StreamingSynthesiser
from dirvae.networks.audio.audio_vae import AudioVAE
from dirvae.networks.audio.playing_decoder import PlayingDecoder

__all__ = ["DDSPStream"]

VERSION = 1
OWN_KEYS = {"version", "model", "core"}


class DDSPStream:
    """Sound of f0, loudness and latent that come in row by row: the sound that the model makes of all rows at once.

    model  its weights are used as they are now; they must not change while it plays
    batch  sounds that are played side by side
    seed   of the noise: example i has the seed `seed + i`, as in `AudioVAE.reconstruct`

        stream = DDSPStream(model)
        rows = stream.rows_wanted(512)
        block = stream(f0, loudness, latent, 512)  # f0 (1, rows); block (1, 512)

    All blocks and then `flush()`, put together, are `stream.latency_samples` zeros and then, within 1e-5 for sounds of
    full scale, `model.synthesiser(model.decode(latent, f0, loudness), seeds, num_samples).sound`, at any sample rate
    and for blocks of any length, a different one each time. The work and the memory of a block do not depend on what
    came before. No gradient flows.

    Latency. Row k of the controls stands at k / control_rate seconds and is asked for with the block in which it
    stands. The sound between two rows depends on both of them, and on f0 one row further, which says which harmonics
    stay below half the sample rate; filtered noise depends on `reach` samples more to both sides (2 · num_bands - 2).
    With hop = sample_rate / control_rate the delay is max(⌈2 hop⌉ - 1, reach + ⌈hop⌉ - 1) samples: with 65 bands and
    250 rows per second 191 samples (11.9 ms) at 16,000 Hz and 352 samples (8.0 ms) at 44,100 Hz. Pitch tracking and
    encoding, if there are any, come on top.
    """

    def __init__(self, model: AudioVAE, batch: int = 1, *, seed: int = 0) -> None:
        if batch < 1:
            raise ValueError(f"batch is {batch}; it must be 1 or more.")
        self.model = model
        self._model_digest = _digest(model)
        self._decoder = PlayingDecoder(model.decoder)
        self._core = model.decoder.core.first_state(batch).detach()
        seeds = torch.arange(seed, seed + batch, device=self._core.device)
        harmonics = model.num_harmonics
        self._synthesiser = StreamingSynthesiser(model.synthesiser, model.control_rate, harmonics, seeds)

    @property
    def batch(self) -> int:
        """Sounds that are played side by side."""
        return len(self._core)

    @property
    def position(self) -> int:
        """How many samples have been asked for since the sound began."""
        return self._synthesiser.position

    @property
    def latency_samples(self) -> int:
        """How many samples later than its rows the sound is heard; constant."""
        return self._synthesiser.latency_samples

    def rows_wanted(self, num_samples: int) -> int:
        """How many rows the next block of so many samples asks for: those that stand at its samples. May be 0."""
        _check_length(num_samples)
        return self._synthesiser.rows_wanted(num_samples)

    def __call__(self, f0: Tensor, loudness: Tensor, latent: Tensor | None, num_samples: int) -> Tensor:
        """The next block: (batch, num_samples) in the dtype of the weights.

        f0           (batch, row) Hz, above 0, with as many rows as `rows_wanted(num_samples)` says
        loudness     (batch, row) dB
        latent       (batch, component, row), as the model's posterior has it; None for a model without a latent
        num_samples  1 or more

        Raises `ValueError` for other shapes and for values that are not finite, `TypeError` for what is not a tensor;
        the stream is then as it was.
        """
        self._check_rows(f0, loudness, latent, self.rows_wanted(num_samples))
        with torch.inference_mode():
            rows, core = (None, self._core) if not f0.shape[1] else self._decode(f0, loudness, latent)
            sound = self._synthesiser(rows, num_samples)
        self._core = core
        return sound.clone()  # a tensor as any other

    def flush(self) -> Tensor:
        """The end of the sound, (batch, latency_samples), its last row being held.

        The stream then begins again: the next block is the first one of another sound.
        """
        self._core = torch.zeros_like(self._core)
        return self._synthesiser.flush()

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the sound still to come depends on besides the model and the rows still to come.

        version  () int64
        model    (32,) uint8, a digest of the weights and rates of the model
        core     (batch, …), what the decoder remembers
        and what `StreamingSynthesiser.state_dict` has. Its size does not grow: with the preset small at 44,100 Hz
        about 100 kB, nearly all of it the reverb's.
        """
        own = {"version": torch.tensor(VERSION), "model": self._model_digest, "core": self._core.clone()}
        return own | self._synthesiser.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state of the same model and batch, saved on any device; the seeds are those of the state.

        Raises `ValueError` for a state that does not fit, and `TypeError` for values that are not tensors; the stream
        is then as it was.
        """
        self._check(state)
        self._synthesiser.load_state_dict({name: state[name] for name in state if name not in OWN_KEYS})
        self._core = state["core"].to(self._core, copy=True)

    def to_bytes(self) -> bytes:
        """`state_dict()` as a file of safetensors."""
        return safetensors.torch.save({name: value.contiguous() for name, value in self.state_dict().items()})

    def load_bytes(self, saved: bytes) -> None:
        """Continue from what `to_bytes` returned. Raises as `load_state_dict` does; `ValueError` for other bytes."""
        try:
            state = safetensors.torch.load(saved)
        except SafetensorError as error:
            raise ValueError(f"these bytes are not a saved DDSPStream: {error}.") from error
        self.load_state_dict(state)

    def _decode(self, f0: Tensor, loudness: Tensor, latent: Tensor | None) -> tuple[Tensor, Tensor]:
        """Rows of controls, and the core's state after them."""
        latent = None if latent is None else latent.to(self._core)
        read = self.model.decoder_input(latent)
        rows, core = self._decoder(read, f0.to(self._core), loudness.to(self._core), self._core)
        if not math.isfinite(rows.sum()):
            raise ValueError("f0, loudness or latent has a value that is not finite; fill gaps before playing.")
        return rows, core

    def _check_rows(self, f0: Tensor, loudness: Tensor, latent: Tensor | None, num_rows: int) -> None:
        wanted: dict[str, tuple[int, ...]] = dict.fromkeys(("f0", "loudness"), (self.batch, num_rows))
        given = {"f0": f0, "loudness": loudness}
        if latent is not None and self.model.latent is not None:
            given["latent"], wanted["latent"] = latent, (self.batch, self.model.model_size, num_rows)
        elif (latent is None) != (self.model.latent is None):
            raise ValueError(
                "latent is None; this model needs one, (batch, component, row)."
                if latent is None
                else "a latent is given, but this model has none; give None."
            )
        for name, value in given.items():
            check_tensor(value, name)
            if value.shape != wanted[name]:
                raise ValueError(
                    f"{name} has shape {tuple(value.shape)}; the next block needs {wanted[name]}: ask rows_wanted."
                )

    def _check(self, state: Mapping[str, Tensor]) -> None:
        missing = OWN_KEYS - set(state)
        if missing:
            raise ValueError(
                f"the state has no {sorted(missing)[0]!r}; give what state_dict() of a DDSPStream returned."
            )
        for name in OWN_KEYS:
            check_tensor(state[name], name)
        if state["version"].numel() != 1 or int(state["version"]) != VERSION:
            raise ValueError(f"the state is of version {state['version'].tolist()}; this library reads {VERSION}.")
        if not torch.equal(state["model"].cpu(), self._model_digest):
            raise ValueError("the state is of another model; load the weights that it was saved with.")
        if state["core"].shape != self._core.shape:
            raise ValueError(
                f"the state is of a batch of {len(state['core'])}, but this stream has a batch of {self.batch}; "
                "make one with the same batch."
            )


def _check_length(num_samples: int) -> None:
    if not isinstance(num_samples, int) or num_samples < 1:
        raise ValueError(f"num_samples is {num_samples!r}; it must be a whole number of samples, 1 or more.")


def _digest(model: AudioVAE) -> Tensor:
    """SHA-256 of the rates and of all weights that playing needs: (32,) uint8."""
    found = hashlib.sha256(f"{model.sample_rate} {model.control_rate}".encode())
    for part in (model.decoder, model.synthesiser, *([] if model.standardise is None else [model.standardise])):
        for name, value in part.state_dict().items():
            found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return torch.tensor(list(found.digest()), dtype=torch.uint8)
