"""What to do with the place of a set, by what is found there: nothing, continue, add to it, begin, or refuse.

found                                   asked for       done
manifest of this listing and settings   anything        nothing: complete (overwrite: made again)
manifest of another listing             append          new files into new shards; continued if interrupted
manifest of another listing or settings nothing         refused
unfinished run of this plan             anything        continued (overwrite: if that began it)
unfinished run of another plan          nothing         refused
unfinished addition, other annotations  append          refused, unless no shard is finished
manifest with failures                  retry_failed    those into new shards (append: and new files)
no failures, or no manifest             retry_failed    refused, by `retrying.check_retry`
shards without manifest or plan         nothing         refused
any of the refused                      overwrite       all removed, made again
no shards                               anything        begun
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

from ..errors import ShardingError
from ..storage.listing import Listing
from ..storage.manifest import Manifest
from ..storage.source_files import SourceFiles
from .attached_settings import ATTACHED, names_of
from .classes import known_classes
from .manner import Asked
from .packing_state import PackingState
from .plan import Plan, make_plan
from .retrying import failed_paths, listing_to_retry, was_refused
from .settings import PackSettings
from .wording import counted, printable

__all__ = ["Decision", "complete_manifest", "decide"]

AGAIN = "make all shards again with --overwrite"


NOTHING_ASKED = Asked()


@dataclass(frozen=True)
class Decision:
    """The plan to carry out; None if the set is complete. `base` is the set that stays, if any.

    `listing` is what the set holds afterwards. `clears` says what is removed first, the whole set or the unfinished
    part of it; `begins` is what is saved of a plan that is new, None where a saved one is continued.
    """

    plan: Plan | None
    base: Manifest | None
    listing: Listing
    gone: int = 0  # files of the set that stays which are no longer in the folder
    clears: Literal["nothing", "all", "unfinished"] = "nothing"
    begins: dict[str, Any] | None = None

    def prepare(self, state: PackingState) -> None:
        """Remove what `clears` names, and save the plan."""
        if self.clears == "all":
            state.wipe()
        elif self.clears == "unfinished" and self.base is not None:
            state.discard_unfinished(self.base)
        if self.begins is not None:
            state.begin(self.begins)


def complete_manifest(
    state: PackingState, listing: Listing, settings: PackSettings, asked: Asked = NOTHING_ASKED
) -> Manifest | None:
    """The manifest of a set in which nothing is left to do, found without writing; None for any other.

    Raises `ShardError` for a manifest that cannot be read, or if shards of a complete set are missing.
    """
    manifest = None if asked.overwrite or asked.retry_failed else state.manifest()
    if manifest is None or state.has_unfinished() or not _is_same(manifest, listing, settings):
        return None
    if state.lacks_tables(manifest):
        return None
    state.check_present(manifest)
    return manifest


def decide(state: PackingState, listing: Listing, settings: PackSettings, asked: Asked) -> Decision:
    """Decide by the table above. Nothing is written: that is for `Decision.prepare`.

    Raises `ShardingError` where continuing would mix two sets, `ShardError` for a manifest that cannot be read.
    """
    saved = state.saved_plan()
    if asked.overwrite:
        plan = make_plan(listing, settings)
        description = _description(plan, replaces=True)
        if saved == description:
            return Decision(plan, None, listing)
        return Decision(plan, None, listing, clears="all", begins=description)
    manifest = state.manifest()
    if asked.retry_failed and manifest is not None:
        listing = listing_to_retry(state, manifest, listing, settings, append=asked.append)
    if manifest is None:
        return _decide_first(state, saved, listing, settings)
    if _is_done(manifest, listing, settings, asked):
        state.check_present(manifest)
        return Decision(None, manifest, listing, clears="unfinished")
    _refuse_other_settings(state.out, manifest, settings, adds=asked.adds)
    packed = state.names(manifest, cut=settings.media.cuts)
    gone = len(packed) - len(_packed_files(listing, packed))
    if not asked.adds:
        _refuse_other_files(state.out, manifest, listing, packed, gone)
    plan = _plan_of_addition(state, manifest, listing, settings, packed)
    if saved == _description(plan):
        return Decision(plan, manifest, listing, gone)
    _refuse_unfinished_addition(state, saved, plan)
    return Decision(plan, manifest, listing, gone, clears="unfinished", begins=_description(plan))


def _decide_first(
    state: PackingState, saved: dict[str, Any] | None, listing: Listing, settings: PackSettings
) -> Decision:
    """Of a folder without a manifest: begin, or continue what was begun."""
    plan = make_plan(listing, settings)
    if saved is None:
        _refuse_strays(state)
        return Decision(plan, None, listing, begins=_description(plan))
    if {**saved, "replaces": False} != _description(plan):
        _refuse_unfinished(state.out, saved, settings)
    return Decision(plan, None, listing)


def _is_done(manifest: Manifest, listing: Listing, settings: PackSettings, asked: Asked) -> bool:
    """Whether nothing is left to do for a finished set; with `retry_failed`, failed files are left to do."""
    if asked.retry_failed:
        failed = failed_paths(manifest)
        if any(was_refused(path, failed) for path in listing.columns.paths):
            return False
    return _is_same(manifest, listing, settings)


def _refuse_other_settings(out: Path | str, manifest: Manifest, settings: PackSettings, *, adds: bool) -> None:
    """Refuse a finished set of another modality or other settings; files may be added with other annotations."""
    if manifest.modality != settings.modality:
        raise ShardingError(f"{out}: holds shards of {manifest.modality}. Name another folder with --out.")
    ignored = ATTACHED if adds else ()
    if differences := settings.differences(manifest.settings, ignored=ignored):
        raise ShardingError(
            f"{out}: was packed with other settings ({', '.join(differences)}). Use those, or {AGAIN}."
        )
    if adds:
        _refuse_without(out, manifest, settings)


def _refuse_other_files(
    out: Path | str, manifest: Manifest, listing: Listing, packed: Mapping[str, str], gone: int
) -> NoReturn:
    """Refuse a finished set that was packed from other files, `gone` of which are no longer in the folder."""
    known = packed.keys() | failed_paths(manifest)
    new = sum(path not in known for path in listing.columns.paths)
    if not new and not gone:
        raise ShardingError(
            f"{out}: a file, or a sidecar file of one, has changed since it was packed; none is new or gone. "
            f"Restore what changed, add with --append what was refused and has been repaired, or {AGAIN}."
        )
    raise ShardingError(
        f"{out}: was packed from other files than are there now ({new:,} new, {gone:,} gone). Add the new ones "
        f"with --append, or {AGAIN}."
    )


def _plan_of_addition(
    state: PackingState, manifest: Manifest, listing: Listing, settings: PackSettings, packed: dict[str, str]
) -> Plan:
    """The files that a finished set does not hold, into shards numbered after its own; `packed` are its names."""
    state.check_present(manifest)
    if settings.media.keeps_files:
        sizes = dict(zip(packed, state.packed_bytes(manifest), strict=True))
        changed = [file.path for file in listing.files if sizes.get(file.path, file.size) != file.size]
        if changed:
            raise ShardingError(
                f"{printable(changed[0])}: has another size than when it was packed, and so has "
                f"{counted(len(changed) - 1, 'other file')}. Restore what changed, or {AGAIN}."
            )
    _refuse_changed(listing, manifest, packed)
    numbers = [int(found[1]) for name in manifest.shards.name if (found := re.search(r"-(\d+)\.tar$", name))]
    return make_plan(
        listing,
        settings,
        packed=packed,
        base=manifest.data_hash,
        first_shard=max(numbers, default=-1) + 1,
        classes=known_classes(manifest.settings),
    )


def _refuse_without(out: Path | str, manifest: Manifest, settings: PackSettings) -> None:
    """Refuse to add files without annotations, or without a table, to a set that was packed with them."""
    ours = settings.describe()
    for name in ATTACHED:
        if (used := manifest.settings.get(name)) and not ours.get(name):
            raise ShardingError(
                f"{out}: was packed with {name} ({names_of(name, used)}), and files are to be added without. Give "
                f"--{name} (the same or new ones), or {AGAIN}."
            )


def _refuse_changed(listing: Listing, manifest: Manifest, packed: dict[str, str]) -> None:
    """Refuse to add to a set whose files or sidecars have changed; that can be seen if all are still there."""
    old = _packed_files(listing, packed)
    if manifest.failures or len(old) < len(packed):
        return
    if replace(listing, files=old, failures=[]).fingerprint != manifest.listing:
        raise ShardingError(
            "A file that is packed already, or a sidecar file of one, has changed since. Restore what changed, or "
            f"{AGAIN}."
        )


def _packed_files(listing: Listing, packed: Mapping[str, str]) -> SourceFiles:
    """The files of a listing that are in shards already."""
    return listing.columns.where(packed.__contains__)


def _is_same(manifest: Manifest, listing: Listing, settings: PackSettings) -> bool:
    return manifest.listing == listing.fingerprint and not settings.differences(manifest.settings)


def _description(plan: Plan, *, replaces: bool = False) -> dict[str, Any]:
    """What is saved of a plan: an overwriting run that was interrupted continues, and does not begin again."""
    return {**plan.describe(), "replaces": replaces}


def _refuse_strays(state: PackingState) -> None:
    if strays := state.strays():
        raise ShardingError(
            f"{state.out}: holds {strays[0]} but no manifest, so it is not a set that could be continued. "
            f"Name another folder with --out, or {AGAIN}."
        )


def _refuse_unfinished_addition(state: PackingState, saved: dict[str, Any] | None, plan: Plan) -> None:
    """Refuse to continue an addition, of which shards are finished, with other annotation files or another table."""
    if saved is None or saved.get("base") != plan.base or not state.has_finished_shards():
        return
    theirs, ours = saved.get("settings", {}), plan.settings.describe()
    if any(theirs.get(name) != ours.get(name) for name in ATTACHED):
        _refuse_unfinished(state.out, saved, plan.settings)


def _refuse_unfinished(out: Path | str, saved: dict[str, Any], settings: PackSettings) -> None:
    differences = settings.differences(saved.get("settings", {}))
    was = f"other settings ({', '.join(differences)})" if differences else "other files than are there now"
    raise ShardingError(f"{out}: holds an unfinished set begun with {was}. Continue with those, or {AGAIN}.")
