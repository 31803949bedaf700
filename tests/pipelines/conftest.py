"""Small data for iterators: numbers without files, and folders of little pictures."""

from __future__ import annotations

import importlib
import io
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines import Example, Source, make_shards
from pipelines.modality import modalities, unregister
from pipelines.sharding import PackReport


class Numbers(Source):
    """Examples without files: example i is the number i, and `broken` ones cannot be decoded by `number_of`."""

    name = "numbers"

    def __init__(self, num: int, broken: Sequence[int] = (), shards: Sequence[int] = ()) -> None:
        self.num, self.broken, self.shards = num, frozenset(broken), tuple(shards) or (num,)

    def __len__(self) -> int:
        return self.num

    @property
    def shard_counts(self) -> NDArray[np.int64]:
        return np.array(self.shards, np.int64)

    def prefix_hash(self, examples: int) -> str | None:
        return f"{examples:032x}" if examples in np.cumsum(self.shards) else None

    def read(self, indices: Sequence[int]) -> list[Example]:
        return [
            Example(int(i), f"key{i}", b"" if i in self.broken else str(i).encode(), "numbers.tar", 512 * int(i))
            for i in indices
        ]


def number_of(example: Example, rng: np.random.Generator) -> NDArray[np.int64]:
    """The decoder of `Numbers`: the number, and a random one of its place."""
    if not example.media:
        raise example.error("no number in it")
    return np.array([int(example.media), rng.integers(1 << 40)])


@pytest.fixture
def numbers() -> type[Numbers]:
    """`Numbers(num, broken=(), shards=())`."""
    return Numbers


@pytest.fixture
def decode_number() -> Callable[..., Any]:
    """The decoder that goes with `numbers`: (2,) int64, the number and a random one keyed by place."""
    return number_of


def png(number: int, height: int = 12, width: int = 16) -> bytes:
    """A little picture that differs from every other."""
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def picture_bytes() -> Callable[..., bytes]:
    """`picture_bytes(number, height=12, width=16)`: a PNG."""
    return png


@pytest.fixture
def picture_folder(tmp_path: Path) -> Callable[..., Path]:
    """`picture_folder(num)`: a folder of so many little pictures."""

    def make(num: int, name: str = "pictures") -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for number in range(num):
            (folder / f"{number:04d}.png").write_bytes(png(number))
        return folder

    return make


@pytest.fixture
def picture_shards(tmp_path: Path) -> Callable[..., Path]:
    """`picture_shards(counts, first=0)`: tars of so many pictures each, with a caption and a label; appends."""

    def make(counts: Sequence[int], name: str = "shards") -> Path:
        folder, stop = tmp_path / name, 0
        folder.mkdir(exist_ok=True)
        for shard, count in enumerate(counts):
            with tarfile.open(folder / f"{shard:03d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
                start, stop = stop, stop + count
                for number in range(start, stop):
                    for suffix, content in (("cls", b"%d" % number), ("png", png(number))):
                        info = tarfile.TarInfo(f"{number:04d}.{suffix}")
                        info.size = len(content)
                        tar.addfile(info, io.BytesIO(content))
        return folder

    return make


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module, in a folder of its own, as another project would have it."""
    project = tmp_path / "another_project"
    project.mkdir()
    shutil.copy(Path(__file__).with_name("toy_modality.py"), project / "toy_modality.py")
    monkeypatch.syspath_prepend(str(project))
    before = modalities()
    yield importlib.import_module("toy_modality")
    unregister("toy")
    del sys.modules["toy_modality"]
    assert modalities() == before


Pack = Callable[..., PackReport]


@pytest.fixture
def pack(source: Path, tmp_path: Path) -> Pack:
    """Pack the source of a test into out, in this process."""

    def run(**settings: Any) -> PackReport:
        return make_shards(source, tmp_path / "out", **{"workers": 0, **settings})

    return run
