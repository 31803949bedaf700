"""`--type video`: what a person types, what comes of it, what its report shows, and that it resumes exactly."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dirvae import load_model
from dirvae.evaluate.__main__ import main as evaluate
from dirvae.run.config import RunConfig
from dirvae.run.shard_sets import ShardSet, choose_set
from dirvae.run.train_flags import train_parser
from dirvae.tasks import find_task
from dirvae.tasks.data import first_examples, open_data
from dirvae.tasks.seen_data import count_seen
from dirvae.tasks.video import VideoData
from dirvae.train import flag_settings, main
from dirvae.training import ConfigError
from pipelines import make_shards
from tests.dirvae.moving_shapes import write_videos
from tests.dirvae.trained_runs import kill_training, weights

pytest.importorskip("av", reason="clips of videos are read by PyAV: pip install av")

SMALL = [
    *("--type", "video", "--size", "16", "--clip-frames", "6", "--batch-size", "4", "--model-size", "4"),
    *("--device", "cpu", "--threads", "1", "--precision", "fp32", "--held-out", "0.25"),
]
SHORT = [*SMALL, "--steps", "3", "--log-every", "1"]


pytestmark = pytest.mark.usefixtures("quick_reports")


def cache_of(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One for all tests here."""
    return str(tmp_path_factory.getbasetemp() / "cache of videos")


