"""Folders and tars of little files that begin like pictures."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines import Source
from pipelines.storage.blob import LocalFile
from pipelines.storage.index import index_path
from pipelines.storage.manifest import MANIFEST_NAME, Manifest, ShardColumns
from pipelines.storage.tar_index import scan_tar

GOLDEN = Path(__file__).parent / "golden"
JPEG = b"\xff\xd8\xff\xe0 not much of a picture"


def put(folder: Path, *names: str, content: bytes = JPEG) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content + name.encode("utf-8", "surrogateescape"))
    return folder


def keys(source: Source) -> list[str]:
    return [source[index].key for index in range(len(source))]


def write_shard(path: Path, first: int, num: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number in range(first, first + num):
            info = tarfile.TarInfo(f"{number:06d}.jpg")
            content = JPEG + str(number).encode()
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def write_shards(folder: Path, counts: Sequence[int], *, manifest: bool = False) -> Path:
    first = 0
    for number, count in enumerate(counts):
        write_shard(folder / f"s-{number:04d}.tar", first, count)
        first += count
    if manifest:
        write_manifest(folder)
    return folder


def write_manifest(folder: Path) -> None:
    tars = sorted(folder.glob("*.tar"))
    columns = ShardColumns()
    for tar in tars:
        file = LocalFile(tar)
        index = scan_tar(file.read, file.size, where=str(tar))
        np.save(index_path(tar), index)
        columns.name.append(tar.name)
        columns.examples.append(len(index))
        columns.bytes.append(file.size)
        columns.sha256.append(hashlib.sha256(tar.read_bytes()).hexdigest())
    (folder / MANIFEST_NAME).write_text(Manifest("image", columns).to_json())
