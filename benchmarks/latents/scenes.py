"""What components know of known factors: python benchmarks/latents/scenes.py.

Makes sample scenes and packs them, trains each latent around the same network from several seeds with the settings of
`python -m dirvae.train`, and measures every run as `python -m dirvae.evaluate` does. Each job leaves one JSON in
benchmarks/latents/results; a job that was killed continues at its last checkpoint and ends in the same weights. Started
twice, the two share the jobs. Ctrl-C and SIGTERM save first. tables.py puts the results into the docs,
scenes_pictures.py the pictures.
"""

from __future__ import annotations

import argparse
import contextlib
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from scenes_jobs import MODELS, RESULTS, SceneJob, Setting, scene_jobs

from dirvae.evaluate.held_out import HeldOut, mean_example
from dirvae.run.config import write_config
from dirvae.run.evaluation import EvaluateConfig, evaluate_run
from dirvae.run.folder import hold_run, write_json
from dirvae.tasks.data import open_data
from dirvae.tasks.image import IMAGE
from dirvae.training import TrainConfig, Trainer, TrainingError
from dirvae.training.signals import StopSignals
from pipelines import PipelineError, make_shards
from pipelines.samples.scenes import make_sample_data

__all__ = ["RUNS", "main", "make_scenes"]

RUNS = Path(__file__).resolve().parents[2] / "runs" / "scenes"
CIRCULAR = ("hue", "turn")


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing: 0 when nothing is left, 1 for an error, 130 or 143 when it was stopped."""
    options = _parser().parse_args(argv)
    jobs = [
        job
        for job in scene_jobs(options.model_size)
        if (not options.only or job.model in options.only) and (not options.seeds or job.seed in options.seeds)
    ]
    if not jobs:
        print("error: no job has these settings; --list without them shows the jobs there are.", file=sys.stderr)
        return 1
    if options.list:
        for job in jobs:
            print(f"{'missing' if job.result(options.results) is None else 'done':8} {job.name}")
        return 0
    torch.set_num_threads(options.threads)
    setting = Setting(scenes=options.scenes, side=options.size, steps=options.steps, held_out=options.held_out)
    with StopSignals() as stop:
        try:
            _work(jobs, setting, options, stop)
        except (TrainingError, PipelineError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0 if stop.received is None else 128 + stop.received


def _work(jobs: list[SceneJob], setting: Setting, options: argparse.Namespace, stop: Callable[[], bool]) -> None:
    """Do jobs in order; one that another process holds is left to it, and looked at again in the end."""
    with _waiting_for(options.runs, stop):
        shards = make_scenes(options.runs, setting)
    while not stop() and (missing := [job for job in jobs if job.result(options.results) is None]):
        is_idle = True
        for job in missing:
            run = options.runs / job.name
            run.mkdir(parents=True, exist_ok=True)
            with contextlib.ExitStack() as held:
                try:
                    held.enter_context(hold_run(run))
                except TrainingError:
                    continue
                if not stop() and job.result(options.results) is None:
                    is_idle = False
                    _run(job, run, shards, setting, options, stop)
        if is_idle and not stop():
            time.sleep(1)


@contextlib.contextmanager
def _waiting_for(folder: Path, stop: Callable[[], bool]) -> Any:
    """Hold a folder as soon as no other process does."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        while not stop():
            with contextlib.suppress(TrainingError):
                held.enter_context(hold_run(folder))
                break
            time.sleep(0.2)
        yield


def make_scenes(folder: Path, setting: Setting) -> Path:
    """The shards of the scenes in `folder`, made unless they are there: what two of `tools/` do."""
    shards = folder / f"shards-{setting.scenes}-{setting.side}"
    if not (shards / "manifest.json").exists():
        pictures = folder / f"image-{setting.scenes}-{setting.side}"
        make_sample_data(pictures, num=setting.scenes, size=2 * setting.side)
        make_shards(pictures, shards, workers=0)
    return shards


