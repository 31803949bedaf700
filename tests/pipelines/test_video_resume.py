"""Video resumes exactly inside videos: at every batch, with other threads, ranks and workers, alone and in mixtures."""

from __future__ import annotations

import itertools
import json
import tarfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import MixedIterator, StateError, VideoIterator, mix
from pipelines.testing import assert_resumes_exactly
from pipelines.verify_resume import main, verify_resume, with_ranks_and_workers

from .videos import make_video

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*frames per second, in one batch:UserWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create .* worker processes:UserWarning"),
]

KINDS: list[tuple[str, dict[str, Any]]] = [
    ("a.mp4", {"b_frames": 3, "gop": 8, "open_gop": True, "num_frames": 22, "sound": "aac"}),
    ("b.mkv", {"variable_rate": True, "gop": 6, "num_frames": 13, "b_frames": 2, "sound": "libopus"}),
    ("c.webm", {"codec": "libvpx-vp9", "gop": 9, "num_frames": 17, "sound": "libopus"}),
    ("d.mp4", {"codec": "libsvtav1", "gop": 7, "num_frames": 15, "rotation": 90}),
    ("e.avi", {"gop": 5, "b_frames": 1, "num_frames": 11, "sound": "pcm_s16le"}),
]
VARIATIONS: list[dict[str, Any]] = [{"threads": 3}, {"world_size": 2, "tail": "pad", "batch_size": 2, "threads": 1}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five videos of different codecs, containers and lengths."""
    made = tmp_path_factory.mktemp("folder")
    for name, settings in KINDS:
        make_video(made / name, size=(64, 48), **settings)
    return made


@pytest.fixture(scope="module")
def tars(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in three tars."""
    made = tmp_path_factory.mktemp("tars")
    paths = sorted(folder.iterdir())
    for shard in range(3):
        with tarfile.open(made / f"{shard}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for path in paths[shard::3]:
                tar.add(path, path.name)
    return made


@pytest.fixture(scope="module", autouse=True)
def _one_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So that videos are measured once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _cache_of_module(_one_cache: Path, _own_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIRVAE_CACHE", str(_one_cache))


def torch_loader(clips: VideoIterator, num_workers: int, **settings: Any) -> Any:
    """A `TorchLoader`; the test is skipped where there is no torch."""
    pytest.importorskip("torch")
    from pipelines.torch_bridge import TorchLoader

    return TorchLoader(clips, num_workers, **settings)


def maker(source: Path, **fixed: Any) -> Callable[..., VideoIterator]:
    """Builds an iterator with few, small batches; no batch ends where a video does."""

    def make(**changes: Any) -> VideoIterator:
        base = {"clip_frames": 4, "hop": 3, "size": 32, "batch_size": 5, "seed": 4, "threads": 1, "flip": True}
        return VideoIterator(source, **{**base, **fixed, **changes})

    return make


def test_batches_end_inside_videos(folder: Path) -> None:
    """What the other tests stand on."""
    batches = [batch.keys for batch in maker(folder)()]
    assert [len(keys) for keys in batches] == [5, 5, 5, 5, 5, 1]
    names = [[key.partition("@")[0] for key in keys] for keys in batches]
    ends = [one[-1] == next_one[0] for one, next_one in itertools.pairwise(names)]
    assert sum(ends) >= 3


ORDERS: list[tuple[str, dict[str, Any]]] = [
    ("folder", {}),
    ("tars", {"shuffle": True, "random_offset": True, "crop": "random"}),
    ("folder", {"shuffle": "files"}),
    ("tars", {}),
    ("folder", {"shuffle": True, "random_offset": True}),
    ("tars", {"shuffle": "files", "random_offset": True}),
    ("tars", {"shuffle": True, "shuffle_shards": 2, "short": "skip"}),
]


@pytest.mark.parametrize(("kind", "order"), ORDERS[:2], ids=str)
def test_a_run_resumes_exactly_at_every_third_batch(
    kind: str, order: dict[str, Any], folder: Path, tars: Path
) -> None:
    make = maker({"folder": folder, "tars": tars}[kind], **order)
    assert assert_resumes_exactly(make, variations=VARIATIONS, every=3) >= 2 * 4


@pytest.mark.heavy
@pytest.mark.parametrize(("kind", "order"), ORDERS, ids=str)
def test_a_run_resumes_exactly_at_every_batch(kind: str, order: dict[str, Any], folder: Path, tars: Path) -> None:
    make = maker({"folder": folder, "tars": tars}[kind], **order)
    assert assert_resumes_exactly(make, variations=VARIATIONS) >= 2 * 8


@pytest.mark.parametrize(
    "clips",
    [
        {"fps": 12, "hop": 2, "random_offset": True, "shuffle": True},
        {"every": 3, "hop": 2, "shuffle": "files", "sample_rate": 8000},
        pytest.param(
            {"fps": Fraction(30_000, 1001), "short": "skip", "size": (24, 40), "fit": "pad"},
            marks=pytest.mark.heavy,
        ),
    ],
    ids=str,
)
def test_it_resumes_exactly_at_other_rates_and_strides(clips: dict[str, Any], folder: Path) -> None:
    make = maker(folder, batch_size=4, **clips)
    assert_resumes_exactly(make, variations=[{"threads": 3}], every=3)


def test_it_resumes_exactly_with_frames_of_every_size(folder: Path) -> None:
    make = maker(folder, size=None, batch_size=1, shuffle=True)
    assert_resumes_exactly(make, variations=[{"threads": 2}], every=15, epochs=1)


@pytest.mark.heavy
def test_it_resumes_exactly_in_groups_over_ranks(tars: Path) -> None:
    make = maker(tars, shuffle="files", groups=4, batch_size=8)
    ranks = [{"world_size": 2, "tail": "pad", "batch_size": 4}, {"world_size": 4, "tail": "pad", "batch_size": 2}]
    assert_resumes_exactly(make, variations=[{}, *ranks], ordered=False)


@pytest.mark.parametrize(
    "variation", [{"threads": 3}, pytest.param({"world_size": 2, "tail": "pad"}, marks=pytest.mark.heavy)], ids=str
)
def test_a_mixture_of_videos_resumes_exactly(variation: dict[str, Any], folder: Path, tars: Path) -> None:
    def make(**changes: Any) -> MixedIterator:
        parts = [maker(tars, shuffle="files")(), maker(folder, shuffle=True, random_offset=True, seed=1)()]
        return mix(parts, [2, 1], **{"batch_size": 6, "threads": 1, **changes})

    assert_resumes_exactly(make, variations=[variation], every=5)


def test_what_is_substituted_is_the_same_after_a_resume(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "aa.mp4").write_bytes((folder / "a.mp4").read_bytes()[:700])
    (tmp_path / "cc.mkv").write_bytes(b"\x1a\x45\xdf\xa3 and no more")
    make = maker(tmp_path, shuffle=True, on_error="substitute")
    assert_resumes_exactly(make, variations=[{"threads": 3}], every=3)
    assert sum(int(batch.substituted.sum()) for batch in make() if batch.substituted is not None) == 2


@pytest.mark.heavy
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_bring_the_same_batches(method: str, folder: Path) -> None:
    make = maker(folder, shuffle="files", random_offset=True)
    expected = [(batch.keys, batch.data, batch.fields["pts_seconds"]) for batch in make()]
    for num_workers in (2,) if method == "fork" else (1,):
        loader = torch_loader(make(), num_workers, multiprocessing_context=method)
        found = [(batch.keys, np.asarray(batch.data), np.asarray(batch.fields["pts_seconds"])) for batch in loader]
        assert [keys for keys, _, _ in found] == [keys for keys, _, _ in expected]
        for (_, *mine), (_, *theirs) in zip(found, expected, strict=True):
            assert all(np.array_equal(one, other, equal_nan=True) for one, other in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_of_torch_resumes_inside_a_video(num_workers: int, folder: Path) -> None:
    make = maker(folder, shuffle=True, random_offset=True)
    expected = [(batch.keys, batch.data) for batch in make()]
    loader = torch_loader(make(), num_workers)
    batches = iter(loader)
    for _ in range(2):
        next(batches)
    state = json.loads(json.dumps(loader.state_dict()))
    del batches
    other = torch_loader(make(threads=2), 2 - num_workers)
    other.load_state_dict(state)
    found = [(batch.keys, np.asarray(batch.data)) for batch in other]
    assert [keys for keys, _ in found] == [keys for keys, _ in expected[2:]]
    assert all(np.array_equal(mine, theirs) for (_, mine), (_, theirs) in zip(found, expected[2:], strict=True))


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.heavy)])
def test_killed_runs_over_videos_are_exact(kills: int, tars: Path) -> None:
    make = with_ranks_and_workers(maker(tars, shuffle=True, random_offset=True, batch_size=2))
    variations: list[dict[str, Any]] = [{"threads": 1}, {"threads": 3}]
    if kills > 3:
        pytest.importorskip("torch")
        variations += [{"world_size": 2}, {"num_workers": 2}]
    verdict = verify_resume(make, kills=kills, variations=variations)
    assert verdict.is_exact, verdict
    assert verdict.kills >= kills
    assert verdict.state_bytes < 1024


def test_the_command_verifies_videos(tars: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tars), "--modality", "video", "--kills", "1", "--batch-size", "4"]) == 0
    assert "exact" in capsys.readouterr().out


