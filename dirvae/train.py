"""`python -m dirvae.train`: from shards, or a folder of images, to a trained model and its report."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dirvae.run.folder import hold_run, is_run, new_run, newest_run, read_config
from dirvae.run.session import Outcome, train_run
from dirvae.training.checkpoint import CheckpointFolder
from dirvae.training.config import LATENTS, LIKELIHOODS, ON_ERROR, PRECISIONS, PRESETS, TrainConfig
from dirvae.training.errors import ConfigError, TrainingError, TrainingWarning
from dirvae.training.signals import StopSignals
from pipelines import ExampleError, PipelineError, StateError

__all__ = ["main"]

RUNS = Path("runs")
NAME = "image"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 1 for an error, 130 after Ctrl-C, 143 after SIGTERM."""
    given = vars(_parser().parse_args(argv))
    with StopSignals() as stop, warnings.catch_warnings():
        warnings.simplefilter("always", TrainingWarning)
        warnings.showwarning = _show_warning
        try:
            outcome = _train(given, stop)
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
        except ExampleError as error:
            return _fail(f"{error} Here: --on-error substitute." if "substitute" in error.remedy else str(error))
        except StateError as error:
            return _fail(f"{error} Here: a new run without --resume, with --init-from for the weights.")
        except (TrainingError, PipelineError) as error:
            return _fail(str(error))
        except torch.OutOfMemoryError:
            return _fail("the device's memory is full. Lower --batch-size, --size or --preset.")
        except OSError as error:
            return _fail(f"{error.filename or 'a file'}: {error.strerror or error}.")
        print(f"report: {outcome.report}")
    return 128 + stop.received if stop.received is not None else 0


def _train(given: dict[str, Any], stop: StopSignals) -> Outcome:
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        raise ConfigError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}; training in several processes is not supported yet. Start "
            "one process, without torchrun."
        )
    out, resume = given.pop("out", None), given.pop("resume", False)
    settings = _settings(given)
    run = _choose_run(out, resume=resume)
    with hold_run(run):
        config = _resumed_config(run, settings) if resume and is_run(run) else TrainConfig(**settings)
        return train_run(config, run, resume=resume, should_stop=stop)


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """The settings that were named on the command line, as fields of a config."""
    settings = dict(given)
    shards, folder = settings.pop("shards", None), settings.pop("data", None)
    if shards is not None or folder is not None:
        settings["source"] = shards if shards is not None else folder
    if "epochs" in settings and "steps" not in settings:
        settings["steps"] = None
    return settings


def _choose_run(out: Path | None, *, resume: bool) -> Path:
    if out is None:
        newest = newest_run(RUNS, NAME) if resume else None
        return newest if newest is not None else new_run(RUNS, NAME)
    if is_run(out) and not resume:
        raise ConfigError(f"{out}: already holds a run. Add --resume to go on with it, or name another folder.")
    out.mkdir(parents=True, exist_ok=True)
    return out


def _resumed_config(run: Path, settings: dict[str, Any]) -> TrainConfig:
    """The run's own settings, and over them those from the command line.

    Raises `ConfigError` for one that may not change, unless the run has no checkpoint yet.
    """
    saved = read_config(run)
    if "steps" in settings and "epochs" not in settings:
        settings = {**settings, "epochs": None}
    config = replace(saved, **settings)
    changes = config.changes_since(saved)
    if changes and CheckpointFolder(run / "checkpoints").steps():
        raise ConfigError(
            f"{run}: the run was begun with other settings ({'; '.join(changes)}). Resume without these flags, or "
            "start a new run without --resume."
        )
    return config


def _show_warning(message: Warning | str, *place: Any, **more: Any) -> None:
    tqdm.write(f"warning: {message}", file=sys.stderr)


def _fail(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    """Flags that were not given leave nothing behind, so that a resumed run keeps its own settings."""
    defaults = TrainConfig()
    parser = argparse.ArgumentParser(
        prog="python -m dirvae.train",
        description="Train a variational autoencoder on images; writes a run folder with checkpoints and a report.",
        argument_default=argparse.SUPPRESS,
    )

    def add(flag: str, meaning: str, **options: Any) -> None:
        default = getattr(defaults, flag.strip("-").replace("-", "_"), None)
        shown = "" if default is None or default is False else f" (default {default})"
        parser.add_argument(flag, help=(meaning + shown).replace("%", "%%"), **options)

    data = parser.add_mutually_exclusive_group()
    data.add_argument(
        "--shards", nargs="?", const="shards", metavar="PATH", help="train from shards (default shards)"
    )
    data.add_argument("--data", metavar="PATH", help="train from a folder of images (default data/image)")
    add("--out", "run folder; runs/image, runs/image-2 and so on unless given", type=Path)
    add("--resume", "go on with the newest run, or with --out; begins one if there is none", action="store_true")
    add("--init-from", "run folder whose weights to begin with", metavar="RUN")

    add("--size", "side of the images in pixels", type=int)
    add("--batch-size", "images in a batch", type=int)
    add("--flip", "mirror half of the images", action="store_true")
    add("--held-out", "share of the images kept for evaluation, 0 for none", type=_off_at_zero)
    add("--on-error", "what to do about an image that cannot be decoded", choices=ON_ERROR)
    add("--threads", "threads that decode; the cores unless given", type=int)

    add("--preset", "size of the network", choices=PRESETS)
    add("--model-size", "components of the latent", type=int)
    add("--grid", "side of a map with one latent a cell; one latent an image unless given", type=int)
    add("--latent", "kind of latent", choices=LATENTS)
    add("--prior", "concentration of its prior, or 'learned'; its own unless given", type=_prior, metavar="NUMBER")
    add(
        "--likelihood",
        "how pixels spread around what is decoded; mse is none, and gives no bound",
        choices=LIKELIHOODS,
    )
    add("--fixed-scale", "scale the likelihood stays at, in units of the data; learned unless given", type=float)

    add("--steps", "updates to train for", type=int)
    add("--epochs", "passes over the images to train for", type=int)
    add("--learning-rate", "largest learning rate", type=float)
    add("--learning-rate-warmup", "updates over which it rises", type=int)
    add("--cooldown", "share of the run, at its end, over which it falls to zero; 0 for none", type=_off_at_zero)
    add("--kl-weight", "largest weight of the KL term", type=float)
    add("--kl-warmup", "updates over which the KL term's weight rises", type=int)
    add("--kl-cycle", "updates after which the KL term's weight rises anew; once unless given", type=int)
    add("--free-nats", "nats an example below which the KL term costs nothing; 0 for none", type=_off_at_zero)
    add("--clip", "largest norm of the gradients; 0 for none", type=_off_at_zero)
    add("--precision", "arithmetic; auto is bf16 on a GPU that has it, else fp32", choices=PRECISIONS)
    add("--device", "auto (the GPU if there is one), cpu, cuda or cuda:1")
    add("--seed", "number that the weights, the order and all noise follow from", type=int)

    add("--save-every", "updates between checkpoints and evaluations", type=int)
    add("--log-every", "updates between lines of metrics", type=int)
    add("--keep", "checkpoints to keep beside the best", type=int)
    return parser


def _prior(text: str) -> float | str:
    if text == "learned":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor 'learned'") from None


def _off_at_zero(text: str) -> float | None:
    return float(text) or None


if __name__ == "__main__":
    sys.exit(main())
