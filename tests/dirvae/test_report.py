"""The report: one file that needs nothing else, escapes what it shows, and pictures that show what they say."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dirvae.autoencoder import AutoEncoder
from dirvae.drawing.curves import Curve, Panel, draw_panel, run_panels
from dirvae.drawing.pictures import data_uri, save_sheet, to_pixels
from dirvae.evaluate.held_out import HeldOut, mean_example
from dirvae.evaluate.labels import Label
from dirvae.losses import make_likelihood
from dirvae.report import ReportContent, write_report
from dirvae.report.gallery import make_gallery
from dirvae.training.logging import MetricsFile, read_metrics
from tests.dirvae.sealed_pages import check_sealed

HOSTILE = "<script>alert('x')</script>\"&"


class Batch:
    def __init__(self, data, mask=None):
        self.data, self.mask = data, mask


def make_model(latent: str = "dirichlet", size: int = 6) -> AutoEncoder:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, size))
    decoder = nn.Sequential(nn.Linear(size, 3 * 8 * 8), nn.Unflatten(1, (3, 8, 8)))
    return AutoEncoder(encoder, decoder, size, latent=latent)


def make_images(num: int = 15) -> torch.Tensor:
    return torch.rand(num, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def make_content(**changes) -> ReportContent:
    evaluation = {
        "bound": -1234.6,
        "psnr_db": 21.34,
        "psnr_gain_db": 6.06,
        "components_in_use": 5,
        "model_size": 6,
    }
    summary = {"step": 40, "total_steps": 40, "parameters": 1234567, "evaluation": evaluation}
    config = {"latent": "dirichlet", "model_size": 6, "grid": None, "size": 8, "source": HOSTILE}
    data = {"training_examples": 100, "source": HOSTILE, "data_hash": "abc123"}
    values = {
        "training": make_images(5),
        "held_out": make_images(),
        "data": data,
        "config": config,
        "summary": summary,
    }
    return ReportContent(**{**values, **changes})


def write_metrics(run: Path, num: int = 30) -> None:
    metrics = MetricsFile(run / "metrics.jsonl")
    for step in range(1, num + 1):
        speed = {"examples_per_second": 100.0 + step, "wait_share": 0.1}
        metrics.append("train", step, {"loss": 1000.0 / step, "kl": float(step), "kl_weight": step / num, **speed})
    metrics.append("held_out", num, {"bound": -40.0, "kl": 3.0, "psnr_db": 20.0, "mean_image_psnr_db": 14.0})


class Page(HTMLParser):
    """What a browser would find: tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br", "link", "use", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        self.text += data if self.open and self.open[-1] not in ("style", "script") else ""


@pytest.fixture
def page(tmp_path) -> Page:
    write_metrics(tmp_path)
    return Page(write_report(tmp_path, make_model(), make_content(), seed=0).read_text())


def test_the_page_needs_nothing_but_itself(page, tmp_path):
    check_sealed((tmp_path / "report.html").read_text())


def test_every_image_has_an_alternative_text_and_decodes(page):
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 2 * 12 + 9 + 2 * 6 + 24 + 5, "pairs, traversal, components, samples, training"
    assert all(attributes["alt"] for attributes in images)
    for attributes in images:
        content = base64.b64decode(attributes["src"].partition(",")[2], validate=True)
        assert Image.open(io.BytesIO(content)).size == (8, 8)


def test_what_comes_from_outside_is_escaped(page, tmp_path):
    text = (tmp_path / "report.html").read_text()
    assert HOSTILE not in text
    assert page.text.count(HOSTILE) == 2


def test_keys_and_labels_from_outside_are_escaped(tmp_path):
    label = Label(HOSTILE, [HOSTILE, True, None] * 5, is_category=False)
    content = make_content(keys=[HOSTILE] * 15, label=label)
    text = write_report(tmp_path, make_model(), content, seed=0).read_text()
    check_sealed(text)
    page = " ".join(Page(text).text.split())
    assert f"Coloured by the factor {HOSTILE}" in page
    assert f"{HOSTILE} (5)" in page
    assert "The colours are those of the map below" in page


def test_the_page_tells_the_numbers(page):
    text = " ".join(page.text.split())
    for expected in ("21.3 dB", "+6.1 dB", "5 / 6", "−1,235", "1,234,567", "abc123", "trained for 40 steps on 100"):
        assert expected in text, expected


