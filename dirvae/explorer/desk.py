"""The state of the application: its runs, which a thread opens after the page is shown, and uploaded files."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dirvae.explorer.fields import RefusedError, whole_number
from dirvae.explorer.shown_lately import ShownLately
from dirvae.explorer.worker import Worker

if TYPE_CHECKING:
    from torch import Tensor

    from dirvae.drawing.media import Media

__all__ = ["Desk", "OpenRun", "Subject", "Uploaded"]

MOST_UPLOADS = 16
MOST_THREADS = 4
"""Threads of torch; more do not make networks of this size faster."""


@dataclass(frozen=True, eq=False)
class OpenRun:
    """How to open a run, and its label until then.

    `open_part` opens the same run with its first examples only, which takes less time: the page can use them while
    `open` reads all examples. None: nothing is shown until all examples are read.
    """

    label: str
    open: Callable[[], Any]
    open_part: Callable[[], Any] | None = None


@dataclass(frozen=True, eq=False)
class Subject:
    """An example or an upload: its latent (model_size, *grid), its concentrations or None, the context for decoding,
    its label, and a function that returns the original."""

    latent: Tensor
    concentration: Tensor | None
    context: Any
    label: str
    original: Callable[[], Media]


@dataclass(frozen=True, eq=False)
class Uploaded:
    """A file of the user, encoded by each run; `by_run` has the numbers of the runs as keys."""

    name: str
    by_run: Mapping[int, Subject]


@dataclass(eq=False)
class Desk:
    """The runs, the threads that compute with them, the media shown last, and the uploads.

    `worker` decodes. `pictures` makes thumbnails, maps and exports, so that sliders do not wait for them.

    `stage` names in a few words the current step of opening the runs; `failure` is a sentence if opening failed.
    `is_whole`: all examples are read; before that, `runs` may hold the first examples only.
    """

    opens: Sequence[OpenRun]
    worker: Worker = field(default_factory=lambda: Worker("decoder"))
    pictures: Worker = field(default_factory=lambda: Worker("pictures"))
    reader: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "upload reader"))
    shown: ShownLately = field(default_factory=ShownLately)
    runs: tuple[Any, ...] = ()
    stage: str = "Starting"
    failure: str | None = None
    is_whole: bool = False
    remembered: dict[Any, Any] = field(default_factory=dict)
    """Cached results that do not change while the application runs, such as thumbnails."""

    _uploads: OrderedDict[int, Uploaded] = field(default_factory=OrderedDict)
    _next_upload: int = 1
    _begun: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> None:
        """Start to open the runs, once; called after the page is sent, because importing torch blocks the server."""
        with self._lock:
            if self._begun.is_set():
                return
            self._begun.set()
        threading.Thread(target=self._open, name="opener", daemon=True).start()

    def begin_within(self, seconds: float) -> None:
        """Call `begin` after this many seconds, unless it was called before."""
        self._begun.wait(seconds)
        self.begin()

    def run(self, number: int) -> Any:
        """An open run. Raises `RefusedError` until the runs are open."""
        if not self.runs:
            raise RefusedError(self.failure or "The model is not loaded yet.", 503)
        return self.runs[number]

    def run_of(self, fields: Mapping[str, Any]) -> tuple[int, Any]:
        """The number and the run that a request names; the first one if it names none."""
        number = whole_number(fields, "run", below=len(self.opens), default=0)
        return number, self.run(number)

    def add_upload(self, uploaded: Uploaded) -> int:
        """Keep an uploaded file and return its number; of more than 16 the oldest is dropped."""
        with self._lock:
            number, self._next_upload = self._next_upload, self._next_upload + 1
            self._uploads[number] = uploaded
            if len(self._uploads) > MOST_UPLOADS:
                self._uploads.popitem(last=False)
            return number

    def subject(self, fields: Mapping[str, Any], name: str = "start") -> Subject:
        """The example or upload that a field of a request names: `{"example": number}` or `{"upload": number}`."""
        number, run = self.run_of(fields)
        start = fields.get(name)
        if not isinstance(start, dict) or len(start) != 1:
            raise RefusedError(f"{name} must name an example or an upload.")
        if "upload" in start:
            uploaded = self._uploads.get(whole_number(start, "upload", below=1 << 31))
            if uploaded is None:
                raise RefusedError("The uploaded file is no longer kept. Upload it again.")
            if number not in uploaded.by_run:
                raise RefusedError(f"{uploaded.name} was not encoded by this run.")
            return uploaded.by_run[number]
        example = whole_number(start, "example", below=len(run.keys))
        return Subject(
            latent=run.latents[example],
            concentration=None if run.concentrations is None else run.concentrations[example],
            context=example,
            label=run.keys[example],
            original=lambda: run.original(example),
        )

    def close(self) -> None:
        """End the threads."""
        self.worker.close()
        self.pictures.close()
        self.reader.shutdown(wait=False, cancel_futures=True)

    def _open(self) -> None:
        from dirvae.training.errors import TrainingError
        from pipelines.errors import PipelineError

        try:
            self.stage = "Loading PyTorch"
            _limit_threads()
            self.worker.submit(_limit_threads)
            if all(one.open_part is not None for one in self.opens):
                self.runs = self._opened([one.open_part for one in self.opens])
            self.runs = self._opened([one.open for one in self.opens])
            self.is_whole, self.stage = True, "Ready"
        except (TrainingError, PipelineError, ValueError) as error:
            self.failure = str(error)
        except OSError as error:
            self.failure = f"{error.filename or 'A file'}: {error.strerror or error}."
        except BaseException as error:
            self.failure = f"The run could not be opened: {type(error).__name__}. The terminal says more."
            raise

    def _opened(self, opens: Sequence[Callable[[], Any] | None]) -> tuple[Any, ...]:
        runs = []
        for one, opened in zip(self.opens, opens, strict=True):
            self.stage = f"Reading and encoding the examples of {one.label}"
            assert opened is not None
            runs.append(opened())
        return tuple(runs)


def _limit_threads() -> None:
    """Limit the threads that torch uses for work of the calling thread."""
    import torch

    torch.set_num_threads(min(MOST_THREADS, torch.get_num_threads()))
