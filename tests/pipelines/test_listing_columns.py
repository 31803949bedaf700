"""The listing and the plan are kept in columns; a few lines with a list of files say what has to be in them."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from pipelines.modality import find_modality
from pipelines.order.epoch_order import permutation
from pipelines.order.randomness import Purpose, derive_key
from pipelines.sharding.plan import make_plan
from pipelines.sharding.settings import PackSettings
from pipelines.storage import found_files, key_column, sidecars, texts
from pipelines.storage.found_files import FoundFilesWriter
from pipelines.storage.key_column import KeyColumn
from pipelines.storage.keys import KeyMaker
from pipelines.storage.listing import Listing, SourceFile, list_examples, list_folder
from pipelines.storage.media_types import media_suffix, read_head, sniff
from pipelines.storage.sidecars import is_field_name, stem_of
from pipelines.storage.texts import Texts

HEADS = {
    "jpg": b"\xff\xd8\xff\xe0" + bytes(40),
    "png": b"\x89PNG\r\n\x1a\n" + bytes(30),
    "wav": b"RIFF\0\0\0\0WAVEfmt " + bytes(20),
    "mp4": b"\0\0\0\x18ftypisom" + bytes(20),
    "none": b"nothing that is known",
    "empty": b"",
}
STEMS = (
    "a",
    "a~2",
    "a.b",
    "a_b",
    "a-b",
    "a b",
    "~",
    "__x__",
    "ü",
    "\udcff",
    "\udcfe",
    "\U0001f600",
    "\ue000",
    "n\nl",
)
SUFFIXES = ("jpg", "JPEG", "png", "wav", "mp4", "json", "txt", "TXT", "f0.npy", "cls", "md", "heic", "jpg.json")
SIDECARS = ("json", "txt", "cls", "npy")


def hostile_tree(root: Path, seed: int) -> Path:
    """A few hundred files and links whose names collide, hide, and cannot be decoded."""
    dice = random.Random(seed)
    folders = ["", "d", "d/e", "d.e", "d-e", "z/y/x", "a", "\udcf0"]
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for folder in folders:
        for _ in range(35):
            name = f"{dice.choice(STEMS)}.{dice.choice(SUFFIXES)}"
            content = HEADS[dice.choice(list(HEADS))] + bytes(dice.randrange(3))
            path = os.path.join(root, folder, name if dice.random() < 0.9 else dice.choice(STEMS))  # noqa: PTH118
            if not os.path.lexists(path):
                Path(path).write_bytes(content)
    outside = root.parent / "outside"
    (outside / "deep").mkdir(parents=True, exist_ok=True)
    (outside / "deep" / "far.jpg").write_bytes(HEADS["jpg"])
    for name, target in (("d/m", outside), ("b", outside / "deep"), ("up", root), ("z/d", root / "d")):
        (root / name).symlink_to(target)
    (root / "gone.jpg").symlink_to(root / "nowhere")
    (root / "gone.txt").symlink_to(root / "nowhere")
    (root / "a" / ".hidden.jpg").write_bytes(HEADS["jpg"])
    (root / "linked.png").symlink_to(outside / "deep" / "far.jpg")
    return root


class Plain(NamedTuple):
    """What a listing is to hold, in lists and dictionaries."""

    files: dict[str, list[SourceFile]]
    failures: dict[str, list[tuple[str, str]]]
    skipped: int
    other_media: dict[str, int]


def plain_walk(root: Path) -> dict[str, int]:
    """Path → bytes of every file; folders outside are entered by the first link to them."""
    found: dict[str, int] = {}
    entered, waiting, links = set[tuple[int, int]](), [""], list[str]()
    while waiting or links:
        if waiting:
            inside = waiting.pop()
        else:
            links.sort()
            inside = links.pop(0)
        status = (root / inside).stat()
        if (status.st_dev, status.st_ino) in entered:
            continue
        entered.add((status.st_dev, status.st_ino))
        for name in os.listdir(root / inside):  # noqa: PTH208
            path = f"{inside}/{name}".lstrip("/")
            if name.startswith("."):
                continue
            if (root / path).is_dir():
                (links if (root / path).is_symlink() else waiting).append(path)
            elif (root / path).is_file():
                found[path] = (root / path).stat().st_size
    return found


def plain_listing(root: Path, wanted: tuple[str, ...]) -> Plain:
    walked = plain_walk(root)
    kinds = {path: sniff(read_head(root / path)) for path in walked if media_suffix(path) not in SIDECARS}
    stems = {stem_of(path) for path, kind in kinds.items() if kind}
    beside: dict[str, dict[str, tuple[str, int]]] = {}
    unused = 0
    for path in sorted(walked):
        if media_suffix(path) in SIDECARS:
            stem: str | None = stem_of(path)
            while stem is not None and stem not in stems:
                shorter = stem_of(stem)
                stem = shorter if shorter != stem and is_field_name(stem[len(shorter) + 1 :]) else None
            if stem is None:
                unused += 1
            else:
                suffix = path[len(stem) + 1 :]
                beside.setdefault(stem, {}).setdefault(suffix.lower(), (suffix, walked[path]))
    files: dict[str, list[SourceFile]] = {name: [] for name in wanted}
    failures: dict[str, list[tuple[str, str]]] = {name: [] for name in wanted}
    others: dict[str, int] = {}
    skipped, used = unused, set[str]()
    for path, kind in sorted(kinds.items()):
        if kind and kind[0] in wanted:
            suffix = find_modality(kind[0]).kept_suffix(kind[1], media_suffix(path))
            own = tuple(beside.get(stem_of(path), {}).values())
            files[kind[0]].append(SourceFile(path, walked[path], suffix, own))
            used.add(stem_of(path))
        else:
            named = [name for name in wanted if media_suffix(path) in _names(name)]
            for name in named[:1]:
                failures[name].append((path, _reason(name, walked[path], kind)))
            if not named:
                skipped += 1
                if kind:
                    others[kind[0]] = others.get(kind[0], 0) + 1
    skipped += sum(len(own) for stem, own in beside.items() if stem not in used)
    if "image" in wanted:
        failures["image"].append(("gone.jpg", "a symbolic link to nothing"))
    return Plain(files, {name: sorted(own) for name, own in failures.items()}, skipped, others)


def _names(modality: str) -> tuple[str, ...]:
    known = find_modality(modality)
    return (*known.suffixes, *known.refused_suffixes)


def _reason(modality: str, size: int, kind: tuple[str, str] | None) -> str:
    if not size:
        return "an empty file"
    what = find_modality(modality).with_article
    return f"not {what} but {kind[0]}" if kind else f"not {what}: it does not begin like one"


def plain_fingerprint(files: list[SourceFile], failures: list[tuple[str, str]]) -> str:
    lines: list[list[Any]] = [[file.path, file.size, file.suffix, *file.sidecars] for file in files]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in [*lines, *map(list, failures)])
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]


@pytest.fixture(params=["as it is", "small batches", "colliding hashes"])
def borders(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches and sorted runs of a few files, so that their borders are met; and hashes that tell little."""
    if request.param != "as it is":
        monkeypatch.setattr(found_files, "RUN_FILES", 3)
        monkeypatch.setattr("pipelines.storage.walk.RUN_FILES", 3)
        monkeypatch.setattr(texts, "BATCH", 4)
        monkeypatch.setattr(key_column, "BATCH", 4)
    if request.param == "colliding hashes":
        for module in (key_column, sidecars):
            monkeypatch.setattr(
                module, "hash", lambda text: sum(text.encode("utf-8", "replace")) % 5, raising=False
            )


