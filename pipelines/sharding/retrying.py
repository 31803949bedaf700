"""--retry-failed: the files of a finished set that could not be packed are tried again, and no others.

A failure in the manifest is a path with a reason: of a file, or of a folder that could not be read. Tried again is
every file of the listing that has such a path or lies below it. What is new in the source beside that stays out of
the listing of the set, so that a later run still finds it new.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from ..errors import ShardingError
from ..storage.listing import Listing
from ..storage.manifest import Manifest
from .packing_state import PackingState
from .settings import PackSettings
from .wording import counted

__all__ = ["check_retry", "failed_paths", "listing_to_retry", "retried_note", "was_refused"]


def failed_paths(manifest: Manifest) -> frozenset[str]:
    """The paths of all failures of a set."""
    return frozenset(failure["path"] for failure in manifest.failures)


def was_refused(path: str, failed: Collection[str]) -> bool:
    """Whether a path is among the failed paths, or lies below one of them."""
    if path in failed or "." in failed:
        return True
    parts = path.split("/")
    return any("/".join(parts[:depth]) in failed for depth in range(1, len(parts)))


def listing_to_retry(
    state: PackingState, manifest: Manifest, listing: Listing, settings: PackSettings, *, append: bool
) -> Listing:
    """What a listing holds of a finished set: its packed files and its failures; with `append` all of it."""
    if append:
        return listing
    failed, packed = failed_paths(manifest), state.names(manifest, cut=settings.media.cuts)
    files = listing.columns.where(lambda path: path in packed or was_refused(path, failed))
    failures = [failure for failure in listing.failures if was_refused(failure.path, failed)]
    return replace(listing, files=files, failures=failures)


def check_retry(states: Sequence[PackingState], *, append: bool) -> None:
    """Raise `ShardingError` where a place holds no finished set, or, without `append`, no file of them has failed.

    What is left of a run that was interrupted after its last shard is for the next one to clear away.
    """
    failures, leftovers = 0, False
    for state in states:
        if (manifest := state.manifest()) is None:
            raise ShardingError(
                f"{state.out}: holds no finished set of which failed files could be tried again. Leave out "
                "--retry-failed."
            )
        failures += len(manifest.failures)
        leftovers = leftovers or state.has_unfinished()
    if not failures and not leftovers and not append:
        sets = "this set has" if len(states) == 1 else "these sets has"
        raise ShardingError(f"{states[0].out}: no file of {sets} failed. Leave out --retry-failed.")


def retried_note(before: Manifest, after: Manifest) -> str:
    """A sentence on what became of the earlier failures."""
    now = failed_paths(after)
    num, left = len(before.failures), sum(path in now for path in failed_paths(before))
    return f"{counted(num, 'file')} had failed before: {num - left:,} no longer, {left:,} still."
