"""Resizers: which of them "auto" is, and how near the vector instructions come to Pillow's own."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.decode.resize import resolve_resizer, simd_resize

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
