"""python -m dirvae.explore: the files that it writes, and one sentence for each mistake."""

from __future__ import annotations

import io
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from dirvae.drawing.explored_files import joined_sound, sheet_gif, sheet_png, sheet_wav
from dirvae.drawing.labelled_sheet import Labels, draw_labelled_sheet
from dirvae.drawing.media import Media
from dirvae.explore import EXPLORATIONS, Sheet
from dirvae.explore.__main__ import main
from dirvae.run.explored_run import open_explored_run
from dirvae.train import main as train
from pipelines.samples.scenes import make_sample_data

pytestmark = pytest.mark.usefixtures("quick_reports")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run over 24 scenes."""
    home = tmp_path_factory.mktemp("command")
    make_sample_data(home / "images", num=24, size=24)
    arguments = ["--size", "16", "--batch-size", "8", "--model-size", "7", "--threads", "1", "--steps", "2"]
    assert train([*arguments, "--data", str(home / "images"), "--out", str(home / "run")]) == 0
    return home / "run"


@pytest.mark.parametrize("name", EXPLORATIONS)
def test_each_function_writes_a_picture_under_its_own_name_and_prints_its_caption(
    run: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(run), f"--{name.replace('_', '-')}"]) == 0
    caption = EXPLORATIONS[name].run(open_explored_run(run)).caption
    assert capsys.readouterr().out.splitlines() == [caption, f"written: {name}.png"]
    with Image.open(tmp_path / f"{name}.png") as picture:
        assert picture.format == "PNG"
        assert len(picture.convert("RGB").getcolors(1 << 22) or ()) > 50


def test_the_values_of_flags_reach_the_function(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = open_explored_run(run).keys
    out = str(tmp_path / "a.png")
    assert main([str(run), "--traverse", keys[3], "--components", "1", "4", "--num", "3", "--out", out]) == 0
    assert f"Example '{keys[3]}' with components 1, 4 from 0" in capsys.readouterr().out
    assert main([str(run), "--arithmetic", *keys[:2], "--weights", "0.5", "-2", "--out", out, "--most", "5"]) == 0
    assert f"0.5 x '{keys[0]}' - 2 x '{keys[1]}', added in their concentrations" in capsys.readouterr().out
    assert main([str(run), "--exemplars", "2", "--num", "4", "--checkpoint", "2", "--out", out]) == 0
    assert "The 4 of 24 examples with most of component 2;" in capsys.readouterr().out
    assert main([str(run), "--interpolate", *keys[:2], "--kind", "aitchison", "--out", out]) == 0
    assert "geodesic" in capsys.readouterr().out


def test_a_path_becomes_an_animation_there_and_back_and_a_chart_a_drawing(run: Path, tmp_path: Path) -> None:
    gif, svg = tmp_path / "path.gif", tmp_path / "use.svg"
    assert main([str(run), "--traverse", "--components", "0", "2", "--num", "4", "--out", str(gif)]) == 0
    with Image.open(gif) as animation:
        assert animation.n_frames == 6  # type: ignore[attr-defined]
    assert main([str(run), "--usage", "--out", str(svg)]) == 0
    root = ElementTree.fromstring(svg.read_text("utf-8"))
    title = root.find("{http://www.w3.org/2000/svg}title")
    assert title is not None
    assert title.text is not None
    assert title.text.startswith("Mean share of each component over 24 examples")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--traverse", "scene-0"], r"no example has the key 'scene-0' .* nearest are '.*', '.*', '.*'\."),
        (["--exemplars", "7"], r"there is no component 7; run has 0 to 6\."),
        (["--traverse", "--num", "1"], r"num is 1; it must be 2 to 64\."),
        (["--usage", "--num", "3"], r"--num goes with --traverse, .*, but not with --usage\. Leave it out\."),
        (["--exemplars", "1", "--components", "2"], r"--exemplars and --components both name components\."),
        (["--num", "3"], r"--num is given, but not what to write\. Add one of --traverse, --interpolate"),
        (["--usage", "--out", "use.jpg"], r"use\.jpg: .* Let it end with \.png, \.gif, \.wav, \.svg\."),
        (["--usage", "--out", "use.gif"], r"use\.gif: a chart is not written as \.gif\."),
        (["--traverse", "--out", "t.svg"], r"t\.svg: a sheet is not written as \.svg\."),
        (["--traverse", "--out", "t.wav"], r"t\.wav: only sounds can be written as WAV\. Give it a name"),
        (["--archetypes", "--out", "a.gif"], r"a\.gif: only clips and paths of pictures can be animated\."),
        (["--usage", "--out", "no/use.png"], r"no/use\.png: there is no such folder\. Make it first\."),
        (["--usage", "--checkpoint", "9"], r"no checkpoint of step 9; there are: 2\."),
        (["--usage", "--checkpoint", "best", "last"], r"checkpoints: one file shows one of them\."),
        (["--usage", "--source", "no/where"], r"no/where.* --source"),
    ],
)
def test_a_mistake_gets_one_sentence(
    run: Path,
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(run), *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert re.search(sentence, captured.err), captured.err
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_run_is_said_and_the_list_names_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--usage"]) == 1
    assert "is not a run" in capsys.readouterr().err
    assert main(["--usage"]) == 1
    assert "no run is named" in capsys.readouterr().err
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    assert re.findall(r"^--([\w-]+):", out, flags=re.MULTILINE) == [name.replace("_", "-") for name in EXPLORATIONS]
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path), "--travers", "--usage"])
    assert caught.value.code == 2


def test_without_a_flag_the_application_is_served_with_what_was_given(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: dict[str, object] = {}
    monkeypatch.setattr("dirvae.explorer.serve_run", lambda runs, **options: served.update(runs=runs, **options))
    assert main([str(run), str(run), "--checkpoint", "best", "2", "--port", "8123", "--most", "9"]) == 0
    assert served == {
        "runs": [run, run],
        "checkpoints": ["best", 2],
        "source": None,
        "most": 9,
        "device": "cpu",
        "host": "127.0.0.1",
        "port": 8123,
    }


def sheet_of(num: int, rows: int) -> Sheet:
    import torch

    labels = tuple(f"row {row}" for row in range(rows))
    return Sheet(torch.zeros(num, 2), None, rows, labels, (), "A caption.", is_path=True)


def test_the_tiles_of_a_sheet_stand_in_their_places_and_labels_do_not_cover_them() -> None:
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (0, 250, 250)]
    tiles = [np.full((8, 8, 3), colour, np.uint8) for colour in colours]
    labels = Labels(rows=("first", "second"), columns=("a", "b", "c"), cells=("x" * 300, "", "key\n0.25", "", ""))
    picture = np.array(draw_labelled_sheet(tiles, 3, labels, "What is seen. " * 20))
    for colour in colours:
        where = np.argwhere((picture == colour).all(-1))
        (top, left), (bottom, right) = where.min(0), where.max(0)
        assert (bottom - top + 1, right - left + 1) == (144, 144)  # whole, and nothing is written on it
        assert len(where) == 144 * 144
    corners = [np.argwhere((picture == colour).all(-1)).min(0) for colour in colours]
    assert corners[0][0] == corners[1][0] == corners[2][0] < corners[3][0] == corners[4][0]
    assert corners[0][1] == corners[3][1] < corners[1][1] == corners[4][1] < corners[2][1]


def test_sounds_play_one_after_the_other_with_gaps_and_never_above_full_scale() -> None:
    from scipy.io import wavfile

    rate = 1000
    sounds = [np.full(100, level, np.float32) for level in (0.5, 2.0, 1.0, 0.25)]
    whole = joined_sound(sounds, rate, columns=2)
    assert len(whole) == 4 * 100 + 150 + 450 + 150
    assert np.abs(whole).max() == 1.0
    np.testing.assert_allclose(whole[:100], 0.25)
    np.testing.assert_allclose(whole[250:350], 1.0)
    assert not whole[350:800].any()
    np.testing.assert_allclose(whole[800:900], 0.5)
    cells = [Media(kind="audio", sounds=sound[None], sample_rate=rate) for sound in sounds]
    read_rate, samples = wavfile.read(io.BytesIO(sheet_wav(sheet_of(4, 2), cells)))
    assert read_rate == rate
    np.testing.assert_allclose(samples / 32768, whole, atol=1e-4)
    with pytest.raises(ValueError, match="only clips and paths of pictures"):
        sheet_gif(sheet_of(4, 2), cells)


def test_clips_move_in_step_and_a_picture_shows_their_middles() -> None:
    clips = np.zeros((2, 5, 8, 8, 3), np.uint8)
    clips[0, 2], clips[1, 2] = (250, 0, 0), (0, 0, 250)
    cells = Media(kind="video", clips=clips, frames_per_second=10.0).items()
    with Image.open(io.BytesIO(sheet_gif(sheet_of(2, 1), cells))) as animation:
        assert animation.n_frames >= 3  # type: ignore[attr-defined]  # equal frames may be joined
    picture = np.array(Image.open(io.BytesIO(sheet_png(sheet_of(2, 1), cells))))
    assert (picture == (250, 0, 0)).all(-1).sum() == (picture == (0, 0, 250)).all(-1).sum() == 144 * 144
