"""python -m dirvae.f0: a row for each moment, and one sentence for a mistake."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dirvae.f0 import main
from tests.dirvae.tones import tone


def write_tone(path: Path, hz: float = 440, sample_rate: int = 22_050, seconds: float = 0.3) -> Path:
    turns = np.arange(round(seconds * sample_rate)) / sample_rate
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(hz, hz * turns, sample_rate, "sawtooth"), sample_rate)
    return path


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_a_recording_has_a_row_for_each_moment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main([str(write_tone(tmp_path / name)), "--rate", "100"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[0] == "seconds,f0_hz,confidence,loudness_db"
    rows = rows_of(out)
    assert [float(row["seconds"]) for row in rows] == [k / 100 for k in range(30)]
    assert all(abs(1200 * np.log2(float(row["f0_hz"]) / 440)) < 2 for row in rows[4:-4])
    assert all(float(row["confidence"]) > 0.9 and float(row["loudness_db"]) > -20 for row in rows[4:-4])


def test_of_a_folder_every_recording_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [str(write_tone(tmp_path / "set" / name)) for name in ("a.wav", "deep/b.wav")]
    (tmp_path / "set" / "notes.txt").write_text("no recording")
    assert main([str(tmp_path / "set"), "--rate", "10"]) == 0
    assert [row["file"] for row in rows_of(capsys.readouterr().out)] == [name for name in names for _ in range(3)]


def test_a_mistake_is_one_sentence_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, text, empty = write_tone(tmp_path / "a.wav"), tmp_path / "b.txt", tmp_path / "empty"
    text.write_text("words")
    empty.mkdir()
    soundfile.write(tmp_path / "nan.wav", np.full(1000, np.nan, np.float32), 16_000, subtype="FLOAT")
    for arguments, message in (
        ([str(tmp_path / "none.wav")], "there is no such file"),
        ([str(text)], "cannot be decoded"),
        ([str(empty)], "holds no recordings"),
        ([str(tmp_path / "nan.wav")], "holds samples that are not finite"),
        ([str(good), "--lowest", "500", "--highest", "100"], "lowest is 500.0 and highest 100.0"),
        ([str(good), "--rate", "0"], "'0' is not a number of rows per second above 0"),
        ([str(good), "--rate", "many"], "'many' is not a number of rows per second above 0"),
        ([], "required: FILE"),
    ):
        try:
            code = main(arguments)
        except SystemExit as stopped:
            code = stopped.code
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        assert err.startswith("f0: ")
        assert message in err
        assert err.count("\n") == 1


def test_an_absent_tracker_names_its_extra(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dirvae.ddsp.pitch import swift

    swift._detector.cache_clear()
    monkeypatch.setitem(sys.modules, "swift_f0", None)
    assert main([str(write_tone(tmp_path / "a.wav")), "--tracker", "swift-f0"]) == 2
    assert "pip install 'dirvae[pitch]'" in capsys.readouterr().err


def test_the_module_is_a_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dirvae.f0"]
    done = subprocess.run([*command, str(tmp_path / "x")], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"f0: {tmp_path / 'x'}: there is no such file. Name a recording.\n"
