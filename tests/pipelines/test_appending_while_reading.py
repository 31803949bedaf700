"""While files are added, a reader has the old set or the new one, whole; its epoch stays as it was to the byte."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pipelines
from pipelines import ImageIterator, make_shards, open_source
from pipelines.storage.manifest import NAMES_NAME, Manifest

from .test_make_shards import picture
from .test_make_shards_killed import STEPS, contents, run_and_die

ROOT = Path(__file__).resolve().parents[2]
ORDERS: dict[str, dict[str, Any]] = {
    "in order": {},
    "shuffled": {"shuffle": True},
    "window of shards": {"shuffle": True, "shuffle_shards": 2},
    "groups": {"groups": 2},
    "augmented": {"shuffle": True, "crop": "random", "flip": True},
}


def make_source(folder: Path, num: int) -> Path:
    folder.mkdir()
    for number in range(num):
        (folder / f"{number:03d}.png").write_bytes(picture(number))
    return folder


def images(out: Path, **settings: Any) -> ImageIterator:
    return ImageIterator(out, **{"size": 12, "batch_size": 4, "threads": 1, **settings})


def played(batches: Any) -> list[tuple[str, str]]:
    """Key and content of every example."""
    found = []
    for batch in batches:
        for slot, key in enumerate(batch.keys):
            found.append((key, hashlib.sha256(batch.data[slot].tobytes()).hexdigest()))
    return found


def reopened_epoch(out: Path, state: dict[str, Any], every: int, **settings: Any) -> list[tuple[str, str]]:
    """The rest of an epoch, read by readers that are opened anew after every few batches."""
    found, epoch = list[tuple[str, str]](), state["epoch"]
    while state["epoch"] == epoch:
        reader = images(out, **settings)
        reader.load_state_dict(json.loads(json.dumps(state)))
        found += played(itertools.islice(reader, every))
        state = reader.state_dict()
        reader.close()
    return found


def test_an_epoch_is_the_same_while_files_are_added_and_the_next_has_them(tmp_path: Path) -> None:
    source, out = make_source(tmp_path / "source", 10), tmp_path / "out"
    make_shards(source, out, workers=0, shard_examples=3)
    opened = {name: images(out, **settings) for name, settings in ORDERS.items()}
    starts = {name: reader.state_dict() for name, reader in opened.items()}
    expected = {name: played(reader) for name, reader in opened.items()}
    command = [sys.executable, "-m", "tests.pipelines.appending_child", str(source), str(out)]
    adding = subprocess.Popen([*command, *map(str, range(10, 14))], cwd=ROOT)
    lengths = set[int]()
    for name in itertools.cycle(ORDERS):
        every, known = 1 + len(lengths) % 3, len(open_source(out))
        opened[name].load_state_dict(starts[name])
        assert played(opened[name]) == expected[name], f"{name}: a reader that stays open"
        assert reopened_epoch(out, starts[name], every, **ORDERS[name]) == expected[name], f"{name}: opened anew"
        lengths.add(known)
        if known == 14:
            break
        assert adding.poll() in (None, 0)
    assert adding.wait() == 0
    for name, settings in ORDERS.items():
        last = images(out, **settings)
        last.load_state_dict(starts[name])
        assert played(last) == expected[name]
        assert {key for key, _ in played(last)} == {f"{number:03d}" for number in range(14)}, (
            f"{name}: the next epoch"
        )
    assert len(lengths) > 1


def whole_set(out: Path, known: dict[str, Any]) -> None:
    """Assert that what a reader finds is one of the sets that are known by their hash, in every file it may read."""
    manifest = Manifest.load(out)
    assert manifest.data_hash in known
    old = known[manifest.data_hash]
    source = open_source(out)
    assert source.keys() == old["keys"]  # type: ignore[attr-defined]
    lines = (out / NAMES_NAME).read_text().splitlines()[: manifest.examples]
    assert [json.loads(line)[0] for line in lines] == old["keys"]
    assert pipelines.labels(out).counts == old["counts"]


def facts(out: Path) -> dict[str, Any]:
    return {"keys": open_source(out).keys(), "counts": pipelines.labels(out).counts}  # type: ignore[attr-defined]


def test_at_every_step_of_an_addition_a_reader_finds_the_old_set_or_the_new_one(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    for number in range(7):
        folder = source / ("cats" if number % 2 else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(picture(number))
    make_shards(source, out, workers=0, shard_examples=3, classes=True)
    shutil.copytree(out, tmp_path / "whole")
    (source / "ants").mkdir()
    for number in range(8, 13):
        (source / "ants" / f"{number}.png").write_bytes(picture(number))
    make_shards(source, tmp_path / "whole", workers=0, shard_examples=3, classes=True, append=True)
    known = {Manifest.load(one).data_hash: facts(one) for one in (out, tmp_path / "whole")}
    assert len(known) == 2
    with LookingAtEveryStep(lambda: whole_set(out, known)) as looks:
        make_shards(source, out, workers=0, shard_examples=3, classes=True, append=True)
    assert looks[0] > 30
    assert contents(out) == contents(tmp_path / "whole")


def test_what_a_killed_addition_leaves_is_the_old_set_or_the_new_one(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source", 5)
    (source / "sub").mkdir()
    (source / "sub" / "a.png").write_bytes(picture(50))
    make_shards(source, tmp_path / "begun", workers=0, shard_examples=3, classes=True)
    for number in range(5, 10):
        (source / "sub" / f"{number}.png").write_bytes(picture(number))
    shutil.copytree(tmp_path / "begun", tmp_path / "whole")
    make_shards(source, tmp_path / "whole", workers=0, shard_examples=3, classes=True, append=True)
    known = {Manifest.load(one).data_hash: facts(one) for one in (tmp_path / "begun", tmp_path / "whole")}
    for step in range(1, 80):
        out = tmp_path / f"out{step}"
        shutil.copytree(tmp_path / "begun", out)
        if not run_and_die(step, source, out, append=True, classes=True):
            break
        whole_set(out, known)
    assert step > 20


class LookingAtEveryStep:
    """Before and after each step that changes the disk, somebody looks; the list holds how often."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look, self._patches, self._is_looking, self.looks = look, list[Any](), False, [0]

    def __enter__(self) -> list[int]:
        for owner, name in STEPS:
            original = getattr(owner, name)

            def step(*args: object, original: Any = original, **settings: object) -> object:
                self._see()
                result = original(*args, **settings)
                self._see()
                return result

            self._patches.append(patch.object(owner, name, step))
            self._patches[-1].start()
        return self.looks

    def _see(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            try:
                self._look()
                self.looks[0] += 1
            finally:
                self._is_looking = False

    def __exit__(self, *error: object) -> None:
        for one in self._patches:
            one.stop()


def readers(out: Path, start: dict[str, Any], expected: list[tuple[str, str]]) -> Iterator[None]:
    """Each step reads the epoch of the old set, by readers that are opened anew."""
    for every in itertools.cycle((1, 2, 5)):
        assert reopened_epoch(out, start, every, shuffle=True) == expected
        yield


def test_additions_killed_at_random_moments_disturb_no_reader_and_end_in_the_same_bytes(tmp_path: Path) -> None:
    source, out = make_source(tmp_path / "source", 8), tmp_path / "out"
    make_shards(source, out, workers=0, shard_examples=3)
    first = images(out, shuffle=True)
    start = first.state_dict()
    expected = played(first)
    reading = readers(out, start, expected)
    for number in range(8, 40):
        (source / f"{number:03d}.png").write_bytes(picture(number))
    taken = []
    for name in ("first", "undisturbed"):  # the first one loads what the second one needs no more
        shutil.copytree(out, tmp_path / name)
        began = time.monotonic()
        make_shards(source, tmp_path / name, workers=0, shard_examples=3, append=True)
        taken.append(time.monotonic() - began)
    longest, moments, killed = min(taken), random.Random(3), 0
    while killed < 6:
        child = os.fork()
        if not child:
            try:
                make_shards(source, out, workers=0, shard_examples=3, append=True)
            finally:
                os._exit(0)
        time.sleep(moments.uniform(0.02, 0.35) * longest)  # of what is left after one kill, too
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        next(reading)
        if Manifest.load(out).examples == 40:
            break
    make_shards(source, out, workers=0, shard_examples=3, append=True)
    next(reading)
    assert contents(out) == contents(tmp_path / "undisturbed")
    assert killed > 1