def _run(
    job: SceneJob,
    run: Path,
    shards: Path,
    setting: Setting,
    options: argparse.Namespace,
    stop: Callable[[], bool],
) -> None:
    print(f"{job.name}: begins", flush=True)
    config = job.config(shards, setting)
    trained = _train(job, config, run, stop)
    if trained is None:
        print(f"{job.name}: stopped; the same command continues from the last checkpoint.", flush=True)
        return
    measuring = EvaluateConfig(samples=options.samples, label="shape", circular=CIRCULAR)
    measures = evaluate_run(run, measuring, model=job.make_model(config))
    content = {
        "version": 1,
        "dataset": "scenes",
        "model": job.model,
        "model_size": job.model_size,
        "seed": job.seed,
        "scenes": setting.scenes,
        "side": setting.side,
        "steps": setting.steps,
        **trained,
        **{name: value for name, value in measures.items() if name not in ("version", "step")},
        "threads": options.threads,
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    options.results.mkdir(parents=True, exist_ok=True)
    write_json(job.result_path(options.results), content)
    told = measures["disentanglement"]
    print(
        f"{job.name}: {trained['psnr_db']:.2f} dB, bound {trained['bound']:.0f}, mean gap {told['gap']:.3f}, mean "
        f"linear R² {told['linear_r2']:.3f}",
        flush=True,
    )


def _train(job: SceneJob, config: TrainConfig, run: Path, stop: Callable[[], bool]) -> dict[str, Any] | None:
    """Train a job to its last step, from wherever its run stands: what the last evaluation found, None if stopped."""
    began = time.perf_counter()
    model = job.make_model(config)
    quarantine = run / "quarantine.jsonl"
    data = open_data(IMAGE.open_iterator, config, modality="image", seed=config.seed, quarantine=quarantine)
    try:
        held_out = data.held_out
        if held_out is None:
            raise TrainingError(f"{run}: no scenes are held out to measure on. Give --held-out a share above 0.")
        evaluate = HeldOut(held_out, mean=mean_example(data.training), seed=config.seed)
        trainer = Trainer(model, data.batches, config=config, evaluate=evaluate, out=run)
        is_resumed = trainer.resume()
        write_config(run, config.to_run())
        trainer.fit(should_stop=stop)
        if trainer.step < trainer.total_steps:
            return None
        found = trainer.evaluation or trainer.evaluate() or {}
    finally:
        data.close()
    numbers = ("psnr_db", "psnr_gain_db", "bound", "kl")
    return {
        "training_seconds": None if is_resumed else round(time.perf_counter() - began, 1),
        "parameters": sum(value.numel() for value in model.parameters()),
        "best_step": trainer.best["step"] if trainer.best is not None else trainer.step,
        **{name: found[name] for name in numbers},
    }


def _parser() -> argparse.ArgumentParser:
    setting = Setting()
    parser = argparse.ArgumentParser(description="Run the experiments on sample scenes that are missing.")
    parser.add_argument("--model-size", type=int, default=16, help="components of the latent (default 16)")
    parser.add_argument("--only", nargs="+", choices=sorted(MODELS), help="only these models")
    parser.add_argument("--seeds", nargs="+", type=int, help="only these seeds")
    parser.add_argument("--scenes", type=int, default=setting.scenes, help=f"scenes made ({setting.scenes})")
    parser.add_argument("--size", type=int, default=setting.side, help=f"side in pixels ({setting.side})")
    parser.add_argument("--steps", type=int, default=setting.steps, help=f"updates of a run ({setting.steps})")
    parser.add_argument("--held-out", type=float, default=setting.held_out, help=f"share ({setting.held_out})")
    parser.add_argument("--samples", type=int, default=10, help="importance samples an image (default 10)")
    parser.add_argument("--threads", type=int, default=1, help="threads (default 1)")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where data and checkpoints go (runs/scenes)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results go (beside this file)")
    parser.add_argument("--list", action="store_true", help="list the jobs, done and missing, and do nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
