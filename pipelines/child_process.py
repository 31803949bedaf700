"""Programs of ours that run beside this one, and end with it.

A child is a program of its own, not a copy of the caller's: the caller's script is not run or imported again, so a
notebook, a script from standard input and one without a main guard have children as any other. It finds its modules
where the parent does, because `sys.path` is handed over; those of Python itself come first, so that a script that has
the name of one is not run in their place. Children of children of children are refused, whoever asks for them.

    parent ── connection ── child       messages, in both directions
           ── lifeline ───▶             nothing is sent; it closes when the parent ends, however that happens
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, Pipe
from typing import Any

__all__ = ["ChildPool", "ChildProcess", "end_idle_children", "end_with", "how_it_ended", "usable_cores"]

PROGRAM = (
    "import sys; child, descriptors, *sys.path = sys.argv[1:]; "
    "import importlib; importlib.import_module(child).main(*map(int, descriptors.split(',')))"
)
"""Nothing but `sys`, which is built in, is imported before the path is the parent's."""

DEPTH, MOST_DEPTH = "PIPELINES_CHILD_DEPTH", 2
"""The environment variable that says of whom a process is a child; a worker that packs measures videos in its own."""


class ChildProcess:
    """A process that runs `main(connection, lifeline)` of a module, and our ends of both. Ctrl-C is left to us.

    Its environment is ours, with what `environment` has for variables that are not set. `shared` are file descriptors
    that it gets as further arguments. `has_begun` is for whoever hears from it.

    Raises `OSError` where it cannot be started, and where this process is already the child of a child.
    """

    def __init__(
        self, module: str, environment: Mapping[str, str] | None = None, *, shared: Sequence[int] = ()
    ) -> None:
        self.has_begun = False
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            self.connection: Connection[Any, Any]
            self.connection, their_connection = Pipe()
            ours.callback(self.connection.close)
            theirs.callback(their_connection.close)
            their_lifeline, self._lifeline = os.pipe()
            ours.callback(os.close, self._lifeline)
            theirs.callback(os.close, their_lifeline)
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which the child inherits
            try:
                descriptors = (their_connection.fileno(), their_lifeline, *shared)
                self._process = _popen(module, descriptors, environment or {})
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            ours.pop_all()

    @property
    def exit_code(self) -> int:
        """Of a child that has ended, as `subprocess` has it: negative for a signal."""
        return self._process.returncode or 0

    def end(self) -> None:
        """Close the connection, which lets it end, and wait for that."""
        self.connection.close()
        self._process.wait()
        self._close_lifeline()

    def kill(self) -> None:
        """End it, whatever it is at."""
        self._process.kill()
        self.end()

    def forget(self) -> None:
        """In a process that was forked from its parent: let go of it. It is the parent's."""
        self.connection.close()
        self._close_lifeline()
        self._process.returncode = 0  # nobody's to wait for here

    def _close_lifeline(self) -> None:
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


class ChildPool:
    """Children of one kind that are kept for further use: `most` at a time, which threads wait for.

    None lives before the first is asked for. A process that is forked from this one begins without any.
    """

    def __init__(self, module: str, *, most: int) -> None:
        self._module, self._most = module, most
        self._begin()

    def _begin(self) -> None:
        self._idle: list[ChildProcess] = []
        self._all: set[ChildProcess] = set()
        self._lock, self._turns = threading.Lock(), threading.Semaphore(self._most)

    @contextlib.contextmanager
    def lent(self) -> Iterator[ChildProcess]:
        """A child inside a `with`; one that raises there is killed. Raises `OSError` where none can be started."""
        with self._turns:
            child = self._taken()
            try:
                yield child
            except BaseException:
                self._drop([child])
                raise
            with self._lock:
                self._idle.append(child)

    def _taken(self) -> ChildProcess:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        child = ChildProcess(self._module)
        with self._lock:
            self._all.add(child)
        _watch(self)
        return child

    def end_idle(self) -> None:
        """End the children that nobody uses at the moment."""
        with self._lock:
            idle, self._idle = self._idle, []
        self._drop(idle)

    def _drop(self, children: list[ChildProcess]) -> None:
        for child in children:
            child.kill()
            with self._lock:
                self._all.discard(child)

    def forget(self) -> None:
        """In a forked process: let go of all children, which are the parent's."""
        for child in self._all:
            child.forget()
        self._begin()


_pools: list[ChildPool] = []


def _watch(pool: ChildPool) -> None:
    """Have its children ended with this process, and forgotten in those that are forked from it."""
    if not _pools:
        atexit.register(end_idle_children)
        os.register_at_fork(after_in_child=_forget_children)
    if pool not in _pools:
        _pools.append(pool)


def end_idle_children() -> None:
    """End the children that are kept for further use; the next that is asked for is a new one."""
    for pool in _pools:
        pool.end_idle()


def _forget_children() -> None:
    for pool in _pools:
        pool.forget()


def how_it_ended(code: int) -> str:
    """An exit code in words: `SIGSEGV` for -11."""
    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_with(lifeline: int) -> None:
    """In the child: end when the other end of a pipe closes.

    A thread waits for that. It cannot run while a native reader holds the interpreter, so the kernel also sends a
    signal that ends the process without it (SIGIO; macOS ignores it).
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=_wait_for_the_end, args=(lifeline,), daemon=True).start()


def _wait_for_the_end(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(1)


def _path() -> list[str]:
    """`sys.path`, Python's own modules first."""
    own = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    own |= {f"{folder}/lib-dynload" for folder in own}
    path = [entry for entry in sys.path if isinstance(entry, str)]
    return sorted(path, key=lambda entry: entry not in own)


def _popen(module: str, descriptors: Sequence[int], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    depth = int(os.environ.get(DEPTH, "0")) + 1
    if depth > MOST_DEPTH:
        raise OSError(errno.EPERM, f"a process of {MOST_DEPTH} generations of ours starts no others")
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # -W, -X, -I: as multiprocessing
    command = [sys.executable, *flags, "-c", PROGRAM, module, ",".join(map(str, descriptors)), *_path()]
    settings: dict[str, Any] = {
        "env": {**environment, **os.environ, DEPTH: str(depth)},
        "stdin": subprocess.DEVNULL,
    }
    return subprocess.Popen(command, pass_fds=descriptors, **settings)
