"""python -m dirvae.resynthesize: pitch, loudness and timbre are as asked for, and mistakes are one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from dirvae import resynthesize
from dirvae.autoencoder import AutoEncoder
from dirvae.ddsp import loudness_curve, track_f0
from dirvae.networks import MLPVAE
from dirvae.networks.audio import AudioVAE, SoundClips
from dirvae.networks.audio.resynthesis import encode_rows, mean_timbre, mixed_timbre, play_rows, resynthesise
from dirvae.training import FitConfig, Trainer
from tests.dirvae.tones import tone

RATE = 16_000


def write_tone(
    path: Path,
    hz: float = 220,
    *,
    sample_rate: int = RATE,
    seconds: float = 1.0,
    level: float = 0.1,
    channels: int = 1,
) -> Path:
    turns = np.arange(round(seconds * sample_rate)) * hz / sample_rate
    samples = level * tone(hz, turns, sample_rate, "sawtooth")
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.stack([samples] * channels, 1), sample_rate)
    return path


def save_run(folder: Path, latent: str | None) -> Path:
    """A run of one step over one tone, as training leaves it."""
    torch.manual_seed(0)
    model = AudioVAE(RATE, preset="tiny", latent=latent, model_size=4)
    samples = torch.from_numpy(tone(220, np.arange(4000) * 220 / RATE, RATE, "sawtooth")).float()[None]
    rows = model.num_rows(4000)
    clips = SoundClips(samples, torch.full((1, rows), 220.0), torch.full((1, rows), -20.0))

    def loss(model: AudioVAE, _: object) -> dict[str, Tensor]:
        return model.loss(clips, model(clips))

    config = FitConfig(steps=1, epochs=None, device="cpu", seed=0)
    Trainer(model, [samples], loss=loss, config=config, out=folder).fit()
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("runs") / "audio", "dirichlet")


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("runs") / "plain", None)


@pytest.fixture(scope="module")
def model() -> AudioVAE:
    torch.manual_seed(0)
    return AudioVAE(RATE, preset="tiny", model_size=4).eval()


def heard(path: Path) -> tuple[NDArray[np.float32], float, float]:
    """The samples of a file, and the middle of their pitch in Hz and of their loudness in dB."""
    samples, sample_rate = soundfile.read(path, dtype="float32")
    sound = torch.from_numpy(samples)[None]
    f0, loudness = track_f0(sound, sample_rate).f0.values, loudness_curve(sound, sample_rate).values
    return samples, float(f0.median()), float(loudness.median())


def play(run: Path, source: Path, *more: str) -> Path:
    out = source.with_name("out.wav")
    assert resynthesize.main([str(run), str(source), str(out), *more]) == 0
    return out


def test_a_recording_keeps_its_pitch_and_length(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = play(run, write_tone(tmp_path / "in.wav"))
    samples, f0, _ = heard(out)
    said = capsys.readouterr()
    assert said.out.startswith(f"{out}: 1.00 s at 16,000 Hz, peak 0.")
    assert said.err == ""
    assert samples.shape == (RATE,)
    assert abs(1200 * np.log2(f0 / 220)) < 5
    assert soundfile.info(out).subtype == "PCM_16"


@pytest.mark.parametrize("semitones", [12, -12, 7.5])
def test_transposing_moves_the_pitch(run: Path, tmp_path: Path, semitones: float) -> None:
    _, f0, _ = heard(play(run, write_tone(tmp_path / "in.wav"), "--transpose", str(semitones)))
    assert abs(1200 * np.log2(f0 / 220) - 100 * semitones) < 5


def test_loudness_is_added(run: Path, tmp_path: Path) -> None:
    source = write_tone(tmp_path / "in.wav", level=0.02)
    _, _, before = heard(play(run, source))
    _, _, after = heard(play(run, source, "--loudness", "6"))
    assert after - before == pytest.approx(6, abs=1.5)


def test_channels_are_averaged_and_other_rates_resampled(run: Path, tmp_path: Path) -> None:
    source = write_tone(tmp_path / "in.flac", sample_rate=44_100, channels=2)
    samples, f0, _ = heard(play(run, source, "--encoding", "float"))
    assert samples.shape == (RATE,)
    assert abs(1200 * np.log2(f0 / 220)) < 5
    assert soundfile.info(source.with_name("out.wav")).subtype == "FLOAT"


def test_a_sound_that_would_be_clipped_is_scaled_down_and_that_is_said(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples, _, _ = heard(play(run, write_tone(tmp_path / "in.wav"), "--loudness", "120"))
    assert "so that it is not clipped" in capsys.readouterr().out
    assert 0.99 < np.abs(samples).max() <= 1
    assert (np.abs(samples) > 0.9999).sum() < 4


def test_timbres_are_components_mixtures_and_recordings(run: Path, tmp_path: Path) -> None:
    source = write_tone(tmp_path / "in.wav")
    other = write_tone(tmp_path / "other.wav", 330)
    sounds = [
        play(run, source, *more).read_bytes()
        for more in (
            (),
            ("--timbre", "3"),
            ("--timbre", "1:2,3:2"),
            ("--timbre", "1:0.5, 3:.5"),
            ("--timbre", str(other)),
        )
    ]
    assert sounds[2] == sounds[3]
    assert len(set(sounds)) == 4


@pytest.mark.parametrize(
    ("timbre", "sentence"),
    [
        ("4", "there is no component 4; this model has 0 to 3."),
        ("1:0.5,1:0.5", "component 1 is named twice."),
        ("1:0", "the weight of component 1 is 0; it must be finite and above 0."),
        ("1:x", "'x' is not a number. Write 3, or 3:0.7,5:0.3."),
        ("flute", "flute: there is no such file. Name a recording."),
    ],
)
def test_a_timbre_that_is_not_there_is_one_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], timbre: str, sentence: str
) -> None:
    source = write_tone(tmp_path / "in.wav")
    assert resynthesize.main([str(run), str(source), str(tmp_path / "out.wav"), "--timbre", timbre]) == 2
    said = capsys.readouterr().err
    assert said.endswith(sentence + "\n")
    assert said.count("\n") == 1


def test_a_model_without_a_latent_plays_and_refuses_timbres(
    plain_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_tone(tmp_path / "in.wav")
    play(plain_run, source)
    capsys.readouterr()
    assert resynthesize.main([str(plain_run), str(source), str(tmp_path / "b.wav"), "--timbre", "1"]) == 2
    assert "has no latent, so it has one timbre only. Leave it out." in capsys.readouterr().err
    assert not (tmp_path / "b.wav").exists()


def test_mistakes_end_in_one_sentence(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = str(write_tone(tmp_path / "in.wav")), str(tmp_path / "out.wav")
    (tmp_path / "broken.wav").write_bytes(b"RIFF....WAVEfmt and no more")
    (tmp_path / "notes.wav").write_text("no recording")
    soundfile.write(tmp_path / "silent.wav", np.zeros(1000), RATE)
    soundfile.write(tmp_path / "enormous.wav", 1e25 * np.sin(np.arange(4000)), RATE, "FLOAT")
    soundfile.write(tmp_path / "nan.wav", np.full(1000, np.nan, np.float32), RATE, "FLOAT")
    for arguments, code, sentence in (
        (
            [str(tmp_path), source, out],
            2,
            f"{tmp_path}: holds no run. Name the folder of a run, such as runs/audio.",
        ),
        ([str(run), str(tmp_path / "no.wav"), out], 2, f"{tmp_path / 'no.wav'}: there is no such file."),
        ([str(run), source, source], 2, "is read, and would be overwritten. Name another file to write."),
        ([str(run), source, out, "--timbre", out], 2, "there is no such file"),
        (
            [str(run), source, str(tmp_path / "out.mp3")],
            2,
            "only WAV is written. Give it a name that ends with .wav.",
        ),
        ([str(run), source, str(tmp_path / "no" / "out.wav")], 2, "there is no such folder. Make it first."),
        ([str(run), str(tmp_path / "broken.wav"), out], 1, "broken.wav"),
        ([str(run), str(tmp_path / "notes.wav"), out], 1, "notes.wav"),
        ([str(run), str(tmp_path / "silent.wav"), out], 1, "is silent, so there is nothing to play."),
        ([str(run), str(tmp_path / "nan.wav"), out], 1, "holds samples that are not finite."),
        ([str(run), str(tmp_path / "enormous.wav"), out], 1, "enormous.wav: cannot be played: "),
        ([str(run), source, out, "--which", "7"], 1, "no checkpoint of step 7; there are: 1."),
        (
            [str(run), source, out, "--timbre", str(tmp_path / "silent.wav")],
            2,
            "nothing in it is louder than -55 dB",
        ),
    ):
        assert resynthesize.main(arguments) == code, arguments
        said = capsys.readouterr()
        assert sentence in said.err
        assert said.err.count("\n") == 1
        assert said.out == ""
    assert not list(tmp_path.glob("*out*"))


def test_a_run_of_another_type_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model: AutoEncoder = MLPVAE((1, 4, 4), model_size=2)
    config = FitConfig(steps=1, kl_warmup=0, device="cpu", seed=0)
    Trainer(model, [torch.ones(4, 1, 4, 4)], config=config, out=tmp_path / "run").fit()
    source = write_tone(tmp_path / "in.wav")
    assert resynthesize.main([str(tmp_path / "run"), str(source), str(tmp_path / "out.wav")]) == 2
    assert "is not a run of --type audio, but of a MLPVAE. Name another." in capsys.readouterr().err


@pytest.mark.parametrize(
    "more",
    [["--transpose", "high"], ["--loudness", "inf"], ["--encoding", "mp3"], ["--seed", "9" * 20], ["--seed", "-1"]],
)
def test_numbers_that_are_none_are_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        resynthesize.main([str(run), "in.wav", "out.wav", *more])
    assert capsys.readouterr().err.count("\n") == 1


def test_ctrl_c_leaves_nothing_behind(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr("dirvae.networks.audio.resynthesis.resynthesise", interrupted)
    source = write_tone(tmp_path / "in.wav")
    assert resynthesize.main([str(run), str(source), str(tmp_path / "out.wav")]) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


@pytest.mark.parametrize(("sample_rate", "control_rate"), [(16_000, 250), (22_050, 99.9), (44_100, 250)])
def test_rows_in_pieces_are_those_of_the_whole(sample_rate: int, control_rate: float) -> None:
    torch.manual_seed(0)
    model = AudioVAE(sample_rate, control_rate=control_rate, preset="tiny", encoder_harmonics=20).eval()
    samples = 0.1 * torch.randn(sample_rate)
    f0 = 200 + 20 * torch.randn(1, model.num_rows(sample_rate))
    with torch.no_grad():
        torch.testing.assert_close(encode_rows(model, samples), model.encode(samples[None]).mean[0])
        whole = model.encode(samples[None], f0=f0).mean[0]
    for rows_at_once in (37, 100):
        torch.testing.assert_close(
            encode_rows(model, samples, f0[0], rows_at_once=rows_at_once), whole, atol=1e-5, rtol=1e-5
        )


def test_what_is_played_is_the_reconstruction(model: AudioVAE) -> None:
    samples = torch.from_numpy(0.1 * tone(220, np.arange(9000) * 220 / RATE, RATE, "sawtooth")).float()
    sound = samples[None]
    f0, loudness = track_f0(sound, RATE).f0.values, loudness_curve(sound, RATE).values
    whole = model.reconstruct(SoundClips(sound, f0, loudness), seed=3).reconstruction
    torch.testing.assert_close(resynthesise(model, samples, seed=3)[None], whole, atol=1e-5, rtol=0)
    latent = encode_rows(model, samples)[None]
    played = play_rows(model, f0, loudness, latent, num_samples=9000, seed=3)
    torch.testing.assert_close(played, whole, atol=1e-5, rtol=0)


def test_a_timbre_lies_on_the_simplex(model: AudioVAE) -> None:
    assert mixed_timbre(model, {1: 3, 2: 1}).tolist() == [0, 0.75, 0.25, 0]
    assert mixed_timbre(model, {1: 1e-50}).tolist() == [0, 1, 0, 0]
    assert mixed_timbre(model, {1: 1e300, 2: 1e300}).tolist() == [0, 0.5, 0.5, 0]
    noise = torch.cat((0.1 * torch.randn(8000), torch.zeros(8000)))
    timbre = mean_timbre(model, noise)
    assert float(timbre.sum()) == pytest.approx(1, abs=1e-5)
    gaussian = AudioVAE(RATE, preset="tiny", latent="gaussian")
    with pytest.raises(ValueError, match="has a latent of the kind gaussian, whose components are not timbres"):
        mixed_timbre(gaussian, {1: 1})
    with pytest.raises(ValueError, match=r"timbre has shape \(3,\); it must be \(4,\)"):
        resynthesise(model, noise, timbre=torch.ones(3))
    with pytest.raises(ValueError, match="it has one timbre only"):
        resynthesise(AudioVAE(RATE, preset="tiny", latent=None), noise, timbre=torch.ones(8))
