"""Fixtures for tests that train and write reports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="module")
def one_torch_thread() -> Iterator[None]:
    """Networks as small as those of tests are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def quick_reports() -> Iterator[None]:
    """One thread of torch, and no charts: they take longer than all the rest; tests of reports draw them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("sound_charts", "spectrograms"):
            patch.setattr(f"dirvae.drawing.{module}.draw_chart", lambda name, draw, **look: "<svg></svg>")
        yield
    torch.set_num_threads(before)
