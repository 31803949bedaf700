"""A synthesiser with its loss is one graph for torch.compile, and sounds the same."""

from __future__ import annotations

import shutil
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from dirvae.ddsp import (
    Block,
    Curve,
    DecayReverb,
    FilteredNoise,
    Framing,
    HarmonicBank,
    MultiScaleSpectralLoss,
    Reverb,
    exp_sigmoid,
    filtered_noise,
    harmonic_bank,
)
from dirvae.ddsp.harmonic_sum import _harmonic_sum
from dirvae.ddsp.mel import mel_filterbank, mel_spectrogram
from dirvae.ddsp.noise import _uniform_noise

RATE = Fraction(250)
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None,
    reason="torch.compile needs a C++ compiler on the path; neither g++ nor clang++ is there",
)


class Synthesiser(nn.Module):
    """All there is, from raw outputs of a network to a loss."""

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.bank, self.noise = HarmonicBank(sample_rate), FilteredNoise(9, sample_rate)
        self.room = nn.Sequential(DecayReverb(sample_rate, seconds=0.02), Reverb(sample_rate, seconds=0.01))
        self.loss = MultiScaleSpectralLoss(sample_rate, seconds=(0.016, 0.004))
        self.framing = Framing(256, RATE, sample_rate)
        self.register_buffer("filters", mel_filterbank(sample_rate, 256, 20))

    def forward(self, raw: Tensor, f0: Tensor, seeds: Tensor, target: Tensor) -> Tensor:
        controls = exp_sigmoid(raw)
        loud, shares, magnitudes = controls[..., 0], controls[..., 1:21], controls[..., 21:]
        num_samples = target.shape[1]
        start = Fraction(1, 500)
        pitch = Curve(f0, RATE, start)
        sound = self.bank(pitch, Curve(loud, RATE, start), Curve(shares, RATE, start), num_samples)
        sound = self.room(sound + self.noise(Curve(magnitudes, RATE, start), seeds, num_samples))
        mel = mel_spectrogram(sound, self.framing, self.filters)
        return self.loss(sound, target) + mel.mean()


def assert_the_same(backend: str) -> None:
    torch.manual_seed(0)
    torch.compiler.reset()
    model = Synthesiser(22_050)
    raw, f0 = torch.randn(2, 30, 30), (200 + 300 * torch.rand(2, 30)).requires_grad_()
    inputs = (raw.requires_grad_(), f0, torch.tensor([1, 2]), torch.randn(2, 2205))
    found = []
    for function in (model, torch.compile(model, fullgraph=True, backend=backend)):
        loss = function(*inputs)
        found.append((loss.detach(), *torch.autograd.grad(loss.sum(), (raw, f0, *model.parameters()))))
    for eager, compiled in zip(*found, strict=True):
        assert eager.abs().max() > 0
        torch.testing.assert_close(compiled, eager, atol=1e-5 * float(eager.abs().max()), rtol=1e-4)


def test_all_of_it_traces_without_a_graph_break() -> None:
    assert_the_same("eager")


@pytest.mark.heavy
@needs_compiler
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, as it loads its compiler
@pytest.mark.filterwarnings("ignore:Torchinductor does not support code generation for complex:UserWarning")
def test_all_of_it_compiles_and_is_the_same_forward_and_backward(backend: str) -> None:
    assert_the_same(backend)


def test_the_operators_are_as_torch_wants_them() -> None:
    cycles = (torch.rand(2, 20, dtype=torch.float64) / 10).requires_grad_()
    levels = torch.rand(2, 5, 3, dtype=torch.float64).requires_grad_()
    torch.library.opcheck(_harmonic_sum, (cycles, levels, torch.zeros(2, dtype=torch.int64), 0, 1, 5, 32))
    torch.library.opcheck(_uniform_noise, (torch.tensor([1]), -2, 10))


def test_functions_of_blocks_trace_without_a_graph_break() -> None:
    def play(hz: Tensor, values: Tensor, phase: Tensor) -> tuple[Tensor, Tensor]:
        block = Block(300, 44_100, 1000)
        sound, after = harmonic_bank(Curve(hz, RATE), Curve(values, RATE), block, phase=phase)
        return sound + filtered_noise(Curve(values, RATE), phase, block), after

    torch.compiler.reset()
    inputs = torch.full((1, 9), 300.0), torch.rand(1, 9, 5), torch.tensor([1 << 60])
    for eager, traced in zip(
        play(*inputs), torch.compile(play, fullgraph=True, backend="eager")(*inputs), strict=True
    ):
        torch.testing.assert_close(traced, eager)
