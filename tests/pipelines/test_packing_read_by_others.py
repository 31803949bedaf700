"""What is packed is read by webdataset, HF datasets, tarfile and GNU tar: images, sound, video, annotated, added to."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines import make_shards
from pipelines.samples.clips import make_sample_clips

from .foreign_tars import by_webdataset
from .wav_files import noise, wav

Examples = dict[str, dict[str, bytes]]
LOADING = """
import json, sys
from datasets import load_dataset
tars, found = sys.argv[1:], {}
for row in load_dataset("webdataset", data_files={"train": tars}, split="train", streaming=True).decode(False):
    values = {name: value for name, value in row.items() if not name.startswith("__") and value is not None}
    found[row["__key__"]] = {
        name: len(value["bytes"]) if isinstance(value, dict) and "bytes" in value else value
        for name, value in values.items()
    }
print(json.dumps(found, default=str))
"""


def images(folder: Path, numbers: range = range(7)) -> Path:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        Image.fromarray(np.full((16, 24, 3), number, np.uint8)).save(folder / f"{number:02d}.png")
        (folder / f"{number:02d}.json").write_text(json.dumps({"number": number}))
    return folder


def pack_images(tmp_path: Path) -> Path:
    make_shards(images(tmp_path / "source"), tmp_path / "out", workers=0, shard_examples=3)
    return tmp_path / "out"


def pack_added(tmp_path: Path) -> Path:
    out = pack_images(tmp_path)
    (tmp_path / "source" / "20.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    images(tmp_path / "source", range(7, 12))
    make_shards(tmp_path / "source", out, workers=0, shard_examples=3, append=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "source" / "20.png")
    (tmp_path / "source" / "20.json").write_text('{"number": 20}')
    make_shards(tmp_path / "source", out, workers=0, shard_examples=3, retry_failed=True)
    return out


def pack_annotated(tmp_path: Path) -> Path:
    pytest.importorskip("ijson")
    source = tmp_path / "source"
    images(source)
    for path in source.glob("*.json"):
        path.unlink()
    entries = [{"id": n, "file_name": f"{n:02d}.png", "width": 24, "height": 16} for n in range(7)]
    boxes = [{"id": n, "image_id": n, "category_id": 1, "bbox": [1, 2, 3, 4]} for n in range(7)]
    coco = {"images": entries, "annotations": boxes, "categories": [{"id": 1, "name": "dog"}]}
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    make_shards(source, tmp_path / "out", workers=0, shard_examples=3, annotations=tmp_path / "coco.json", resize=8)
    return tmp_path / "out"


def pack_sound(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(5):
        (source / f"{number}.wav").write_bytes(wav(noise("s16", 8_000, 1, number), "s16", 1, 16_000))
    make_shards(source, tmp_path / "out", workers=0, shard_examples=2, segment=0.2)
    return tmp_path / "out"


def pack_video(tmp_path: Path) -> Path:
    make_sample_clips(tmp_path / "source", num=3, size=32)
    make_shards(tmp_path / "source", tmp_path / "out", workers=0, shard_examples=2, gop=8)
    return tmp_path / "out"


SETS: dict[str, tuple[Callable[[Path], Path], int]] = {
    "images": (pack_images, 7),
    "added to": (pack_added, 13),
    "annotated": (pack_annotated, 7),
    "sound": (pack_sound, 15),
    "video": (pack_video, 3),
}


def by_tarfile(tar: Path) -> Examples:
    found: Examples = {}
    with tarfile.open(tar) as opened:
        for member in opened:
            key, _, suffix = member.name.partition(".")
            found.setdefault(key, {})[suffix] = opened.extractfile(member).read()  # type: ignore[union-attr]
    return found


def by_gnu_tar(tar: Path) -> Examples:
    """All bytes to standard output, cut by the sizes of the listing: nothing is unpacked to the disk."""
    program = shutil.which("tar")
    if (
        program is None
        or "GNU tar" not in subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    ):
        pytest.skip("GNU tar is absent")
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    run: dict[str, Any] = {"capture_output": True, "check": True, "env": environment}
    listed = subprocess.run([program, "-tvf", str(tar)], **run)
    content = io.BytesIO(subprocess.run([program, "-xOf", str(tar)], **run).stdout)
    assert not listed.stderr
    found: Examples = {}
    for line in listed.stdout.decode().splitlines():
        _, _, size, _, _, name = line.split(None, 5)
        key, _, suffix = name.partition(".")
        found.setdefault(key, {})[suffix] = content.read(int(size))
    assert not content.read()
    return found


@pytest.mark.parametrize(("make", "num"), SETS.values(), ids=list(SETS))
def test_webdataset_tarfile_and_gnu_tar_read_the_same(
    tmp_path: Path, make: Callable[[Path], Path], num: int
) -> None:
    tars = sorted(make(tmp_path).glob("*.tar"))
    total = 0
    for tar in tars:
        found = by_tarfile(tar)
        assert found == by_gnu_tar(tar)
        assert found == dict(by_webdataset(tar))
        total += len(found)
    assert (total, len(tars) > 1) == (num, True)


@pytest.mark.heavy
@pytest.mark.parametrize(("make", "num"), SETS.values(), ids=list(SETS))
def test_datasets_of_hugging_face_reads_the_same(tmp_path: Path, make: Callable[[Path], Path], num: int) -> None:
    pytest.importorskip("datasets", reason="datasets is absent: it is the reader of this test")
    tars = sorted(make(tmp_path).glob("*.tar"))
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "home"),
        "HF_DATASETS_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", LOADING, *map(str, tars)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    expected: Examples = {}
    for tar in tars:
        expected |= by_tarfile(tar)
    assert found.keys() == expected.keys()
    assert len(found) == num
    for key, fields in expected.items():
        for suffix, content in fields.items():
            value = found[key][suffix]
            assert value == (json.loads(content) if suffix == "json" else len(content)), (key, suffix)
