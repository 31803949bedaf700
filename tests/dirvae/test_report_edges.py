"""Pages that can be steered: the edges on a sheet, what a policy lets through, and how large a page gets."""

from __future__ import annotations

import base64
import io
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dirvae.autoencoder import AutoEncoder
from dirvae.drawing.pictures import data_uri
from dirvae.drawing.players import lowered, make_players
from dirvae.report import ReportContent, write_report
from dirvae.report.edges import MOST_SHEET_BYTES, PADDING, edge_latents, edge_section, sheet_uri
from dirvae.report.gallery import make_gallery
from dirvae.report.sealed_page import POLICY, seal
from tests.dirvae.sealed_pages import check_sealed

SCRIPT = "let a = '<b style=\"x\">';"


def template(body: str, script: str = SCRIPT) -> str:
    return (
        f"<head>{POLICY}<style>p{{color:red}}</style></head><main id='page'>{body}</main><script>{script}</script>"
    )


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def small_model(size: int = 5, side: int = 8) -> AutoEncoder:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, size))
    decoder = nn.Sequential(nn.Linear(size, 3 * side * side), nn.Sigmoid(), nn.Unflatten(1, (3, side, side)))
    return AutoEncoder(encoder, decoder, size)


def test_edges_are_straight_lines_between_all_pairs() -> None:
    ends = torch.eye(4)[[2, 0, 3]]
    lines = edge_latents(ends, 5)
    for place, (first, second) in enumerate(combinations(range(3), 2)):
        for step in range(5):
            expected = (4 - step) / 4 * ends[first] + step / 4 * ends[second]
            torch.testing.assert_close(lines[place, step], expected)


def test_the_edges_of_a_gallery_begin_and_end_at_its_components() -> None:
    model = small_model()
    x = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    gallery = make_gallery(model, x, seed=0)
    numbers = gallery.edge_numbers
    assert numbers == [component.number for component in gallery.components[: len(numbers)]]
    assert gallery.edges.shape == (len(numbers) * (len(numbers) - 1) // 2, 9, 3, 8, 8)
    for edge, (first, second) in zip(
        gallery.edges, combinations(gallery.components[: len(numbers)], 2), strict=True
    ):
        torch.testing.assert_close(edge[0], first.decoded)
        torch.testing.assert_close(edge[-1], second.decoded)
    ends = torch.cat([gallery.edges[0, :1], gallery.edges[0, -1:]])
    assert (gallery.edges[0, 4] - ends.mean(0)).abs().max() < (ends[0] - ends[1]).abs().max(), "between the two"


def test_a_tile_is_where_the_page_looks_for_it_and_its_border_repeats_it() -> None:
    rng = np.random.default_rng(0)
    tiles = np.broadcast_to(rng.integers(0, 256, (3, 4, 1, 1, 3)), (3, 4, 20, 30, 3)).astype(np.uint8)
    uri, (width, height) = sheet_uri(tiles, largest=128)
    assert (width, height) == (30 + 2 * PADDING, 20 + 2 * PADDING)
    sheet = np.asarray(opened(uri).convert("RGB")).astype(int)
    for row in range(3):
        for column in range(4):
            found = sheet[row * height + 4 : (row + 1) * height - 4, column * width + 4 : (column + 1) * width - 4]
            assert np.abs(found - tiles[row, column, 0, 0]).max() <= 24, "as WebP keeps it"


@pytest.mark.parametrize(("side", "largest"), [(256, 128), (600, 80)])
def test_a_sheet_of_noise_stays_below_its_limit(side: int, largest: int) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (15, 9, 32, 32, 3), np.uint8)
    noise = np.random.default_rng(1).integers(0, 256, (2, 9, side, side, 3), np.uint8)
    for found in (tiles, np.concatenate([noise] * 5)):
        uri, (width, height) = sheet_uri(found, largest=largest)
        assert len(base64.b64decode(uri.partition(",")[2])) <= MOST_SHEET_BYTES
        assert max(width, height) <= largest + 2 * PADDING
        assert opened(uri).size == (9 * width, len(found) * height)


def test_one_component_has_no_edge() -> None:
    assert edge_section([3], np.zeros((0, 5, 1, 4, 4, 3), np.uint8), largest=128) is None


def test_every_style_becomes_a_rule_and_scripts_and_text_are_left_alone() -> None:
    body = '<p style="width: 1%">style="width: 2%"</p><i class="a" style="width: 1%"></i><b style="top: 0">x</b>'
    page = seal(template(body), script=SCRIPT)
    check_sealed(page)
    assert '<p data-style="0">style="width: 2%"</p><i class="a" data-style="0"></i><b data-style="1">x</b>' in page
    assert '#page [data-style="0"]{width: 1%}' in page
    assert f"<script>{SCRIPT}</script>" in page


def test_a_script_that_the_library_did_not_write_has_no_hash() -> None:
    page = seal(template("<script>alert(1)</script>"), script=SCRIPT)
    with pytest.raises((AssertionError, ValueError)):
        check_sealed(page)
    with pytest.raises(ValueError, match="another script"):
        seal(template("", script="alert(1)"), script=SCRIPT)


def test_a_lower_rate_keeps_what_it_can_hold_and_nothing_else() -> None:
    rate, num = 44_100.0, 4410
    time = torch.arange(num, dtype=torch.float64) / rate
    low, high = torch.sin(2 * torch.pi * 1000 * time), torch.sin(2 * torch.pi * 15_000 * time)
    found, lower = lowered((low + high).float(), rate, 24_000)
    assert lower == rate / 2
    expected = torch.sin(2 * torch.pi * 1000 * torch.arange(num // 2) / lower)
    torch.testing.assert_close(found, expected.float(), atol=2e-4, rtol=0)
    same, kept = lowered(low.float(), 16_000, 24_000)
    assert kept == 16_000
    assert torch.equal(same, low.float())
    assert len(lowered(torch.zeros(11), 48_000, 24_000)[0]) == 6
    [player] = make_players({"a": low}, 96_000, highest_rates={"a": 48_000})
    assert player.note == "at 48,000 samples per second"


@pytest.mark.heavy
def test_a_page_of_the_largest_pictures_of_noise_stays_below_5_mb(tmp_path: Path) -> None:
    images = torch.rand(40, 3, 256, 256, generator=torch.Generator().manual_seed(2))

    class Noise(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            seeds = torch.Generator().manual_seed(int(z.sum() * 1e6) % 1000)
            return torch.rand(len(z), 3, 256, 256, generator=seeds)

    torch.manual_seed(0)
    encoder = nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(3 * 64, 128))
    model = AutoEncoder(encoder, Noise(), 128)
    summary = {"step": 1, "total_steps": 1, "parameters": 7, "evaluation": None}
    config = {"latent": "dirichlet", "model_size": 128, "grid": None, "size": 256}
    content = ReportContent(images[:12], images, {"training_examples": 9}, config, summary)
    page = write_report(tmp_path, model, content, seed=0)
    assert page.stat().st_size < 5e6
    check_sealed(page.read_text())


def test_small_pictures_are_exact_and_large_ones_small() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    exact = np.asarray(opened(data_uri(noise[:32, :32])))
    np.testing.assert_array_equal(exact, noise[:32, :32])
    assert len(base64.b64decode(data_uri(noise).partition(",")[2])) <= 7000
