"""The flags of `python -m dirvae.train`, in groups: those of all types, and those of one type.

A flag has the name of a setting, and its default is that of the setting. One that was not given leaves no value, so
that a resumed run keeps its own settings, and those of a file stay.
"""

from __future__ import annotations

import argparse
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from dirvae.command_line import FlagParser
from dirvae.run.shard_sets import DEFAULT_TYPE
from dirvae.tasks import TASKS, Task
from dirvae.tasks.data import ON_ERROR
from dirvae.tasks.flag_values import byte_count, none_if_empty, off_at_zero, port_number
from dirvae.tasks.task import AddFlag
from dirvae.training.config import PRECISIONS, FitConfig
from dirvae.training.schedule import SCHEDULES

__all__ = ["ANY_SET", "RUNS", "SHARDS", "first_parser", "off_at_zero_names", "train_parser"]

RUNS = Path("runs")
SHARDS = Path("shards")
ANY_SET = ""
"""The value of --shards without a path."""

GROUPS = {
    "data": "data",
    "model": "model",
    "objective": "objective",
    "optimiser": "optimiser and length of the training",
    "run": "run and output",
}
OBJECTIVE = frozenset({"kl_weight", "kl_warmup", "kl_cycle", "free_nats"})
RUN = frozenset(
    {
        *("out", "resume", "config", "dry_run", "device", "seed"),
        *("save_every", "save_in_background", "log_every", "tensorboard", "label", "keep", "live", "live_port"),
    }
)


@dataclass
class _Flags:
    """The flags that were added: flag, meaning, options."""

    added: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def __call__(self, flag: str, meaning: str, **options: Any) -> None:
        self.added.append((flag, meaning, options))


def first_parser() -> argparse.ArgumentParser:
    """The flags that decide which type it is, and so which other flags there are."""
    parser = FlagParser(prog="python -m dirvae.train", add_help=False, allow_abbrev=False)
    parser.add_argument("--type", choices=TASKS)
    parser.add_argument("--shards", nargs="?", const=ANY_SET)
    parser.add_argument("--data")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--resume", action="store_true")
    return parser


