"""`python -m dirvae.train`: from shards, or a folder of files, to a trained model and its report."""

from __future__ import annotations

import shlex
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dirvae.command_line import MissingPackageError, is_out_of_memory, parse_flags, require_packages, spelled
from dirvae.run.config import RunConfig, read_config
from dirvae.run.folder import hold_run, is_run, new_run, newest_run, next_run
from dirvae.run.settings_file import SettingsFile
from dirvae.run.shard_sets import DEFAULT_TYPE, choose_set, find_sets, read_set, refuse_without_task
from dirvae.run.train_flags import ANY_SET, RUNS, SHARDS, first_parser, off_at_zero_names, train_parser
from dirvae.tasks import TASKS, find_task
from dirvae.training.errors import (
    ConfigError,
    FirstRankError,
    NonFiniteError,
    SaveError,
    TrainingError,
    TrainingWarning,
)
from dirvae.training.settings import SettingError
from dirvae.training.signals import StopNow, StopSignals
from pipelines.errors import ExampleError, PipelineError, StateError
from pipelines.storage.remote.urls import is_url, redacted
from pipelines.terminal import escape_unencodable, print_to_nowhere

if TYPE_CHECKING:
    from dirvae.run.live_view import LiveView
    from dirvae.run.session import Outcome
    from dirvae.training.ranks import Ranks

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: 0, 1 for an error, 130 after Ctrl-C, 141 if not read, 143 after SIGTERM."""
    escape_unencodable()
    with StopSignals() as stop, warnings.catch_warnings():
        warnings.simplefilter("always", TrainingWarning)
        warnings.showwarning = _show_warning
        try:
            outcome = _train(argv, stop)
            if outcome is not None and outcome.report is not None:
                print(f"report: {outcome.report}")
            sys.stdout.flush()
        except StopNow:
            print("stopped before the first step; nothing was trained.", flush=True)
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
        except BrokenPipeError:
            print_to_nowhere()
            return 128 + signal.SIGPIPE
        except ExampleError as error:
            return _fail(f"{error} Here: --on-error substitute." if "substitute" in error.remedy else str(error))
        except StateError as error:
            return _fail(f"{error} Here: a new run without --resume, with --init-from for the weights.")
        except (TrainingError, PipelineError, MissingPackageError) as error:
            return _fail(str(error))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return _fail(
                "the device's memory is full. Lower --batch-size, or choose a smaller model or smaller data."
            )
        except OSError as error:
            return _fail(f"{error.filename or 'a file'}: {error.strerror or error}.")
    return 128 + stop.received if stop.received is not None else 0


def _train(argv: Sequence[str] | None, stop: StopSignals) -> Outcome | None:
    """Train; None after a dry run."""
    argv = spelled(sys.argv[1:] if argv is None else argv)
    first = vars(first_parser().parse_known_args(argv)[0])
    file = SettingsFile.read(first.pop("config"))
    places = file.places(first)
    run_type, shards = _choose_data(places)
    task = find_task(run_type)
    given = vars(parse_flags(train_parser(task), argv))
    require_packages()
    resume, is_dry = given.pop("resume", False), given.pop("dry_run", False)
    is_live, live_port = _live_flags(given)
    settings = joined(
        file.settings(task), flag_settings({**given, **({} if shards is None else {"shards": shards})})
    )
    if is_dry:
        from dirvae.run.dry_run import dry_run

        run = _choose_run(places.get("out"), run_type, resume=resume, is_dry=True)
        dry_run(_config(run, run_type, settings, resume=resume), run, resume=resume)
        return None
    from dirvae.run.python_run import is_from_python, other_data
    from dirvae.run.session import Shown, train_run
    from dirvae.training.ranks import leave_processes, lost_process_told, ranks_of_environment

    ranks = ranks_of_environment()
    try:
        choose = partial(_choose_run, places.get("out"), run_type, resume=resume, is_dry=False)
        run = Path(ranks.by_first(lambda: str(choose())))
        with hold_run(run) if ranks.is_first else nullcontext():
            config = _config(run, run_type, settings, resume=resume)
            try:
                with (
                    lost_process_told(ranks),
                    _told_once(ranks.is_first),
                    _live_view(run, live_port, stop, ranks) if is_live else nullcontext() as view,
                ):
                    return train_run(
                        config,
                        run,
                        resume=resume,
                        should_stop=stop,
                        shown=Shown(_command(argv), None if view is None else view.watch),
                        ranks=ranks,
                    )
            except StateError as error:
                if not is_from_python(run):
                    raise
                remedy = "Name the data with --data or --shards, or continue it in Python with resume()."
                raise ConfigError(f"{other_data(run, config.data)} {remedy}") from error
    finally:
        leave_processes()


def _live_flags(given: dict[str, Any]) -> tuple[bool, int | None]:
    """Take --live and --live-port from what was given. Errors come before anything is read or written."""
    is_live, port = given.pop("live", False), given.pop("live_port", None)
    if port is not None and not is_live:
        raise ConfigError(f"--live-port {port}: is the port of --live, which was not given. Add --live.")
    if is_live:
        require_packages(extra="explore")
    return is_live, port


@contextmanager
def _live_view(run: Path, port: int | None, stop: StopSignals, ranks: Ranks) -> Iterator[LiveView | None]:
    """The live view of a run during this block, by the first process."""
    from dirvae.run.live_view import LiveView

    found: list[LiveView] = []
    ranks.by_first(lambda: found.append(LiveView(run, port=port, is_stopped=stop)))
    if not found:
        yield None
        return
    with found[0] as view:
        print(f"live view: {view.url}", flush=True)
        yield view


@contextmanager
def _told_once(is_first: bool) -> Iterator[None]:
    """Within this block what all processes find alike is told by the first one only."""
    if is_first:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        try:
            yield
        except (SaveError, NonFiniteError, FirstRankError) as error:
            raise SystemExit(1) from error


def _command(argv: Sequence[str]) -> str:
    """What was typed, for the report."""
    return shlex.join(["python", "-m", "dirvae.train", *map(_without_secrets, argv)])


def _without_secrets(argument: str) -> str:
    flag, mark, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
    return f"{flag}{mark}{redacted(value)}"


def _config(run: Path, run_type: str, settings: dict[str, Any], *, resume: bool) -> RunConfig:
    try:
        if resume and is_run(run):
            return _resumed_config(run, run_type, settings)
        return RunConfig.of(run_type, settings)
    except SettingError as error:
        raise ConfigError(error.typed(off_at_zero_names(find_task(run_type)))) from error


def _choose_data(given: dict[str, Any]) -> tuple[str, str | None]:
    """The type of the run, and the shards that --shards means; None without --shards."""
    run_type, out, shards = given.get("type"), given.get("out"), given.get("shards")
    if run_type is None and given.get("resume") and out is not None and is_run(out):
        run_type = read_config(out).type
    if run_type is None and given.get("resume") and out is None and shards is None:
        run_type = _type_of_runs()
    if shards is None:
        return run_type or DEFAULT_TYPE, None
    folder = SHARDS if shards == ANY_SET else shards if is_url(shards) else Path(shards)
    named = None if shards == ANY_SET else read_set(folder)
    if named is not None:
        if run_type not in (None, named.modality):
            raise ConfigError(
                f"--shards {redacted(str(folder))}: {named} is not of --type {run_type}. Name other shards or another "
                "type."
            )
        refuse_without_task(named)
        return named.modality, shards
    sets, is_foreign = find_sets(folder), _has_tars(folder)
    if not is_foreign and (sets or shards == ANY_SET):
        chosen = choose_set(sets, folder, run_type)
        if others := [str(one) for one in sets if one is not chosen]:
            print(f"{redacted(str(folder))}: training on {chosen}; also there: {', '.join(others)}.")
        return chosen.modality, str(chosen.path)
    return run_type or DEFAULT_TYPE, str(folder) if shards == ANY_SET else shards


def _type_of_runs() -> str | None:
    """The type whose runs are there, for --resume without a type; None if there is no run, or one of the default type.

    Raises `ConfigError` where runs of several other types are there.
    """
    found = [name for name in TASKS if newest_run(RUNS, name) is not None]
    if not found or DEFAULT_TYPE in found:
        return None
    if len(found) > 1:
        raise ConfigError(f"{RUNS}: holds runs of the types {', '.join(found)}. Say which to continue with --type.")
    return found[0]


def _has_tars(folder: Path | str) -> bool:
    """Whether shards without a manifest, made by other tools, are directly in a folder of this machine."""
    return isinstance(folder, Path) and read_set(folder) is None and folder.is_dir() and any(folder.glob("*.tar*"))


def flag_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that were named on the command line, by the names of a config."""
    settings = {name: value for name, value in given.items() if name not in ("type", "out", "config")}
    shards, folder = settings.pop("shards", None), settings.pop("data", None)
    if shards is not None or folder is not None:
        settings["source"] = shards if shards is not None else folder
    if "epochs" in settings and "steps" not in settings:
        settings["steps"] = None
    return settings


