"""Uploaded files: each is encoded by every run that can read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dirvae.explorer.answers import describe_shown
from dirvae.explorer.desk import Desk, Subject, Uploaded
from dirvae.explorer.fields import RefusedError
from dirvae.explorer.showing import Shown

if TYPE_CHECKING:
    from torch import Tensor

    from dirvae.run.explored_run import Context

__all__ = ["encode_upload"]


def encode_upload(desk: Desk, content: bytes, name: str) -> bytes:
    """Encode a file with all runs of its kind; the answer has its number, and its media as one of these runs read it.

    Raises `RefusedError` with one sentence for a file that no run can read.
    """
    from pipelines.errors import PipelineError

    if not content:
        raise RefusedError("The file is empty.")
    desk.run(0)
    by_run: dict[int, Subject] = {}
    refusals = []
    for number, run in enumerate(desk.runs):
        try:
            by_run[number] = _subject(run.encode(content, name), name)
        except (PipelineError, ValueError, OSError) as error:
            refusals.append(str(error))
        except MemoryError:
            refusals.append("The file needs more memory than there is.")
    if not by_run:
        raise RefusedError(refusals[0])
    number = desk.add_upload(Uploaded(name, by_run))
    first = min(by_run)
    shown = Shown(by_run[first].original(), "upload")
    return describe_shown(desk, shown, {"upload": number, "label": name, "runs": sorted(by_run)})


def _subject(encoded: tuple[Tensor, Tensor | None, Context], name: str) -> Subject:
    latent, concentration, context = encoded
    return Subject(latent, concentration, context, name, lambda: context.original)
