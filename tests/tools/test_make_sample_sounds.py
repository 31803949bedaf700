"""Sample sounds: the same everywhere, as high and as loud as is written beside them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile

from pipelines.decode.audio.loudness import a_weighting, loudness_curve
from pipelines.errors import ShardingError
from pipelines.samples.command import main
from pipelines.samples.instruments import INSTRUMENTS
from pipelines.samples.sound_synthesis import CONTROL_HZ, SAMPLE_HZ, sound_of, synthesise
from pipelines.samples.sounds import make_sample_sounds
from pipelines.sharding import make_shards

GOLDEN = "0ff26dc78884682c75b0424dec91c14e73a92abca750558abbcde6511b2b0351"
LAUNCHER = Path(__file__).resolve().parents[2] / "tools" / "make_sample_data.py"


def test_the_sounds_of_a_seed_never_change() -> None:
    """Rounded to 14 bits: sines may differ in their last bit from one machine to another."""
    rounded = [np.rint(synthesise(sound_of(0, index))[0] * 2**13).astype(np.int16) for index in range(6)]
    assert hashlib.sha256(b"".join(one.tobytes() for one in rounded)).hexdigest() == GOLDEN


def test_the_same_call_makes_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_sample_sounds(tmp_path / name, num=4, seed=seed)
    files = {name: {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "abc"}
    assert files["a"] == files["b"]
    assert files["a"].keys() == files["c"].keys()
    assert all(files["a"][name] != files["c"][name] for name in files["a"] if name.endswith(".wav"))


@pytest.mark.parametrize("place", range(len(INSTRUMENTS)))
def test_the_pitch_is_the_one_that_is_heard(place: int) -> None:
    """The strongest partial within a semitone of the written pitch, in the middle of each note."""
    for index in range(place, 36, len(INSTRUMENTS)):
        sound = sound_of(0, index)
        samples, pitch = synthesise(sound)
        for note in sound.notes:
            middle = round((note.start_seconds + note.seconds / 2) * SAMPLE_HZ)
            stretch = samples[middle - 1024 : middle + 1024] * scipy.signal.windows.hann(2048)
            spectrum = np.abs(np.fft.rfft(stretch, 1 << 17))
            hz = np.fft.rfftfreq(1 << 17, 1 / SAMPLE_HZ)
            written = pitch[middle * CONTROL_HZ // SAMPLE_HZ]
            near = np.abs(12 * np.log2(np.maximum(hz, 1e-9) / written)) < 1
            heard = hz[near][spectrum[near].argmax()]
            assert abs(1200 * np.log2(heard / written)) < 4, (index, note)
            assert abs(1200 * np.log2(written / note.f0_hz)) < 12


def test_every_instrument_and_effect_occurs() -> None:
    sounds = [sound_of(0, index) for index in range(60)]
    assert {sound.instrument for sound in sounds} == set(INSTRUMENTS)
    assert {len(sound.notes) for sound in sounds} == {1, 2, 3, 4}
    assert {sound.seconds for sound in sounds} == {2.0, 2.5, 3.0, 3.5, 4.0}
    assert 15 < sum(sound.reverb_seconds > 0 for sound in sounds) < 45
    assert all((sound.noise > 0) == (sound.instrument in ("flute", "reed")) for sound in sounds)


def test_noise_and_reverb_are_heard() -> None:
    flute = next(sound for sound in (sound_of(0, index) for index in range(60)) if sound.noise)
    pitch = synthesise(flute)[1].max()
    high = scipy.signal.butter(8, 5 * pitch, "high", fs=SAMPLE_HZ, output="sos")
    organ = next(s for s in (sound_of(0, i) for i in range(60)) if s.instrument == "organ" and not s.reverb_seconds)
    clean = type(flute)(**{**vars(flute), "noise": 0.0})
    breath, none = (np.std(scipy.signal.sosfilt(high, synthesise(one)[0])) for one in (flute, clean))
    assert breath > 10 * none
    assert breath > 0.015 * np.std(synthesise(flute)[0])
    samples, _ = synthesise(organ)
    wet, _ = synthesise(type(organ)(**{**vars(organ), "reverb_seconds": 0.5}))
    assert np.std(wet[-60:]) > 3 * np.std(samples[-60:]), "it rings on where the note has ended"


def test_loudness_is_the_a_weighted_level() -> None:
    time = np.arange(SAMPLE_HZ) / SAMPLE_HZ
    for hz, expected in ((1000, 0.0), (200, -10.85), (4000, 0.96)):  # IEC 61672-1, table 3
        curve = loudness_curve(0.5 * np.sin(2 * np.pi * hz * time), SAMPLE_HZ, CONTROL_HZ)
        assert len(curve) == CONTROL_HZ
        assert np.abs(curve[10:-10] - expected + 6.02).max() < 0.4
    np.testing.assert_allclose(
        10 * np.log10(a_weighting(np.array([31.623, 100.0, 1000.0, 6310.0]))), [-39.4, -19.1, 0, -0.1], atol=0.06
    )
    assert loudness_curve(np.zeros(1000), SAMPLE_HZ, CONTROL_HZ).tolist() == [-80.0] * 16


def test_a_sound_lies_beside_its_curves_and_facts_and_is_packed_with_them(tmp_path: Path) -> None:
    assert main(["audio", "--out", str(tmp_path / "audio"), "--num", "5"]) == 0
    for index in range(5):
        stem = tmp_path / "audio" / f"sound-{index:06d}"
        samples, rate = soundfile.read(stem.with_suffix(".wav"))
        f0, loudness = np.load(stem.with_suffix(".f0.npy")), np.load(stem.with_suffix(".loudness.npy"))
        facts = json.loads(stem.with_suffix(".json").read_text())
        assert (rate, facts["sample_rate"], facts["control_rate"]) == (16_000, 16_000, 250)
        assert len(f0) * 64 == len(loudness) * 64 == len(samples) == facts["seconds"] * rate
        assert f0.dtype == loudness.dtype == np.float32
        loudest = np.lib.stride_tricks.sliding_window_view(samples**2, 512).mean(axis=1).max()
        assert abs(10 * np.log10(loudest) - facts["level_db"]) < 0.01
        assert np.array_equal(f0, synthesise(sound_of(0, index))[1].astype(np.float32))
    curves = {"f0.npy": 250, "loudness.npy": 250}
    report = make_shards(tmp_path / "audio", tmp_path / "out", segment=1, curves=curves, workers=0, strict=True)
    assert (report.skipped, report.notes) == (0, ())
    assert report.examples >= 10


def test_a_folder_with_other_files_is_refused_unless_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "song.wav").write_bytes(b"precious")
    command = ["audio", "--out", str(tmp_path), "--num", "2"]
    assert main(command) == 2
    assert "holds song.wav" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0
    assert main(["audio", "--out", str(tmp_path), "--num", "1", "--force"]) == 0
    assert len(list(tmp_path.iterdir())) == 5
    assert (tmp_path / "song.wav").read_bytes() == b"precious"


def test_nonsense_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flags, message in ((["--num", "0"], "num is 0"), (["--size", "64"], "a recording has none")):
        assert main(["audio", "--out", str(tmp_path / "x"), *flags]) == 2
        shown = capsys.readouterr().err
        assert message in shown
        assert shown.count("\n") == 1
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ShardingError, match="cannot be written to"):
        make_sample_sounds(tmp_path / "file" / "below")


def test_the_launcher_makes_pictures_unless_sounds_are_asked_for(tmp_path: Path) -> None:
    for flags, folder in (([], "image"), (["audio"], "audio")):
        command = [sys.executable, str(LAUNCHER), *flags, "--num", "2"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"data/{folder}: 2 ")
        assert len(list((tmp_path / "data" / folder).iterdir())) == {"image": 4, "audio": 8}[folder]
