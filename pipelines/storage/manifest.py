"""`manifest.json`: what a folder of shards holds, and `manifest.names.jsonl`: where each example came from.

Columnar, so that it stays small at 10⁵ shards:

    {"format": "dirvae-shards", "version": 1, "modality": "image", "examples": 485,
     "shards": {"name": [...], "examples": [...], "bytes": [...], "sha256": [...]},
     "index_hash": [...], "data_hash": "…", "listing": "…", "settings": {...},
     "failures": [{"path": "broken.jpg", "reason": "…"}]}

The names file holds one JSON array per line, `["key", "original/path.jpg"]`, example by example in shard order.
`index_hash` has the digest of each shard's index, empty for shards that were packed before there were any;
`frames_hash`, of videos, that of its frame table. `curve_rates` has the rows per second of fields that were computed in
packing, {"f0.npy": ["250"]}; it is absent where there are none. So are `labels`, the entries of `labels.json`, and
`remarks`, sentences on what was odd about annotations and tables.
Shards that are appended never change what is before them, so `data_hash` is a chain over the shards:
h₀ = "", hₖ = SHA-256(hₖ₋₁ ‖ sha256ₖ ‖ examplesₖ), cut to 128 bits.
`checksum`, the last entry, is the SHA-256 of the text without it, cut to 128 bits. `check_shards` compares it; readers
do not, so that an old manifest without one is read as before.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..errors import ShardError
from ..order.curve_rates import CurveRates, exact_rate, joined_rates, rates_from_json, rates_to_json
from .json_text import parse_json
from .label_table import LabelTable
from .plain_files import MOST_TEXT_BYTES, read_plain

__all__ = [
    "MANIFEST_FORMAT",
    "MANIFEST_NAME",
    "MANIFEST_VERSION",
    "NAMES_NAME",
    "Manifest",
    "ShardColumns",
    "chain_hashes",
    "is_file_name",
    "manifest_checksums",
]

MANIFEST_NAME = "manifest.json"
NAMES_NAME = "manifest.names.jsonl"
MANIFEST_FORMAT = "dirvae-shards"
MANIFEST_VERSION = 1
MAX_EXAMPLES = 1 << 48
COLUMNS = ("name", "examples", "bytes", "sha256")
DIGESTS = ("index_hash", "frames_hash")
CHECKSUM = re.compile(rb',"checksum":"([0-9a-f]{32})"\}\s*\Z')


@dataclass(frozen=True)
class ShardColumns:
    """One entry per shard in each list: file name, number of examples, bytes, SHA-256 in hex, and two digests.

    They are of its index and its frame table, by `index.index_digest`, empty where there is none; an empty list means
    that there are none.
    """

    name: list[str] = field(default_factory=list)
    examples: list[int] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    sha256: list[str] = field(default_factory=list)
    index_hash: list[str] = field(default_factory=list)
    frames_hash: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in DIGESTS:
            if not getattr(self, name):
                object.__setattr__(self, name, [""] * len(self.name))


@dataclass(frozen=True)
class Manifest:
    """What a folder of shards holds. `listing` is the fingerprint of what was packed, `settings` how.

    `curve_rates` are those of the fields that were computed in packing. `labels` say what labels mean and how many
    there are, None where there are none; `remarks` what was odd about annotations.
    """

    modality: str
    shards: ShardColumns
    listing: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    failures: list[dict[str, str]] = field(default_factory=list)
    curve_rates: CurveRates = field(default_factory=dict)
    labels: LabelTable | None = None
    remarks: list[str] = field(default_factory=list)

    @property
    def examples(self) -> int:
        """Examples in all shards."""
        return sum(self.shards.examples)

    @property
    def data_hash(self) -> str:
        """The rolling hash after the last shard: 32 hexadecimal digits."""
        hashes = chain_hashes(self.shards.sha256, self.shards.examples)
        return hashes[-1] if hashes else ""

    def known_rates(self) -> dict[str, tuple[Fraction, ...]]:
        """Rows per second of every curve that the shards are known to hold: computed, or named with `--curve`."""
        named = self.settings.get("curves")
        found = {}
        for name, rate in named.items() if isinstance(named, dict) else ():
            with contextlib.suppress(ValueError):
                found[name] = (exact_rate(rate),)
        return joined_rates([found, self.curve_rates])

    def to_json(self) -> str:
        """The text of `manifest.json`; the same manifest gives the same bytes."""
        head = {"format": MANIFEST_FORMAT, "version": MANIFEST_VERSION, "modality": self.modality}
        columns = asdict(self.shards)
        digests = {name: columns.pop(name) for name in DIGESTS}
        body = {
            "examples": self.examples,
            "shards": columns,
            **{name: hashes for name, hashes in digests.items() if any(hashes)},
            "data_hash": self.data_hash,
            "listing": self.listing,
            "settings": self.settings,
            **({"curve_rates": rates_to_json(self.curve_rates)} if self.curve_rates else {}),
            **({} if self.labels is None else {"labels": self.labels.to_json()}),
            **({"remarks": self.remarks} if self.remarks else {}),
            "failures": self.failures,
        }
        text = json.dumps({**head, **body}, ensure_ascii=False, separators=(",", ":"))
        return f'{text[:-1]},"checksum":"{_digest(text.encode("utf-8", "backslashreplace"))}"}}\n'

    @classmethod
    def find(cls, folder: str | os.PathLike[str]) -> Manifest | None:
        """The manifest of a folder, None without one. Raises `ShardError` for a bad one.

        Where there are no tars, other JSON may have its name: the field of a picture that is called manifest.
        """
        try:
            return cls.load(folder)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ShardError:
            if _holds_other_json(Path(folder)):
                return None
            raise

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Manifest:
        """Read `manifest.json` of a folder. Raises `FileNotFoundError` without one, `ShardError` for a bad one."""
        path = Path(folder) / MANIFEST_NAME
        try:
            raw = read_plain(path, most=MOST_TEXT_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            raise ShardError(f"{path}: cannot be read ({error.strerror}). Restore it.") from error
        return cls.parse(raw, where=str(path))

    @classmethod
    def parse(cls, raw: bytes, *, where: str) -> Manifest:
        """From the bytes of a `manifest.json`. Raises `ShardError`, which names `where` they come from."""
        try:
            content = parse_json(raw.decode("utf-8"))
            if content["format"] != MANIFEST_FORMAT:
                raise ValueError(f"format is {content['format']!r}")
            if content["version"] != MANIFEST_VERSION:
                raise ValueError(f"version is {content['version']!r}; this library reads {MANIFEST_VERSION}")
            columns = {name: list(content["shards"].pop(name)) for name in COLUMNS}
            if content["shards"]:
                raise ValueError(f"unknown columns {', '.join(content['shards'])}")
            manifest = cls(
                modality=content["modality"],
                shards=ShardColumns(**columns, **{name: list(content.get(name, ())) for name in DIGESTS}),
                listing=content["listing"],
                settings=dict(content["settings"]),
                failures=list(content["failures"]),
                curve_rates=rates_from_json(content.get("curve_rates", {})),
                labels=LabelTable.of_json(content["labels"]) if "labels" in content else None,
                remarks=list(content.get("remarks", ())),
            )
            _check(manifest, content)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ShardError(
                f"{where}: not a readable manifest ({_in_words(error)}). Make the shards again with --overwrite."
            ) from error
        return manifest


def manifest_checksums(raw: bytes) -> tuple[str, str] | None:
    """(stated, found) checksum of the bytes of a `manifest.json`; None where none is stated, as in old ones."""
    stated = CHECKSUM.search(raw)
    return None if stated is None else (stated[1].decode("ascii"), _digest(raw[: stated.start()] + b"}"))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def chain_hashes(sha256: Iterable[str], examples: Iterable[int]) -> list[str]:
    """The rolling data hash after each shard: 32 hexadecimal digits apiece."""
    link, hashes = b"", []
    for digest, count in zip(sha256, examples, strict=True):
        link = hashlib.sha256(link + bytes.fromhex(digest) + count.to_bytes(8, "little")).digest()[:16]
        hashes.append(link.hex())
    return hashes


def _holds_other_json(folder: Path) -> bool:
    path = folder / MANIFEST_NAME
    if any(folder.glob("*.tar")):
        return False
    try:
        content = parse_json(read_plain(path, most=MOST_TEXT_BYTES).decode("utf-8"))
    except (OSError, ValueError):
        return path.is_dir()
    return not isinstance(content, dict) or content.keys().isdisjoint(("format", "shards"))


def _check(manifest: Manifest, content: dict[str, Any]) -> None:
    """Raise `ValueError` for what cannot be in a manifest."""
    columns = manifest.shards
    if len({len(getattr(columns, name)) for name in (*COLUMNS, *DIGESTS)}) > 1:
        raise ValueError("its columns differ in length")
    for name in columns.name:
        if not is_file_name(name):
            raise ValueError(f"{name!r} is not a file name")
    if any(type(count) is not int or count < 0 for count in columns.examples + columns.bytes):
        raise ValueError("a count is not a whole number from 0 up")
    if manifest.examples > MAX_EXAMPLES:
        raise ValueError(f"{manifest.examples:,} examples are more than there can be")
    if not all(isinstance(digest, str) for digest in columns.sha256 + columns.index_hash + columns.frames_hash):
        raise ValueError("a digest is not a text")
    if len(set(columns.name)) != len(columns.name):
        raise ValueError("it names a shard twice")
    if not isinstance(manifest.modality, str) or not isinstance(manifest.listing, str):
        raise ValueError("its modality or listing is not a text")
    if not all(isinstance(remark, str) for remark in manifest.remarks):
        raise ValueError("a remark is not a text")
    if not all(_is_failure(failure) for failure in manifest.failures):
        raise ValueError("a failure is not a path with a reason")
    if type(content["examples"]) is not int or content["examples"] != manifest.examples:
        raise ValueError("its number of examples is not the sum over its shards")
    if content["data_hash"] != manifest.data_hash:
        raise ValueError("its data_hash does not follow from its shards")


def is_file_name(name: object) -> bool:
    """Whether something is the name of a file in a folder, and does not lead out of it."""
    try:
        num_bytes = len(os.fsencode(name)) if isinstance(name, str) else 0
    except UnicodeEncodeError:
        return False
    return 0 < num_bytes < 256 and name not in (".", "..") and "/" not in str(name) and "\0" not in str(name)


def _is_failure(failure: object) -> bool:
    return (
        isinstance(failure, dict)
        and failure.keys() == {"path", "reason"}
        and all(isinstance(text, str) for text in failure.values())
    )


def _in_words(error: Exception) -> str:
    """What is wrong with a manifest's JSON, as a reader would say it."""
    if isinstance(error, KeyError):
        return f"it lacks {error.args[0]}"
    return "its parts are of the wrong types" if isinstance(error, TypeError | AttributeError) else str(error)
