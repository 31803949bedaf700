"""Encode a whole set with the model of a run into a zarr group; an interrupted encoding continues with equal bytes.

    iterator in stored order ──▶ batches ──▶ encoder ──▶ rows of a shard ──▶ writer ──▶ group, then ledger

Batches begin at the first example of a shard, so an interruption does not change them. The draws of an example follow
from the seed and its place alone.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dirvae.encoding.latent_group import Column, LatentGroup, columns_of, require_zarr
from dirvae.encoding.ledger import Ledger
from dirvae.run.config import read_config
from dirvae.run.encode_config import EncodeConfig
from dirvae.run.loading import choose_checkpoint, load_model
from dirvae.run.set_encoder import Rows, SetEncoder
from dirvae.training.errors import ConfigError, SaveError
from pipelines.sharding.progress_bar import Progress
from pipelines.storage.locked_folder import hold_folder
from pipelines.storage.remote.urls import redacted

__all__ = ["EncodeReport", "encode_run"]

SHARD_BYTES = 64 << 20
MOST_SHARD_EXAMPLES = 4096
UNSAID = ("arrays", "source")
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class EncodeReport:
    """The result: `out` holds `examples` examples, of which this call encoded `new`; `arrays` maps names to shapes."""

    out: Path
    examples: int
    new: int
    arrays: dict[str, tuple[int, ...]]


def encode_run(
    run: Path, out: Path, config: EncodeConfig, *, model: nn.Module | None = None, stream: TextIO | None = None
) -> EncodeReport:
    """Encode a set with the model of a run into a zarr group at `out`, or continue doing so.

    `model` takes the run's weights if its network does not come from this library. `stream` shows the progress.
    Raises `ConfigError` for invalid settings, for an `out` that holds something else or was begun with other
    settings, and for a model without a latent; `SaveError` if `out` cannot be written: finished shards are
    kept. The errors of run, checkpoint and data pass through.
    """
    require_zarr()
    settings, checkpoint = read_config(run), choose_checkpoint(run, config.which)
    model = load_model(run, device=config.device, which=checkpoint.step, weights=config.weights, model=model)
    if getattr(model, "latent", None) is None:
        raise ConfigError(f"{run}: its model has no latent, so there is nothing to encode.")
    encoder = SetEncoder(model, settings, checkpoint, config)
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        with hold_folder(
            out.absolute().parent, f".{out.name}.lock", error=ConfigError, doing=f"writing {out.name}"
        ):
            return _Encoding(run, out, config, encoder).carry_out(stream)
    except OSError as error:
        remedy = "Make room" if error.errno in FULL else "Repair that"
        raise SaveError(
            f"{error.filename or out}: cannot be written ({error.strerror or error}). {remedy}, and run the same "
            "command again: finished shards are kept."
        ) from error
    finally:
        encoder.close()


class _Encoding:
    """Fills one group, while its lock is held."""

    def __init__(self, run: Path, out: Path, config: EncodeConfig, encoder: SetEncoder) -> None:
        self._run, self._out, self._config, self._encoder = run, out, config, encoder
        self._ledger = Ledger(out)

    def carry_out(self, stream: TextIO | None) -> EncodeReport:
        """Encode the missing shards."""
        batches = self._encoder.from_position(0)
        first = next(batches)
        group = self._group(first)
        done, is_complete = self._done(group, self._asked(group))
        begin = group.rows_of(done).start if done < group.num_shards else group.num
        if begin:
            batches.close()
            batches = self._encoder.from_position(begin)
        with Progress(group.num, begin, stream=stream, noun=self._encoder.task.examples) as progress:
            self._fill(group, done, batches if begin else chain([first], batches), progress)
        if not is_complete:
            group.finish()
            self._ledger.end()
        arrays = {name: (group.num, *column.shape) for name, column in group.columns.items()}
        return EncodeReport(self._out, group.num, group.num - begin, arrays)

    def _group(self, rows: Rows) -> LatentGroup:
        columns = columns_of(rows)
        row_bytes = sum(one.values[:1].nbytes for one in rows.values())
        size, asked = self._config.batch_size, self._config.shard_examples
        fitting = min(MOST_SHARD_EXAMPLES, SHARD_BYTES // max(1, row_bytes)) // size * size
        whole = -(-self._encoder.num // size) * size
        return LatentGroup(
            self._out, columns, num=self._encoder.num, shard_rows=min(whole, asked or max(size, fitting))
        )

    def _asked(self, group: LatentGroup) -> dict[str, Any]:
        """All settings that decide the bytes of the group."""
        encoder, config = self._encoder, self._config
        made_from = {
            "run": self._run.name,
            "type": encoder.task.name,
            "step": encoder.checkpoint.step,
            "weights_sha256": _digest(encoder.model),
            "source": redacted(config.source or encoder.data.source),
            "data_hash": encoder.source.data_hash,
            "fields": list(config.fields),
            "samples": config.samples,
            "seed": config.seed,
        }
        return {
            "made_from": made_from,
            "batch_size": config.batch_size,
            "on_error": config.on_error,
            "device": encoder.device.type,
            **group.describe(),
        }

    def _done(self, group: LatentGroup, asked: dict[str, Any]) -> tuple[int, bool]:
        """The number of finished shards, and whether the group is complete. Starts a new group if the path is free.

        Raises `ConfigError` if the path holds something else.
        """
        known = self._ledger.read()
        if self._config.overwrite and known is not None:
            if group.path.is_dir():
                group.remove()
            known = None
        if known is None and os.path.lexists(group.path):
            raise ConfigError(
                f"{self._out}: is there, and is not an encoding to continue. Name another --out, or remove it."
            )
        if known is not None and (differences := _differences(known.asked, asked)):
            raise ConfigError(
                f"{self._out}: was begun with other settings ({', '.join(differences)}). Use those, name another "
                "--out, or make it again with --overwrite."
            )
        if known is None or not group.has_same_columns():
            self._ledger.begin(asked, [])
            group.create(asked["made_from"])
            return 0, False
        group.remove_partial_files()
        done = next(
            (shard for shard, crc32 in enumerate(known.shards) if not group.holds(shard, crc32)), len(known.shards)
        )
        is_complete = known.is_complete and done == group.num_shards
        if not is_complete:
            self._ledger.begin(asked, known.shards[:done])
        return done, is_complete

    def _fill(self, group: LatentGroup, shard: int, batches: Iterable[Rows], progress: Progress) -> None:
        """Write all shards from `shard` on; a thread writes one while the next one is encoded."""
        waiting: Future[None] | None = None
        gathered: list[Rows] = []
        with ThreadPoolExecutor(1, "write latents") as writer:
            for rows in batches:
                gathered.append(rows)
                count = sum(len(one["key"].values) for one in gathered)
                progress.on_file(shard, count)
                if count < len(group.rows_of(shard)):
                    continue
                if waiting is not None:
                    waiting.result()
                waiting = writer.submit(self._write, group, shard, _joined(gathered, group.columns))
                progress.on_shard(shard, count)
                gathered, shard = [], shard + 1
            if waiting is not None:
                waiting.result()

    def _write(self, group: LatentGroup, shard: int, rows: dict[str, NDArray[Any]]) -> None:
        self._ledger.add(shard, group.write(shard, rows))


def _joined(parts: list[Rows], columns: Mapping[str, Column]) -> dict[str, NDArray[Any]]:
    """The rows of a shard. Raises `ConfigError` for a field whose shape or type is not that of the first batch."""
    for part in parts:
        found = columns_of(part)
        if differing := [name for name, column in columns.items() if found.get(name) != column]:
            raise ConfigError(
                f"{differing[0].removeprefix('field_')!r} has another shape or type in some examples, so it cannot "
                "be a column of an array. Leave it out of --fields."
            )
    return {name: np.concatenate([part[name].values for part in parts]) for name in columns}


def _differences(known: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """The settings that differ, in words; without the source, which may have moved: its data hash is compared."""
    flat, flat_known = _flat(asked), _flat(known)
    differing = [name for name in {**flat, **flat_known} if flat.get(name) != flat_known.get(name)]
    return [
        f"{name} was {flat_known.get(name)!r} and is {flat.get(name)!r}" for name in differing if name not in UNSAID
    ] or ["arrays of other names or shapes"] * ("arrays" in differing)


def _flat(asked: Mapping[str, Any]) -> dict[str, Any]:
    nested = asked.get("made_from")
    own = {name: value for name, value in asked.items() if name != "made_from"}
    return {**(nested if isinstance(nested, dict) else {}), **own}


def _digest(model: nn.Module) -> str:
    """The SHA-256 of all weights and buffers, with their names."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode("utf-8"))
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