def test_curves_are_inline_and_take_the_page_s_colour(tmp_path):
    write_metrics(tmp_path)
    text = write_report(tmp_path, make_model(), make_content(), seed=0).read_text()
    svgs = re.findall(r"<svg[^>]*xmlns.*?</svg>", text, re.DOTALL)
    assert len(svgs) == 8, "a simplex, a map and six curves"
    for svg in svgs:
        ElementTree.fromstring(svg)
        assert "currentColor" in svg
        assert "#010203" not in svg
    ids = [one for svg in svgs for one in re.findall(r'<clipPath id="([^"]+)"', svg)]
    assert len(ids) == len(set(ids)), "the clip of one curve must not hide another"


def test_the_same_run_gives_the_same_page(tmp_path):
    pages = []
    for name in ("a", "b"):
        run = tmp_path / name / "run"
        write_metrics(run)
        pages.append(write_report(run, make_model(), make_content(), seed=0).read_bytes())
    assert pages[0] == pages[1]


def test_a_run_that_was_stopped_without_metrics_or_held_out_images_is_reported(tmp_path):
    content = make_content(
        held_out=None, summary={"step": 3, "total_steps": 40, "parameters": 5, "evaluation": None}
    )
    text = write_report(tmp_path, make_model("gaussian"), content, seed=0).read_text()
    assert "stopped after 3 of 40" in " ".join(text.split())
    assert "Training images and their reconstructions" in text


def test_panels_hold_what_the_metrics_say(tmp_path):
    write_metrics(tmp_path, 4)
    panels = {panel.title: panel.curves for panel in run_panels(read_metrics(tmp_path / "metrics.jsonl"))}
    training, held_out = panels["Loss, nats per example"]
    assert (training.steps, training.values) == ([1, 2, 3, 4], [1000.0, 500.0, pytest.approx(333.3333), 250.0])
    assert (held_out.steps, held_out.values) == ([4], [40.0])
    assert panels["Time spent waiting for data, %"][0].values == [10.0] * 4
    assert run_panels([]) == []


def test_a_long_run_is_drawn_with_few_points():
    lines = [{"kind": "train", "step": step, "kl": float(step)} for step in range(100_001)]
    [panel] = run_panels(lines)
    assert 400 < len(panel.curves[0].steps) <= 500
    assert panel.curves[0].steps[-1] > 99_000


def test_a_curve_of_a_single_point_or_of_one_value_is_drawn():
    for values in ([3.0], [0.0, 0.0]):
        assert draw_panel(Panel("one", [Curve("one", list(range(len(values))), values)])).startswith("<svg")


def test_a_gallery_shows_what_the_model_decodes():
    model, images = make_model(), make_images()
    gallery = make_gallery(model, images, seed=4)
    with torch.no_grad():
        latents = model.encode(images).mean
        torch.testing.assert_close(gallery.reconstructions, model.decode(latents[:12]))
        torch.testing.assert_close(gallery.traversal[0], model.decode(latents[gallery.pair[0]][None])[0])
        torch.testing.assert_close(gallery.traversal[-1], model.decode(latents[gallery.pair[1]][None])[0])
    assert sorted(component.number for component in gallery.components) == list(range(6))
    for component in gallery.components:
        assert component.mean == pytest.approx(float(latents[:, component.number].mean()))
    used = [component.is_used for component in gallery.components]
    assert used == sorted(used, reverse=True)
    assert torch.equal(make_gallery(model, images, seed=4).samples, gallery.samples)
    assert not torch.equal(make_gallery(model, images, seed=5).samples, gallery.samples)


def test_pixels_and_data_uris_are_what_pillow_reads():
    images = torch.tensor([0.0, 0.5, 1.0, -3.0, 9.0, float("nan")]).view(6, 1, 1, 1).expand(6, 1, 2, 2)
    pixels = to_pixels(images)
    assert pixels.shape == (6, 2, 2, 3)
    assert pixels[:, 0, 0, 0].tolist() == [0, 128, 255, 0, 255, 0]
    large = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    uri = data_uri(large, largest=100)
    assert Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size == (67, 100)


