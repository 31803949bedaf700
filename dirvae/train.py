"""`python -m dirvae.train`: from shards, or a folder of files, to a trained model and its report."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dirvae.run.config import RunConfig, read_config
from dirvae.run.folder import hold_run, is_run, new_run, newest_run
from dirvae.run.session import Outcome, refuse_changes, train_run
from dirvae.run.shard_sets import DEFAULT_TYPE, choose_set, find_sets, read_set, refuse_without_task
from dirvae.tasks import TASKS, Task, find_task
from dirvae.tasks.data import ON_ERROR
from dirvae.tasks.flag_values import off_at_zero
from dirvae.tasks.task import AddFlag
from dirvae.training.config import PRECISIONS
from dirvae.training.errors import ConfigError, TrainingError, TrainingWarning
from dirvae.training.signals import StopSignals
from pipelines import ExampleError, PipelineError, StateError
from pipelines.terminal import escape_unencodable

__all__ = ["main"]

RUNS = Path("runs")
SHARDS = Path("shards")
ANY_SET = ""
"""The value of --shards without a path."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 1 for an error, 130 after Ctrl-C, 143 after SIGTERM."""
    escape_unencodable()
    with StopSignals() as stop, warnings.catch_warnings():
        warnings.simplefilter("always", TrainingWarning)
        warnings.showwarning = _show_warning
        try:
            outcome = _train(argv, stop)
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
        except ExampleError as error:
            return _fail(f"{error} Here: --on-error substitute." if "substitute" in error.remedy else str(error))
        except StateError as error:
            return _fail(f"{error} Here: a new run without --resume, with --init-from for the weights.")
        except (TrainingError, PipelineError) as error:
            return _fail(str(error))
        except torch.OutOfMemoryError:
            return _fail(
                "the device's memory is full. Lower --batch-size, or choose a smaller model or smaller data."
            )
        except OSError as error:
            return _fail(f"{error.filename or 'a file'}: {error.strerror or error}.")
        if outcome.report is not None:
            print(f"report: {outcome.report}")
    return 128 + stop.received if stop.received is not None else 0


def _train(argv: Sequence[str] | None, stop: StopSignals) -> Outcome:
    run_type, shards = _choose_data(vars(_first_parser().parse_known_args(argv)[0]))
    given = vars(_parser(find_task(run_type)).parse_args(argv))
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        raise ConfigError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}; training in several processes is not supported yet. Start "
            "one process, without torchrun."
        )
    out, resume = given.pop("out", None), given.pop("resume", False)
    settings = _settings({**given, **({} if shards is None else {"shards": shards})})
    run = _choose_run(out, run_type, resume=resume)
    with hold_run(run):
        is_resumed = resume and is_run(run)
        config = _resumed_config(run, run_type, settings) if is_resumed else RunConfig.of(run_type, settings)
        return train_run(config, run, resume=resume, should_stop=stop, command=_command(argv))


def _command(argv: Sequence[str] | None) -> str:
    """What was typed, for the report."""
    return shlex.join(["python", "-m", "dirvae.train", *(sys.argv[1:] if argv is None else argv)])


def _choose_data(given: dict[str, Any]) -> tuple[str, str | None]:
    """The type of the run, and the shards that --shards means; None without --shards."""
    run_type, out, shards = given.get("type"), given.get("out"), given.get("shards")
    if run_type is None and given.get("resume") and out is not None and is_run(out):
        run_type = read_config(out).type
    if shards is None:
        return run_type or DEFAULT_TYPE, None
    folder = SHARDS if shards == ANY_SET else Path(shards)
    named = None if shards == ANY_SET else read_set(folder)
    if named is not None:
        if run_type not in (None, named.modality):
            raise ConfigError(
                f"--shards {folder}: {named} is not of --type {run_type}. Name other shards or another type."
            )
        refuse_without_task(named)
        return named.modality, shards
    sets, is_foreign = find_sets(folder), _has_tars(folder)
    if not is_foreign and (sets or shards == ANY_SET):
        chosen = choose_set(sets, folder, run_type)
        if others := [str(one) for one in sets if one is not chosen]:
            print(f"{folder}: training on {chosen}; also there: {', '.join(others)}.")
        return chosen.modality, str(chosen.path)
    return run_type or DEFAULT_TYPE, str(folder) if shards == ANY_SET else shards


def _has_tars(folder: Path) -> bool:
    """Whether shards without a manifest, made by other tools, are directly in a folder."""
    return read_set(folder) is None and folder.is_dir() and any(folder.glob("*.tar*"))


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """The settings that were named on the command line, by the names of a config."""
    settings = {name: value for name, value in given.items() if name != "type"}
    shards, folder = settings.pop("shards", None), settings.pop("data", None)
    if shards is not None or folder is not None:
        settings["source"] = shards if shards is not None else folder
    if "epochs" in settings and "steps" not in settings:
        settings["steps"] = None
    return settings


def _choose_run(out: Path | None, run_type: str, *, resume: bool) -> Path:
    if out is None:
        newest = newest_run(RUNS, run_type) if resume else None
        return newest if newest is not None else new_run(RUNS, run_type)
    if is_run(out) and not resume:
        raise ConfigError(f"{out}: already holds a run. Add --resume to continue it, or name another folder.")
    out.mkdir(parents=True, exist_ok=True)
    return out


