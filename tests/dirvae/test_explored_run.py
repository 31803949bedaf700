"""A run that is explored: its own data in a fixed order, its latents, what they decode to, and files of one's own."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dirvae import Trainer, load_model
from dirvae.explore import EXPLORATIONS
from dirvae.networks import ResNetVAE
from dirvae.run.explored_run import open_explored_run
from dirvae.run.uploads import MOST_UPLOAD_BYTES, UploadError
from dirvae.train import main as train
from dirvae.training import CheckpointError, ConfigError, FitConfig
from pipelines import ImageIterator
from pipelines.decode.audio.wav_writing import encode_wav
from pipelines.samples.scenes import make_sample_data

SMALL = ["--size", "16", "--batch-size", "8", "--model-size", "4", "--threads", "1", "--steps", "2"]

pytestmark = pytest.mark.usefixtures("quick_reports")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 scenes in `images`, and runs over them: `plain`, `both` (two levels), `gaussian`."""
    found = tmp_path_factory.mktemp("explored")
    make_sample_data(found / "images", num=40, size=24)
    for name, options in {"plain": [], "both": ["--levels", "both"], "gaussian": ["--latent", "gaussian"]}.items():
        arguments = [*SMALL, *options, "--data", str(found / "images"), "--held-out", "0.25"]
        assert train([*arguments, "--out", str(found / name)]) == 0
    return found


def originals(home: Path) -> dict[str, torch.Tensor]:
    """The pictures by key, as the iterator of the run would have them."""
    images = ImageIterator(home / "images", size=16, batch_size=1, threads=1)
    return {batch.keys[0]: torch.from_numpy(np.array(batch.data)) for batch in images}


def test_its_examples_are_those_held_out_first_then_those_of_the_training_in_an_order_that_stays(
    home: Path,
) -> None:
    run, again = (open_explored_run(home / "plain") for _ in range(2))
    assert (run.kind, run.name, run.step, run.model_size, run.on_simplex) == ("image", "plain", 2, 4, True)
    assert sorted(run.keys) == sorted(originals(home))
    assert run.num_held_out == 10
    assert run.keys == again.keys
    assert torch.equal(run.latents, again.latents)
    few = open_explored_run(home / "plain", most=13)
    assert few.keys == run.keys[:13]
    assert few.num_held_out == 10
    torch.testing.assert_close(few.latents, run.latents[:13])


def test_its_latents_are_the_means_of_the_posteriors_and_decode_as_the_model_does(home: Path) -> None:
    run, model, pictures = open_explored_run(home / "plain"), load_model(home / "plain"), originals(home)
    x = torch.cat([pictures[key] for key in run.keys]).float() / 255
    with torch.no_grad():
        posterior = model.encode(x)
        decoded = model.decode(posterior.mean[:3])
    torch.testing.assert_close(run.latents, posterior.mean, rtol=0, atol=1e-5)
    assert run.concentrations is not None
    torch.testing.assert_close(run.concentrations, posterior.parameters["concentration"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(run.concentrations / run.concentrations.sum(1, keepdim=True), run.latents)
    shown = run.decode(run.latents[:3]).pictures
    assert shown is not None
    assert np.abs(shown - 255 * decoded.clamp(0, 1).permute(0, 2, 3, 1).numpy()).max() <= 1
    original = run.original(4).pictures
    assert original is not None
    np.testing.assert_array_equal(original[0], pictures[run.keys[4]][0].permute(1, 2, 0))
    assert run.thumbnail(4).shape == (16, 16, 3)
    with pytest.raises(ValueError, match=r"latents have shape \(2, 3\); they must be \(num, 4\)"):
        run.decode(torch.ones(2, 3))


def test_two_levels_are_decoded_with_the_map_of_the_example_that_is_named(home: Path) -> None:
    run, model, pictures = open_explored_run(home / "both"), load_model(home / "both"), originals(home)
    assert run.context_name == "map"
    x = torch.cat([pictures[key] for key in run.keys[:2]]).float() / 255
    with torch.no_grad():
        levels = model.encode_levels(x)
        swapped = model.decode(levels.vector.mean[:1], levels.map.mean[1:])
    shown = run.decode(run.latents[:1], context=1).pictures
    assert shown is not None
    assert np.abs(shown - 255 * swapped.clamp(0, 1).permute(0, 2, 3, 1).numpy()).max() <= 1
    by_context = run.decode(run.latents[:1], run.context(1)).pictures
    np.testing.assert_array_equal(by_context, shown)
    np.testing.assert_array_equal(
        run.decode(run.latents[:1]).pictures, run.decode(run.latents[:1], run.typical).pictures
    )
    sheet = EXPLORATIONS["interpolate"].run(run, keys=run.keys[:2], num=3)
    cells = run.cells(sheet)
    assert len(cells) == 6
    with torch.no_grad():
        ends = model.reconstruct(x).clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255
    assert np.abs(cells[0].values[0] - ends[0]).max() <= 1  # ends meet ends: the first with its own map,
    assert np.abs(cells[5].values[0] - ends[1]).max() <= 1  # the second with its own


def test_a_gaussian_run_has_no_concentrations_and_is_not_on_the_simplex(home: Path) -> None:
    run = open_explored_run(home / "gaussian")
    assert (run.concentrations, run.on_simplex, run.context_name) == (None, False, "")


def test_a_run_from_python_is_explored_alike(home: Path, tmp_path: Path) -> None:
    images = ImageIterator(home / "images", size=16, batch_size=8, shuffle=True, seed=0, threads=1)
    model = ResNetVAE(size=16, model_size=4, preset="tiny")
    Trainer(model, images, config=FitConfig(steps=2, kl_warmup=0), out=tmp_path / "run").fit()
    run = open_explored_run(tmp_path / "run", most=9)
    assert (len(run.keys), run.num_held_out, run.latents.shape) == (9, 0, (9, 4))


def test_data_that_is_gone_is_said_with_its_remedy_and_found_elsewhere(home: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    moved = tmp_path / "images"
    make_sample_data(moved, num=12, size=24)
    assert train([*SMALL, "--data", str(moved), "--held-out", "0.25", "--out", str(run)]) == 0
    moved.rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"images.*Name where the data is now with --source"):
        open_explored_run(run)
    assert len(open_explored_run(run, source=str(tmp_path / "elsewhere")).keys) == 12
    with pytest.raises(CheckpointError, match="no checkpoint of step 7; there are: 2"):
        open_explored_run(run, checkpoint=7)
    with pytest.raises(ConfigError, match="most is 0"):
        open_explored_run(run, most=0)


def png(width: int, height: int, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height), 90).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_picture_of_ones_own_has_the_latent_that_the_run_gives_it(home: Path) -> None:
    run = open_explored_run(home / "both")
    file = next((home / "images").glob(f"{run.keys[3]}.*g"))
    latent, concentration, context = run.encode(file.read_bytes(), file.name)
    torch.testing.assert_close(latent, run.latents[3], rtol=0, atol=1e-5)
    assert concentration is not None
    assert run.concentrations is not None
    torch.testing.assert_close(concentration, run.concentrations[3], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(context.original.values, run.original(3).values)
    np.testing.assert_array_equal(run.decode(latent[None], context).values, run.decode(run.latents[3:4], 3).values)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", r"an empty file\. Give an image\."),
        (b"<script>alert(1)</script>", r"does not begin like one\. Give an image\."),
        (png(40, 30)[:60], "cannot be decoded"),
        (png(9000, 9000, "1"), r"9,000 × 9,000 pixels are more than the 33,554,432 allowed\. Give another"),
        (b"\x89PNG\r\n\x1a\n" + bytes(MOST_UPLOAD_BYTES), r"has 67,108,872 bytes; up to 67,108,864 are taken"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "cannot be decoded"),
    ],
    ids=["empty", "script", "cut", "bomb", "large", "rubbish"],
)
def test_what_is_no_picture_is_refused_in_one_sentence(home: Path, content: bytes, sentence: str) -> None:
    run = open_explored_run(home / "plain", most=8)
    with pytest.raises(UploadError, match=sentence) as caught:
        run.encode(content, "../../etc/\x1b[31m<b>.png")
    text = str(caught.value)
    assert "\n" not in text
    assert "\x1b" not in text
    assert "etc" not in text
    assert "dirvae-upload" not in text


