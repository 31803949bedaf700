"""Folders that somebody else made: nothing outside of them is written, and every file of them may be anything."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from pipelines import (
    FolderSource,
    ImageIterator,
    PipelineError,
    ShardSource,
    ShardWriter,
    make_shards,
    open_source,
)
from pipelines.errors import ShardError, ShardingError, SourceError
from pipelines.sharding import set_job
from pipelines.storage.manifest import Manifest

PRECIOUS = "precious\n" * 10


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(4):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text(PRECIOUS)
    return path


@contextmanager
def interrupted() -> Iterator[None]:
    """Packing that is stopped after the last shard, before the manifest."""
    with patch.object(set_job._Job, "finish", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        yield


def packed(source: Path, out: Path, **options: Any) -> int:
    return make_shards(source, out, workers=0, shard_examples=2, **options).examples


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


LINKS = [
    ".make_shards.lock",
    "image-000000.tar",
    "image-000000.tar.index.npy",
    "manifest.json",
    "manifest.names.jsonl",
    ".make_shards/plan.json",
    ".make_shards/finished.jsonl",
    ".make_shards/.plan.json.part",
    ".make_shards/.manifest.json.part",
    ".make_shards/.manifest.names.jsonl.part",
]


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("overwrite", [False, True])
def test_the_target_of_a_link_in_an_output_folder_stays_as_it_is(
    name: str, overwrite: bool, source: Path, victim: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).symlink_to(victim)
    with contextlib.suppress(PipelineError):
        packed(source, out, overwrite=overwrite)
    assert victim.read_text() == PRECIOUS


@pytest.mark.parametrize("name", ["finished.jsonl", "parts-1"])
def test_a_link_in_a_run_that_is_continued_leads_nowhere(
    name: str, source: Path, victim: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with interrupted():
        packed(source, out)
    (out / ".make_shards" / name).unlink(missing_ok=True)
    (out / ".make_shards" / name).symlink_to(victim)
    if name == "finished.jsonl":
        with pytest.raises(ShardingError, match=r"finished\.jsonl is a symbolic link"):
            packed(source, out)
    else:
        assert packed(source, out) == 4
    assert victim.read_text() == PRECIOUS


def test_a_folder_of_the_run_that_is_a_link_is_refused_and_nothing_in_it_removed(
    source: Path, tmp_path: Path
) -> None:
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    (elsewhere / "parts-1").mkdir(parents=True)
    (elsewhere / "parts-1" / "keep").write_text(PRECIOUS)
    out.mkdir()
    (out / ".make_shards").symlink_to(elsewhere)
    for overwrite in (False, True):
        with pytest.raises(ShardingError, match=r"\.make_shards is a symbolic link"):
            packed(source, out, overwrite=overwrite)
    assert [path.name for path in elsewhere.rglob("*")] == ["parts-1", "keep"]


def line(**changes: Any) -> bytes:
    summary = {"name": "image-000000.tar", "examples": 2, "bytes": 10240, "sha256": "00" * 32}
    record = {"number": 0, "summary": summary, "failures": [], "parts": []}
    for name, value in changes.items():
        (summary if name in summary else record)[name] = value
    return json.dumps(record).encode() + b"\n"


LINES = {
    "garbage": b"garbage\n",
    "binary": b"\xff\xfe\n",
    "list": b"[]\n",
    "nothing": b"{}\n",
    "deep": b"[" * 100_000 + b"\n",
    "text for a number": line(examples="2"),
    "yes for a number": line(examples=True),
    "a shard that is not planned": line(number=7),
    "a list for a number": line(number=[0]),
    "another's name": line(name="image-000001.tar"),
    "a way out": line(name="../outside.tar"),
    "a hash that is none": line(sha256="zz" * 32),
    "failures of numbers": line(failures=[1]),
    "failures elsewhere": line(failures=[["/etc/passwd", "because"]], examples=1),
    "pieces": line(parts=[1, 1]),
    "an index of another": line(index_hash="0" * 32),
}


@pytest.mark.parametrize("bad", LINES.values(), ids=LINES.keys())
def test_a_damaged_line_of_the_journal_costs_its_shard_and_nothing_else(
    bad: bytes, source: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    packed(source, whole)
    (tmp_path / "outside.tar").write_bytes(bytes(10240))
    (tmp_path / "outside.tar.index.npy").write_bytes(bytes(1000))
    for place in ("before", "behind", "alone"):
        out = tmp_path / place
        with interrupted():
            packed(source, out)
        journal = out / ".make_shards" / "finished.jsonl"
        good = journal.read_bytes()
        journal.write_bytes({"before": bad + good, "behind": good + bad, "alone": bad}[place])
        assert packed(source, out) == 4
        assert contents(out) == contents(whole)


PLANS = ["[]", "5", "null", '{"version": 1, "settings": null}', '{"settings": "x"}', "\0", "[" * 100_000, "{}"]


@pytest.mark.parametrize("text", PLANS, ids=lambda text: text[:30])
def test_a_damaged_plan_is_begun_again_or_refused_and_overwrite_always_helps(
    text: str, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with interrupted():
        packed(source, out)
    (out / ".make_shards" / "plan.json").write_text(text)
    with pytest.raises(ShardingError, match="--overwrite"):
        packed(source, out)
    assert packed(source, out, overwrite=True) == 4


NAMES = {
    "number": b"5\n",
    "three": b'["a","b","c"]\n',
    "object": b"{}\n",
    "numbers": b"[1,2]\n",
    "nested": b"[1,[2]]\n",
    "null": b"null\n",
    "text of two": b'"ab"\n',
    "latin": b'["a","\xe9"]\n',
    "empty": b"",
    "deep": b"[" * 100_000 + b"\n",
    "twice": b'["0","0.png"]\n["00","0.png"]\n["1","1.png"]\n["2","2.png"]\n',
}


@pytest.mark.parametrize("text", NAMES.values(), ids=NAMES.keys())
def test_damaged_names_are_refused_by_what_needs_them(text: bytes, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    packed(source, out)
    Image.new("RGB", (8, 8)).save(source / "new.png")
    (out / "manifest.names.jsonl").write_bytes(text)
    before = (out / "manifest.json").read_bytes()
    for append in (False, True):
        with pytest.raises(ShardError, match=r"manifest\.names\.jsonl: not readable \(.*--overwrite\.$"):
            packed(source, out, append=append)
    assert (out / "manifest.json").read_bytes() == before
    assert packed(source, out, overwrite=True) == 5


@pytest.mark.parametrize("failures", [[1], [{}], [["a", "b"]], [{"path": 1, "reason": "x"}], ["ab"]])
def test_failures_of_the_wrong_types_are_refused_and_overwrite_helps(
    failures: Any, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    packed(source, out)
    content = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps({**content, "failures": failures}))
    with pytest.raises(ShardError, match="a failure is not a path with a reason"):
        packed(source, out)
    assert packed(source, out, overwrite=True) == 4


@pytest.mark.parametrize("counts", [[2**63, 0], [2**62, 2**62], [2**62, 0], [True, 3], [-1, 5]])
def test_a_manifest_with_impossible_counts_is_refused(counts: list[int], source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    packed(source, out)
    manifest = Manifest.load(out)
    manifest.shards.examples[:] = counts
    with patch("pipelines.storage.manifest.chain_hashes", return_value=["0" * 32]):
        (out / "manifest.json").write_text(manifest.to_json())
        with pytest.raises(ShardError, match=r"count is not a whole number|more than there can be"):
            ImageIterator(out, size=8, batch_size=1)


def test_every_bit_of_an_index_is_checked_by_the_manifest(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    packed(source, out)
    index = out / "image-000000.tar.index.npy"
    good = index.read_bytes()
    for at in range(0, len(good), 3):
        index.write_bytes(good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :])
        with pytest.raises(ShardError, match=r"image-000000\.tar\.index\.npy: is not the index that the manifest"):
            next(iter(ImageIterator(out, size=8, batch_size=4)))
    index.write_bytes(good)
    assert len(next(iter(ImageIterator(out, size=8, batch_size=4))).keys) == 4


def test_a_set_from_before_indexes_had_digests_is_read_and_added_to(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    packed(source, out)
    content = json.loads((out / "manifest.json").read_text())
    old = content.pop("index_hash")
    (out / "manifest.json").write_text(json.dumps(content))
    assert len(next(iter(ImageIterator(out, size=8, batch_size=4))).keys) == 4
    Image.new("RGB", (8, 8)).save(source / "new.png")
    assert packed(source, out, append=True) == 5
    hashes = Manifest.load(out).shards.index_hash
    assert hashes[:2] == ["", ""]
    assert len(hashes[2]) == len(old[0]) == 32


def a_pipe_at(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


@pytest.mark.parametrize("place", ["picture", "sidecar", "manifest", "index", "tar", "names", "lock", "plan"])
def test_a_pipe_is_not_waited_for(place: str, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    packed(source, out)
    places = {
        "picture": source / "0.png",
        "sidecar": source / "0.json",
        "manifest": out / "manifest.json",
        "index": out / "image-000000.tar.index.npy",
        "tar": out / "image-000000.tar",
        "names": out / "manifest.names.jsonl",
        "lock": out / ".make_shards.lock",
        "plan": out / ".make_shards" / "plan.json",
    }
    (source / "0.json").write_text("{}")
    opened = open_source(source)
    places[place].parent.mkdir(exist_ok=True)
    a_pipe_at(places[place])
    if place in ("names", "lock", "plan"):
        Image.new("RGB", (8, 8)).save(source / "new.png")
    said: list[Any] = []

    def attempt() -> None:
        try:
            if place in ("picture", "sidecar"):
                data = ImageIterator(opened, size=8, batch_size=1, fields=("json",))
            elif place in ("names", "lock", "plan"):
                packed(source, out, append=True)
                said.append("packed")
                return
            else:
                data = ImageIterator(out, size=8, batch_size=1)
            said.append(next(iter(data)).keys)
        except (PipelineError, SourceError) as error:
            said.append(str(error))

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(30)
    assert said, "it hangs"
    assert place == "plan" or any(words in said[0] for words in ("not a plain file", "no such file", "0 bytes"))


def test_the_same_names_in_another_locale_are_not_packed_again(source: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(source / "Grüße.png")
    out, root = tmp_path / "out", Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, str(root / "tools" / "make_shards.py"), str(source), "--out", str(out)]
    for more, flags in (({}, []), (ascii_only, []), (ascii_only, ["--append"])):
        done = subprocess.run(
            [*command, "--workers", "0", *flags],
            env={**environment, **more},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "5 images" in done.stdout
        if more:
            assert "complete already" in done.stdout
    played = (
        "import sys; from pipelines import ImageIterator; "
        "keys = next(iter(ImageIterator(sys.argv[1], size=8, batch_size=5))).keys; "
        "sys.stdout.buffer.write(repr(keys).encode('utf-8'))"
    )
    keys = [
        subprocess.run(
            [sys.executable, "-c", played, str(source)],
            env={**environment, **more},
            capture_output=True,
            check=True,
        ).stdout.decode("utf-8")
        for more in ({}, ascii_only)
    ]
    assert keys[0] == keys[1]
    assert "Grüße" in keys[0]


@pytest.mark.parametrize("kind", ["pipe", "file", "link"])
def test_what_stands_for_a_folder_of_the_run_is_removed_and_not_waited_for(
    kind: str, source: Path, victim: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / ".make_shards").mkdir(parents=True)
    for name in ("parts-7", f"parts-{os.getpid()}"):
        place = out / ".make_shards" / name
        os.mkfifo(place) if kind == "pipe" else place.symlink_to(victim) if kind == "link" else place.touch()
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(packed(source, out)), daemon=True)
    thread.start()
    thread.join(30)
    assert done == [4]
    assert victim.read_text() == PRECIOUS


LONG = "x" * 300


@pytest.mark.parametrize("place", [LONG, f"{LONG}/below", "a\0b"], ids=["long", "below", "null"])
def test_paths_that_cannot_be_are_named(place: str, source: Path, tmp_path: Path) -> None:
    attempts = (
        lambda: open_source(place),
        lambda: open_source([place]),
        lambda: FolderSource(place),
        lambda: ShardSource([place]),
        lambda: make_shards(place, tmp_path / "out"),
        lambda: make_shards(source, tmp_path / place),
        lambda: ShardWriter(tmp_path / place, "x").write("a", b"x", "jpg"),
    )
    for number, attempt in enumerate(attempts):
        with pytest.raises((PipelineError, ValueError), match=r"no null character|cannot be|too long") as caught:
            attempt()
        assert isinstance(caught.value, ValueError) == ("\0" in place), number


@pytest.mark.parametrize("place", [b"bytes", 2, None, ["a"]], ids=repr)
def test_a_place_is_a_path(place: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"source is .*; it must be a path"):
        make_shards(place, tmp_path)
    with pytest.raises(TypeError, match=r"folder is .*; it must be a path"):
        FolderSource(place)


@pytest.mark.parametrize("name", ["\ud800.tar", LONG + ".tar", "é" * 200])
def test_names_that_no_file_can_have_are_refused(name: str, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    packed(source, out)
    content = json.loads((out / "manifest.json").read_text())
    content["shards"]["name"][0] = name
    (out / "manifest.json").write_text(json.dumps(content))
    for attempt in (lambda: open_source(out), lambda: packed(source, out)):
        with pytest.raises(ShardError, match="is not a file name"):
            attempt()


def test_a_shard_that_is_a_link_to_itself_is_missing(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    packed(source, out)
    for name in ("image-000000.tar.index.npy", "image-000000.tar"):
        (out / name).unlink()
        (out / name).symlink_to(out / name)
        for attempt in (lambda: packed(source, out), lambda: packed(source, out, append=True)):
            with pytest.raises(ShardError, match="missing or cut off"):
                attempt()


@pytest.mark.parametrize("content", [np.zeros((3, 4), np.uint8), "text", 3, None, [b"x"]], ids=repr)
def test_a_writer_takes_bytes_alone(content: Any, tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "image") as writer:
        with pytest.raises(TypeError, match="its field 'npy' is of type"):
            writer.write("a", b"x", "jpg", fields={"npy": content})
        with pytest.raises(TypeError, match="its media is of type"):
            writer.write("a", content, "jpg")
        with pytest.raises(TypeError, match="is to be a text"):
            writer.write(3, b"x", "jpg")  # type: ignore[arg-type]
        writer.write("a", memoryview(b"media"), "jpg", fields={"txt": bytearray(b"words")})  # type: ignore[arg-type]
    example = open_source(tmp_path / "image-000000.tar")[0]
    assert (example.media, example.fields["txt"]) == (b"media", b"words")


def test_a_gigantic_manifest_is_not_read(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    packed(source, out)
    os.truncate(out / "manifest.json", 20 << 30)
    for attempt in (lambda: open_source(out), lambda: packed(source, out)):
        with pytest.raises(ShardError, match=r"21,474,836,480 bytes are more than the 1,073,741,824"):
            attempt()


def test_a_manifest_that_counts_otherwise_than_its_indexes_is_refused(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    packed(source, out)
    manifest = Manifest.load(out)
    manifest.shards.examples[:] = [1, 3]
    (out / "manifest.json").write_text(manifest.to_json())
    Image.new("RGB", (8, 8)).save(source / "new.png")
    with pytest.raises(ShardError, match=r"holds 2 examples, and the manifest says 1\..*--overwrite"):
        packed(source, out, append=True)
