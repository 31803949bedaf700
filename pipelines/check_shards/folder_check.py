"""The other files in the folder of a set: the tables that are derived from its manifest, and foreign files."""

from __future__ import annotations

from ..errors import ShardError
from ..sharding.classes import CLASSES_NAME
from ..sharding.set_tables import table_texts
from ..storage.label_table import LABELS_NAME
from ..storage.manifest import MANIFEST_NAME, NAMES_NAME, Manifest
from ..storage.remote.urls import redacted
from .opened_set import RUN_FOLDER, OpenedSet
from .stored_files import read_small

__all__ = ["check_folder", "check_tables", "tables_of"]

KNOWN_NAMES = frozenset(
    (MANIFEST_NAME, NAMES_NAME, CLASSES_NAME, LABELS_NAME, "README.md", ".gitignore", ".gitkeep")
)
TARS = (".tar", ".tar.gz", ".tgz")
SIDECARS = (".index.npy", ".frames.npy")
UNFINISHED = (".part", ".tmp")


def tables_of(manifest: Manifest) -> dict[str, bytes]:
    """Name → content of the tables that packing derives from a manifest."""
    return {name: f"{text}\n".encode("utf-8", "backslashreplace") for name, text in table_texts(manifest).items()}


def check_tables(opened: OpenedSet) -> None:
    """Compare `classes.json` and `labels.json` with the manifest. Raises `SourceError` if they cannot be read."""
    assert opened.manifest is not None
    try:
        tables = tables_of(opened.manifest)
    except ShardError as error:
        opened.findings.add("damaged-manifest", redacted(opened.place(MANIFEST_NAME)), str(error))
        return
    for name, content in tables.items():
        kind, shown = name.removesuffix(".json"), redacted(opened.place(name))
        found = read_small(opened.store, opened.place(name))
        if found is None:
            opened.findings.add(
                f"missing-{kind}", shown, "There is no such file. It follows from the manifest: --repair."
            )
        elif found != content:
            sentence = "It does not say what the manifest says. It follows from the manifest: --repair."
            opened.findings.add(f"wrong-{kind}", shown, sentence)


def check_folder(opened: OpenedSet) -> None:
    """Name every file in the folder that is no part of the set."""
    if opened.files is None:
        opened.notes.append("files that do not belong: not looked for, because this server lists no folders")
        return
    expected = set(KNOWN_NAMES)
    for shard in opened.shards:
        expected |= {shard.name, *(f"{shard.name}{suffix}" for suffix in SIDECARS)}
    runs = [name for name in opened.files if name.split("/", 1)[0] == RUN_FOLDER]
    if runs:
        _add_run(opened)
    for name in opened.files:
        if name in expected or name in runs:
            continue
        shown = redacted(opened.place(name))
        if name.startswith(".") and name.endswith(UNFINISHED):
            opened.findings.add("unfinished-file", shown, "It was left by a run that was killed. Remove it.")
        elif name == f"{RUN_FOLDER}.lock":
            opened.findings.add(
                "unfinished-file", shown, "make_shards runs here, or was killed. Remove it if none runs."
            )
        elif name.endswith(TARS) and "/" not in name:
            sentence = (
                "The manifest does not name it: a pattern such as *.tar reads it, and the folder does not. Move it."
            )
            opened.findings.add("foreign-tar", shown, sentence)
        elif "/" not in name and not _is_hidden(name):
            opened.findings.add("stray-file", shown, "It is no part of the set. Readers pass it over; move it.")


def _add_run(opened: OpenedSet) -> None:
    shown = redacted(opened.place(RUN_FOLDER))
    if opened.manifest is None:
        sentence = "The set is not complete: run the same make_shards command again, and it continues."
        opened.findings.add("unfinished-run", shown, sentence)
    else:
        sentence = (
            "An addition was begun. The set is whole without it: run the same command again, and it continues."
        )
        opened.findings.add("unfinished-run", shown, sentence, severity="remark")


def _is_hidden(name: str) -> bool:
    return name.startswith(".")