@pytest.fixture(autouse=True)
def _videos_are_measured_once(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("DIRVAE_CACHE", cache_of(tmp_path_factory))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight videos of 20 frames: three clips of six each, two frames are left."""
    return write_videos(tmp_path_factory.mktemp("videos"), 8, frames=20, size=24, coloured=False)


@pytest.fixture
def home(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with videos where the program looks for them."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "video").symlink_to(videos)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps in a working directory with the videos, and what it said in `said.txt`."""
    home = tmp_path_factory.mktemp("trained")
    (home / "data").mkdir()
    (home / "data" / "video").symlink_to(videos)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        patch.chdir(home)
        patch.setenv("DIRVAE_CACHE", cache_of(tmp_path_factory))
        assert main(SHORT) == 0
    (home / "said.txt").write_text(said.getvalue(), "utf-8")
    return home / "runs" / "video"


def data_of(videos: Path, **settings: Any) -> Any:
    data = VideoData(source=str(videos), size=16, clip_frames=6, batch_size=4, threads=1, held_out=0.25, **settings)
    return open_data(find_task("video").open_iterator, data, modality="video", seed=0)


def test_a_run_says_what_it_trains_on_and_leaves_what_every_run_leaves(trained: Path) -> None:
    run, out = trained, (trained.parents[1] / "said.txt").read_text("utf-8")
    assert out.startswith("runs/video: 6 videos (18 clips) to train on, 2 held out; ")
    assert out.splitlines()[-1] == "report: runs/video/report.html"
    content = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert content >= {
        *("config.json", "metrics.jsonl", "summary.json", "report.html", "checkpoints/00000003/model.safetensors"),
        *(f"pictures/{name}.png" for name in ("training", "reconstructions", "samples", "components", "traversal")),
    }
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    assert (summary["data"]["training_examples"], summary["data"]["training_clips"]) == (6, 18)
    found = summary["evaluation"]
    assert found["examples"] == 6
    assert found["psnr_gain_db"] == pytest.approx(found["psnr_db"] - found["mean_clip_psnr_db"])
    assert found["bound"] == pytest.approx(-found["reconstruction"] - found["kl"])
    assert found["motion_explained"] <= 1
    with torch.no_grad():
        assert load_model(run).sample(2).shape == (2, 3, 6, 16, 16)


def test_clips_of_training_begin_anywhere_and_are_mirrored_the_others_are_the_same_every_time(videos: Path) -> None:
    data = data_of(videos, flip=True)
    try:
        begun = [[int(key.partition("@")[2]) for batch in data.batches for key in batch.keys] for _ in range(2)]
        assert [len(keys) for keys in begun] == [18, 18]
        assert begun[0] != begun[1]
        assert not set(begun[0]) <= {0, 6, 12}
        for part in (data.training, data.held_out):
            once, again = (first_examples(part, 100, fields=("pts_seconds",)) for _ in range(2))
            assert once.keys == again.keys
            assert torch.equal(once.data, again.data)
            assert {int(key.partition("@")[2]) for key in once.keys} == {0, 6, 12}
            assert once.data.shape[1:] == (3, 6, 16, 16)
            np.testing.assert_allclose(np.diff(once.fields["pts_seconds"]), 0.1, atol=1e-6)
        assert len({key.partition("@")[0] for key in first_examples(data.held_out, 3).keys}) == 2
        mirrored = first_examples(data.batches, 18).data, first_examples(data.training, 18).data
    finally:
        data.close()
    plain = data_of(videos)
    try:
        upright = first_examples(plain.batches, 18).data, first_examples(plain.training, 18).data
    finally:
        plain.close()
    assert not torch.equal(mirrored[0], upright[0])
    assert torch.equal(mirrored[1], upright[1])


def test_a_killed_run_is_resumed_and_ends_bit_identically(home: Path) -> None:
    long = [*SMALL, "--steps", "10", "--save-every", "3", "--log-every", "1", "--flip", "--resume"]
    assert main([*long, "--out", "undisturbed"]) == 0
    steps = kill_training(long, Path("killed"), at_step=5)
    assert steps
    assert steps[-1] < 10
    assert main([*long, "--out", "killed"]) == 0
    assert weights(Path("killed")) == weights(Path("undisturbed"))


def embedded(page: str, kind: str) -> dict[str, Image.Image]:
    """The images of a page that are of a kind, by their alternative texts."""
    found = re.findall(rf'<img[^>]* src="data:image/{kind};base64,([^"]*)" alt="([^"]*)"', page)
    return {text: Image.open(io.BytesIO(base64.b64decode(content))) for content, text in found}


def test_the_report_shows_film_strips_of_held_out_clips_beside_their_reconstructions(
    trained: Path, videos: Path
) -> None:
    page = (trained / "report.html").read_text("utf-8")
    strips, moving = embedded(page, "png"), embedded(page, "webp")
    names = [f"Film strip of {of}clip {number}" for number in range(1, 7) for of in ("", "the reconstruction of ")]
    names += [f"Step between two clips {number}, film strip" for number in range(1, 6)]
    names += [
        f"{what} {number}, film strip"
        for what in ("Sample from the prior", "Sample from the fitted prior", "Training clip")
        for number in range(1, 5)
    ]
    assert list(strips) == names
    assert {strip.size for strip in strips.values()} == {(6 * 16 + 5, 16)}
    pairs = [image for name, image in moving.items() if name.endswith("above its reconstruction, moving")]
    assert [(pair.size, pair.n_frames) for pair in pairs] == [((16, 33), 6)] * 6  # type: ignore[attr-defined]
    assert len(moving) == 6 + 5 + 2 * 4 + 4 + 4 + 4
    data = data_of(videos)
    try:
        first = first_examples(data.held_out, 6)
    finally:
        data.close()
    for number, (key, clip) in enumerate(zip(first.keys, first.data, strict=True), start=1):
        assert f"<b>{key}</b>" in page
        pixels = np.asarray(strips[f"Film strip of clip {number}"])
        frames = [pixels[:, at : at + 16, :3] for at in range(0, pixels.shape[1], 17)]
        np.testing.assert_array_equal(np.stack(frames), (clip * 255).round().byte().permute(1, 2, 3, 0).numpy())
    text = " ".join(page.split())
    assert "trained for 3 steps on 18 clips of 6 frames of 16 × 16 pixels, from 6 videos." in text
    assert "nats per clip" in page
    assert "image" not in re.sub(
        r'data:image/|role="img"', "", re.sub(r"<style>.*?</style>|<svg.*?</svg>", "", page, flags=re.S)
    )


def test_a_run_that_holds_nothing_out_shows_clips_of_training(home: Path) -> None:
    assert main([*SMALL, "--epochs", "1", "--held-out", "0", "--every", "2", "--grid", "4"]) == 0
    page = Path("runs/video/report.html").read_text("utf-8")
    assert "Training clips and their reconstructions" in page
    assert "in each cell of a 3 × 4 × 4 map" in page
    summary = json.loads(Path("runs/video/summary.json").read_text("utf-8"))
    assert (summary["step"], summary["data"]["training_clips"], summary["evaluation"]) == (2, 8, None)


def test_a_run_is_evaluated_on_its_held_out_clips(
    trained: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert evaluate([str(trained), "--samples", "2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("step 3, 6 clips held out\n")
    assert "the median of the clips" in out
    assert "note: clips of one video are alike" in out
    assert evaluate([str(trained), "--samples", "2", "--limit", "2"]) == 0
    assert json.loads((trained / "evaluation.json").read_text("utf-8"))["examples"] == 2


def test_videos_of_training_do_not_pass_for_held_out(
    trained: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_videos(home / "others", 8, frames=20, size=24, seed=1)
    assert evaluate([str(trained), "--source", "others"]) == 1
    assert "holds other data than the 18 examples" in capsys.readouterr().err
    other_clips = [*SMALL, "--steps", "1", "--every", "2", "--init-from", str(trained)]
    assert main([*other_clips, "--out", "same"]) == 0
    assert "may have trained on" not in capsys.readouterr().err, "other clips, but of the same videos"
    assert main([*other_clips, "--seed", "1", "--out", "other"]) == 0
    assert "may have trained on videos that are held out here" in capsys.readouterr().err


def test_shards_that_grew_are_measured_as_they_were(
    home: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_shards("data/video", "shards/video", workers=0)
    assert main([*SMALL, "--steps", "1", "--shards"]) == 0
    assert evaluate(["runs/video", "--samples", "1"]) == 0
    before = json.loads(Path("runs/video/evaluation.json").read_text("utf-8"))
    write_videos(home / "more", 10, frames=20, size=24, coloured=False)
    make_shards("more", "shards/video", workers=0, append=True)
    assert evaluate(["runs/video", "--samples", "1"]) == 0
    after = json.loads(Path("runs/video/evaluation.json").read_text("utf-8"))
    assert "note: 2 examples were appended" in capsys.readouterr().out
    assert {**after, "notes": None} == {**before, "notes": None}
    assert after["examples"] == 6


def test_what_was_seen_is_counted_in_videos_and_by_whole_shards() -> None:
    class Videos:
        shard_counts = np.array([4, 0, 6, 5])

        def __len__(self) -> int:
            return 15

        def prefix_hash(self, num: int) -> str | None:
            return f"hash of {num}" if num in (4, 10, 15) else None

    def seen(**state: Any) -> int | None:
        return count_seen(Videos(), state)

    assert seen(examples=40, data_hash="hash of 15", clips={"kind": "video"}) == 15
    assert seen(examples=15, data_hash="hash of 10", clips={"kind": "video"}) == 10
    assert seen(examples=10, data_hash="hash of 10", clips=None) == 10
    assert seen(examples=15, data_hash="hash of 10", clips=None) is None
    assert seen(examples=15, data_hash="another", clips={"kind": "video"}) is None
    assert seen(examples=15) is None
    assert count_seen(Videos(), None) is None


def test_shards_of_videos_are_found_by_the_type(home: Path) -> None:
    sets = [ShardSet(Path("shards") / name, name, 3) for name in ("image", "video")]
    assert choose_set(sets, Path("shards"), "video").path == Path("shards/video")
    with pytest.raises(ConfigError, match=r"make_shards\.py data/video"):
        choose_set([], Path("shards"), "video")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"clip_frames": 0}, "clip_frames is 0"),
        ({"every": 1.5}, "every is 1.5"),
        ({"fps": 0}, "fps is 0; it must be None or a finite number > 0"),
        ({"fps": 10, "every": 2}, "left out where every is above 1"),
        ({"size": 0}, "size is 0"),
        ({"grid": 0}, "grid is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        RunConfig.of("video", settings)


def test_bad_input_ends_in_one_sentence(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "empty").mkdir()
    for extra, sentence in (
        (["--size", "34"], "frames of 34 pixels cannot be halved"),
        (["--clip-frames", "40"], "as long as a .* of 40 frames"),
        (["--data", "empty"], "no video files in it"),
        (["--max-pixels", "100"], "100"),
        (["--fps", "nan"], "fps is nan"),
    ):
        assert main([*SHORT, *extra]) == 1, extra
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1, err
        assert re.search(sentence, err), err
    monkeypatch.setitem(sys.modules, "av", None)
    assert main(SHORT) == 1
    assert capsys.readouterr().err == "error: videos need PyAV: pip install av.\n"


EVERY_FLAG = """
    --shards s --out o --resume --init-from r --size 32 --batch-size 2 --flip --held-out 0.5 --on-error substitute
    --cache-bytes 3G --shuffle-shards 4
    --max-pixels 1000 --threads 3 --preset small --model-size 7 --grid 2 --latent gaussian --prior 3
    --levels both --map-size 9 --map-dropped 0.4 --clip-frames 5
    --likelihood laplace --fixed-scale 0.2 --steps 9 --epochs 8 --learning-rate 0.1 --learning-rate-warmup 4
    --schedule linear --cooldown 0 --ema 0.9 --patience 4 --kl-weight 2
    --kl-warmup 5 --kl-cycle 7 --free-nats 3
    --accumulate 2 --compile --checkpoint-activations --save-in-background
    --tensorboard --clip 6 --precision bf16 --device cpu
    --seed 12 --save-every 13 --log-every 14 --keep 15 --label shape
"""


@pytest.mark.parametrize("pace", ["--every 2", "--fps 12.5"])
def test_every_flag_is_a_setting_or_handled_by_name(pace: str) -> None:
    given = vars(train_parser(find_task("video")).parse_args(f"{EVERY_FLAG} {pace}".split()))
    assert (given.pop("out"), given.pop("resume")) == (Path("o"), True)
    config = RunConfig.of("video", flag_settings(given)).settings()
    default = RunConfig.of("video", {}).settings()
    same = [name for name, value in config.items() if value == default[name]]
    assert same == ["fps" if pace.startswith("--every") else "every"]
