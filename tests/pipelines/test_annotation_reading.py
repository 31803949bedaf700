"""Annotation files are read as a stream, in any order of their sections, and damage never ends in a traceback."""

from __future__ import annotations

import gzip
import itertools
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import SourceError
from pipelines.sharding.annotations import coco_reading
from pipelines.sharding.annotations import json_chunks as chunks_module
from pipelines.sharding.annotations.coco_reading import read_batches
from pipelines.sharding.annotations.problems import ProblemLog
from tests.pipelines.annotation_files import annotation, built, coco, image

SECTIONS = {
    "info": {"images": [{"id": 5}], "annotations": {"item": [1, [2]]}},
    "images": [image(1, 'a"\\.jpg'), image(2, "b.jpg", text='\\" [[[{ NaN \\\\')],
    "annotations": [
        annotation(1, segmentation=[[1, 2.5, 3e-7, 4, 5, 6]]),
        annotation(2, x={"images": [{"id": 1}]}),
    ],
    "categories": [{"id": 1, "name": "dög ☃ \U0001f600"}],
    "licenses": [{"id": 3, "name": None}],
    "other": [[{"item": True}], "x", 5, None],
}


def read(path: Path, log: ProblemLog | None = None) -> list[tuple[str, Any]]:
    return [(batch.section, entry) for batch in read_batches(path, log or ProblemLog()) for entry in batch.entries]


def kinds(log: ProblemLog) -> list[str]:
    return [problem.kind for problem in log.problems()]


def test_the_parser_is_the_one_in_c() -> None:
    import ijson

    assert ijson.backend == "yajl2_c", "the one in Python is thirty times slower: reinstall ijson from a wheel"


@pytest.mark.parametrize("order", list(itertools.permutations(("images", "annotations", "info", "other"))))
def test_one_pass_reads_every_section_in_any_order(tmp_path: Path, order: tuple[str, ...]) -> None:
    content = {name: SECTIONS[name] for name in (*order, "categories", "licenses")}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    expected = [(name, entry) for name in content if name not in ("info", "other") for entry in content[name]]
    assert read(path) == expected


@pytest.mark.parametrize("size", [3, 4, 7, 64])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_size_of_the_chunks_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, ascii_only: bool
) -> None:
    numbers = [
        float("nan"),
        float("inf"),
        float("-inf"),
        10**400,
        -(10**22),
        2**63 - 2000,
        1e-300,
        True,
        False,
        None,
    ]
    content = {
        **SECTIONS,
        "images": [image(1, "a.jpg", values=numbers, text="NaN -Infinity 12345678901234567890123")],
    }
    path, log = tmp_path / "a.json", ProblemLog()
    path.write_text(json.dumps(content, ensure_ascii=ascii_only, indent=size % 2 or None), encoding="utf-8-sig")
    monkeypatch.setattr(chunks_module, "CHUNK_BYTES", size)
    found = read(path, log)
    values = [None, None, None, None, -1e22, 2**63 - 2000, 1e-300, True, False, None]
    assert found[0] == ("images", image(1, "a.jpg", values=values, text="NaN -Infinity 12345678901234567890123"))
    assert found[1:] == [
        (name, one) for name in ("annotations", "categories", "licenses") for one in SECTIONS[name]
    ]
    assert {problem.kind: problem.count for problem in log.problems()} == {"not finite": 4, "long integer": 1}


def test_of_a_file_that_is_cut_off_all_that_comes_before_is_used(tmp_path: Path) -> None:
    path, images = tmp_path / "a.json", [image(number, f"{number}.jpg") for number in range(9)]
    whole = coco(tmp_path / "whole.json", images, [annotation()]).read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        complete = whole[:length].count(b"}")
        log = ProblemLog()
        if b'"images": [' not in whole[:length]:
            with pytest.raises(SourceError, match="not an annotation file"):
                read(path, log)
            continue
        assert len(read(path, log)) == complete
        assert kinds(log) == ["damaged"]
    assert len(read(tmp_path / "whole.json")) == whole.count(b"}") - 1


