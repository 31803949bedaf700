"""Reverberation block by block: that of SciPy for the whole signal, whatever the blocks and wherever it is saved."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.signal import fftconvolve
from torch import Tensor

from dirvae.ddsp import StreamingReverb, add_reverb


def decaying_noise(taps: int, seed: int = 0) -> Tensor:
    """(tap,) with a loud tap 0, which must not count."""
    noise = torch.randn(taps, generator=torch.Generator().manual_seed(seed))
    return 0.1 * noise * torch.exp(-3 * torch.arange(taps) / taps)


def signal(batch: int, num_samples: int) -> Tensor:
    return 0.3 * torch.randn(batch, num_samples, generator=torch.Generator().manual_seed(1))


def dry_plus_wet(dry: Tensor, impulse_response: Tensor) -> np.ndarray:
    taps = impulse_response.double().numpy().copy()
    taps[0] = 1
    return fftconvolve(dry.double().numpy(), taps[None], axes=1)[:, : dry.shape[1]]


def random_blocks(dry: Tensor, longest: int, seed: int = 2) -> Iterator[Tensor]:
    rng, start = np.random.default_rng(seed), 0
    while start < dry.shape[1]:
        length = int(rng.integers(1, longest + 1))
        yield dry[:, start : start + length]
        start += length


def played(reverb: StreamingReverb, blocks: Iterator[Tensor]) -> Tensor:
    return torch.cat([reverb(block) for block in blocks], 1)


@pytest.mark.parametrize(
    ("taps", "partition"), [(1, 4), (2, 4), (2, 512), (64, 64), (65, 64), (1000, 48), (3000, 1024)]
)
@pytest.mark.parametrize("longest", [1, 7, 300, 5000])
def test_blocks_of_any_length_give_what_scipy_makes_of_the_whole(taps: int, partition: int, longest: int) -> None:
    dry, response = signal(2, 700 if longest == 1 else 9000), decaying_noise(taps)
    sound = played(StreamingReverb(response, 2, partition=partition), random_blocks(dry, longest))
    assert sound.shape == dry.shape
    np.testing.assert_allclose(sound.numpy(), dry_plus_wet(dry, response), atol=1e-5)


def test_a_second_of_reverb_in_blocks_of_512_is_that_of_scipy_and_of_add_reverb() -> None:
    dry, response = signal(1, 3 * 44_100), decaying_noise(44_100)
    sound = played(StreamingReverb(response), iter(dry.split(512, 1)))
    np.testing.assert_allclose(sound.numpy(), dry_plus_wet(dry, response), atol=1e-5)
    torch.testing.assert_close(sound, add_reverb(dry, response[None]), atol=1e-5, rtol=0)


def test_double_precision_stays() -> None:
    dry, response = signal(1, 2000).double(), decaying_noise(500).double()
    sound = played(StreamingReverb(response, partition=64), random_blocks(dry, 200))
    np.testing.assert_allclose(sound.numpy(), dry_plus_wet(dry, response), atol=1e-13)


def test_zeros_after_the_end_let_the_tail_sound_and_then_nothing() -> None:
    dry, response = signal(1, 1500), decaying_noise(1000)
    reverb = StreamingReverb(response, partition=128)
    reverb(dry)
    tail = played(reverb, iter(torch.zeros(1, 3000).split(100, 1)))
    whole = dry_plus_wet(torch.cat((dry, torch.zeros(1, 3000)), 1), response)
    np.testing.assert_allclose(tail.numpy(), whole[:, 1500:], atol=1e-5)
    assert tail[:, :900].abs().amax() > 0.01
    assert tail[:, 1300:].abs().amax() == 0


@pytest.mark.parametrize(("taps", "partition"), [(2, 32), (1000, 32), (1000, 300), (1000, 2000)])
def test_a_saved_state_continues_in_a_new_object_to_the_bit(taps: int, partition: int) -> None:
    dry, response = signal(2, 4000), decaying_noise(taps)
    for start in (0, 1, 31, 32, 33, 299, 300, 600, 1024, 2000, 3100):
        reverb = StreamingReverb(response, 2, partition=partition)
        for block in random_blocks(dry[:, :start], 77):
            reverb(block)
        state = {name: value.clone() for name, value in reverb.state_dict().items()}
        restored = StreamingReverb(response, 2, partition=partition)
        restored(signal(2, 451))  # what it played before is forgotten
        restored.load_state_dict(state)
        rest = [played(one, random_blocks(dry[:, start:], 50, seed=start)) for one in (reverb, restored)]
        assert torch.equal(*rest), start
        assert all(torch.equal(restored.state_dict()[name], reverb.state_dict()[name]) for name in state)


def test_a_state_does_not_change_while_the_reverb_plays_on() -> None:
    reverb = StreamingReverb(decaying_noise(100), partition=16)
    reverb(signal(1, 50))
    state = reverb.state_dict()
    before = {name: value.clone() for name, value in state.items()}
    reverb(signal(1, 200))
    assert all(torch.equal(state[name], before[name]) for name in state)


def test_the_state_of_a_second_of_reverb_is_below_200_kilobytes() -> None:
    state = StreamingReverb(decaying_noise(44_100)).state_dict()
    assert sum(value.nbytes for value in state.values()) < 200_000
    assert all(value.untyped_storage().nbytes() == value.nbytes for value in state.values())


def test_memory_stays_the_same_over_many_blocks() -> None:
    reverb = StreamingReverb(decaying_noise(500), partition=32)

    def held() -> int:
        tensors = [value for value in vars(reverb).values() if isinstance(value, Tensor)]
        return sum(value.untyped_storage().nbytes() for value in tensors)

    reverb(signal(1, 1000))
    before = held()
    for block in signal(1, 60_000).split(37, 1):
        reverb(block)
    assert held() == before
    assert all(not isinstance(value, list | dict) for value in vars(reverb).values())


def test_a_block_that_is_not_finite_is_forgotten_once_the_response_is_over() -> None:
    reverb, dry = StreamingReverb(decaying_noise(200), partition=32), signal(1, 1000)
    broken = reverb(torch.full((1, 10), torch.nan))
    assert broken.isnan().all()
    later = reverb(dry)
    assert later[:, 200 + 2 * 32 :].isfinite().all()


def test_nothing_is_kept_for_a_gradient() -> None:
    response, dry = decaying_noise(50).requires_grad_(), signal(1, 100).requires_grad_()
    assert not StreamingReverb(response)(dry).requires_grad


@pytest.mark.parametrize(
    ("shape", "error"),
    [((2, 5), "must be \\(1, time\\)"), ((5,), "must be \\(1, time\\)"), ((1, 0), "with 1 sample or more")],
)
def test_blocks_of_another_shape_are_refused(shape: tuple[int, ...], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        StreamingReverb(decaying_noise(5))(torch.zeros(shape))


def test_other_mistakes_are_explained() -> None:
    response = decaying_noise(5)
    with pytest.raises(ValueError, match=r"impulse_response has shape \(1, 5\); it must be \(tap,\)"):
        StreamingReverb(response[None])
    with pytest.raises(ValueError, match="with 1 tap or more"):
        StreamingReverb(response[:0])
    with pytest.raises(ValueError, match="partition is 0; it must be 1 or more"):
        StreamingReverb(response, partition=0)
    with pytest.raises(ValueError, match="batch is 0; it must be 1 or more"):
        StreamingReverb(response, 0)
    with pytest.raises(TypeError, match=r"impulse_response is torch.int64; it must be floating point"):
        StreamingReverb(torch.ones(3, dtype=torch.int64))
    with pytest.raises(TypeError, match="impulse_response is a numpy array; give a tensor"):
        StreamingReverb(response.numpy())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"dry is torch.int16; it must be floating point"):
        StreamingReverb(response)(torch.zeros(1, 5, dtype=torch.int16))


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    reverb, other = StreamingReverb(decaying_noise(100), partition=16), StreamingReverb(decaying_noise(100))
    reverb(signal(1, 50))
    before = reverb.state_dict()
    with pytest.raises(ValueError, match=r"recent has shape \(1, 2048\); it must be \(1, 128\)"):
        reverb.load_state_dict(other.state_dict())
    with pytest.raises(ValueError, match=r"keys \['recent'\]; it must have 'position' and 'recent'"):
        reverb.load_state_dict({"recent": before["recent"]})
    with pytest.raises(ValueError, match="position is -1; it must be one int64"):
        reverb.load_state_dict({**before, "position": torch.tensor(-1)})
    assert all(torch.equal(reverb.state_dict()[name], before[name]) for name in before)
