"""Settings of remote reading that come from the environment, and how amounts are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.storage.cache import cache_folder
from pipelines.storage.remote.cache_bound import too_small
from pipelines.storage.remote.reading import RemoteReading, number_of_bytes
from pipelines.storage.remote.shard_cache import ShardCache


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("200", 200),
        ("200G", 200 << 30),
        ("1.5G", 3 << 29),
        ("0.5k", 512),
        ("2T", 2 << 40),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_numbers_of_bytes(text: str, number: int) -> None:
    assert number_of_bytes(text) == number


@pytest.mark.parametrize("text", ["", "0", "G", "1.G", ".5G", "-1", "1e9", "5 GB", "0.1", "²", "nan", "9" * 5000])
def test_what_is_no_number_of_bytes(text: str) -> None:
    with pytest.raises(ValueError, match=r"200G, 1\.5T or 5000000000"):
        number_of_bytes(text)


def test_the_environment_bounds_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIRVAE_CACHE", str(tmp_path))
    monkeypatch.setenv("DIRVAE_CACHE_BYTES", "1.5G")
    assert RemoteReading().cache().max_bytes == 3 << 29
    monkeypatch.setenv("DIRVAE_CACHE_BYTES", "much")
    with pytest.raises(ValueError, match="DIRVAE_CACHE_BYTES: 'much' is no number of bytes"):
        RemoteReading().cache()


def test_the_home_folder_in_the_name_of_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DIRVAE_CACHE", "~/x")
    assert cache_folder() == tmp_path / "x"
    monkeypatch.setenv("DIRVAE_CACHE", "~nobody-of-this-name/x")
    assert cache_folder() == Path("~nobody-of-this-name/x")


@pytest.mark.parametrize(
    ("num", "shown"), [(999, "999 bytes"), (1500, "1.50 kB"), (4_200_000, "4.20 MB"), (3 * 10**9, "3.00 GB")]
)
def test_small_amounts_are_told_in_smaller_units(num: int, shown: str, tmp_path: Path) -> None:
    told = str(too_small(ShardCache(tmp_path, num), "s3://bucket", "random", num))
    assert f"reads {shown} in any order" in told
    assert f"may hold {shown}, so" in told
