"""Features for tests: what they give is known without them."""

from __future__ import annotations

import itertools
import time
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

RATE = 250


def num_rows(samples: Samples, sample_rate: int) -> int:
    return max(1, samples.shape[1] * RATE // sample_rate)


def clock(samples: Samples, sample_rate: int) -> tuple[Any, int]:
    """The time of each row in seconds."""
    return np.arange(num_rows(samples, sample_rate)) / RATE, RATE


def odd_clock(samples: Samples, sample_rate: int) -> tuple[Any, Fraction]:
    """The same at a rate that divides nothing."""
    rate = Fraction(44_100, 512)
    return np.arange(int(samples.shape[1] * rate / sample_rate) + 1) / float(rate), rate


def level(samples: Samples, sample_rate: int) -> tuple[Any, float]:
    """Peak of each channel, and what is loudest, in two fields; on the way the samples are spoilt."""
    num = num_rows(samples, sample_rate)
    edges = np.arange(num + 1) * samples.shape[1] // num
    peaks = np.stack([np.abs(samples[:, a : max(b, a + 1)]).max(axis=1) for a, b in itertools.pairwise(edges)])
    samples[:] = 9
    return {"peaks": np.asfortranarray(peaks), "loudest": peaks.max(axis=1).astype(">f8")}, 250.0


def echo(samples: Samples, sample_rate: int) -> tuple[Any, int]:
    """The samples themselves."""
    return samples.T, sample_rate


def hops(samples: Samples, sample_rate: int) -> tuple[Any, float]:
    """A row for every 256 samples: another rate at another sample rate."""
    return np.arange(-(-samples.shape[1] // 256), dtype=np.int32), sample_rate / 256


def slow(samples: Samples, sample_rate: int) -> tuple[Any, int]:
    """Takes its time."""
    time.sleep(0.05)
    return {"slow": np.full(num_rows(samples, sample_rate), np.abs(samples).sum(), np.float32)}, RATE


def endless(samples: Samples, sample_rate: int) -> tuple[Any, int]:
    """Takes more time than anyone has."""
    time.sleep(3600)
    return [0.0], RATE


def breaks(samples: Samples, sample_rate: int) -> tuple[Any, int]:
    """Fails for loud recordings, with an address and two lines."""
    if np.abs(samples).max() > 0.5:
        raise RuntimeError(f"too loud for {object()}\nand more")
    return clock(samples, sample_rate)


def lacks_package(samples: Samples, sample_rate: int) -> tuple[Any, int]:
    """Needs a package that nobody has, when it is called."""
    import no_such_package_at_all

    return no_such_package_at_all.rows(samples), sample_rate


def wrong(kind: str, samples: Samples, sample_rate: int) -> Any:
    num = num_rows(samples, sample_rate)
    rows = np.zeros(num, np.float32)
    return {
        "alone": rows,
        "three": (rows, RATE, 0),
        "scalar": (np.float32(3), RATE),
        "empty": (np.zeros((num, 0)), RATE),
        "short": (rows[: num // 2], RATE),
        "nan": (np.where(np.arange(num) == 3, np.nan, 0), RATE),
        "infinite": ({"deep": np.full((num, 2), -np.inf)}, RATE),
        "text": (["a"] * num, RATE),
        "ragged": ([[1], [1, 2]] * (num // 2), RATE),
        "objects": (np.array([{}] * num), RATE),
        "complex": (rows.astype(np.complex64), RATE),
        "rate": (rows, 0),
        "ratetext": (rows, "250"),
        "nothing": ({}, RATE),
        "dots": ({"a.b": rows}, RATE),
        "media": ({"wav": rows}, RATE),
        "upper": ({"F0": rows}, RATE),
        "number": ({1: rows}, RATE),
    }[kind]
