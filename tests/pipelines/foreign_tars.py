"""Tars as the standard library writes them, and what the webdataset package reads from them."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from webdataset.tariterators import group_by_keys, tar_file_expander

from pipelines.sources import ShardSource

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}

Entry = tuple[str, bytes | None]


def write_tar(path: Path, entries: Sequence[Entry], format_name: str = "pax", *, packed: bool = False) -> Path:
    """Files by (name, content); None makes a folder."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=FORMATS[format_name]) as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type = tarfile.DIRTYPE
            info.size = len(content or b"")
            tar.addfile(info, io.BytesIO(content or b""))
    path.write_bytes(gzip.compress(file.getvalue(), mtime=0) if packed else file.getvalue())
    return path


def by_webdataset(path: Path) -> list[tuple[str, dict[str, bytes]]]:
    """Every example as the webdataset package reads it: (key, members by suffix)."""
    with open(path, "rb") as stream:
        is_packed = path.suffix in (".gz", ".tgz")
        opened = io.BytesIO(gzip.decompress(stream.read())) if is_packed else stream
        samples = list(group_by_keys(tar_file_expander([{"url": str(path), "stream": opened}])))
    return [
        (sample["__key__"], {name: value for name, value in sample.items() if not name.startswith("__")})
        for sample in samples
    ]


def by_us(path: Path, **settings: Any) -> list[tuple[str, dict[str, bytes]]]:
    """The same from a `ShardSource`, the media back among the other members under the suffix it is missing from."""
    source = ShardSource([path], **settings)
    wanted = dict(by_webdataset(path)) if not settings else {}
    found = []
    for example in source.read(range(len(source))):
        members = dict(example.fields)
        missing = set(wanted.get(example.key, {})) - set(members)
        members[missing.pop() if missing else "media"] = example.media
        found.append((example.key, members))
    assert source.keys() == [key for key, _ in found]
    return found


def ordinary(num: int = 12, seed: int = 0) -> list[Entry]:
    rng, entries = random.Random(seed), []
    for number in range(num):
        members = [("json", b"{}"), ("jpg", rng.randbytes(rng.randrange(1, 3000))), ("cls", b"%d" % number)]
        rng.shuffle(members)
        entries += [(f"train/{number:04d}.{suffix}", content) for suffix, content in members[: rng.randrange(1, 4)]]
    return entries
