"""Recordings of every format that is read here: by iterators, and by packing."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from pipelines import make_shards

from ..recordings import SUFFIXES, encoded, melody
from .damage import Damage, mend_ogg
from .play import hear
from .target import Target

__all__ = ["TARGETS"]

Mend = Callable[[bytes], bytes] | None


@dataclass(frozen=True)
class Recordings:
    """Valid files of one format."""

    suffix: str
    files: list[bytes]


def wavs(folder: Path) -> Recordings:
    made = []
    for form, subtype in (
        ("WAV", "PCM_16"),
        ("WAVEX", "PCM_24"),
        ("RF64", "FLOAT"),
        ("WAV", "PCM_U8"),
        ("WAV", "ULAW"),
    ):
        file = io.BytesIO()
        soundfile.write(file, melody(1500, 2), 16_000, format=form, subtype=subtype)
        made.append(file.getvalue())
    return Recordings("wav", made)


def compressed(folder: Path, *, kind: str) -> Recordings:
    files = [encoded(melody(frames, channels), kind) for frames, channels in ((4000, 1), (2500, 2))]
    return Recordings(SUFFIXES.get(kind, kind), files)


def play(made: Recordings, damage: Damage, folder: Path, *, mend: Mend = None) -> None:
    source = damaged(made, damage, folder, mend)
    settings: dict[str, Any] = damage.one_of(
        (
            {},
            {"sample_rate": 8000},
            {"channels": 2, "shuffle": True, "random_offset": True},
            {"short": "skip", "hop": 300, "on_error": "substitute"},
        )
    )
    hear(source, **settings)


def pack(made: Recordings, damage: Damage, folder: Path, *, mend: Mend = None) -> None:
    source = damaged(made, damage, folder, mend)
    settings: dict[str, Any] = damage.one_of(
        (
            {},
            {"segment": 0.05},
            {"codec": "flac", "sample_rate": 8000, "channels": 1},
            {"segment": 0.1, "codec": "wav"},
        )
    )
    make_shards(source, folder / "out", workers=0, **settings)
    hear(folder / "out")


def damaged(made: Recordings, damage: Damage, folder: Path, mend: Mend) -> Path:
    """A folder of a sound file and a damaged one."""
    content = damage.one_of(made.files)
    (folder / "source").mkdir()
    (folder / "source" / f"a.{made.suffix}").write_bytes(
        damage.bytes(content, head=damage.one_of((100, 400, None)), others=made.files, mend=mend)
    )
    (folder / "source" / "b.wav").write_bytes(encoded(melody(700)))
    return folder / "source"


def curves(folder: Path) -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(60, dtype=np.float32).reshape(30, 2))
    return file.getvalue()


def play_curves(content: bytes, damage: Damage, folder: Path) -> None:
    """Curves beside a recording, cut to its clips and into segments."""
    (folder / "a.f0.npy").write_bytes(damage.bytes(content, head=128))
    (folder / "a.wav").write_bytes(encoded(melody(1600)))
    if damage.below(2):
        hear(folder, curves={"f0.npy": 300})
    elif not damage.is_none:
        make_shards(folder, folder / "out", workers=0, segment=0.05, curves={"f0.npy": 300})
        hear(folder / "out", curves={"f0.npy": 300})


KINDS: dict[str, tuple[Callable[[Path], Recordings], Mend]] = {
    "wav": (wavs, None),
    **{kind: (partial(compressed, kind=kind), None) for kind in ("mp3", "flac", "aiff")},
    **{kind: (partial(compressed, kind=kind), mend_ogg) for kind in ("vorbis", "opus")},
}
TARGETS = (
    *(Target(f"sounds {kind}", make, partial(play, mend=mend)) for kind, (make, mend) in KINDS.items()),
    *(Target(f"sounds packing-{kind}", make, partial(pack, mend=mend)) for kind, (make, mend) in KINDS.items()),
    Target("sounds curves", curves, play_curves),
)
