"""What the trainer is made of: its feed, its schedules and seeds, and what it tells."""

import numpy as np
import pytest
import torch
from torch import nn

from dirvae.seeding import Purpose, derive_seed, seed_generators
from dirvae.training import FitConfig, Trainer
from dirvae.training.checkpoint import CheckpointFolder
from dirvae.training.feed import Feed, to_device
from dirvae.training.logging import Progress
from dirvae.training.schedule import learning_rate_factor

CPU = torch.device("cpu")


def test_padding_is_neither_counted_nor_hidden_from_the_loss():
    class Padded:
        data = np.zeros((4, 3, 8, 8), np.uint8)
        mask = np.array([True, True, True, False])

    feed = Feed([Padded()], CPU)
    batch = feed.take(0)
    assert batch.num_examples == 3
    assert batch.mask is not None
    assert batch.mask.tolist() == [True, True, True, False]


def test_a_loss_sees_the_batch_as_it_came_with_its_labels():
    pixels, labels = torch.zeros(4, 3), torch.tensor([1.0, 2.0, 3.0, 6.0])
    seen = []

    def loss(model, batch):
        _, wanted = batch.source
        seen.append(wanted.tolist())
        return {"loss": ((model(batch.data)[:, 0] - wanted) ** 2).mean()}

    model = nn.Linear(3, 1)
    Trainer(model, [(pixels, labels)], loss=loss, config=FitConfig(steps=2)).fit()
    assert seen == [labels.tolist()] * 2


def test_pixels_become_shares_of_white_in_channels_last_memory():
    pixels = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3).transpose(0, 3, 1, 2)
    tensor = to_device(pixels, CPU)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(tensor.numpy(), pixels / 255.0, rtol=1e-6)
    clips = to_device(np.zeros((2, 3, 4, 5, 6), np.uint8), CPU)
    assert clips.is_contiguous(memory_format=torch.channels_last_3d)
    read_only = np.zeros((2, 3), np.float32)
    read_only.flags.writeable = False
    assert to_device(read_only, CPU).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("dtype", ["int8", "int16", "int64", "uint16", "complex64"])
def test_numbers_whose_range_is_unknown_are_refused(dtype):
    pixels = np.zeros((2, 3), dtype)
    for data in (pixels, torch.from_numpy(pixels)):
        with pytest.raises(TypeError, match=f"a batch holds {dtype}; give uint8"):
            Feed([data], CPU).take(0)
    for data in (pixels.astype(bool), torch.ones(2, 3, dtype=torch.bfloat16), np.ones((2, 3), np.float64)):
        assert Feed([data], CPU).take(0).data.dtype == torch.float32


def test_a_batch_without_data_is_refused_by_type():
    with pytest.raises(TypeError, match="a dict with the keys 'pixels'; name the tensor to train on 'data'"):
        Feed([{"pixels": 3}], CPU).take(0)
    with pytest.raises(TypeError, match="a batch is str"):
        Feed(["pixels"], CPU).take(0)
    assert Feed([{"data": torch.ones(2, 3), "label": 4}], CPU).take(0).source["label"] == 4


def test_the_learning_rate_rises_stays_and_falls():
    rates = [learning_rate_factor(step, total=100, warmup=10, cooldown=0.2) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 11)
    assert rates[10:80] == [1.0] * 70
    assert rates[99] == pytest.approx(1 / 21)
    assert all(0 < rate <= 1 for rate in rates)
    assert [learning_rate_factor(step, total=3, warmup=0, cooldown=None) for step in range(3)] == [1.0] * 3


def test_seeds_of_different_places_differ():
    seeds = {derive_seed(seed, purpose, index) for seed in range(30) for purpose in Purpose for index in range(30)}
    assert len(seeds) == 30 * 30 * len(Purpose)


def test_seeding_a_processor_is_what_torch_does():
    seed_generators(2**63 + 5, torch.device("cpu"))
    drawn = torch.rand(4)
    torch.manual_seed(2**63 + 5)
    assert torch.equal(drawn, torch.rand(4))


def test_a_log_gets_plain_lines_and_a_terminal_a_bar(capsys):
    class Terminal:
        def __init__(self):
            self.text = ""

        def write(self, text):
            self.text += text

        def flush(self):
            pass

        def isatty(self):
            return True

    plain, terminal = Progress(10), Terminal()
    plain.start(0)
    plain.show(5, {"loss": 1.25, "examples_per_second": 1234.5, "wait_share": 0.034})
    plain.close()
    assert capsys.readouterr().err == "step 5/10  loss 1.25  1,234 examples/s  3% waiting for data\n"
    bar = Progress(10, stream=terminal)
    bar.start(0)
    bar.advance()
    bar.show(1, {"loss": 1.25})
    bar.show(1, {"bound": 2.0}, what="held out")
    bar.close()
    assert "\r" in terminal.text
    assert "step 1/10  held out  bound 2" in terminal.text


def test_tied_weights_are_saved_once_and_come_back_tied(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
            self.two.weight = self.one.weight

    def squares(model, batch):
        return {"loss": model.two(model.one(batch.data)).square().mean()}

    def make():
        torch.manual_seed(0)
        return Trainer(Tied(), [torch.ones(2, 4)], loss=squares, config=FitConfig(steps=4), out=tmp_path)

    first = make()
    first.fit()
    again = make()
    again.resume()
    assert list(CheckpointFolder(tmp_path / "checkpoints").open(4).model_tensors()) == [
        "one.bias",
        "one.weight",
        "two.bias",
    ]
    assert again.model.two.weight is again.model.one.weight
    assert torch.equal(again.model.one.weight, first.model.one.weight)