@pytest.mark.usefixtures("borders")
@pytest.mark.parametrize("wanted", [("image",), ("audio",), ("image", "audio", "video")])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_hostile_folder_is_listed_as_a_list_of_files_would_have_it(
    tmp_path: Path, seed: int, wanted: tuple[str, ...]
) -> None:
    root = hostile_tree(tmp_path / "in", seed)
    found, plain = list_folder(root, wanted), plain_listing(root, wanted)
    assert found.listings.keys() == set(wanted)
    for name, listing in found.listings.items():
        assert list(listing.files) == plain.files[name]
        assert listing.failures == plain.failures[name]
        assert listing.fingerprint == plain_fingerprint(plain.files[name], plain.failures[name])
        assert Listing(plain.files[name], listing.failures).fingerprint == listing.fingerprint
    assert (found.skipped, found.other_media) == (plain.skipped, plain.other_media)
    assert sum(len(file.sidecars) for name in wanted for file in plain.files[name]) > 5


@pytest.mark.usefixtures("borders")
@pytest.mark.parametrize("seed", [3, 4])
def test_a_hostile_folder_plays_with_the_keys_that_a_key_maker_gives_one_by_one(tmp_path: Path, seed: int) -> None:
    root = hostile_tree(tmp_path / "in", seed)
    found, plain = list_examples(root, "image"), plain_listing(root, ("image",))
    readable = [file.path for file in plain.files["image"]]
    paths = [file.path for file in found.files]
    refused = sorted(set(paths) - set(readable))
    assert paths == sorted([*readable, *refused])
    assert refused
    maker = KeyMaker()
    keys = {path: maker.key(path) for path in [*readable, *refused]}
    assert list(found.keys) == [keys[path] for path in paths]
    assert [found.keys[place] for place in range(len(paths))] == list(found.keys)
    assert any("~2" in key for key in found.keys)


