"""What the version before the layers wrote is read: sets, arrays, and states in the middle of an epoch.

`make_golden_before_layers.py` says how the files were made, with that version's code.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pipelines import make_shards, open_source

from .golden_runs import build, play

GOLDEN = Path(__file__).parent / "golden_before_layers"
STATES: dict[str, dict[str, Any]] = json.loads((GOLDEN / "states.json").read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the golden folder, with tars in `bare` that have neither an index nor a manifest."""
    copied = tmp_path / "copied"
    shutil.copytree(GOLDEN, copied)
    (copied / "bare").mkdir()
    for path in (copied / "image").glob("*.tar"):
        shutil.copy(path, copied / "bare")
    return copied


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", STATES)
def test_a_state_continues_with_the_examples_that_were_left(folder: Path, name: str, threads: int) -> None:
    saved = STATES[name]
    iterator = build(saved, folder, threads=threads)
    iterator.load_state_dict(copy.deepcopy(saved["state"]))
    assert play(iterator, digests=saved.get("digests", True)) == [saved["rest"], saved["next_epoch"]]


@pytest.mark.parametrize("name", STATES)
def test_a_restored_state_is_saved_again_with_the_same_values(folder: Path, name: str) -> None:
    saved = STATES[name]
    iterator = build(saved, folder)
    iterator.load_state_dict(copy.deepcopy(saved["state"]))
    assert contained(saved["state"], json.loads(json.dumps(iterator.state_dict())))


def contained(old: Any, new: Any) -> bool:
    """Whether all of an old state stands in a new one, which may know more."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(key in new and contained(value, new[key]) for key, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(contained, old, new))
    return bool(old == new)


def test_every_iterator_and_order_has_a_state() -> None:
    assert {saved["iterator"] for saved in STATES.values()} == {
        *("ImageIterator", "AudioIterator", "ArrayIterator", "DataIterator", "mix"),
    }
    assert {len(saved["parts"]) for saved in STATES.values() if "parts" in saved} == {2, 3}
    settings = [saved["settings"] for saved in STATES.values()]
    for name, value in (("shuffle", "files"), ("groups", 2), ("random_offset", True), ("short", "skip")):
        assert any(one.get(name) == value for one in settings), name
    for name in ("shuffle_shards", "sample_rate", "window", "hop", "select", "limit", "curves", "fields"):
        assert any(name in one for one in settings), name


@pytest.mark.parametrize("modality", ["image", "audio"])
def test_a_packed_set_is_read_by_its_index_and_manifest(folder: Path, modality: str) -> None:
    source = open_source(folder / modality, modality=modality)
    manifest = json.loads((GOLDEN / modality / "manifest.json").read_text())
    assert source.data_hash == manifest["data_hash"]
    assert source.shard_counts.tolist() == manifest["shards"]["examples"]
    members = {}
    for name in manifest["shards"]["name"]:
        with tarfile.open(folder / modality / name) as tar:
            members |= {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    found = {}
    for key, example in zip(source.keys(), source.read(range(len(source))), strict=True):
        found |= {f"{key}.{suffix}": content for suffix, content in example.fields.items()}
        found[f"{key}.{'png' if modality == 'image' else 'wav'}"] = example.media
    assert found == members
    assert not any(Path(os.environ["DIRVAE_CACHE"]).iterdir()), "nothing had to be looked for in the tars"


@pytest.mark.parametrize(
    ("modality", "source", "settings"),
    [
        ("image", "pictures", {"classes": True, "shard_examples": 5}),
        ("audio", "recordings", {"shard_examples": 3}),
    ],
)
def test_the_same_command_finds_the_set_complete_and_makes_the_same_tars(
    folder: Path, tmp_path: Path, modality: str, source: str, settings: dict[str, Any]
) -> None:
    assert make_shards(folder / source, folder / modality, workers=0, **settings).was_complete
    make_shards(folder / source, tmp_path / "new", workers=0, **settings)
    before = {path.name: path.read_bytes() for path in (GOLDEN / modality).glob("*.tar")}
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").glob("*.tar")} == before
