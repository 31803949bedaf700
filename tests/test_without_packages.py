"""Without simplejpeg, braceexpand and tqdm everything runs: slower, with paths instead of braces, in plain lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.absent import run, without

ABSENT = without("simplejpeg", "braceexpand", "tqdm")
TERMINAL = """
import io, sys
class Terminal(io.StringIO):
    def isatty(self):
        return True
"""


def write_pictures(folder: Path, num: int = 6) -> Path:
    folder.mkdir()
    rows, columns = np.mgrid[0:48, 0:64]
    for number in range(num):
        pixels = np.stack([rows * 5, columns * 3, (rows + columns) * (number + 1) % 256], axis=2).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=95)
    return folder


def decoded(begin: str, folder: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The six pictures of a folder, (6, 3, height, width), as a program with this beginning decodes them."""
    code = f"""{begin}
import numpy as np
from pipelines import ImageIterator
np.save({str(folder.parent / "pixels.npy")!r}, next(iter(ImageIterator({str(folder)!r}, size={size}))).data)
"""
    run(code)
    pixels: NDArray[np.uint8] = np.load(folder.parent / "pixels.npy")
    assert pixels.shape == (6, 3, *size)
    return pixels


@pytest.mark.parametrize("module", ["pipelines", "pipelines.sharding.cli", "dirvae", "dirvae.train"])
def test_they_are_not_needed_to_import(module: str) -> None:
    assert run(f"{ABSENT}import {module}; print('imported')") == "imported"


def test_importing_does_not_load_them_where_they_are_installed() -> None:
    code = "import sys, pipelines; print({'simplejpeg', 'braceexpand', 'tqdm'} & set(sys.modules))"
    assert run(code) == "set()"


def test_pictures_are_decoded_by_pillow(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures")
    pixels = decoded(ABSENT, folder, (48, 64))
    for number in range(6):
        with Image.open(folder / f"{number}.jpg") as picture:
            assert (pixels[number] == np.asarray(picture).transpose(2, 0, 1)).all()


def test_small_pictures_come_within_what_a_resize_may_differ_by(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures")
    absent, present = decoded(ABSENT, folder, (24, 32)), decoded("", folder, (24, 32))
    assert np.abs(absent.astype(int) - present).mean() < 3


def test_a_pattern_with_braces_names_the_command_that_installs_what_it_needs(tmp_path: Path) -> None:
    code = f"""{ABSENT}
from pipelines import SourceError, open_source
try:
    open_source({str(tmp_path / "{000..003}.tar")!r})
except SourceError as error:
    print(error)
"""
    told = run(code)
    assert "pip install braceexpand" in told
    assert len(told.splitlines()) == 1


def test_globs_and_lists_need_nothing_more(tmp_path: Path) -> None:
    code = f"""{ABSENT}
from pipelines import SourceError, make_shards, open_source
make_shards({str(write_pictures(tmp_path / "pictures"))!r}, {str(tmp_path / "shards")!r}, shard_examples=2, workers=0)
folder = {str(tmp_path / "shards")!r}
print(len(open_source(folder + "/*.tar")), len(open_source(folder + "/image-00000[01].tar")))
print(len(open_source([folder + "/image-000000.tar"])))
try:
    open_source(folder + "/absent.tar")
except SourceError as error:
    print("no such file" in str(error))
"""
    assert run(code).split() == ["6", "4", "2", "True"]


def test_progress_on_a_terminal_is_plain_lines(tmp_path: Path) -> None:
    code = f"""{ABSENT}{TERMINAL}
import time
from pipelines.sharding import progress_bar
from dirvae.training import logging
packing, training = Terminal(), Terminal()
progress_bar.SECONDS_BETWEEN_LINES = -1.0
with progress_bar.Progress(10, 0, stream=packing) as shown:
    time.sleep(0.01)
    shown.on_shard(0, 5)
shown = logging.Progress(10, stream=training)
shown.start(0)
shown.advance()
shown.show(1, {{"loss": 1.25}})
shown.close()
print(packing.getvalue() + training.getvalue(), end="")
"""
    packing, training = run(code).splitlines()
    assert packing.startswith("5 of 10 files, ")
    assert training == "step 1/10  loss 1.25"


def test_a_training_command_runs_and_warns_in_a_plain_line(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", 12)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    code = f"""{ABSENT}
from dirvae.train import _show_warning, main
sys.stderr = sys.stdout
_show_warning(UserWarning("told plainly"))
raise SystemExit(main(["--data", {str(folder)!r}, "--out", "run", "--steps", "2", "--size", "32", "--preset", "tiny",
    "--batch-size", "4", "--held-out", "0.2", "--on-error", "substitute", "--device", "cpu"]))
"""
    told = run(code, cwd=tmp_path)
    assert "warning: told plainly" in told
    assert "report: " in told
