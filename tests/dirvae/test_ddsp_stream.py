"""Playing block by block is the sound of the whole, at any rate, in any blocks, from any saved state."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from dirvae.networks.audio import AudioVAE, DDSPStream


@dataclass
class Case:
    """Rows to play, (batch, row) and (batch, component, row), and the sound that the model makes of all at once."""

    model: AudioVAE
    num_samples: int
    f0: Tensor
    loudness: Tensor
    latent: Tensor | None
    seed: int = 5

    @property
    def batch(self) -> int:
        return len(self.f0)

    def whole(self) -> Tensor:
        seeds = torch.arange(self.seed, self.seed + self.batch)
        with torch.no_grad():
            controls = self.model.decode(self.latent, self.f0, self.loudness)
            sound: Tensor = self.model.synthesiser(controls, seeds, self.num_samples).sound
        return sound

    def stream(self) -> DDSPStream:
        return DDSPStream(self.model, self.batch, seed=self.seed)

    def play(self, stream: DDSPStream, length: int, row: int) -> tuple[Tensor, int]:
        """The next block of a stream, and the row behind those that it took."""
        stop = row + stream.rows_wanted(length)
        latent = None if self.latent is None else self.latent[:, :, row:stop]
        return stream(self.f0[:, row:stop], self.loudness[:, row:stop], latent, length), stop

    def blocks(self, stream: DDSPStream, length: Callable[[], int], row: int = 0) -> Iterator[Tensor]:
        while stream.position < self.num_samples:
            block, row = self.play(stream, min(length(), self.num_samples - stream.position), row)
            yield block
        assert row == self.f0.shape[1]
        yield stream.flush()


def make_case(
    sample_rate: float,
    *,
    seconds: float = 0.6,
    control_rate: float = 250,
    core: str = "gru",
    latent: str | None = "dirichlet",
    reverb: float = 0.2,
    batch: int = 2,
    preset: str = "small",
) -> Case:
    torch.manual_seed(1)
    model = AudioVAE(
        sample_rate,
        control_rate=control_rate,
        core=core,
        latent=latent,
        reverb_seconds=reverb or None,
        preset=preset,
        reads_latent_last=core == "conv",
        plays_loudness=core == "conv",
    ).eval()
    if model.synthesiser.reverb is not None:
        with torch.no_grad():
            model.synthesiser.reverb.impulse_response.normal_(0, 0.01)
    num_samples = int(sample_rate * seconds) + 37
    rows = model.num_rows(num_samples)
    f0 = 60 * 2 ** (5 * torch.rand(batch, rows))  # each row somewhere else in five octaves
    values = torch.rand(batch, model.model_size, rows).softmax(1)
    return Case(model, num_samples, f0, 30 * torch.rand(batch, rows) - 30, None if latent is None else values)


def any_length(seed: int) -> Callable[[], int]:
    rng = random.Random(seed)
    return lambda: rng.choice((1, 3, 64, 176, 177, 512, rng.randint(1, 6000)))


def check_equal(case: Case, length: Callable[[], int]) -> None:
    stream, whole = case.stream(), case.whole()
    played = torch.cat(list(case.blocks(stream, length)), 1)
    assert whole.abs().max() > 0.05
    assert not played[:, : stream.latency_samples].any()
    torch.testing.assert_close(played[:, stream.latency_samples :], whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("reverb", [0.2, 0])
@pytest.mark.parametrize("latent", ["dirichlet", None])
@pytest.mark.parametrize("core", ["gru", "conv"])
@pytest.mark.parametrize("sample_rate", [16_000, 44_100])
def test_blocks_of_any_length_are_the_whole(sample_rate: int, core: str, latent: str | None, reverb: float) -> None:
    check_equal(make_case(sample_rate, core=core, latent=latent, reverb=reverb), any_length(sample_rate))


@pytest.mark.parametrize(
    ("sample_rate", "control_rate"), [(48_000, 93.75), (22_050, 1000), (8_000, 250), (11_025, 99.9)]
)
def test_any_two_rates_will_do(sample_rate: int, control_rate: float) -> None:
    check_equal(make_case(sample_rate, control_rate=control_rate, preset="tiny"), any_length(3))


@pytest.mark.parametrize("length", [1, 64, 512])
def test_blocks_of_one_length_are_the_whole(length: int) -> None:
    check_equal(make_case(16_000, seconds=0.1, batch=1), lambda: length)


@pytest.mark.parametrize("num_samples", [1, 5, 190, 191, 192])
def test_a_sound_shorter_than_the_latency_comes_out_whole(num_samples: int) -> None:
    case = make_case(16_000)
    rows = case.model.num_rows(num_samples)
    assert case.latent is not None
    short = Case(case.model, num_samples, case.f0[:, :rows], case.loudness[:, :rows], case.latent[:, :, :rows])
    played = torch.cat(list(short.blocks(short.stream(), lambda: 100)), 1)
    torch.testing.assert_close(played[:, 191:], short.whole(), atol=1e-5, rtol=0)


@pytest.mark.heavy
@pytest.mark.parametrize("length", [64, 512, 4096])
def test_ten_seconds_do_not_drift(length: int) -> None:
    check_equal(make_case(44_100, seconds=10), lambda: length)


def test_after_flush_another_sound_begins() -> None:
    case = make_case(16_000)
    stream = case.stream()
    first = torch.cat(list(case.blocks(stream, lambda: 500)), 1)
    assert torch.equal(torch.cat(list(case.blocks(stream, lambda: 500)), 1), first)


def with_weights_of(model: AudioVAE) -> AudioVAE:
    fresh = AudioVAE(**model.config).eval()
    fresh.load_state_dict(model.state_dict())
    return fresh


@pytest.mark.parametrize("core", ["gru", "conv"])
def test_every_state_continues_in_a_fresh_stream_to_the_bit(core: str) -> None:
    case = make_case(44_100, seconds=2, core=core, preset="tiny", reverb=0.1)
    rng = random.Random(0)
    lengths = [rng.choice((150, 512, 700, 1800)) for _ in range(1000)]
    expected = list(case.blocks(case.stream(), iter(lengths).__next__))
    fresh = Case(with_weights_of(case.model), case.num_samples, case.f0, case.loudness, case.latent, seed=0)
    stream, row, more = case.stream(), 0, iter(lengths)
    for number, block in enumerate(expected[:-1]):
        saved = stream.to_bytes()
        stream = fresh.stream()
        stream.load_bytes(saved)
        played, row = fresh.play(stream, min(next(more), case.num_samples - stream.position), row)
        assert torch.equal(played, block), number
    saved = stream.to_bytes()
    stream = fresh.stream()
    stream.load_bytes(saved)
    assert torch.equal(stream.flush(), expected[-1])


PROGRAM = """
import sys, torch
from safetensors.torch import load_file, save_file
from dirvae.networks.audio import AudioVAE, DDSPStream
folder = sys.argv[1]
model = AudioVAE(44_100, reverb_seconds=0.2).eval()
model.load_state_dict(load_file(folder + "/model"))
stream = DDSPStream(model, 2)
stream.load_bytes(open(folder + "/state", "rb").read())
rows = load_file(folder + "/rows")
block = stream(rows["f0"], rows["loudness"], rows["latent"], 3000)
save_file({"block": torch.cat((block, stream.flush()), 1)}, folder + "/block")
"""


def test_a_state_continues_in_a_new_process(tmp_path: Path) -> None:
    case = make_case(44_100)
    stream = case.stream()
    _, row = case.play(stream, 10_000, 0)
    (tmp_path / "state").write_bytes(stream.to_bytes())
    safetensors.torch.save_file(case.model.state_dict(), tmp_path / "model")
    stop = row + stream.rows_wanted(3000)
    assert case.latent is not None
    rows = {
        "f0": case.f0[:, row:stop],
        "loudness": case.loudness[:, row:stop],
        "latent": case.latent[:, :, row:stop],
    }
    safetensors.torch.save_file({name: value.contiguous() for name, value in rows.items()}, tmp_path / "rows")
    subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], check=True, timeout=120)
    expected = torch.cat((case.play(stream, 3000, row)[0], stream.flush()), 1)
    found = safetensors.torch.load_file(tmp_path / "block")["block"]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("sample_rate", "latency"), [(16_000, 191), (44_100, 352), (48_000, 383)])
def test_a_click_comes_the_latency_later(sample_rate: int, latency: int) -> None:
    case = make_case(sample_rate, seconds=0.3, reverb=0, batch=1)
    case.loudness = torch.full_like(case.loudness, -200.0)
    case.loudness[:, 40] = 0.0
    stream = case.stream()
    played = torch.cat(list(case.blocks(stream, lambda: 512)), 1)[0]
    whole = case.whole()[0]
    assert stream.latency_samples == latency
    assert int(played.abs().argmax()) - int(whole.abs().argmax()) == latency
    spectra = torch.fft.rfft(played, 2 * len(played)), torch.fft.rfft(whole, 2 * len(played))
    assert int(torch.fft.irfft(spectra[0] * spectra[1].conj()).argmax()) == latency


def test_rows_are_asked_for_where_they_stand() -> None:
    stream = make_case(44_100).stream()
    assert [stream.rows_wanted(length) for length in (1, 176, 177, 352, 353, 354)] == [1, 1, 2, 2, 3, 3]


def test_a_state_is_small_and_does_not_grow() -> None:
    torch.manual_seed(0)
    model = AudioVAE(44_100, reverb_seconds=1).eval()
    stream, sizes = DDSPStream(model), []
    for _ in range(20):
        rows = stream.rows_wanted(4410)
        stream(torch.full((1, rows), 220.0), torch.full((1, rows), -20.0), torch.full((1, 8, rows), 1 / 8), 4410)
        sizes.append(len(stream.to_bytes()))
    assert max(sizes) < 1_000_000
    assert max(sizes[1:]) - min(sizes[1:]) < 10_000


def test_blocks_carry_no_gradient_and_can_be_trained_on() -> None:
    case = make_case(16_000)
    block, _ = case.play(case.stream(), 1000, 0)
    assert not block.requires_grad
    weight = torch.ones(1, requires_grad=True)
    (block * weight).sum().backward()
    assert all(not value.is_inference() for value in case.stream().state_dict().values())


def test_a_row_that_is_no_number_is_refused_and_leaves_the_stream_as_it_was() -> None:
    case = make_case(16_000)
    stream, other = case.stream(), case.stream()
    case.play(stream, 1000, 0)
    _, row = case.play(other, 1000, 0)
    bad = Case(case.model, case.num_samples, case.f0 * float("nan"), case.loudness, case.latent)
    with pytest.raises(ValueError, match="a value that is not finite; fill gaps"):
        bad.play(stream, 1000, row)
    assert torch.equal(case.play(stream, 1000, row)[0], case.play(other, 1000, row)[0])


def test_rows_of_another_number_are_refused() -> None:
    case = make_case(16_000)
    stream = case.stream()
    with pytest.raises(ValueError, match=r"f0 has shape \(2, 7\); the next block needs \(2, 8\): ask rows_wanted"):
        stream(case.f0[:, :7], case.loudness[:, :8], None if case.latent is None else case.latent[:, :, :8], 512)
    with pytest.raises(ValueError, match="num_samples is 0; it must be a whole number of samples, 1 or more"):
        stream.rows_wanted(0)
    with pytest.raises(ValueError, match="latent is None; this model needs one"):
        stream(case.f0[:, :8], case.loudness[:, :8], None, 512)
    with pytest.raises(ValueError, match="batch is 0"):
        DDSPStream(case.model, 0)


def test_a_latent_for_a_model_without_one_is_refused() -> None:
    case = make_case(16_000, latent=None)
    with pytest.raises(ValueError, match="a latent is given, but this model has none"):
        case.stream()(case.f0[:, :8], case.loudness[:, :8], torch.ones(2, 8, 8), 512)


def test_states_of_others_are_refused_and_leave_the_stream_as_it_was() -> None:
    case = make_case(16_000)
    stream = case.stream()
    state = stream.state_dict()
    other = make_case(16_000, core="conv").stream().state_dict()
    for wrong, sentence in (
        (other, "the state is of another model; load the weights that it was saved with"),
        (DDSPStream(case.model, 3).state_dict(), "of a batch of 3, but this stream has a batch of 2"),
        ({**state, "version": torch.tensor(9)}, "the state is of version 9; this library reads 1"),
        ({"rows": state["rows"]}, "the state has no 'core'"),
        ({**state, "rows": state["rows"][:, :, 1:]}, "rows is torch.float32 of shape"),
        ({name: value for name, value in state.items() if name != "phase"}, "it must have"),
    ):
        with pytest.raises(ValueError, match=sentence):
            stream.load_state_dict(wrong)
    with pytest.raises(ValueError, match="these bytes are not a saved DDSPStream"):
        stream.load_bytes(b"nothing")
    assert torch.equal(case.play(stream, 900, 0)[0], case.play(case.stream(), 900, 0)[0])
