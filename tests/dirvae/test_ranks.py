"""`Ranks`: nothing changes for one process, and of two only the first writes, with noise of their own."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dirvae.training.ranks import ONE_RANK, Ranks

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import json, sys
from datetime import timedelta
from pathlib import Path
import torch
from torch import nn
from dirvae.training import FitConfig, Trainer
from dirvae.training.ranks import Ranks

rank, home = int(sys.argv[1]), Path(sys.argv[2])
store = torch.distributed.FileStore(str(home / "store"), 2)
torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
torch.manual_seed(0)
model, noise = nn.Linear(3, 1), []


def loss(model, batch):
    noise.append(torch.rand(()).item())
    value = model(batch.data).square().mean()
    return {"loss": value * (float("nan") if (rank, batch.step) == (1, 2) else 1.0)}


config = FitConfig(steps=4, device="cpu", log_every=1)
ranks = Ranks(rank, 2)
trainer = Trainer(model, [torch.ones(2, 3)], loss=loss, config=config, out=home / f"rank{rank}", ranks=ranks)
trainer.fit()
told = {"noise": noise, "skipped": trainer.skipped_updates, "step": trainer.step}
(home / f"rank{rank}.json").write_text(json.dumps(told))
torch.distributed.destroy_process_group()
"""


def test_one_rank_decides_alone_and_numbers_steps_as_they_are() -> None:
    flag = torch.tensor(True)
    assert ONE_RANK.any(flag) is flag
    assert [ONE_RANK.index(step) for step in range(5)] == list(range(5))
    assert ONE_RANK.is_first


def test_steps_of_all_ranks_have_different_numbers() -> None:
    numbers = [Ranks(rank, 3).index(step) for rank in range(3) for step in range(10)]
    assert sorted(numbers) == list(range(30))


@pytest.mark.parametrize(("rank", "world_size"), [(-1, 1), (1, 1), (2, 2), (0, 0)])
def test_a_rank_that_cannot_be_is_refused(rank: int, world_size: int) -> None:
    with pytest.raises(ValueError, match=f"rank is {rank} of {world_size}"):
        Ranks(rank, world_size)


def test_of_two_ranks_the_first_writes_and_both_skip_what_is_not_finite_on_one(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    programs = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / "program.py"), str(rank), str(tmp_path)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [program.communicate(timeout=120)[1] for program in programs]
    assert [program.returncode for program in programs] == [0, 0], errors
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2))
    assert (first["skipped"], second["skipped"]) == (1, 1)
    assert (first["step"], second["step"]) == (4, 4)
    assert not set(first["noise"]) & set(second["noise"])
    assert not any(math.isnan(value) for value in first["noise"])
    assert (tmp_path / "rank0" / "metrics.jsonl").exists()
    assert (tmp_path / "rank0" / "checkpoints" / "00000004").is_dir()
    assert not (tmp_path / "rank1").exists()
    shown = [[line for line in error.splitlines() if line.startswith("step ")] for error in errors]
    assert (len(shown[0]) >= 4, shown[1]) == (True, [])