def joined(before: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Earlier settings, replaced by later ones; `steps` alone also replaces `epochs`."""
    if settings.get("steps") is not None and "epochs" not in settings:
        settings = {**settings, "epochs": None}
    return {**before, **settings}


def _choose_run(out: Path | None, run_type: str, *, resume: bool, is_dry: bool) -> Path:
    if out is None:
        newest = newest_run(RUNS, run_type) if resume else None
        if newest is not None:
            return newest
        return next_run(RUNS, run_type) if is_dry else new_run(RUNS, run_type)
    if is_run(out) and not resume:
        raise ConfigError(f"{out}: already holds a run. Add --resume to continue it, or name another folder.")
    if not is_dry:
        out.mkdir(parents=True, exist_ok=True)
    return out


def _resumed_config(run: Path, run_type: str, settings: dict[str, Any]) -> RunConfig:
    """The run's own settings, replaced by those from the command line.

    Raises `ConfigError` for one that may not change, unless the run has no checkpoint yet.
    """
    from dirvae.run.session import refuse_changes

    saved = read_config(run)
    if saved.type != run_type:
        raise ConfigError(f"{run}: is a run of --type {saved.type}, not {run_type}. Resume it with its own type.")
    config = RunConfig.of(run_type, joined(saved.settings(), settings))
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


if __name__ == "__main__":
    sys.exit(main())
