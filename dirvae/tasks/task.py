"""A `Task`: everything that one `--type` adds to training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dirvae.tasks.data import DataSettings, OpenIterator, TaskData
from dirvae.training.settings import Settings
from pipelines.modality import Modality, find_modality

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dirvae.latents.latent import Posterior
    from dirvae.report.comparison import Comparison
    from dirvae.training.feed import FeedBatch

__all__ = ["AddFlag", "Report", "RunFacts", "Task"]


class AddFlag(Protocol):
    """Adds a command-line flag; its default is that of the setting with the flag's name, and is shown in the help."""

    def __call__(self, flag: str, meaning: str, **options: Any) -> None: ...


@dataclass(frozen=True)
class RunFacts:
    """What a report says besides its pictures, as JSON values.

    The data, all settings of the run, the numbers at its end, and how it was made: the command, the date, versions.
    """

    data: Mapping[str, Any]
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    origin: Mapping[str, Any]


class Report(Protocol):
    """The page of a run, which is written again and again while it trains; it holds the examples that are shown."""

    def make_pictures(self, run: Path, model: Any) -> dict[str, Any]:
        """What the page shows besides numbers, by name: what takes time. May write files into the run folder."""
        ...

    def write(self, run: Path, model: Any, facts: RunFacts, pictures: Mapping[str, Any] | None) -> Path:
        """Write the page, whole or not at all, with pictures that were made before, None: with none yet; its path."""
        ...

    @property
    def encoded_keys(self) -> list[str]:
        """The keys of the examples that are encoded: held-out ones, or those of training."""
        ...

    def compare(self, model: Any, numbers: Sequence[int]) -> Comparison:
        """The examples of these numbers beside their reconstructions, and how much each component is used."""
        ...

    def events(self, model: Any) -> list[bytes]:
        """What TensorBoard shows besides numbers: values as `dirvae.training.event_records` makes them."""
        ...


def _unchanged(settings: Any) -> Any:
    return settings


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What `python -m dirvae.train --type NAME` trains on, and how it shows the result.

    name            of the type, which is that of a modality: "image"
    example         what batches hold, where that is cut from the files of the modality: "clip"; None: whole files
    kl_unit         per what the KL term is charged, for the help: "example" or "second"
    data, model     the classes of its settings; no name may occur twice in them and in `FitConfig`
    add_arguments   (add) → None: adds the flags of those settings that are not common to all types
    settle          (data settings) → the same, with what the data itself says in place of None
    open_iterator   (source, data settings, *, is_training, **order) → an iterator over batches
    read_batch      (data settings, batch) → what the model is given; None: the batch's data
    build_model     (data settings, model settings) → a fresh model, drawn from torch's generator as it stands
    make_evaluation (data, seed) → (model) → numbers by name, over the held-out examples
    open_report     (data, seed) → the page of a run on this data
    encode          (model, examples, their lengths or None) → latents (num, component, *grid) that an evaluation looks
                    at, on the CPU; None: the means of the posteriors
    posterior       (model, data settings, batch) → the posterior of the examples of a batch; None: `model.encode` of
                    its data
    measure         (model, batches, data settings, seed) → more parts of an evaluation, by name; None: there are none
    """

    name: str
    data: type[DataSettings]
    model: type[Settings]
    add_arguments: Callable[[AddFlag], None]
    open_iterator: OpenIterator
    build_model: Callable[[Any, Any], nn.Module]
    make_evaluation: Callable[[TaskData, int], Callable[[Any], dict[str, Any]]]
    open_report: Callable[[TaskData, int], Report]
    example: str | None = None
    kl_unit: str = "example"
    settle: Callable[[Any], Any] = _unchanged
    encode: Callable[[Any, Tensor, Tensor | None], Tensor] | None = None
    measure: Callable[[Any, Iterable[Any], Any, int], dict[str, dict[str, Any]]] | None = None
    read_batch: Callable[[Any, FeedBatch], Any] | None = None
    posterior: Callable[[Any, Any, Any], Posterior] | None = None

    @property
    def modality(self) -> Modality:
        """The kind of media, with its words for sentences."""
        return find_modality(self.name)

    @property
    def plural(self) -> str:
        """Several files: "images", "videos"."""
        return self.modality.plural

    @property
    def examples(self) -> str:
        """What a batch holds: "images", "clips"."""
        return self.plural if self.example is None else f"{self.example}s"

    def count(self, num: int) -> str:
        """A number of files as words: "1 image", "2,000 videos"."""
        return f"1 {self.modality.noun}" if num == 1 else f"{num:,} {self.plural}"

    def count_examples(self, num: int) -> str:
        """A number of what batches hold as words: "1 image", "2,000 clips"."""
        return f"1 {self.example or self.modality.noun}" if num == 1 else f"{num:,} {self.examples}"