@pytest.mark.usefixtures("borders")
@pytest.mark.parametrize("seed", [5, 6, 7])
def test_a_plan_has_the_keys_the_order_and_the_stops_of_one_made_file_by_file(seed: int) -> None:
    dice = random.Random(seed)
    names = sorted(
        {f"{dice.choice(STEMS)}{dice.choice(['', '~2', '~3', '.x'])}.{dice.randrange(9)}" for _ in range(200)}
    )
    pairs = (("json", dice.randrange(3000)), ("txt", dice.randrange(9)))
    files = [SourceFile(name, dice.randrange(5000), "jpg", pairs[: dice.randrange(3)]) for name in names]
    packed = {files[place].path: f"{dice.choice(STEMS)}~{place % 4}" for place in range(0, len(files), 7)}
    settings = PackSettings(shuffle=seed, shard_bytes=20_000, shard_examples=5)
    plan = make_plan(Listing(files, []), settings, packed=packed, first_shard=3)
    maker, new = KeyMaker(set(packed.values())), [file for file in files if file.path not in packed]
    keyed = [(maker.key(file.path), file) for file in new]
    order = permutation(len(new), derive_key(seed, Purpose.PACKING, 3)).tolist()
    keyed = [keyed[place] for place in order]
    assert [(one.key, one.file) for one in plan.files] == keyed
    stops, filled, start = [], 0, 0
    for place, (_, file) in enumerate(keyed):
        sizes = [file.size, *(size for _, size in file.sidecars)]
        span = sum(512 + (size + 511) // 512 * 512 for size in sizes)
        if place > start and (filled + span > 20_000 or place - start == 5):
            stops.append(place)
            filled, start = 0, place
        filled += span
    assert plan.stops == [*stops, len(keyed)]
    assert [shard.number for shard in plan.shards] == list(plan.numbered) == list(range(3, 3 + len(plan.stops)))
    assert [one for shard in plan.shards for one in shard.files] == list(plan.files)
    assert [plan.numbered.num_files(number) for number in plan.numbered] == np.diff([0, *plan.stops]).tolist()


def test_texts_are_kept_to_the_character_and_sort_as_python_sorts_them() -> None:
    dice = random.Random(9)
    alphabet = "a/.-~\n\x01\x7f\x80ü\ud7ff\ud800\udc80\udcff\udfff\ue000\uffff\U00010000\U0010ffff"
    some = ["".join(dice.choices(alphabet, k=dice.randrange(6))) for _ in range(500)]
    kept = Texts.of(some)
    assert list(kept) == some == [kept[place] for place in range(len(some))]
    assert kept[3:90:7] == some[3:90:7]
    assert kept.take(np.array([5, 1, 1])) == [some[5], some[1], some[1]]
    assert [kept[-1], kept[5:2], len(kept)] == [some[-1], [], 500]
    writer = FoundFilesWriter()
    for start in range(0, 500, 60):
        writer.add(some[start : start + 60], list(range(start, min(start + 60, 500))))
    files = writer.finish()
    assert list(files.paths) == sorted(some)
    assert [some[size] for size in files.sizes.tolist()] == sorted(some)
    with pytest.raises(ValueError, match="null character"):
        Texts.of(["a\0b"])


def test_what_a_folder_gave_before_it_could_not_be_read_on_is_forgotten() -> None:
    writer = FoundFilesWriter()
    writer.add(["b", "c"], [1, 2])
    mark = writer.mark()
    writer.add(["z", "a"], [3, 4])
    writer.add(["0"], [5])
    writer.back_to(mark)
    writer.add(["d"], [6])
    assert [tuple(file) for file in writer.finish()] == [("b", 1), ("c", 2), ("d", 6)]


def test_keys_that_are_given_already_are_not_given_again() -> None:
    paths = ["a.jpg", "b.jpg", "c~2.jpg", "c.jpg", "c.png"]
    keys = KeyColumn.given(paths, ["a", "a~2", "q", "c"])
    assert list(keys) == ["a~3", "b", "c~2", "c~3", "c~4"]
