"""The report of clips, and what it is made of: strips, animations, and the share of the motion that is reproduced."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from dirvae import VideoVAE
from dirvae.drawing.film import (
    animation_uri,
    clip_pixels,
    film_strip,
    frame_milliseconds,
    shown_frames,
    strip_ratio,
    strip_uri,
)
from dirvae.evaluate.motion import evaluate_clips
from dirvae.report import ClipReportContent, Clips, write_clip_report
from dirvae.training.feed import to_device
from dirvae.training.logging import MetricsFile
from tests.dirvae.moving_shapes import draw_clips
from tests.dirvae.sealed_pages import check_sealed

HOSTILE = "<script>alert('x')</script>\"&"


def clips_of(num: int, *, frames: int = 5, seed: int = 0) -> Clips:
    data = to_device(draw_clips(num, frames=frames, size=8, seed=seed), torch.device("cpu"))
    return Clips(data, [f"{HOSTILE}@{number}" for number in range(num)], [[0.1 * n for n in range(frames)]] * num)


def write(run: Path, *, frames: int = 5, **evaluation: Any) -> str:
    numbers = {"bound": -1.5, "psnr_db": 21.34, "psnr_gain_db": 6.06, "components_in_use": 5, "model_size": 6}
    content = ClipReportContent(
        training=clips_of(2, frames=frames),
        held_out=clips_of(9, frames=frames, seed=1),
        data={"training_examples": 1, "training_clips": 12, "source": HOSTILE},
        config={"latent": "dirichlet", "model_size": 6, "size": 8, "clip_frames": frames, "source": HOSTILE},
        summary={"step": 4, "total_steps": 4, "parameters": 7, "evaluation": {**numbers, **evaluation}},
    )
    model = VideoVAE(8, clip_frames=frames, model_size=6)
    return write_clip_report(run, model, content, seed=0).read_text("utf-8")


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


@pytest.mark.parametrize(
    ("frames", "shown"),
    [(1, [0]), (3, [0, 1, 2]), (8, list(range(8))), (15, list(range(0, 15, 2))), (16, [0, 2, 4, 6, 9, 11, 13, 15])],
)
def test_up_to_eight_frames_are_shown_the_first_and_the_last_among_them(frames: int, shown: list[int]) -> None:
    assert shown_frames(frames) == shown


def test_a_strip_holds_the_shown_frames_with_transparent_gaps() -> None:
    clip = np.ascontiguousarray(draw_clips(1, frames=15, size=6)[0].transpose(1, 2, 3, 0))
    strip = film_strip(clip)
    assert strip.shape == (6, 8 * 6 + 7, 4)
    assert strip_ratio(clip) == 55 / 6
    np.testing.assert_array_equal(strip[:, 7:13, :3], clip[2])
    np.testing.assert_array_equal(strip[:, -6:, :3], clip[14])
    assert (strip[:, :6, 3] == 255).all()
    assert (strip[:, 6:7, 3] == 0).all()
    np.testing.assert_array_equal(np.asarray(opened(strip_uri(clip))), strip)
    assert opened(strip_uri(np.zeros((3, 256, 256, 3), np.uint8))).size == (3 * 128 + 2 * 8, 128)


def test_an_animation_plays_clips_in_step_and_again_and_again() -> None:
    above, below = (np.empty((4, 16, 16, 3), np.uint8) for _ in range(2))
    for number, pair in enumerate(zip(above, below, strict=True)):
        pair[0][:], pair[1][:] = 40 + 40 * number, 200 - 40 * number
    image = opened(animation_uri([above, below], milliseconds=70))
    assert (image.size, image.n_frames, image.info["loop"]) == ((16, 33), 4, 0)  # type: ignore[attr-defined]
    frames = [np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(image)]
    levels = [[int(frame[place, 8, 0]) for place in (8, 25)] for frame in frames]
    np.testing.assert_allclose(levels, [[40, 200], [80, 160], [120, 120], [160, 80]], atol=12)
    assert frames[0][16, 8, 3] == 0
    shown = []
    for number in range(4):
        image.seek(number)
        image.load()
        shown.append(image.info["duration"])
    assert shown == [70, 70, 70, 570]


@pytest.mark.parametrize(
    ("seconds", "expected"), [([0.0], 100), ([1.0, 1.04, 1.08], 40), ([0.0, 0.001], 20), ([0.0, 9.0], 500)]
)
def test_an_animation_has_the_pace_of_the_video_within_limits(seconds: list[float], expected: int) -> None:
    assert frame_milliseconds(seconds) == expected


def test_pixels_of_clips_have_their_frames_in_order() -> None:
    clips = draw_clips(2, frames=3, size=4)
    np.testing.assert_array_equal(
        clip_pixels(to_device(clips, torch.device("cpu"))), clips.transpose(0, 2, 3, 4, 1)
    )


@pytest.mark.parametrize("frames", [1, 5, 11])
def test_the_page_needs_nothing_but_itself_and_escapes_what_comes_from_outside(tmp_path: Path, frames: int) -> None:
    page = write(tmp_path, frames=frames)
    assert HOSTILE not in page
    check_sealed(page)
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&#34;&amp;@3" in page
    assert page.count(' src="') == page.count(' src="data:image/')
    assert page.count("href=") == page.count(' href="data:image/') + page.count('href="#edge-sheet"')
    assert page.count(' href="data:image/') == 6 + 1, "the corners of the simplex, and the sheet of the edges"
    assert "from 1 video." in page
    sizes = {}
    for name in ("reconstructions", "samples"):
        with Image.open(tmp_path / "pictures" / f"{name}.png") as sheet:
            sizes[name] = sheet.size
    width = min(frames, 8) * 12 - 4
    assert sizes == {"reconstructions": (width, 12 * 12 - 4), "samples": (width, 4 * 12 - 4)}


def test_motion_is_shown_as_a_share_and_as_a_curve_and_left_out_where_nothing_moves(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    metrics.append("held_out", 4, {"bound": 1.0, "psnr_db": 9.0, "mean_clip_psnr_db": 8.0, "motion_explained": 0.4})
    page = write(tmp_path, motion_explained=0.414)
    assert "<b>41 %</b><span>of the motion reproduced</span>" in page
    assert "Held-out motion reproduced, %" in page
    assert "mean clip" in page
    assert "<b>−7 %</b>" in write(tmp_path / "without", motion_explained=-0.07)
    assert "<b>–</b><span>of the motion reproduced</span>" in write(tmp_path / "without", motion_explained=None)
    assert "of the motion reproduced" not in write(tmp_path / "without")


class Answer(torch.nn.Module):
    """Stands for a model: what it decodes is a function of what it was given."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer, self.weight = answer, torch.nn.Parameter(torch.zeros(1))
        self.likelihood = SimpleNamespace(is_density_of=lambda x: True)

    def forward(self, x: Tensor) -> Any:
        return SimpleNamespace(posterior=SimpleNamespace(mean=x))

    def decode(self, x: Tensor) -> Tensor:
        decoded: Tensor = self.answer(x)
        return decoded

    def loss(self, x: Tensor, out: Any) -> dict[str, Tensor]:
        return {"reconstruction": torch.zeros(()), "kl": torch.zeros(())}


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        (lambda x: x, 1.0),
        (lambda x: x.mean(2, keepdim=True).expand_as(x), 0.0),
        (lambda x: torch.full_like(x, 0.3), 0.0),
        (lambda x: x.mean(2, keepdim=True) + 0.5 * (x - x.mean(2, keepdim=True)), 0.75),
        (lambda x: 0.5 * x + 0.2, 0.75),
    ],
)
def test_a_still_reproduces_no_motion_and_half_of_it_three_quarters(answer: Any, share: float) -> None:
    batches = [SimpleNamespace(data=draw_clips(num, frames=6, size=8, seed=num)) for num in (3, 5)]
    evaluate = evaluate_clips(batches, mean=torch.zeros(3, 6, 8, 8), seed=0, limit=7)
    numbers = evaluate(Answer(answer))  # type: ignore[arg-type]
    assert numbers["motion_explained"] == pytest.approx(share, abs=1e-6)
    assert numbers["examples"] == 7
    assert "mean_clip_psnr_db" in numbers
    assert "motion" not in numbers


def test_where_nothing_moves_no_motion_is_explained() -> None:
    batches = [SimpleNamespace(data=np.full((2, 3, 4, 8, 8), 70, np.uint8))]
    evaluate = evaluate_clips(batches, mean=torch.zeros(3, 4, 8, 8), seed=0, limit=7)
    assert "motion_explained" not in evaluate(Answer(lambda x: x))  # type: ignore[arg-type]