def test_of_a_file_with_damage_inside_all_that_comes_before_is_used(tmp_path: Path) -> None:
    path, log = tmp_path / "a.json", ProblemLog()
    path.write_bytes(b'{"images": [{"id": 1}, {"id": 2}, {"id": x}]}')
    assert read(path, log) == [("images", {"id": 1}), ("images", {"id": 2})]
    assert log.problems()[0].sentence() == (
        "1 annotation file is cut off or damaged (a.json: it is not JSON before byte 45). What comes before that place "
        "is used; get the file again."
    )


def test_a_compressed_file_is_read_and_a_cut_one_is_a_problem(tmp_path: Path) -> None:
    plain = coco(tmp_path / "a.json", [image(number) for number in range(9000)], [annotation()])
    packed, log = tmp_path / "a.json.gz", ProblemLog()
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read(packed, log) == read(plain)
    assert not log.problems()
    packed.write_bytes(packed.read_bytes()[:-5000])
    assert 0 < len(read(packed, log)) < 9000
    assert kinds(log) == ["damaged"]


@pytest.mark.parametrize(
    "content",
    [b"", b"  ", b"x", b"[]", b'[{"id": 1}]', b'"images"', b"5", b"{}", b'{"a": {"images": []}}', b"\xff\xfe{\x00}\x00",
     b'{"images": {"1": {"id": 1}}}', b"\x1f\x8b\x08nonsense", b"NaN", b"\x89PNG\r\n\x1a\n" + bytes(99)],
)  # fmt: skip
def test_a_file_of_another_form_is_refused_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(
        SourceError, match=r"a\.json: not an annotation file: .*it must be a JSON object with the lists"
    ):
        read(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"images": [' + b"[" * 3_000_000, "nested more than 100 deep"),
        (b'{"images": [' + b'{"a":' * 300_000, "nested more than 100 deep"),
        (b'{"other": ' + b"[[]," * 1000 + b"[", "nested more than 100 deep"),
        (b'{"images": ["' + b'\\"' * 2_500_000, "has more than 4 MiB"),
        (b'{"images": [1' + b"1" * 5_000_000, "has more than 4 MiB"),
        (b'{"images": [{"a": [' + b"1,\n" * 2_000_000, "an entry in it has more than 4 MiB"),
    ],
    ids=["lists", "objects", "unread", "text", "digits", "entry"],
)
def test_what_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str
) -> None:
    monkeypatch.setattr(coco_reading, "MOST_ENTRY_BYTES", 1 << 22)
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=reason):
        read(path)


def test_a_key_that_is_there_twice_has_its_last_value(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"images": [{"id": 1, "id": 2}], "images": [{"id": 3}]}')
    assert read(path) == [("images", {"id": 2}), ("images", {"id": 3})]


def test_a_folder_and_an_absent_file_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.json"):
        with pytest.raises(SourceError, match="cannot be read"):
            read(path)


@pytest.mark.parametrize("order", [("images", "annotations"), ("annotations", "images")])
def test_the_memory_of_a_build_is_less_than_its_file(tmp_path: Path, order: tuple[str, str]) -> None:
    one = annotation(segmentation=[[0.5 * number for number in range(20)]], note="n" * 800)
    num = 5_000_000 // len(json.dumps(one))
    content = {"images": [image()], "annotations": [{**one, "id": number} for number in range(num)]}
    path = tmp_path / "a.json"
    path.write_text(json.dumps({name: content[name] for name in order}), encoding="utf-8")
    del content
    report, _ = built(tmp_path, coco(tmp_path / "small.json", [image()], [annotation()]))
    tracemalloc.start()
    report, _ = built(tmp_path, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.num_annotations == num
    assert [problem.kind for problem in report.problems] == ["unknown category"]
    assert peak < 4_000_000 < path.stat().st_size
