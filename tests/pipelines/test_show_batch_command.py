"""`show_batch` as a command: what it prints, writes and refuses."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import make_shards
from pipelines.samples.scenes import make_sample_data
from pipelines.sharding.cli import looking_command
from pipelines.sharding.cli import main as make_shards_main
from pipelines.show_batch import main
from pipelines.show_batch.command import write_sheet
from tests.absent import run, without

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with six scenes in data/image and in shards/image."""
    home = tmp_path_factory.mktemp("packed")
    make_sample_data(home / "data" / "image", num=6, size=32)
    make_shards(home / "data" / "image", home / "shards" / "image", workers=0)
    return home


@pytest.fixture
def shards(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six scenes in shards/image of the working folder."""
    shutil.copytree(packed, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Path("shards/image")


def fails(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> str:
    """The one sentence that is said."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("show_batch: ")
    return printed.err


@pytest.mark.parametrize(("name", "kind"), [("sheet.png", "PNG"), ("a.jpg", "JPEG"), ("b.WEBP", "WEBP")])
def test_it_writes_a_picture_and_prints_its_path(
    shards: Path, capsys: pytest.CaptureFixture[str], name: str, kind: str
) -> None:
    assert main([str(shards), "--num", "4", "--size", "32", "--out", name]) == 0
    assert capsys.readouterr().out == f"{name}\n"
    with Image.open(name) as sheet:
        assert sheet.format == kind
    assert main([str(shards), "--num", "1", "--size", "32", "--out", name]) == 0  # again, over the earlier one


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["shards/image", "--fields", "nope"],
            "shards/image: no example of this batch has the field 'nope'; fields in",
        ),
        (["shards/image", "--fields", "keypoints"], "fields in this source: boxes, captions, json, masks."),
        (["shards/image", "--start", "6"], "start is 6; the last position in shards/image is 5."),
        (["shards/image", "--num", "0"], "num is 0; it must lie in 1 to 400."),
        (["shards/image", "--window", "0"], "window is 0.0; it must lie in 0.01 to 600 seconds."),
        (["shards/image", "--type", "audio"], "it holds image data. Name recordings instead."),
        (["shards/image", "--out", "sheet.txt"], "Name a file that ends in .png, .jpg or .webp."),
        (["shards/image", "--out", "absent/sheet.png"], "there is no folder absent. Make it first."),
        (["shards/image", "--out", "folder.png"], "it is a folder. Name a file."),
        (["shards/image", "--out", "notes.png"], "it holds something else than a picture and is kept."),
        (["absent"], "absent: no such file or folder."),
        (["empty"], "empty: no image files in it."),
        (["rows.npy"], "rows.npy: an array is not drawn."),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(
    shards: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    Path("empty").mkdir()
    Path("folder.png").mkdir()
    Path("notes.png").write_text("my notes")
    np.save("rows.npy", np.zeros((3, 4)))
    assert said in fails(capsys, arguments)
    assert Path("notes.png").read_text() == "my notes"
    assert not Path("sheet.png").exists()


def test_a_field_that_some_examples_have_is_shown(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (Path("data/image") / "scene-000002.txt").write_text("a note")
    assert main(["data/image", "--size", "16", "--fields", "txt"]) == 0
    assert capsys.readouterr().out == "sheet.png\n"
    some = ["data/image", "--num", "2", "--size", "16", "--fields"]
    assert "data/image: no example of this batch has the field 'txt', but example 2 has: --start 2." in fails(
        capsys, [*some, "txt"]
    )
    assert main([*some, "txt", "--start", "2"]) == 0
    assert capsys.readouterr().out == "sheet.png\n"
    assert "'txt'; fields in this source: boxes, captions, json, masks, txt." in fails(
        capsys, [*some, "txt", "--shuffle", "1", "--num", "1"]
    )
    for name in ("scene-000000", "scene-000001"):
        (Path("data/image") / f"{name}.json").unlink()
    for name in ("json", "boxes", "masks"):
        assert f"has the field '{name}', but example 2 has: --start 2." in fails(capsys, [*some, name])
    assert main(some[:-1]) == 0


def test_folders_tars_and_patterns_are_sources(shards: Path) -> None:
    sheets = []
    for source in ("shards/image/image-000000.tar", "shards/image/*.tar", "shards"):
        assert main([source, "--size", "32", "--out", "sheet.png"]) == 0
        sheets.append(np.asarray(Image.open("sheet.png"))[120:])
    assert all(np.array_equal(sheet, sheets[0]) for sheet in sheets)


def test_it_needs_no_torch_nor_packages_of_other_media(shards: Path) -> None:
    absent = without("torch", "soundfile", "soxr", "av", "matplotlib", "scipy")
    code = (
        f"{absent}from pipelines.show_batch import main\nraise SystemExit(main(['shards/image', '--size', '32']))"
    )
    assert run(code).splitlines()[-1] == "sheet.png"


def test_sound_needs_no_package_where_it_is_wav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wave

    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    with wave.open("in/a.wav", "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
        file.writeframes((np.sin(np.arange(8000) / 4) * 9000).astype("<i2").tobytes())
    absent = without("torch", "soundfile", "soxr")
    code = f"{absent}from pipelines.show_batch import main\nraise SystemExit(main(['in']))"
    assert run(code).splitlines()[-1] == "sheet.png"


def test_packing_ends_with_a_command_that_shows_what_was_packed(tmp_path: Path) -> None:
    make_sample_data(tmp_path / "my data" / "image", num=4, size=16)
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "DIRVAE_CACHE": str(tmp_path / "cache")}
    tool = [sys.executable, str(ROOT / "tools" / "make_shards.py"), "my data/image", "--out", "my shards"]
    tool += ["--workers", "0"]
    done = subprocess.run(
        tool, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    prefix, command = done.stdout.splitlines()[-1].split(": ", 1)
    assert prefix == "Look at it"
    program, *arguments = shlex.split(command)
    assert program == "python"
    shown = subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (shown.stdout, shown.stderr) == ("sheet.png\n", "")


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("tools/make_shards.py", "python tools/show_batch.py 'my shards'"),
        ("/opt/dirvae/tools/make_shards.py", "python /opt/dirvae/tools/show_batch.py 'my shards'"),
        ("/usr/local/bin/make_shards", "show_batch 'my shards'"),
        (r"make_shards.exe", "show_batch 'my shards'"),
        ("/site-packages/pipelines/make_shards.py", "python -m pipelines.show_batch 'my shards'"),
        ("my_program.py", "python -m pipelines.show_batch 'my shards'"),
    ],
)
def test_the_command_is_started_as_this_one_was(program: str, command: str) -> None:
    assert looking_command(Path("my shards"), program) == command


def test_a_set_that_was_complete_is_not_shown_again(
    shards: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["tools/make_shards.py"])
    for expected in (True, False):
        assert make_shards_main(["data/image", "--out", "other", "--workers", "0"]) == 0
        assert ("Look at it: python tools/show_batch.py other" in capsys.readouterr().out) is expected


def test_too_large_a_sheet_for_a_format_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a sheet of 20,000 by 8 pixels does not fit this format .* Use \.png"):
        write_sheet(Image.new("RGB", (20_000, 8)), tmp_path / "a.webp")
    assert list(tmp_path.iterdir()) == []


def test_json_is_shown_in_words(shards: Path) -> None:
    assert main([str(shards), "--size", "32", "--fields", "json"]) == 0
    described = json.loads((Path("data/image") / "scene-000000.json").read_text())
    assert described["annotations"]
    assert Image.open(io.BytesIO(Path("sheet.png").read_bytes())).size[0] > 100
