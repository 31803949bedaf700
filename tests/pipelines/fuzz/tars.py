"""Tars of every dialect with fields beside their pictures, packed by gzip or not."""

from __future__ import annotations

import gzip
import io
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import DataIterator, make_shards, open_source

from .damage import Damage, mend_tar
from .play import png, read_all, see, some_of
from .target import Target

__all__ = ["TARGETS"]

FIELDS = ("json", "cls", "txt", "npy", "seg.png")


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def members(number: int) -> dict[str, bytes]:
    """The files of an example, by suffix."""
    return {
        "cls": b"%d" % number,
        "json": b'{"a": [1, 2.5, null], "b": {"c": "x"}}',
        "npy": npy(np.arange(number + 2, dtype=np.float32)),
        "txt": "straße".encode(),
        "png": png(number, 6, 5),
    }


def prepare(folder: Path, *, form: int) -> bytes:
    """Names of every length, folders, a link and a sparse record."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        folder_entry = tarfile.TarInfo("d")
        folder_entry.type = tarfile.DIRTYPE
        tar.addfile(folder_entry)
        for number in range(3):
            stem = ("d/0", "d/" + "n" * 90, "d/" + "ü" * (40 if form == tarfile.USTAR_FORMAT else 150))[number]
            for suffix, content in members(number).items():
                entry = tarfile.TarInfo(f"{stem}.{suffix}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    content = file.getvalue().rstrip(b"\0")
    return content + bytes(-len(content) % 512 + 1024)  # fewer zeros at the end


def play(content: bytes, damage: Damage, folder: Path, *, packed: bool = False) -> None:
    place = folder / ("x.tar.gz" if packed else "x.tar")
    if packed and damage.below(2):
        place.write_bytes(damage.bytes(gzip.compress(content, 1, mtime=0)))
    else:
        mended = damage.bytes(content, mend=mend_tar)
        place.write_bytes(gzip.compress(mended, 1, mtime=0) if packed else mended)
    source = open_source(place, allow_truncated=bool(damage.below(2)), verify=bool(damage.below(2)))
    way = damage.below(3)
    if way == 0:
        see(source, batch_size=1, fields=FIELDS, on_error=damage.one_of(("raise", "substitute")))
    elif way == 1:
        some_of(DataIterator(source, lambda example, rng: [len(example.media)], batch_size=2, threads=1))
    else:
        read_all(source)


def play_field(folder_seed: bytes, damage: Damage, folder: Path) -> None:
    """One field, in a sound tar."""
    name = damage.one_of(("npy", "json", "cls", "txt"))
    files = members(4)
    files[name] = damage.bytes(files[name], head=128)
    with tarfile.open(folder / "x.tar", "w") as tar:
        for suffix, content in files.items():
            entry = tarfile.TarInfo(f"a.{suffix}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    see(folder / "x.tar", fields=FIELDS, batch_size=1)


def play_sidecar(folder_seed: bytes, damage: Damage, folder: Path) -> None:
    """Files of a folder, seen and packed."""
    source = folder / "source"
    source.mkdir()
    for number in range(2):
        for suffix, content in members(number).items():
            (source / f"{number}.{suffix}").write_bytes(damage.bytes(content) if number else content)
    see(source, fields=FIELDS, batch_size=1, on_error="substitute")
    make_shards(source, folder / "out", workers=0)


DIALECTS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
TARGETS = (
    *(Target(f"tars {name}", partial(prepare, form=form), play) for name, form in DIALECTS.items()),
    Target("tars gzip", partial(prepare, form=tarfile.GNU_FORMAT), partial(play, packed=True)),
    Target("tars fields", lambda folder: b"", play_field),
    Target("tars sidecars", lambda folder: b"", play_sidecar),
)
