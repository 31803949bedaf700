"""What feeding and logging cost a training, in CPU time of one process with one torch thread.

    python benchmarks/training.py scenes=shards/image coco=shards/coco-144 [--sizes 64 128] [--rounds 7]

fed     examples/s of whole updates fed from shards, divided by those of the same model on one batch that is kept in
        memory, in interleaved rounds; the median of the rounds' ratios
logged  what `report.html` at every checkpoint and TensorBoard take of a run of the usual length, in per cent of the
        rest of it; the page at the end of the run, which is written once, is given beside
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from dirvae.run.config import RunConfig
from dirvae.run.live_page import LivePage
from dirvae.run.session import build_model, settled, train_run
from dirvae.training import FitConfig, Trainer
from dirvae.training.event_file import EventFile

WARM_UP, STEPS = 5, 40


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What feeding and logging cost a training.")
    parser.add_argument("shards", nargs="+", metavar="NAME=SHARDS", help="sets of pictures")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128], help="sides of the pictures")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds (default 7)")
    parser.add_argument("--preset", default="tiny", help="of the network (default tiny)")
    parser.add_argument("--steps", type=int, default=1500, help="of the run that is logged; 0: none (default 1500)")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    sets = dict(entry.split("=", 1) for entry in options.shards)
    print(f"preset {options.preset}, batches of 32, torch {torch.__version__}, one thread; CPU time")
    for name, shards in sets.items():
        for size in options.sizes:
            print(f"fed     {name:14} {size:4} pixels  {_fed(shards, size, options)}", flush=True)
    if options.steps:
        name, shards = next(iter(sets.items()))
        print(f"logged  {name:14} {options.sizes[0]:4} pixels  {_logged(shards, options)}", flush=True)
    return 0


def _fed(shards: str, size: int, options: argparse.Namespace) -> str:
    values = {"source": shards, "size": size, "threads": 1, "preset": options.preset, "batch_size": 32}
    config = settled(RunConfig.of("image", values))
    images = config.task.open_iterator(shards, config.data, is_training=True, shuffle=True, seed=0)
    batch = torch.from_numpy(next(iter(images)).data.copy())
    feeds = {"memory": [batch] * 100, "shards": images}
    seconds: dict[str, list[float]] = {name: [] for name in feeds}
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(options.rounds):
            for name, batches in feeds.items():
                seconds[name].append(_step_seconds(build_model(config), batches))
    images.close()
    ratio = statistics.median(a / b for a, b in zip(seconds["memory"], seconds["shards"], strict=True))
    memory, fed = (1000 * statistics.median(seconds[name]) for name in ("memory", "shards"))
    return f"memory {memory:7.1f} ms, shards {fed:7.1f} ms a step, fed/memory {ratio:.3f}"


def _step_seconds(model: torch.nn.Module, batches: Any) -> float:
    """CPU seconds per update, of all threads."""
    config = FitConfig(steps=10**6, save_every=10**6, log_every=10**6, device="cpu")
    calls, began = 0, 0.0

    def has_enough() -> bool:
        nonlocal calls, began
        calls += 1
        if calls == WARM_UP + 1:
            began = time.process_time()
        return calls == WARM_UP + STEPS + 1

    trainer = Trainer(model, batches, config=config)
    trainer.fit(should_stop=has_enough)
    return (time.process_time() - began) / STEPS


def _logged(shards: str, options: argparse.Namespace) -> str:
    spent: dict[str, float] = {}

    @contextlib.contextmanager
    def counted(owner: Any, method: str) -> Iterator[None]:
        original: Callable[..., Any] = getattr(owner, method)
        name = f"{owner.__name__}.{method}"
        spent[name] = 0.0

        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.process_time()
            try:
                return original(*arguments, **named)
            finally:
                spent[name] += time.process_time() - began

        setattr(owner, method, timed)
        try:
            yield
        finally:
            setattr(owner, method, original)

    values = {"source": shards, "size": options.sizes[0], "threads": 1, "preset": options.preset}
    config = RunConfig.of("image", {**values, "steps": options.steps, "tensorboard": True})
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.redirect_stdout(io.StringIO()),
        counted(LivePage, "follow"),
        counted(LivePage, "finish"),
        counted(EventFile, "append"),
    ):
        began = time.process_time()
        train_run(config, Path(folder))
        whole = time.process_time() - began
    during = spent["LivePage.follow"] + spent["EventFile.append"]
    rest = whole - during - spent["LivePage.finish"]
    return (
        f"{100 * during / rest:.2f} % of {rest:.0f} s in {options.steps:,} updates (report "
        f"{spent['LivePage.follow']:.2f} s, TensorBoard's numbers {spent['EventFile.append']:.2f} s); at the end "
        f"{spent['LivePage.finish']:.1f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
