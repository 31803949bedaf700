"""The table of modalities: what it says of each, and that packing asks it instead of naming any."""

from __future__ import annotations

import ast
from dataclasses import is_dataclass
from pathlib import Path

import pytest

import pipelines
from pipelines import AudioIterator, ImageIterator
from pipelines.modality import Format, Modality, find_modality, modalities, packed_modalities, register, unregister
from pipelines.sharding.settings import PackOptions, options_of
from pipelines.storage.media_types import is_media_name, media_names, sniff
from tests.layers import import_edges

ROOT = Path(pipelines.__file__).parent
GENERIC = [
    *(path for path in sorted((ROOT / "sharding").glob("*.py")) if path.name != "sample_sounds.py"),
    *(ROOT / "storage" / f"{name}.py" for name in ("walk", "listing", "sidecars", "media_types")),
    ROOT / "samples" / "command.py",
]


def strings_outside_docstrings(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in documentation]
    return {node.value for node in found if isinstance(node.value, str)}


@pytest.mark.parametrize("path", GENERIC, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_serves_every_modality_names_none(path: Path) -> None:
    words = {name for modality in modalities() for name in (modality.name, modality.noun, modality.plural)}
    assert not words & strings_outside_docstrings(path)


def test_packing_imports_no_modality_before_it_is_used() -> None:
    edges = import_edges(ROOT)
    assert [
        (importer, imported)
        for importer, imported in edges
        if imported.startswith("sharding/modalities/")
        and not importer.startswith(("sharding/modalities/", "check_shards/"))
    ] == []


def test_every_part_that_is_named_is_there() -> None:
    for modality in modalities():
        for name in ("packing", "add_arguments", "explain", "iterator", "make_samples"):
            value = modality.part(name)
            assert (value is None) == (getattr(modality, name) is None), (modality.name, name)
            assert value is None or callable(value)
    assert find_modality("image").part("iterator") is ImageIterator
    assert find_modality("audio").part("iterator") is AudioIterator


def test_the_settings_of_a_modality_are_the_fields_of_its_settings_class() -> None:
    assert options_of("image") == ("decode", "resize", "quality", "max_pixels", "annotation_frame")
    audio = ("decode", "segment", "sample_rate", "channels", "codec", "curves", "features", "overwrite_features")
    assert options_of("audio") == audio
    video = ("decode", "segment", "resize", "gop", "codec", "quality", "no_audio", "max_pixels")
    assert options_of("video") == video
    common = {"shuffle", "shard_bytes", "shard_examples", "classes", "annotations", "labels", "label_key"}
    built_in = {name for modality in packed_modalities() for name in options_of(modality.name)}
    assert set(PackOptions.__annotations__) == common | built_in
    assert all(is_dataclass(modality.part("packing")) for modality in packed_modalities())


def test_one_format_is_one_entry() -> None:
    formats = (Format("one", rb"1\n.", also=("uno",)), Format("two", None), Format("bad", b"3", refused="broken"))
    register(Modality(name="number", noun="number", formats=formats))
    try:
        assert sniff(b"1\n\n") == ("number", "one")
        assert sniff(b"1") is sniff(b"3") is sniff(b"") is None
        assert {"one", "uno", "two"} <= media_names()
        assert "bad" not in media_names()
        assert is_media_name("a/b.UNO", "number")
        number = find_modality("number")
        assert [number.refusal(head) for head in (b"3", b"1\n.")] == ["broken", None]
        assert [number.kept_suffix("one", own) for own in ("uno", "one", "two", "bad", "")] == [
            "uno",
            "one",
            "one",
            "one",
            "one",
        ]
    finally:
        unregister("number")
    assert sniff(b"1\n\n") is None
    assert "uno" not in media_names()
    with pytest.raises(ValueError, match="modality is 'number'; it must be one of 'image', 'audio', 'video'"):
        find_modality("number")
    unregister("number")
