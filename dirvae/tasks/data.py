"""The two parts of a data set: batches to train on, and held-out examples that are the same every time."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dirvae.training.errors import ConfigError
from dirvae.training.settings import FREE, Settings, is_positive
from pipelines.storage.remote.urls import redacted

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "ON_ERROR",
    "DataSettings",
    "OpenIterator",
    "ReplayedBatches",
    "TaskData",
    "divide_source",
    "first_examples",
    "open_data",
]

ON_ERROR = ("raise", "substitute")
WITHOUT_QUERY = "?…"
"""How a URL ends that was saved without its query."""


@dataclass(frozen=True, kw_only=True)
class DataSettings(Settings):
    """The data settings that all types have. Raises `ConfigError` for a value out of range.

    `source` is a folder of shards or files, a tar, a pattern or a URL: it may move between save and resume, but its
    content must stay the same. `held_out` is the share of the examples kept for evaluation, `threads` the number of
    decode threads (None: the number of cores). `on_error` says whether an example that cannot be decoded ends the
    run ("raise") or is replaced by another ("substitute"). `label` is the factor of the examples, or the category of
    their annotations, that the report is coloured by. `cache_bytes` is the bound of the cache on the local disk that
    shards behind a URL go through (None: that of `pipelines`). With `shuffle_shards` training is shuffled within
    windows of that many shards instead of over the whole set: for a set that is larger than the cache.
    """

    source: str = field(metadata=FREE)
    batch_size: int = 32
    held_out: float | None = 0.05
    threads: int | None = field(default=None, metadata=FREE)
    on_error: Literal["raise", "substitute"] = field(default="raise", metadata=FREE)
    label: str | None = field(default=None, metadata=FREE)
    cache_bytes: int | None = field(default=None, metadata=FREE)
    shuffle_shards: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("source", isinstance(self.source, str) and self.source != "", "a path or URL")
        self.check_counts("batch_size", smallest=1)
        self.check_counts_or_none("threads", "cache_bytes", "shuffle_shards")
        share = self.held_out is None or (is_positive(self.held_out) and self.held_out < 1)
        self.check("held_out", share, "a share of the examples in (0, 1)")
        self.check("on_error", self.on_error in ON_ERROR, f"one of {', '.join(ON_ERROR)}")
        named = self.label is None or (isinstance(self.label, str) and self.label != "")
        self.check("label", named, "the name of a factor or of a category of annotations")


class OpenIterator(Protocol):
    """Opens an iterator of `pipelines` over a source: batches of a type, as its settings say.

    `is_training`: whether what is random for training only, such as flips, is on. `order`: how to iterate (`shuffle`,
    `seed`, `tail`, `fields`, `quarantine`).
    """

    def __call__(self, source: Any, settings: Any, *, is_training: bool = False, **order: Any) -> Any: ...


class ReplayedBatches:
    """Batches of a source from its beginning each time they are iterated, however the last iteration ended.

    `open_iterator` opens an iterator over them; it takes `fields`, as those of `pipelines` do, for `with_fields`.
    """

    def __init__(self, source: Any, open_iterator: Callable[..., Any], **options: Any) -> None:
        self.source = source
        self._open, self._options = open_iterator, options

    def with_fields(self, *names: str) -> ReplayedBatches:
        """The same batches with these fields."""
        return ReplayedBatches(self.source, self._open, fields=names)

    def __iter__(self) -> Generator[Any, None, None]:
        iterator = self._open(**self._options)
        try:
            yield from iterator
        finally:
            iterator.close()


@dataclass(frozen=True)
class TaskData:
    """`batches` to train on, the same training examples replayed for their mean, and the held-out ones, or None.

    `facts` are what a report says about the data: source, examples, shards, hash, and how they were divided; where
    batches hold clips that are cut from the examples, also how many there are in an epoch of training. `settings` are
    those that it was opened with.
    """

    batches: Any
    training: ReplayedBatches
    held_out: ReplayedBatches | None
    facts: dict[str, Any]
    settings: DataSettings

    @property
    def encoded(self) -> ReplayedBatches:
        """The batches that a report encodes: the held-out ones, or those of the training."""
        return self.training if self.held_out is None else self.held_out

    def close(self) -> None:
        """End threads and close files."""
        self.batches.close()


def divide_source(settings: DataSettings, *, modality: str, seed: int, source: str | None = None) -> Any:
    """Open the data of a run: (all of it, the part to train on, the held-out part or None).

    `source` is where the data is now, if it has moved. Raises `PipelineError` for bad data, or too little of it.
    """
    from pipelines import hold_out, open_source
    from pipelines.storage.remote.reading import RemoteReading

    place = settings.source if source is None else source
    if place.endswith(WITHOUT_QUERY):
        raise ConfigError(
            f"{place}: what follows the ? may be secret and was not saved with the run. Name the data again, with "
            "--shards, or with --source to evaluate."
        )
    whole = open_source(place, modality=modality, remote=RemoteReading(cache_bytes=settings.cache_bytes))
    if settings.held_out is None:
        return whole, whole, None
    return whole, *hold_out(whole, settings.held_out, seed=seed)


def open_data(
    open_iterator: OpenIterator,
    settings: DataSettings,
    *,
    modality: str,
    seed: int,
    quarantine: str | os.PathLike[str] | None = None,
    rank: int = 0,
    world_size: int = 1,
    accumulate: int = 1,
) -> TaskData:
    """Open and divide the data of a run. Raises `PipelineError` for bad data, or too little of it.

    A batch of the settings is divided among `world_size` processes, of which this is number `rank`, and there into
    `accumulate` parts; `ConfigError` where that cannot be done evenly. Examples that cannot be decoded during training
    are listed in the file `quarantine`. Held-out clips come in one random order, so that the first of them are not all
    of the same video.
    """
    part = replace(settings, batch_size=_part(settings.batch_size, world_size, accumulate))
    whole, train, held_out = divide_source(settings, modality=modality, seed=seed)

    def replayed(source: Any, **order: Any) -> ReplayedBatches:
        def opened(**more: Any) -> Any:
            return open_iterator(source, settings, rank=0, world_size=1, **order, **more)

        return ReplayedBatches(source, opened)

    batches = open_iterator(
        train,
        part,
        is_training=True,
        shuffle=True,
        shuffle_shards=settings.shuffle_shards,
        seed=seed,
        tail="keep" if world_size == 1 else "pad",
        rank=rank,
        world_size=world_size,
        quarantine=quarantine,
    )
    held_out_order: dict[str, Any] = {"shuffle": _are_clips(batches), "seed": 0}
    if _are_clips(batches):
        held_out_order["shuffle_shards"] = settings.shuffle_shards
    facts = {
        "source": redacted(settings.source),
        "examples": len(whole),
        "training_examples": len(train),
        "held_out_examples": 0 if held_out is None else len(held_out),
        **({"training_clips": len(batches.source)} if _are_clips(batches) else {}),
        "shards": len(whole.shard_counts),
        "data_hash": whole.data_hash,
    }
    return TaskData(
        batches=batches,
        training=replayed(train, shuffle=True, shuffle_shards=settings.shuffle_shards, seed=seed),
        held_out=None if held_out is None else replayed(held_out, **held_out_order),
        facts=facts,
        settings=settings,
    )


def _part(batch_size: int, world_size: int, accumulate: int) -> int:
    """Examples of a process in one of the parts that a batch is divided into."""
    parts = world_size * accumulate
    if batch_size % parts == 0:
        return batch_size // parts
    below = batch_size - batch_size % parts
    fitting = f"{below} or {below + parts}" if below else str(parts)
    among = " and ".join(
        [f"{world_size} processes"] * (world_size > 1)
        + [f"{accumulate} parts in each (accumulate)"] * (accumulate > 1)
    )
    raise ConfigError(
        f"a batch of {batch_size} is not divided evenly by {among}; the nearest batch sizes are {fitting}."
    )


@dataclass(frozen=True, eq=False)
class FirstExamples:
    """Examples `data` (num, channel, *dims) float32 in [0, 1] on the CPU, their keys, and some fields by name."""

    data: Tensor
    keys: list[str]
    fields: dict[str, list[Any]]


def first_examples(batches: Iterable[Any], num: int, *, fields: Sequence[str] = ()) -> FirstExamples:
    """The first `num` examples of batches of `pipelines`, fewer if there are no more, with these of their fields."""
    import torch

    from dirvae.training.feed import to_device

    data: list[Tensor] = []
    keys: list[str] = []
    found: dict[str, list[Any]] = {name: [] for name in fields}
    for batch in batches:
        data.append(to_device(batch.data, torch.device("cpu")))
        keys += batch.keys
        for name in fields:
            found[name].extend(batch.fields[name])
        if len(keys) >= num:
            break
    return FirstExamples(torch.cat(data)[:num], keys[:num], {name: values[:num] for name, values in found.items()})


def _are_clips(batches: Any) -> bool:
    """Whether an iterator cuts the examples of its source."""
    source = getattr(batches, "source", None)
    return source is not None and source.clip_spec is not None
