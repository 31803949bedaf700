"""Run the experiments that are missing: python benchmarks/latents/run.py --data FOLDER.

Each job leaves one JSON in benchmarks/latents/results. A job that was killed continues at its last checkpoint and ends
in the same weights. Jobs run in processes of one thread each: for batches of 100 two such processes do more than two
threads of one, and the numbers do not depend on how many there are. Ctrl-C and SIGTERM save first.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from digits import DATASETS, Digits, load_digits
from experiment import LIKELIHOOD_IMAGES, measure, train
from jobs import RESULTS, Job, all_jobs
from models import MODELS

from dirvae.run.folder import hold_run, write_json
from dirvae.training import TrainingError
from dirvae.training.signals import StopSignals

RUNS = Path(__file__).resolve().parents[2] / "runs" / "latents"


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing: 0 when nothing is left, 1 for an error, 130 or 143 when it was stopped."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments)
    jobs = _chosen(options)
    if not jobs:
        print("error: no job has these settings; --list without them shows the jobs there are.", file=sys.stderr)
        return 1
    if options.list:
        for job in jobs:
            print(f"{'missing' if job.result(options.results) is None else 'done':8} {job.name}")
        return 0
    if options.processes > 1:
        return _share(arguments, options.processes)
    torch.set_num_threads(options.threads)
    with StopSignals() as stop:
        failed = _work(jobs, options, stop)
    if stop.received is not None:
        return 128 + stop.received
    return 1 if failed else 0


def _chosen(options: argparse.Namespace) -> list[Job]:
    return [
        job
        for job in all_jobs(options.epochs)
        if options.dataset in (None, job.dataset)
        and (not options.only or job.model in options.only)
        and (not options.seeds or job.seed in options.seeds)
    ]


def _share(arguments: list[str], processes: int) -> int:
    """Run this program several times over the same list; the worst exit code, or 0.

    Each in a process group of its own: a Ctrl-C or a `timeout` reaches a whole group, and with what is passed on
    would be the second signal, which no longer lets a job save.
    """
    command = [sys.executable, __file__, *arguments, "--processes", "1"]
    workers = [subprocess.Popen(command, process_group=0) for _ in range(processes)]
    with StopSignals() as stop:
        while any(worker.poll() is None for worker in workers):
            time.sleep(0.2)
            if stop.received is not None:
                for worker in workers:
                    worker.send_signal(stop.received)
                break
        codes = [worker.wait() for worker in workers]
    return min(codes) if min(codes) < 0 else max(codes)


def _work(jobs: list[Job], options: argparse.Namespace, stop: StopSignals) -> set[Job]:
    """Do jobs in order; returns those that failed, which others do not wait for.

    One that another process holds is left to it, and looked at again in the end.
    """
    loaded: dict[str, Digits] = {}
    failed: set[Job] = set()
    while missing := [job for job in jobs if job not in failed and job.result(options.results) is None]:
        is_idle = True
        for job in missing:
            if job.dataset not in loaded:
                loaded[job.dataset] = load_digits(job.dataset, options.data)
            try:
                is_idle = not _try(job, loaded[job.dataset], options, stop) and is_idle
            except TrainingError as error:
                print(f"error: {job.name}: {error}", file=sys.stderr, flush=True)
                failed.add(job)
            if stop():
                return failed
        if is_idle:
            time.sleep(1)
    return failed


def _try(job: Job, data: Digits, options: argparse.Namespace, stop: StopSignals) -> bool:
    """Do a job and the shorter one it passes through; False if another process has its run."""
    run = options.runs / job.run_name
    run.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(hold_run(run))
        except TrainingError:
            return False
        for one in (job.shorter, job):
            if one is not None and one.result(options.results) is None and not stop():
                _run(one, data, run, options, stop)
        return True


def _run(job: Job, data: Digits, run: Path, options: argparse.Namespace, stop: StopSignals) -> None:
    print(f"{job.name}: begins, process {os.getpid()}", flush=True)
    began = time.perf_counter()
    model = train(job, data, run, should_stop=stop)
    trained = time.perf_counter()
    images = LIKELIHOOD_IMAGES.get(job.epochs)
    measures = (
        None if model is None else measure(model, data, samples=options.samples, images=images, should_stop=stop)
    )
    if measures is None:
        print(f"{job.name}: stopped; the same command continues from the last checkpoint.", flush=True)
        return
    options.results.mkdir(parents=True, exist_ok=True)
    write_json(job.result_path(options.results), _content(job, measures, trained - began, options.threads))
    print(
        f"{job.name}: NLL {measures['nll']:.2f}, bound {measures['negative_bound']:.2f}, "
        f"{measures['components_in_use']} components in use, 5-NN error {measures['neighbour_errors']['5']:.2%}; "
        f"{trained - began:.0f} s to train, {time.perf_counter() - trained:.0f} s to measure",
        flush=True,
    )


def _content(job: Job, measures: dict[str, Any], seconds: float, threads: int) -> dict[str, Any]:
    return {
        "version": 1,
        **asdict(job),
        **measures,
        "training_seconds": round(seconds, 1),
        "threads": threads,
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run the experiments that are missing, the most telling first.")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds mnist/ and omniglot/")
    parser.add_argument("--dataset", choices=sorted(DATASETS), help="only this data set")
    parser.add_argument("--only", nargs="+", choices=sorted(MODELS), help="only these models")
    parser.add_argument("--epochs", type=int, help="only jobs of this many epochs")
    parser.add_argument("--seeds", nargs="+", type=int, help="only these seeds")
    parser.add_argument("--samples", type=int, default=1000, help="importance samples an image (default 1000)")
    parser.add_argument("--processes", type=int, default=1, help="jobs at a time (default 1)")
    parser.add_argument("--threads", type=int, default=1, help="threads of a process (default 1)")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where checkpoints go (default runs/latents)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results go (default beside this file)")
    parser.add_argument("--list", action="store_true", help="list the jobs, done and missing, and do nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
