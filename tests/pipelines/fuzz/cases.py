"""Many damaged inputs for each parser, played in processes of little memory and time, which may die of them.

As a program: `python -m tests.pipelines.fuzz.cases SCRATCH TARGET:FIRST:STOP …` plays those cases of each target and
prints a line of JSON for each that ended otherwise than in being read, or in one of the library's own errors; then a
line for the target: how many were read, and how many refused.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from pipelines import PipelineError

from .damage import Damage
from .target import Target, find_target

__all__ = ["played"]

ROOT = Path(__file__).resolve().parents[3]
MAX_BYTES = 2 << 30
MAX_CPU_SECONDS, MAX_SECONDS = 10, 60  # of one case
PROCESS_CASES = 500
DIED = {-signal.SIGPROF: f"takes over {MAX_CPU_SECONDS} s", -signal.SIGALRM: f"no end within {MAX_SECONDS} s"}


def played(scratch: Path, wanted: Sequence[tuple[str, int, int]]) -> tuple[dict[str, Counter[str]], list[str]]:
    """What became of cases [first, stop) of each target: how many were read and refused; and the failures in words."""
    names = [":".join(map(str, one)) for one in wanted]
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(scratch), *names],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    counts = {one["target"]: Counter(one["counts"]) for one in found if "counts" in one}
    assert counts.keys() == {name for name, *_ in wanted}
    return counts, _in_words([one for one in found if "counts" not in one])


def _in_words(failures: list[dict[str, Any]]) -> list[str]:
    """One for each place in which something went wrong."""
    places = dict[tuple[str, str], list[dict[str, Any]]]()
    for one in failures:
        places.setdefault((one["target"], one["where"] or one["what"][:60]), []).append(one)
    words = []
    for (target, _), alike in places.items():
        first = alike[0]
        case = first["case"] or 0
        repeat = f"python -m {__name__} SCRATCH {shlex.quote(f'{target}:{case}:{case + 1}')}"
        words.append(f"{target}, {len(alike)} cases: {first['what']} {first['where']}\n    repeat: {repeat}")
    return words


def main(scratch: Path, wanted: Sequence[str]) -> None:
    """Play cases, and print what became of them."""
    for one in wanted:
        name, first, stop = one.split(":")
        _play_target(find_target(name), int(first), int(stop), scratch / name.replace(" ", "_"))


def _play_target(target: Target, first: int, stop: int, scratch: Path) -> None:
    scratch.mkdir(parents=True)
    os.environ["DIRVAE_CACHE"] = str(scratch / "cache")
    seed = target.prepare(scratch)
    counts = Counter[str]()
    log = scratch / "log"
    number: int | None = None  # at first without damage
    while number is None or number < stop:
        cases = [None] if number is None else range(number, min(stop, number + PROCESS_CASES))
        status = _in_child(target, seed, cases, scratch, log)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        ended = [line for line in lines if "what" in line or "end" in line]
        counts.update(line.get("end", "failed") for line in ended)
        failures = [line for line in ended if "what" in line]
        if status:
            failures.append(_of_death(target, lines, status, scratch))
            counts["failed"] += 1
        for failure in failures:
            print(json.dumps(failure), flush=True)
        if number is None:
            assert failures or counts["read"] == 1, f"{target.name}: the undamaged input is refused: {lines}"
            counts.clear()
            _import_all(lines[-1].get("modules", []))
        last = lines[-1]["case"] if lines else cases[0]
        number = first if number is None else last + 1
    print(json.dumps({"target": target.name, "counts": counts}), flush=True)


def _import_all(modules: Sequence[str]) -> None:
    """What reading needed is imported here, so that it is not again in every child."""
    for name in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def _of_death(target: Target, lines: list[dict[str, Any]], status: int, scratch: Path) -> dict[str, Any]:
    case = lines[-1]["case"] if lines else None
    traces = [line.strip() for line in (scratch / "trace").read_text(errors="replace").splitlines()]
    where = next((line for line in traces if "/pipelines/" in line and "/tests/" not in line), "")
    what = DIED.get(status, f"ends its process: exit status {status}")
    return {"target": target.name, "case": case, "what": what, "where": where}


def _in_child(target: Target, seed: Any, cases: Sequence[int | None], scratch: Path, log: Path) -> int:
    """The exit status of a process that plays these cases and writes a line to the log before and after each."""
    sys.stdout.flush()
    log.write_text("")
    shutil.rmtree(scratch / "case", ignore_errors=True)  # of one that died
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with open(log, "w") as lines, open(scratch / "trace", "w") as trace:
                _limit(trace)
                for case in cases:
                    _play_case(target, seed, case, scratch / "case", lines)
                    lines.flush()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _limit(trace: IO[str]) -> None:
    """Little memory for this process; where it dies of a signal, the trace says where."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable(trace)
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
        faulthandler.register(number, trace, chain=True)


def _play_case(target: Target, seed: Any, case: int | None, scratch: Path, lines: IO[str]) -> None:
    print(json.dumps({"target": target.name, "case": case}), file=lines, flush=True)
    scratch.mkdir()
    signal.setitimer(signal.ITIMER_PROF, MAX_CPU_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
    found: dict[str, Any]
    imported = set(sys.modules)
    try:
        target.play(seed, Damage(target.name, case), scratch)
        found = {"end": "read", **({"modules": sorted(set(sys.modules) - imported)} if case is None else {})}
    except PipelineError as error:
        found = {"end": "refused", "reason": str(error)[:300]}
    except BaseException as error:
        found = {"what": f"{type(error).__name__}: {error}"[:300].split("\n")[0], "where": _where(error)}
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(json.dumps({"target": target.name, "case": case, **found}), file=lines)
    for _ in range(3):  # a thread may still be writing
        with contextlib.suppress(OSError):
            shutil.rmtree(scratch)
            break
        time.sleep(0.1)


def _where(error: BaseException) -> str:
    """The last line of the library that the error came through."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if f"{ROOT}/pipelines/" in frame.filename
    ]
    return f"{Path(frames[-1].filename).relative_to(ROOT)}:{frames[-1].lineno}" if frames else ""


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]), sys.argv[2:])
