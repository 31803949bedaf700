"""Resizers: which of them "auto" is, and how near the vector instructions come to Pillow's own."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.decode.resize import lanczos, resolve_resizer, simd_resize

needs_simd = pytest.mark.skipif(importlib.util.find_spec("cykooz_resizer") is None, reason="no cykooz-resizer here")


@needs_simd
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("source", [(480, 640), (33, 47), (1, 9), (257, 256)])
@pytest.mark.parametrize("target", [(256, 256), (17, 90), (1, 1), (300, 20)])
def test_simd_is_within_one_of_pillow_at_every_pixel(
    source: tuple[int, int], target: tuple[int, int], channels: int
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (source[0] + 2, source[1] + 3, channels), dtype=np.uint8)
    view = noise[1:-1, 2:-1]  # not contiguous
    resized = np.zeros((*target, channels), np.uint8)
    simd_resize(view, resized)
    picture = Image.fromarray(np.ascontiguousarray(view.squeeze(2) if channels == 1 else view))
    expected = np.asarray(picture.resize(target[::-1], Image.Resampling.BILINEAR)).reshape(resized.shape)
    assert np.abs(resized.astype(int) - expected).max() <= 1


def test_auto_is_the_first_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def without(*names: str) -> Any:
        return lambda name, *rest: None if name in names else found(name, *rest)

    if found("cykooz_resizer") is not None:
        assert resolve_resizer("auto")[0] == "simd"
    monkeypatch.setattr(importlib.util, "find_spec", without("cykooz_resizer"))
    if found("torch") is not None:
        assert resolve_resizer("auto")[0] == "torch"
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "pipelines.tensors", raising=False)
    assert resolve_resizer("auto")[0] == "pillow"
    with pytest.raises(ImportError, match="pip install cykooz-resizer"):
        resolve_resizer("simd")
    with pytest.raises(ImportError, match="pip install torch"):
        resolve_resizer("torch")


def exact_lanczos(length: int, shorter: int) -> NDArray[np.float64]:
    """The weights (shorter, length) of the Lanczos filter of radius 3, stretched to the scale: Duchon 1979."""
    scale = length / shorter
    centres = (np.arange(shorter)[:, None] + 0.5) * scale
    x = (np.arange(length) + 0.5 - centres) / scale
    weights = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)
    found: NDArray[np.float64] = weights / weights.sum(1, keepdims=True)
    return found


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("is_installed", [True, False])
def test_lanczos_is_the_exact_sum_rounded(mode: str, is_installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_installed:
        monkeypatch.setitem(sys.modules, "cykooz_resizer", None)
    smooth = np.random.Generator(np.random.Philox(0)).normal(size=(90, 120, len(mode)))
    for axis in (0, 1):  # so that neither pass leaves the range of a byte, and is cut there
        smooth = sum(np.roll(smooth, step, axis) for step in range(-4, 5))
    pixels = np.clip(smooth / np.std(smooth) * 25 + 128, 40, 215).astype(np.uint8)
    picture = Image.fromarray(pixels if mode == "RGB" else pixels[:, :, 0])
    found = np.asarray(lanczos(picture, (57, 41)), np.float64).reshape(41, 57, -1)
    exact = np.einsum("iy,yxc,jx->ijc", exact_lanczos(90, 41), pixels.astype(np.float64), exact_lanczos(120, 57))
    assert np.abs(found - exact).max() < 1.6
    assert np.abs(found - exact).mean() < 0.32