def train_parser(task: Task) -> argparse.ArgumentParser:
    """All flags of a type."""
    defaults = _defaults(task)
    parser = FlagParser(
        prog="python -m dirvae.train",
        description="Train a variational autoencoder; writes a run folder with checkpoints and a report.",
        epilog="docs/training.md has examples.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    groups = {name: parser.add_argument_group(title) for name, title in GROUPS.items()}
    source = groups["data"].add_mutually_exclusive_group()
    for flag, meaning, options in _flags(task).added:
        name = flag.strip("-").replace("-", "_")
        group = source if name in ("shards", "data") else groups[_group(name, task)]
        shown = _shown(defaults.get(name), options)
        group.add_argument(flag, help=(meaning + shown).replace("%", "%%"), **options)
    return parser


def off_at_zero_names(task: Task) -> frozenset[str]:
    """The settings of a type that 0 turns off on the command line, and so in a file."""
    return frozenset(
        flag.strip("-").replace("-", "_")
        for flag, _, options in _flags(task).added
        if options.get("type") is off_at_zero
    )


def _defaults(task: Task) -> dict[str, Any]:
    """The defaults of all settings by name; none of the settings is made, because that may need torch."""
    parts = (FitConfig, task.data, task.model)
    known = {entry.name: entry.default for part in parts for entry in fields(part) if entry.default is not MISSING}
    return {**known, "type": DEFAULT_TYPE, "data": known.get("source")}


def _shown(default: Any, options: dict[str, Any]) -> str:
    if options.get("type") is off_at_zero and default is None:
        return " (default 0)"
    return "" if default is None or isinstance(default, bool) else f" (default {default})"


def _group(name: str, task: Task) -> str:
    if name in OBJECTIVE or name in RUN:
        return "objective" if name in OBJECTIVE else "run"
    if name == "type" or name in task.data.names():
        return "data"
    return "optimiser" if name in FitConfig.names() else "model"


def _flags(task: Task) -> _Flags:
    flags = _Flags()
    _add_data_flags(flags, task)
    task.add_arguments(flags)
    _add_start_flags(flags)
    _add_objective_flags(flags, task)
    _add_fit_flags(flags, task)
    _add_run_flags(flags, task)
    return flags


def _add_data_flags(add: AddFlag, task: Task) -> None:
    files = task.plural
    add("--type", "kind of data to train on", choices=TASKS)
    add(
        "--shards",
        "train from shards, also those behind an s3://, gs://, az:// or https:// URL; without a path: the only set in "
        f"{SHARDS}, or that of the type",
        nargs="?",
        const=ANY_SET,
        metavar="PATH",
    )
    add("--data", f"train from a folder of {files}", metavar="PATH")
    add(
        "--cache-bytes",
        "of the local disk, such as 200G, for shards behind a URL; DIRVAE_CACHE_BYTES or half of the disk by default",
        type=byte_count,
        metavar="BYTES",
    )
    add(
        "--shuffle-shards",
        "shuffle within windows of this many shards, where the set is larger than that; over the whole set by default",
        type=int,
        metavar="NUM",
    )
    add("--batch-size", f"{task.examples} per update, of all processes", type=int, metavar="NUM")
    add("--held-out", f"share of the {files} kept for evaluation, 0 for none", type=off_at_zero, metavar="SHARE")
    add("--on-error", "what to do with an example that cannot be decoded", choices=ON_ERROR)
    add("--threads", "threads that decode; one per core by default", type=int, metavar="NUM")


def _add_start_flags(add: AddFlag) -> None:
    add("--init-from", "run folder with the weights to start from; fresh weights by default", metavar="RUN")


def _add_objective_flags(add: AddFlag, task: Task) -> None:
    add("--kl-weight", "largest weight of the KL term", type=float, metavar="WEIGHT")
    add("--kl-warmup", "updates over which the KL term's weight rises", type=int, metavar="UPDATES")
    add(
        "--kl-cycle",
        "updates after which the KL term's weight rises again; only once by default",
        type=int,
        metavar="UPDATES",
    )
    add(
        "--free-nats",
        f"nats per {task.kl_unit} below which the KL term costs nothing; 0 for none",
        type=off_at_zero,
        metavar="NATS",
    )


def _add_fit_flags(add: AddFlag, task: Task) -> None:
    add("--steps", "updates to train for; 1,500 by default, without --epochs", type=int, metavar="UPDATES")
    add("--epochs", f"passes over the {task.plural} to train for; no limit by default", type=int, metavar="NUM")
    add("--learning-rate", "largest learning rate, of Adam", type=float, metavar="RATE")
    add("--learning-rate-warmup", "updates over which it rises", type=int, metavar="UPDATES")
    add(
        "--schedule",
        "constant falls to zero in the cooldown alone, linear and cosine over the whole run",
        choices=SCHEDULES,
    )
    add(
        "--cooldown",
        "share of the run, at its end, over which a constant learning rate falls to zero; 0 for none",
        type=off_at_zero,
        metavar="SHARE",
    )
    add("--accumulate", "parts in which each process computes its share of a batch", type=int, metavar="NUM")
    add("--clip", "largest norm of the gradients; 0 for none", type=off_at_zero, metavar="NORM")
    add(
        "--ema",
        "decay per update of averaged weights, such as 0.999, which are then evaluated and loaded; 0 for none",
        type=off_at_zero,
        metavar="DECAY",
    )
    add(
        "--patience",
        "end after so many evaluations in a row without a better one; never by default",
        type=int,
        metavar="NUM",
    )
    add("--compile", "compile the model; not by default", action=argparse.BooleanOptionalAction)
    add(
        "--checkpoint-activations",
        "take less memory and more time: compute again in the backward pass what the forward pass did; not by default",
        action=argparse.BooleanOptionalAction,
    )
    add("--precision", "arithmetic; auto is bf16 on a GPU that has it, otherwise fp32", choices=PRECISIONS)


def _add_run_flags(add: AddFlag, task: Task) -> None:
    name = task.name
    add("--out", f"run folder; {RUNS}/{name}, {RUNS}/{name}-2 and so on by default", type=Path, metavar="FOLDER")
    add("--resume", "continue the newest run, or --out; starts one if no run exists", action="store_true")
    add(
        "--config",
        "TOML file of settings with the names of these flags, or a run, whose settings are used again; flags win; no "
        "file by default",
        type=Path,
        metavar="FILE",
    )
    add(
        "--dry-run",
        "check data, settings and model by one batch, say what would be done, and write nothing",
        action="store_true",
    )
    add("--device", "auto (the GPU if there is one), cpu, cuda or cuda:1", metavar="DEVICE")
    add("--seed", "number that the weights, the order and all noise follow from", type=int, metavar="NUM")
    add("--save-every", "updates between checkpoints and evaluations", type=int, metavar="UPDATES")
    add(
        "--save-in-background",
        "go on while a copy is saved; not by default",
        action=argparse.BooleanOptionalAction,
    )
    add(
        "--tensorboard",
        "write metrics, pictures or sounds, and concentrations for TensorBoard too; not by default",
        action=argparse.BooleanOptionalAction,
    )
    add(
        "--label",
        "factor, or category of annotations, that colours the report, such as shape or dog; none by default, or for ''",
        type=none_if_empty,
        metavar="NAME",
    )
    add("--live", "serve the report on this machine while it is written", action="store_true")
    add("--live-port", "port of --live; a free one by default", type=port_number, metavar="PORT")
    add("--log-every", "updates between lines of metrics", type=int, metavar="UPDATES")
    add("--keep", "checkpoints to keep besides the best", type=int, metavar="NUM")