def test_a_state_is_small_and_says_how_clips_are_cut(folder: Path) -> None:
    clips = maker(folder, shuffle=True, fps=Fraction(30_000, 1001), random_offset=True)()
    next(iter(clips))
    state = clips.state_dict()
    assert len(json.dumps(state)) < 400
    assert state["position"] == 5
    assert state["clips"] == {
        "kind": "video",
        "clip_frames": 4,
        "every": 1,
        "hop": 3,
        "fps": "30000/1001",
        "short": "pad",
        "random_offset": True,
    }


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"clip_frames": 5}, r"clips=\{.*'clip_frames': 4.* \(now \{.*'clip_frames': 5"),
        ({"hop": 2}, r"clips=\{.*'hop': 3.* \(now \{.*'hop': 2"),
        ({"every": 2}, r"clips=\{.*'every': 1.* \(now \{.*'every': 2"),
        ({"fps": 30}, r"clips=\{.*'fps': None.* \(now \{.*'fps': '30'"),
        ({"short": "skip"}, r"clips=\{.*'short': 'pad'.* \(now \{.*'short': 'skip'"),
        ({"random_offset": True}, r"clips=\{.*'random_offset': False.* \(now \{.*'random_offset': True"),
        ({"shuffle": True}, r"shuffle='files' \(now True\)"),
        ({"seed": 5}, r"seed=4 \(now 5\)"),
    ],
    ids=str,
)
def test_a_state_of_other_clips_is_refused_and_says_what_differs(
    change: dict[str, Any], told: str, folder: Path
) -> None:
    make = maker(folder, shuffle="files")
    clips = make()
    next(iter(clips))
    state = clips.state_dict()
    make(batch_size=3, threads=2, size=64).load_state_dict(state)
    with pytest.raises(StateError, match=told + r".*Use the same settings, or start without it"):
        make(**change).load_state_dict(state)