def _resumed_config(run: Path, run_type: str, settings: dict[str, Any]) -> RunConfig:
    """The run's own settings, replaced by those from the command line.

    Raises `ConfigError` for one that may not change, unless the run has no checkpoint yet.
    """
    saved = read_config(run)
    if saved.type != run_type:
        raise ConfigError(f"{run}: is a run of --type {saved.type}, not {run_type}. Resume it with its own type.")
    if "steps" in settings and "epochs" not in settings:
        settings = {**settings, "epochs": None}
    config = RunConfig.of(run_type, {**saved.settings(), **settings})
    refuse_changes(run, config)
    return config


def _show_warning(message: Warning | str, *place: Any, **more: Any) -> None:
    try:
        from tqdm import tqdm
    except ImportError:
        print(f"warning: {message}", file=sys.stderr)
    else:
        tqdm.write(f"warning: {message}", file=sys.stderr)


def _fail(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 1


def _first_parser() -> argparse.ArgumentParser:
    """The flags that decide which type it is, and so which other flags there are."""
    parser = argparse.ArgumentParser(prog="python -m dirvae.train", add_help=False)
    parser.add_argument("--type", choices=TASKS)
    parser.add_argument("--shards", nargs="?", const=ANY_SET)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--resume", action="store_true")
    return parser


def _parser(task: Task) -> argparse.ArgumentParser:
    """All flags of a type. A flag that was not given leaves no value, so that a resumed run keeps its own settings."""
    defaults = {"type": DEFAULT_TYPE, **RunConfig.of(task.name, {}).settings()}
    parser = argparse.ArgumentParser(
        prog="python -m dirvae.train",
        description="Train a variational autoencoder; writes a run folder with checkpoints and a report.",
        argument_default=argparse.SUPPRESS,
    )

    def add(flag: str, meaning: str, **options: Any) -> None:
        default = defaults.get(flag.strip("-").replace("-", "_"))
        shown = "" if default is None or default is False else f" (default {default})"
        parser.add_argument(flag, help=(meaning + shown).replace("%", "%%"), **options)

    add("--type", "kind of data to train on", choices=TASKS)
    data = parser.add_mutually_exclusive_group()
    data.add_argument(
        "--shards",
        nargs="?",
        const=ANY_SET,
        metavar="PATH",
        help=f"train from shards (without a path: the only set in {SHARDS}, or that of the type)",
    )
    data.add_argument(
        "--data", metavar="PATH", help=f"train from a folder of {task.plural} (default {defaults['source']})"
    )
    _add_run_flags(add, task)
    task.add_arguments(add)
    _add_fit_flags(add, task)
    return parser


def _add_run_flags(add: AddFlag, task: Task) -> None:
    name, files = task.name, task.plural
    add("--out", f"run folder; {RUNS}/{name}, {RUNS}/{name}-2 and so on by default", type=Path)
    add("--resume", "continue the newest run, or --out; starts one if no run exists", action="store_true")
    add("--init-from", "run folder with the weights to start from", metavar="RUN")
    add("--batch-size", f"{task.examples} per batch", type=int)
    add("--held-out", f"share of the {files} kept for evaluation, 0 for none", type=off_at_zero)
    add("--on-error", "what to do with an example that cannot be decoded", choices=ON_ERROR)
    add("--threads", "threads that decode; one per core by default", type=int)


def _add_fit_flags(add: AddFlag, task: Task) -> None:
    add("--steps", "updates to train for", type=int)
    add("--epochs", f"passes over the {task.plural} to train for", type=int)
    add("--learning-rate", "largest learning rate", type=float)
    add("--learning-rate-warmup", "updates over which it rises", type=int)
    add("--cooldown", "share of the run, at its end, over which it falls to zero; 0 for none", type=off_at_zero)
    add("--kl-weight", "largest weight of the KL term", type=float)
    add("--kl-warmup", "updates over which the KL term's weight rises", type=int)
    add("--kl-cycle", "updates after which the KL term's weight rises again; only once by default", type=int)
    add(
        "--free-nats",
        f"nats per {task.kl_unit} below which the KL term costs nothing; 0 for none",
        type=off_at_zero,
    )
    add("--clip", "largest norm of the gradients; 0 for none", type=off_at_zero)
    add("--precision", "arithmetic; auto is bf16 on a GPU that has it, otherwise fp32", choices=PRECISIONS)
    add("--device", "auto (the GPU if there is one), cpu, cuda or cuda:1")
    add("--seed", "number that the weights, the order and all noise follow from", type=int)
    add("--save-every", "updates between checkpoints and evaluations", type=int)
    add("--log-every", "updates between lines of metrics", type=int)
    add(
        "--tensorboard",
        "write the metrics, pictures or sounds, and concentrations for TensorBoard as well",
        action=argparse.BooleanOptionalAction,
    )
    add("--keep", "checkpoints to keep besides the best", type=int)


if __name__ == "__main__":
    sys.exit(main())
