"""Opening the sets that a folder, a tar, a pattern or a URL names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import SourceError
from ..modality import modalities
from ..sources.opening import expand_braces, matching_paths
from ..sources.remote_opening import TAR_SUFFIXES, matching_urls
from ..storage.frame_table import frames_name
from ..storage.index import index_name
from ..storage.manifest import MANIFEST_NAME, NAMES_NAME, Manifest
from ..storage.plain_files import path_setting
from ..storage.remote.remote_store import RemoteStore
from ..storage.remote.urls import is_url, redacted
from ..storage.store import LOCAL
from .findings import Findings
from .manifest_check import read_manifest
from .stored_files import AnyStore, below, read_small

__all__ = ["OpenedSet", "Shard", "open_sets"]

RUN_FOLDER = ".make_shards"


@dataclass(frozen=True, slots=True)
class Shard:
    """A tar and its facts in the manifest: examples, bytes and digests; None or empty without a manifest.

    `tar` is its path or URL, `name` the last part of it.
    """

    tar: str
    name: str
    examples: int | None = None
    num_bytes: int | None = None
    sha256: str = ""
    index_hash: str = ""
    frames_hash: str = ""

    @property
    def shown(self) -> str:
        """The tar as it may be shown."""
        return redacted(self.tar)

    @property
    def index(self) -> str:
        """The path or URL of its index."""
        return index_name(self.tar)

    @property
    def frames(self) -> str:
        """The path or URL of its frame table."""
        return frames_name(self.tar)


@dataclass
class OpenedSet:
    """One set: its shards, its manifest if it can be read, and the findings of opening it.

    `is_whole`: the set itself was named, not some of its tars; then names, tables and folder are checked too.
    `trusts_manifest`: the manifest has no fault. `files` are the names in the folder, None if it cannot be listed.
    """

    folder: str
    store: AnyStore
    shards: list[Shard]
    manifest: Manifest | None = None
    is_whole: bool = True
    trusts_manifest: bool = False
    files: list[str] | None = None
    findings: Findings = field(default_factory=Findings)
    notes: list[str] = field(default_factory=list)

    @property
    def shown(self) -> str:
        """The folder as it may be shown."""
        return redacted(self.folder)

    @property
    def is_far(self) -> bool:
        """Whether the set is remote."""
        return isinstance(self.store, RemoteStore)

    def place(self, name: str) -> str:
        """The path or URL of a file of the set."""
        return below(self.folder, name)


def open_sets(source: str) -> list[OpenedSet]:
    """The sets of a source, in order. Raises `SourceError` if there is nothing to check."""
    if is_url(source):
        return _open_far(source)
    path = path_setting("source", source)
    if not path.is_dir():
        return _open_tars(LOCAL, _named_tars(source))
    found = _open_folder(path)
    inside = [] if found is not None else [_open_folder(one) for one in sorted(path.iterdir()) if one.is_dir()]
    sets = [one for one in (found, *inside) if one is not None]
    if not sets:
        raise SourceError(f"{source}: no shards in it. Name a folder with a {MANIFEST_NAME}, or tars.")
    return sets


def _named_tars(text: str) -> list[str]:
    """The tars of a path or a pattern. Raises `SourceError` if there are none."""
    tars = [text] if Path(text).exists() else matching_paths(text)
    if not tars or (tars == [text] and not Path(text).exists()):
        raise SourceError(f"{text}: no such file or folder." if tars else f"{text}: no file matches it.")
    for tar in tars:
        if not Path(tar).name.endswith(TAR_SUFFIXES):
            raise SourceError(f"{tar}: not a tar. Name a folder of shards, or tars.")
    return tars


def _open_folder(folder: Path) -> OpenedSet | None:
    """The set in a folder; None if there is none."""
    names = sorted(path.name for path in folder.iterdir())
    is_set = _holds_a_set(names)
    raw = read_small(LOCAL, below(str(folder), MANIFEST_NAME)) if is_set else None
    return _open_whole(LOCAL, str(folder), names, raw) if is_set else None


def _open_far(url: str) -> list[OpenedSet]:
    store = RemoteStore(url)
    path = url.partition("?")[0]
    if path.endswith(TAR_SUFFIXES):
        urls = expand_braces(url) if "{" in url else [url]
        is_pattern = len(urls) == 1 and any(letter in path for letter in "*?[")
        return _open_tars(store, matching_urls(store, url) if is_pattern else urls)
    raw, names = read_small(store, below(url, MANIFEST_NAME)), _listed(store, url)
    if raw is not None or _holds_a_set(names or ()):
        return [_open_whole(store, url, names, raw)]
    if sets := _open_unlisted(store, url) if names is None else _open_below(store, url, names):
        return sets
    raise SourceError(f"{redacted(url)}: no {MANIFEST_NAME} and no tars in it. Name the folder of a set, or a tar.")


def _open_below(store: RemoteStore, url: str, names: list[str]) -> list[OpenedSet]:
    """The sets in the folders of a URL; `names` are all files below it."""
    inside: dict[str, list[str]] = {}
    for name in names:
        folder, slash, rest = name.partition("/")
        if slash:
            inside.setdefault(folder, []).append(rest)
    return [
        _open_whole(store, below(url, folder), rest, read_small(store, below(below(url, folder), MANIFEST_NAME)))
        for folder, rest in sorted(inside.items())
        if _holds_a_set(rest)
    ]


def _open_unlisted(store: RemoteStore, url: str) -> list[OpenedSet]:
    """The sets with a manifest in folders that are named after modalities, where folders cannot be listed."""
    folders = [below(url, modality.name) for modality in modalities()]
    found = [(folder, read_small(store, below(folder, MANIFEST_NAME))) for folder in folders]
    return [_open_whole(store, folder, None, raw) for folder, raw in found if raw is not None]


def _holds_a_set(names: Iterable[str]) -> bool:
    """Whether files of these names in a folder, or below it, are those of a set or of one that was begun."""
    return any(name == MANIFEST_NAME or _is_tar(name) or _is_of_run(name) for name in names)


def _listed(store: RemoteStore, folder: str) -> list[str] | None:
    """The names of the files in a remote folder; None if it cannot be listed, as on most web servers."""
    try:
        names = [one.name.partition("?")[0] for one in store.list(folder)]
    except SourceError:
        return None
    before = folder.partition("?")[0].rstrip("/") + "/"
    return sorted(name[len(before) :] for name in names if name.startswith(before))


def _open_whole(store: AnyStore, folder: str, names: list[str] | None, raw: bytes | None) -> OpenedSet:
    opened = OpenedSet(folder, store, [], files=names)
    if raw is not None:
        opened.manifest, opened.trusts_manifest = read_manifest(
            raw, redacted(opened.place(MANIFEST_NAME)), opened.findings, opened.notes
        )
    elif NAMES_NAME in (names or ()):
        opened.findings.add(
            "missing-manifest",
            redacted(opened.place(MANIFEST_NAME)),
            "There are names, but no manifest. Restore it, or make the shards again with the command that made them.",
        )
    elif not any(map(_is_of_run, names or ())):
        opened.notes.append("no manifest: nothing says which bytes the shards should have")
    if opened.manifest is not None:
        opened.shards = _shards_of(opened.manifest, folder)
    else:
        opened.shards = [Shard(opened.place(name), name) for name in names or () if _is_tar(name)]
    return opened


def _shards_of(manifest: Manifest, folder: str) -> list[Shard]:
    columns = manifest.shards
    facts = zip(
        columns.name,
        columns.examples,
        columns.bytes,
        columns.sha256,
        columns.index_hash,
        columns.frames_hash,
        strict=True,
    )
    return [Shard(below(folder, name), name, *rest) for name, *rest in facts]


def _open_tars(store: AnyStore, tars: list[str]) -> list[OpenedSet]:
    """Single tars, grouped by folder, with the facts of a manifest there."""
    by_folder: dict[str, list[str]] = {}
    for tar in tars:
        before, slash, name = tar.partition("?")[0].rpartition("/")
        by_folder.setdefault(before if slash else ".", []).append(tar if is_url(tar) else name)
    return [_open_some(store, folder, named) for folder, named in by_folder.items()]


def _open_some(store: AnyStore, folder: str, named: list[str]) -> OpenedSet:
    tars = [one if is_url(one) else below(folder, one) for one in named]
    opened = OpenedSet(folder, store, [], is_whole=False)
    raw = read_small(store, opened.place(MANIFEST_NAME))
    known: dict[str, Shard] = {}
    if raw is not None:
        opened.manifest, opened.trusts_manifest = read_manifest(
            raw, redacted(opened.place(MANIFEST_NAME)), opened.findings, opened.notes
        )
        if opened.manifest is not None:
            known = {one.name: one for one in _shards_of(opened.manifest, folder)}
    for tar in tars:
        name = tar.partition("?")[0].rpartition("/")[2] if is_url(tar) else Path(tar).name
        opened.shards.append(known.get(name) or Shard(tar, name))
    if opened.manifest is None:
        opened.notes.append("no manifest: nothing says which bytes the shards should have")
    else:
        opened.notes.append("names, tables and other files of the set: checked with the folder only")
    return opened


def _is_of_run(name: str) -> bool:
    """Whether it is the folder that a run works in, or a file there."""
    return name.partition("/")[0] == RUN_FOLDER


def _is_tar(name: str) -> bool:
    return name.endswith(TAR_SUFFIXES) and not name.startswith(".") and "/" not in name
