"""The parent's end of one worker process: tasks are sent to it, results come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from ...child_process import ChildProcess, how_it_ended
from ..source_reader import PackingStoppedError
from .file_counter import FileCounter

if TYPE_CHECKING:
    from ...storage.heads import HeadsTask
    from ..settings import PackSettings
    from ..shard_job import ShardResult, ShardTask

__all__ = ["Work", "WorkerProcess"]

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""There are as many workers as cores: libraries that features call, torch among them, begin no more threads."""

Work: TypeAlias = "Callable[[ShardTask, Callable[[int], None]], ShardResult]"


class WorkerProcess:
    """A worker process and its current task. `work` replaces `pack_shard`, for tests.

    Until it gets a task, it imports the packing code.
    """

    task: ShardTask
    _told: int | None = None

    def __init__(self, work: Work | None = None) -> None:
        try:
            self._counter = FileCounter.new()
            try:
                self._child = ChildProcess(f"{__package__}.worker", ONE_THREAD, shared=[self._counter.descriptor])
            except BaseException:
                self._counter.close()
                raise
        except OSError as error:
            raise PackingStoppedError(
                f"A worker process cannot be started ({error.strerror or error}). Ask for fewer with "
                "workers=…; 0 packs in this process."
            ) from error
        self.connection = self._child.connection
        if work is not None:
            self._send(work)

    def prepare(self, settings: PackSettings) -> None:
        """Have the worker import the modules that tasks with these settings need."""
        self._send(settings)

    @property
    def is_ready(self) -> bool:
        """Whether it has imported the packing code and has no task yet."""
        return self._counter.is_ready

    def ask(self, question: HeadsTask) -> None:
        """Ask for the first bytes of files; `answer` returns them."""
        self._send(question)

    def give(self, task: ShardTask) -> None:
        """Hand over the next task."""
        self.task = task
        self._counter.clear()
        self._told = None
        self._send(task)

    def _send(self, message: object) -> None:
        try:
            self.connection.send(message)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it is dead already, which `receive` will find
        except BaseException:  # it cannot be pickled
            self.kill()
            raise

    def receive(self) -> ShardResult | BaseException | None:
        """The result of the task; None if the worker is dead."""
        found: ShardResult | BaseException | None = self._message()
        return found

    def answer(self) -> list[bytes | str] | None:
        """The answer to `ask`; None if the worker has died or failed."""
        found = self._message()
        return found if isinstance(found, list) else None

    def _message(self) -> Any:
        try:
            message = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._child.end()
            return None
        self._child.has_begun = True
        return message

    @property
    def file(self) -> int | None:
        """The number of the last file of its task that it has begun; None before the first."""
        return self._counter.file

    def new_file(self) -> int | None:
        """`file` if it has changed since the last call, else None."""
        file, told = self._counter.file, self._told
        self._told = file
        return None if file == told else file

    @property
    def has_begun(self) -> bool:
        """Whether it has begun a file, or finished a task."""
        return self._child.has_begun or self.file is not None

    @property
    def how_it_ended(self) -> str:
        """Of a dead worker: `SIGSEGV`, `exit code 1`."""
        return how_it_ended(self._child.exit_code)

    def dismiss(self) -> None:
        """Let the worker end, which has nothing more to do."""
        self._child.end()
        self._counter.close()

    def kill(self) -> None:
        """End the worker, whatever it is at."""
        self._child.kill()
        self._counter.close()