def test_a_sheet_holds_its_tiles_in_rows(tmp_path):
    tiles = np.arange(5 * 4 * 6 * 3, dtype=np.uint8).reshape(5, 4, 6, 3)
    save_sheet(tmp_path / "deep" / "sheet.png", [tiles[:3], tiles[3:]])
    sheet = np.asarray(Image.open(tmp_path / "deep" / "sheet.png"))
    assert sheet.shape == (2 * 4 + 4, 3 * 6 + 2 * 4, 3)
    np.testing.assert_array_equal(sheet[:4, 10:16], tiles[1])
    np.testing.assert_array_equal(sheet[8:, :6], tiles[3])
    assert (sheet[8:, 20:] == 255).all()


@pytest.mark.parametrize("latent", ["dirichlet", "gaussian"])
def test_an_evaluation_agrees_with_one_written_out_by_hand(latent):
    model, images = make_model(latent), make_images(10)
    pixels = (images * 255).round().byte().numpy()
    mean = mean_example([Batch(pixels)])
    x = torch.from_numpy(pixels).float() / 255
    np.testing.assert_allclose(mean.numpy(), x.numpy().astype(np.float64).mean(0), rtol=1e-6)
    padded = np.array([True] * 4 + [False] * 2)
    batches = [Batch(pixels[:6]), Batch(np.concatenate([pixels[6:], pixels[:2]]), padded)]
    numbers = HeldOut(batches, mean=mean, seed=3)(model)
    with torch.no_grad():
        center = model.encode(x).mean
        error = (model.decode(center).clamp(0, 1) - x).square().flatten(1).mean(1).numpy()
        kl = model.latent.kl(model.encode(x)).mean()
    plain = np.square(mean.numpy() - x.numpy()).reshape(10, -1).mean(1)
    assert numbers["examples"] == 10
    assert numbers["psnr_db"] == pytest.approx(-10 * np.log10(error).mean(), rel=1e-5)
    assert numbers["mean_image_psnr_db"] == pytest.approx(-10 * np.log10(plain).mean(), rel=1e-5)
    assert numbers["kl"] == pytest.approx(float(kl), rel=1e-5)
    assert numbers["bound"] == pytest.approx(-numbers["reconstruction"] - numbers["kl"])
    assert numbers == HeldOut(batches, mean=mean, seed=3)(model), "the same noise at every evaluation"
    assert numbers["bound"] != HeldOut(batches, mean=mean, seed=4)(model)["bound"]
    varies = center.std(0, correction=0).numpy()
    level = center.mean(0).numpy()
    in_use = (level > 0.2 / 6) & (varies > 0.1 * level) if latent == "dirichlet" else np.square(varies) > 0.01
    assert numbers["components_in_use"] == int(in_use.sum())


@pytest.mark.parametrize(("likelihood", "scale", "name"), [
    ("gaussian", 1.0, "bound"), ("mse", 1.0, "objective"), ("bernoulli", 1.0, "objective"), ("bernoulli", 0.0, "bound"),
])  # fmt: skip
def test_what_is_no_bound_is_not_called_one(likelihood: str, scale: float, name: str) -> None:
    model, images = make_model(), scale * make_images(10)
    model.likelihood = make_likelihood(likelihood)
    numbers = HeldOut([Batch(images.numpy())], mean=images.mean(0))(model)
    assert [key for key in ("bound", "objective") if key in numbers] == [name]


def test_a_report_of_numbers_that_are_not_finite_shows_dashes(tmp_path: Path) -> None:
    content = make_content()
    numbers = dict.fromkeys(("objective", "psnr_db", "psnr_gain_db"))
    content.summary["evaluation"] = {**numbers, "components_in_use": 0, "model_size": 6}
    page = write_report(tmp_path, make_model(), content, seed=0).read_text("utf-8")
    assert "<b>–</b><span>held-out PSNR</span>" in page
    assert "<b>–</b><span>objective (no bound)</span>" in page


@pytest.mark.parametrize("latent", ["dirichlet", "scaled-dirichlet", "gaussian"])
def test_shares_are_shown_as_shares(tmp_path: Path, latent: str) -> None:
    page = write_report(tmp_path, make_model(latent), make_content(), seed=0).read_text("utf-8")
    assert ("The bar is the component's mean\n    share" in page) == (latent != "gaussian")


def test_an_evaluation_looks_at_no_more_examples_than_it_may():
    model, images = make_model(), make_images(10)
    numbers = HeldOut([Batch(images[:6].numpy()), Batch(images[6:].numpy())], mean=images.mean(0), limit=7)(model)
    assert numbers["examples"] == 7
    with pytest.raises(ValueError, match="no batch"):
        mean_example([])
