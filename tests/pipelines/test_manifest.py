"""Manifests: version 1 stays readable, the hash follows its formula, damage is refused in a sentence."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ShardError
from pipelines.storage.manifest import MANIFEST_NAME, Manifest, ShardColumns, chain_hashes, manifest_checksums

GOLDEN = Path(__file__).parent / "golden"
HASHES = [hashlib.sha256(bytes([number])).hexdigest() for number in range(3)]


def make_manifest(num: int = 3) -> Manifest:
    columns = ShardColumns(
        name=[f"image-{number:06d}.tar" for number in range(num)],
        examples=[7, 0, 5][:num],
        bytes=[10240, 1024, 20480][:num],
        sha256=HASHES[:num],
    )
    failures = [{"path": "ü/kaputt.jpg", "reason": "not an image"}]
    return Manifest("image", columns, listing="f" * 32, settings={"shuffle": 0}, failures=failures)


def write(folder: Path, text: str | bytes) -> Path:
    content = text.encode() if isinstance(text, str) else text
    (folder / MANIFEST_NAME).write_bytes(content)
    return folder


def test_a_manifest_of_version_1_is_read_and_written_back_byte_by_byte_with_its_checksum() -> None:
    manifest = Manifest.load(GOLDEN)
    assert manifest.shards.name == ["image-v1.tar"]
    assert manifest.examples == 3
    tar = (GOLDEN / "image-v1.tar").read_bytes()
    assert manifest.shards.sha256 == [hashlib.sha256(tar).hexdigest()]
    assert manifest.shards.bytes == [len(tar)]
    text = (GOLDEN / MANIFEST_NAME).read_text(encoding="utf-8").rstrip()
    checksum = hashlib.sha256(text.encode()).hexdigest()[:32]
    assert manifest.to_json() == f'{text[:-1]},"checksum":"{checksum}"}}\n'


def test_the_checksum_of_a_manifest_shows_every_changed_byte() -> None:
    raw = make_manifest().to_json().encode()
    stated, found = manifest_checksums(raw) or ("", "other")
    assert stated == found == hashlib.sha256(raw[: raw.rindex(b',"checksum"')] + b"}").hexdigest()[:32]
    for place in range(len(raw) - 1):
        changed = bytearray(raw)
        changed[place] ^= 1
        pair = manifest_checksums(bytes(changed))
        assert pair is None or pair[0] != pair[1], place
    assert manifest_checksums((GOLDEN / MANIFEST_NAME).read_bytes()) is None


def test_a_manifest_survives_its_file(tmp_path: Path) -> None:
    assert Manifest.load(write(tmp_path, make_manifest().to_json())) == make_manifest()
    assert make_manifest().examples == 12


def test_the_hash_is_the_documented_chain() -> None:
    first = hashlib.sha256(b"" + bytes.fromhex(HASHES[0]) + (7).to_bytes(8, "little")).digest()[:16]
    second = hashlib.sha256(first + bytes.fromhex(HASHES[1]) + bytes(8)).digest()[:16]
    assert chain_hashes(HASHES[:2], [7, 0]) == [first.hex(), second.hex()]
    assert make_manifest(2).data_hash == second.hex()
    assert make_manifest(0).data_hash == ""


def test_appended_shards_leave_every_earlier_hash_as_it_was() -> None:
    hashes = chain_hashes(HASHES, [7, 0, 5])
    assert [make_manifest(num).data_hash for num in (1, 2, 3)] == hashes
    assert len(set(hashes)) == 3


def test_it_stays_small_at_a_hundred_thousand_shards() -> None:
    num = 100_000
    columns = ShardColumns(
        [f"image-{n:06d}.tar" for n in range(num)], [1000] * num, [10**9] * num, [HASHES[0]] * num
    )
    assert len(Manifest("image", columns).to_json()) < 12_000_000


def test_a_missing_manifest_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Manifest.load(tmp_path)


def edited(**changes: Any) -> str:
    content = json.loads(make_manifest().to_json())
    shards = changes.pop("shards", {})
    return json.dumps({**content, **changes, "shards": {**content["shards"], **shards}})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '"dirvae-shards"',
        "{}",
        "[" * 100_000,
        b"\xff\xfe not utf-8",
        edited(format="other"),
        edited(version=2),
        edited(version="1"),
        edited(shards={"name": ["a.tar"]}),
        edited(shards={"name": ["../a.tar", "b.tar", "c.tar"]}),
        edited(shards={"name": ["/etc/passwd", "b.tar", "c.tar"]}),
        edited(shards={"name": ["..", "b.tar", "c.tar"]}),
        edited(shards={"name": ["", "b.tar", "c.tar"]}),
        edited(shards={"name": ["a\0.tar", "b.tar", "c.tar"]}),
        edited(shards={"name": [1, 2, 3]}),
        edited(shards={"name": ["a.tar", "a.tar", "c.tar"]}),
        edited(shards={"name": None}),
        edited(shards={"examples": [7, 0, -5]}),
        edited(shards={"examples": [7, 0, 2.5]}),
        edited(shards={"examples": [7, 0, True]}),
        edited(shards={"examples": [7, 0, 6]}),
        edited(shards={"examples": [7, 0, 2**70]}),
        edited(shards={"bytes": [1, 2, "3"]}),
        edited(shards={"sha256": ["zz", HASHES[1], HASHES[2]]}),
        edited(shards={"sha256": [*HASHES[:2], HASHES[0]]}),
        edited(shards={"extra": []}),
        edited(data_hash="0" * 32),
        edited(examples=13),
        edited(settings=3),
        edited(failures=3),
    ],
    ids=lambda text: repr(text)[:40],
)
def test_damage_is_refused_in_a_sentence(text: str | bytes, tmp_path: Path) -> None:
    write(tmp_path, text)
    with pytest.raises(ShardError, match=r"manifest\.json: .*\.$") as caught:
        Manifest.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_every_cut_and_random_damage_is_refused_or_harmless(tmp_path: Path) -> None:
    whole = make_manifest().to_json().encode()
    rng = random.Random(0)
    for trial in range(700):
        content = bytearray(whole)
        if trial % 3 == 0:
            del content[rng.randrange(len(content)) :]
        else:
            for _ in range(rng.randrange(1, 4)):
                content[rng.randrange(len(content))] = rng.randrange(256)
        write(tmp_path, bytes(content))
        try:
            outcome = Manifest.load(tmp_path).data_hash
        except ShardError as error:
            outcome = str(error)
        assert outcome == make_manifest().data_hash or outcome.startswith(str(tmp_path))
