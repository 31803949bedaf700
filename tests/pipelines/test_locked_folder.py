"""One run at a time in a folder, whoever asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.storage.locked_folder import hold_folder

ROOT = Path(__file__).resolve().parents[2]


class OwnError(Exception):
    pass


def test_who_holds_it_decides_the_name_of_the_lock_and_the_error(tmp_path: Path) -> None:
    with hold_folder(tmp_path, ".lock", error=OwnError, doing="training in it"):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
        with (
            pytest.raises(OwnError) as caught,
            hold_folder(tmp_path, ".lock", error=OwnError, doing="training in it"),
        ):
            raise AssertionError
        assert str(caught.value) == (
            f"{tmp_path}: process {os.getpid()} is training in it. Wait for it to finish, or stop it first."
        )
        with hold_folder(tmp_path, ".another", error=OwnError):
            assert sorted(path.name for path in tmp_path.iterdir()) == [".another", ".lock"]
    assert list(tmp_path.iterdir()) == []
    with hold_folder(tmp_path, ".lock", error=OwnError):
        pass


def test_a_folder_that_cannot_be_written_to_is_the_same_error(tmp_path: Path) -> None:
    with (
        pytest.raises(OwnError, match="absent: cannot be written to"),
        hold_folder(tmp_path / "absent", ".lock", error=OwnError),
    ):
        raise AssertionError


def test_the_lock_of_a_process_that_was_killed_holds_nobody_up(tmp_path: Path) -> None:
    code = f"""if True:
        import os, signal
        from pathlib import Path
        from pipelines.storage.locked_folder import hold_folder
        with hold_folder(Path({str(tmp_path)!r}), ".lock", error=RuntimeError):
            os.kill(os.getpid(), signal.SIGKILL)
        """
    subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60, check=False
    )
    assert (tmp_path / ".lock").exists()
    with hold_folder(tmp_path, ".lock", error=OwnError):
        pass
    assert not (tmp_path / ".lock").exists()