def sounds_of(folder: Path) -> Path:
    """Shards of six tones with their curves."""
    from tools.make_shards import main as pack

    folder.mkdir()
    time = np.arange(8000) / 8000
    for number in range(6):
        tone = (0.4 * np.sin(2 * np.pi * (200 + 40 * number) * time)).astype(np.float32)
        (folder / f"tone-{number}.wav").write_bytes(encode_wav(tone[:, None], 8000, "s16"))
    assert pack([str(folder), "--features", "f0,loudness", "--out", str(folder.parent / "shards")]) == 0
    return folder.parent / "shards"


def test_sounds_have_one_latent_each_and_play_with_the_pitch_of_an_example(tmp_path: Path) -> None:
    shards = sounds_of(tmp_path / "sounds")
    arguments = [
        "--type",
        "audio",
        "--shards",
        str(shards),
        "--preset",
        "tiny",
        "--model-size",
        "3",
        "--steps",
        "1",
    ]
    arguments += ["--clip-seconds", "0.5", "--batch-size", "2", "--num-bands", "9", "--held-out", "0.34"]
    assert train([*arguments, "--threads", "1", "--out", str(tmp_path / "run")]) == 0
    run = open_explored_run(tmp_path / "run")
    assert (run.kind, run.context_name, run.latents.shape) == ("audio", "pitch and loudness", (12, 3))
    assert run.concentrations is not None
    torch.testing.assert_close(run.concentrations / run.concentrations.sum(1, keepdim=True), run.latents)
    played = run.decode(torch.eye(3), context=2)
    assert played.sample_rate == 8000
    assert played.values.shape == (3, 4000)
    np.testing.assert_array_equal(run.decode(torch.eye(3)[1:2], context=2).values, played.values[1:2])
    assert run.thumbnail(0).shape == (96, 96, 3)
    file = (tmp_path / "sounds" / "tone-2.wav").read_bytes()
    latent, _, context = run.encode(file, "tone.wav")
    torch.testing.assert_close(latent, run.latents[run.keys.index("tone-2@0")], rtol=0, atol=0.02)
    assert run.decode(latent[None], context).values.shape == (1, 4000)
    silence = encode_wav(np.zeros((100, 1), np.float32), 8000, "s16")
    for content, sentence in (
        (silence, "its beginning is silent"),
        (file[:20], "does not begin|cannot be decoded"),
    ):
        with pytest.raises(UploadError, match=sentence):
            run.encode(content, "x.wav")
