"""Checkpoints on the disk: whole or absent, older ones never harmed, readable in every later version."""

import errno
import hashlib
import json
import os
import resource
import struct

import numpy as np
import pytest
import torch

from dirvae.training.checkpoint import CheckpointFolder
from dirvae.training.errors import CheckpointError, SaveError, TrainingWarning


def save(folder: CheckpointFolder, step: int, *, best_step: int | None = None, size: int = 8) -> None:
    tensors = {"weight": torch.full((size, 3), float(step)), "half": torch.ones(2, dtype=torch.bfloat16)}
    state = {"best": None, "note": f"step {step}"}
    folder.save(step, model=tensors, optimizer={"0.exp_avg": tensors["weight"]}, state=state, best_step=best_step)


def names(path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def files(path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path):
    folder = CheckpointFolder(tmp_path)
    save(folder, 1500)
    assert names(tmp_path) == ["00001500"]
    assert names(tmp_path / "00001500") == ["model.safetensors", "optimizer.safetensors", "state.json"]
    found = folder.newest()
    assert found is not None
    assert (found.step, found.state["note"]) == (1500, "step 1500")
    assert torch.equal(found.model_tensors()["weight"], torch.full((8, 3), 1500.0))
    assert found.model_tensors()["half"].dtype == torch.bfloat16
    assert list(found.optimizer_tensors()) == ["0.exp_avg"]


def test_tensors_of_any_memory_layout_are_saved_by_value(tmp_path):
    image = torch.arange(24.0).view(1, 2, 3, 4).contiguous(memory_format=torch.channels_last)
    CheckpointFolder(tmp_path).save(1, model={"image": image, "view": image[:, 1:]}, optimizer={}, state={})
    saved = CheckpointFolder(tmp_path).open(1).model_tensors()
    assert torch.equal(saved["image"], image)
    assert torch.equal(saved["view"], image[:, 1:])


def test_the_last_ones_and_the_best_are_kept(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=2)
    for step in (10, 20, 30, 40, 50):
        save(folder, step, best_step=20 if step >= 20 else None)
    assert folder.steps() == [20, 40, 50]


def test_a_checkpoint_written_by_hand_in_version_1_is_read(tmp_path):
    """The golden format: bytes put together from the safetensors description, without this library's writer."""
    values = np.array([[1.5, -2.0]], np.float32)
    header = json.dumps({"w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}}).encode()
    model = struct.pack("<Q", len(header)) + header + values.tobytes()
    optimizer = struct.pack("<Q", 2) + b"{}"
    path = tmp_path / "00000007"
    path.mkdir()
    (path / "model.safetensors").write_bytes(model)
    (path / "optimizer.safetensors").write_bytes(optimizer)
    digests = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in (("model.safetensors", model), ("optimizer.safetensors", optimizer))
    }
    state = {"format": "dirvae-checkpoint", "version": 1, "step": 7, "files": digests}
    (path / "state.json").write_text(json.dumps(state))
    found = CheckpointFolder(tmp_path).newest()
    assert found is not None
    assert found.model_tensors()["w"].tolist() == [[1.5, -2.0]]
    assert found.optimizer_tensors() == {}


def test_another_version_is_refused_and_not_taken_for_damage(tmp_path):
    folder = CheckpointFolder(tmp_path)
    save(folder, 1)
    save(folder, 2)
    state = tmp_path / "00000002" / "state.json"
    state.write_text(state.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(CheckpointError, match="version 2"):
        folder.newest()


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_a_damaged_newest_checkpoint_is_passed_over_with_a_warning(tmp_path, name, damage):
    folder = CheckpointFolder(tmp_path)
    save(folder, 1)
    save(folder, 2)
    path = tmp_path / "00000002" / name
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "missing":
        path.unlink()
    else:
        content[0 if name == "state.json" else -1] ^= 1
        path.write_bytes(content)
    with pytest.warns(TrainingWarning, match="00000002: not a whole checkpoint"):
        found = folder.newest()
    assert found is not None
    assert found.step == 1


def test_nothing_but_damaged_checkpoints_is_an_error_and_not_a_fresh_start(tmp_path):
    folder = CheckpointFolder(tmp_path)
    save(folder, 1)
    (tmp_path / "00000001" / "model.safetensors").write_bytes(b"")
    with (
        pytest.warns(TrainingWarning, match="0 of"),
        pytest.raises(CheckpointError, match="all 1 checkpoints are damaged"),
    ):
        folder.newest()


def test_no_checkpoint_is_none(tmp_path):
    assert CheckpointFolder(tmp_path / "never made").newest() is None


def test_a_damaged_checkpoint_is_replaced_when_its_step_is_saved_again(tmp_path):
    folder = CheckpointFolder(tmp_path)
    save(folder, 1)
    save(folder, 2)
    (tmp_path / "00000002" / "model.safetensors").write_bytes(b"damaged")
    save(folder, 2)
    assert names(tmp_path) == ["00000001", "00000002"]
    assert folder.open(2).step == 2


@pytest.mark.parametrize("failing", range(6))
def test_a_disk_that_fills_at_any_flush_leaves_the_older_checkpoints_alone(tmp_path, monkeypatch, failing):
    folder = CheckpointFolder(tmp_path)
    save(folder, 1)
    before = files(tmp_path)
    calls, fsync = [], os.fsync

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    if failing >= 5:
        save(folder, 2)
        assert len(calls) == 5, "two tensor files, state, the new folder, the folder it appears in"
    else:
        with pytest.raises(SaveError, match=r"00000002.*No space left"):
            save(folder, 2)
        now = files(tmp_path)
        assert {name: now[name] for name in before} == before
        monkeypatch.undo()
        found = folder.newest()
        assert found is not None
        assert found.step in (1, 2)
    assert not list(tmp_path.glob(".*"))


def test_a_disk_that_really_refuses_bytes_leaves_the_older_checkpoints_alone(tmp_path):
    folder = CheckpointFolder(tmp_path)
    save(folder, 1)
    before = files(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(SaveError, match="could not be saved"):
            save(folder, 2, size=4096)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(tmp_path) == before


def test_what_a_killed_save_left_behind_is_cleaned_up_by_the_next(tmp_path):
    folder = CheckpointFolder(tmp_path)
    leftover = tmp_path / ".00000001.tmp"
    leftover.mkdir()
    (leftover / "model.safetensors").write_bytes(b"half")
    assert folder.newest() is None
    save(folder, 1)
    assert names(tmp_path) == ["00000001"]


def test_a_state_that_is_not_json_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(CheckpointError, match="not JSON"):
        CheckpointFolder(tmp_path).save(1, model={}, optimizer={}, state={"feed": object()})
    assert names(tmp_path) == []


def test_a_checkpoint_can_be_read_by_others(tmp_path):
    save(CheckpointFolder(tmp_path), 1)
    umask = os.umask(0)
    os.umask(umask)
    for file in (tmp_path / "00000001").iterdir():
        assert file.stat().st_mode & 0o777 == 0o666 & ~umask
