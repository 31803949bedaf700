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


def test_a_folder_of_one_recording_names_it_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = str(write_tone(tmp_path / "set" / "a.wav"))
    assert main([str(tmp_path / "set"), "--rate", "10"]) == 0
    assert [row["file"] for row in rows_of(capsys.readouterr().out)] == [name] * 3


@pytest.mark.parametrize("is_folder", [True, False])
def test_damaged_recordings_are_named_and_the_others_have_their_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], is_folder: bool
) -> None:
    good = [str(write_tone(tmp_path / "set" / name)) for name in ("b.wav", "d.flac")]
    bad = [tmp_path / "set" / name for name in ("a.wav", "c.flac", "e.wav")]
    bad[0].write_bytes(b"no recording at all, but named like one")
    bad[1].write_bytes(Path(good[1]).read_bytes()[:60])
    soundfile.write(bad[2], np.full(1000, np.nan, np.float32), 16_000, subtype="FLOAT")
    (tmp_path / "set" / "._a.wav").write_bytes(b"what another system keeps beside a.wav")
    (tmp_path / "set" / "notes.txt").write_text("no recording")
    named = [str(tmp_path / "set")] if is_folder else sorted([*good, *map(str, bad)])
    assert main([*named, "--rate", "10"]) == 1
    out, err = capsys.readouterr()
    assert [row["file"] for row in rows_of(out)] == [name for name in good for _ in range(3)]
    for line, file in zip(err.splitlines(), bad, strict=True):
        assert line.startswith(f"f0: {file}: ")


def test_a_rate_may_be_a_fraction(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(write_tone(tmp_path / "a.wav")), "--rate", "100/3"]) == 0
    assert [row["seconds"] for row in rows_of(capsys.readouterr().out)][:3] == ["0.000000", "0.030000", "0.060000"]


@pytest.mark.parametrize("flag", ["--lowest", "--highest"])
def test_swift_f0_takes_no_range(tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str) -> None:
    assert main([str(write_tone(tmp_path / "a.wav")), "--tracker", "swift-f0", flag, "100"]) == 2
    assert capsys.readouterr() == (
        "",
        f"f0: {flag} is not heeded by --tracker swift-f0. Leave it out, or use --tracker dirvae.\n",
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dirvae.f0", str(write_tone(tmp_path / "a.wav"))]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (1, "f0: standard output: No space left on device.\n")


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
        ([str(good), "--rate", "1/0"], "'1/0' is not a number of rows per second above 0"),
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
