"""Audio resumes exactly: at every batch, with other threads, ranks, workers and batch sizes, alone and in mixtures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import AudioIterator, MixedIterator, mix
from pipelines.testing import assert_resumes_exactly
from pipelines.torch_bridge import TorchLoader
from pipelines.verify_resume import main, verify_resume, with_ranks_and_workers

from .recordings import album, write_folder, write_tar

KINDS = ("s16", "flac", "f32", "vorbis", "mp3", "opus", "s24")
VARIATIONS = [
    {"threads": 4},
    {"batch_size": 3},
    {"world_size": 3, "tail": "pad", "batch_size": 2, "threads": 1},
]


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tars of four recordings each, in every format."""
    folder = tmp_path_factory.mktemp("tars")
    for shard in range(3):
        files = album(4, kinds=KINDS[2 * shard :] + KINDS, frames=2500 + 500 * shard)
        write_tar(folder / f"{shard}.tar", {f"{shard}{name}": content for name, content in files.items()})
    return folder


def maker(tars: Path, **fixed: Any) -> Callable[..., AudioIterator]:
    """Builds an iterator with few, small batches."""

    def make(**changes: Any) -> AudioIterator:
        settings = {"window": 1500, "hop": 1000, "batch_size": 12, "seed": 4, "threads": 2, **fixed, **changes}
        return AudioIterator(tars, **settings)

    return make


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"shuffle": True, "random_offset": True},
        {"shuffle": "files"},
        {"shuffle": True, "shuffle_shards": 2, "short": "skip"},
    ],
    ids=str,
)
def test_a_run_resumes_exactly_at_every_batch(order: dict[str, Any], tars: Path) -> None:
    assert assert_resumes_exactly(maker(tars, **order), variations=VARIATIONS) >= 3 * 7


def test_it_resumes_exactly_in_groups_over_ranks(tars: Path) -> None:
    make = maker(tars, shuffle="files", groups=4, batch_size=8)
    ranks = [{"world_size": 2, "tail": "pad", "batch_size": 4}, {"world_size": 4, "tail": "pad", "batch_size": 2}]
    assert_resumes_exactly(make, variations=[{}, *ranks], ordered=False, every=3)


def test_it_resumes_exactly_at_another_sample_rate(tars: Path) -> None:
    make = maker(tars, shuffle=True, sample_rate=11_025, random_offset=True)
    assert_resumes_exactly(make, variations=[{}, {"threads": 3}], every=4)


def test_a_mixture_of_audio_resumes_exactly(tars: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, album(4, kinds=("s16", "flac")))

    def make(**changes: Any) -> MixedIterator:
        parts = [
            maker(tars, shuffle="files")(),
            AudioIterator(folder, window=1500, shuffle=True, random_offset=True, seed=1),
        ]
        return mix(parts, [3, 1], **{"batch_size": 10, "threads": 2, **changes})

    assert_resumes_exactly(make, variations=[{}, {"threads": 1}, {"world_size": 2, "tail": "pad"}], every=2)


def test_what_is_substituted_is_the_same_after_a_resume(tars: Path, tmp_path: Path) -> None:
    files = {**album(6), "take01.wav": b"RIFF no more than that", "take04.wav": b""}
    folder = write_folder(tmp_path, files)

    def make(**changes: Any) -> AudioIterator:
        settings = {"window": 1500, "batch_size": 5, "shuffle": True, "on_error": "substitute", **changes}
        return AudioIterator(folder, **settings)

    assert_resumes_exactly(make, variations=[{}, {"threads": 3}])
    assert sum(int(batch.substituted.sum()) for batch in make() if batch.substituted is not None) == 2


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_bring_the_same_batches(method: str, tars: Path) -> None:
    make = maker(tars, shuffle="files")
    expected = [(batch.keys, batch.data) for batch in make()]
    for num_workers in (0, 2):
        settings = {"multiprocessing_context": method} if num_workers else {}
        loader = TorchLoader(make(threads=1), num_workers, **settings)
        found = [(batch.keys, np.asarray(batch.data)) for batch in loader]
        assert [keys for keys, _ in found] == [keys for keys, _ in expected]
        for (_, mine), (_, theirs) in zip(found, expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_lengths_survive_worker_processes(tars: Path) -> None:
    make = maker(tars, hop=1500)
    expected = [None if batch.lengths is None else batch.lengths.tolist() for batch in make()]
    assert any(expected)
    found = [
        None if batch.lengths is None else np.asarray(batch.lengths).tolist() for batch in TorchLoader(make(), 2)
    ]
    assert found == expected


def test_killed_runs_over_recordings_are_exact(tars: Path) -> None:
    make = with_ranks_and_workers(maker(tars, shuffle=True, random_offset=True, batch_size=6))
    variations = [{"threads": 1}, {"threads": 3}, {"world_size": 2}]
    verdict = verify_resume(make, kills=6, variations=variations)
    assert verdict.is_exact, verdict
    assert verdict.kills >= 6
    assert verdict.state_bytes < 400


def test_the_command_verifies_recordings(tars: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tars), "--modality", "audio", "--window", "1500", "--kills", "2", "--batch-size", "6"]) == 0
    assert "exact" in capsys.readouterr().out
