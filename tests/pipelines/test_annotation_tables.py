"""Tables of labels are read as the csv and json modules read them, and each row finds its file."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import SourceError
from pipelines.sharding.annotations.matching import FileMatcher
from pipelines.sharding.annotations.problems import ProblemLog
from pipelines.sharding.annotations.table_reading import read_table
from tests.pipelines.annotation_files import annotation, built, coco, image, sentences


def table(path: Path, text: str, key: str = "file", log: ProblemLog | None = None) -> list[dict[str, Any]]:
    path.write_text(text, encoding="utf-8", newline="")
    return [row.columns for row in read_table(path, key, log or ProblemLog())]


def column(tmp_path: Path, values: Sequence[str]) -> list[Any]:
    """The values of a column as they are read."""
    with open(tmp_path / "c.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "x"), *(("a", value) for value in values)])
    return [row.columns["x"] for row in read_table(tmp_path / "c.csv", "file", ProblemLog())]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "-20", "", "0"], [1, -20, None, 0]),
        (["1", "2.5", "1e3", "-.5", ""], [1.0, 2.5, 1000.0, -0.5, None]),
        (["1", "007"], ["1", "007"]),
        (["1.5", "007"], ["1.5", "007"]),
        (["1", "2"] * 500 + ["x"], ["1", "2"] * 500 + ["x"]),
        (["1.5", "nan"], ["1.5", "nan"]),
        (["1e999"], ["1e999"]),
        (["1", "12345678901234567890"], ["1", "12345678901234567890"]),
        (["999999999999999999"], [999999999999999999]),
        (["", ""], [None, None]),
        (["1_000", "٣"], ["1_000", "٣"]),
        ([" 1"], [" 1"]),
        (["two\nlines", 'a "quote"', "a,b"], ["two\nlines", 'a "quote"', "a,b"]),
    ],
)
def test_a_column_has_the_type_that_all_of_its_values_have(
    tmp_path: Path, values: list[str], expected: list[Any]
) -> None:
    found = column(tmp_path, values)
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_delimiters_byte_order_marks_and_line_ends_are_told(
    tmp_path: Path, delimiter: str, mark: str, line_end: str
) -> None:
    rows = [["name", "a;b,c\td", "größe"], ["1.jpg", "x", "2"], [], ["2.jpg", 'y"z', "3"]]
    lines = [delimiter.join(f'"{one.replace(chr(34), chr(34) * 2)}"' for one in row) for row in rows]
    found = table(tmp_path / "t.csv", mark + line_end.join(lines), "name")
    assert found == [
        {"name": "1.jpg", "a;b,c\td": "x", "größe": 2},
        {"name": "2.jpg", "a;b,c\td": 'y"z', "größe": 3},
    ]


def test_the_key_column_stays_a_text(tmp_path: Path) -> None:
    assert table(tmp_path / "t.csv", "file,x\n17,18\n") == [{"file": "17", "x": 18}]


@pytest.mark.parametrize("name", ["t.jsonl", "t.ndjson", "t.txt"])
def test_json_lines_have_the_values_that_json_reads(tmp_path: Path, name: str) -> None:
    rows = [{"file": "a", "x": [1, {"y": None}], "z": 1.5}, {"file": 17, "größe": True}]
    text = "\n\n".join(json.dumps(row) for row in rows)
    assert table(tmp_path / name, text) == rows


def test_numbers_of_json_lines_that_are_not_finite_become_null(tmp_path: Path) -> None:
    log = ProblemLog()
    found = table(tmp_path / "t.jsonl", '{"file": "a", "x": [NaN, 1e999, -Infinity, 2]}', log=log)
    assert found == [{"file": "a", "x": [None, None, None, 2]}]
    said = log.problems()[0].sentence()
    assert said.startswith("3 numbers are not finite (NaN or Infinity) (the first: t.jsonl, line 1: NaN)")


@pytest.mark.parametrize(("name", "text"), [("t.csv", "a,b\n1,2\n"), ("t.jsonl", '{"a": 1}\n{"b": 2}')])
def test_a_table_without_its_key_column_names_those_that_it_has(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(SourceError) as raised:
        table(tmp_path / name, text)
    assert str(raised.value) == (
        f"{tmp_path / name}: has no column file. Its columns are a, b; name the one that holds the file names with "
        "--label-key."
    )


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("t.csv", b"", "has no column file. Its columns are none"),
        ("t.csv", b"file\n\xff\xfe\n", "not a text in UTF-8"),
        ("t.parquet", b"PAR1\x00\xff\xfe", "not a text in UTF-8"),
        ("t.json", b'[{"file": 1}]', "one JSON list is not a table"),
        ("t.csv", b'file\n"' + b"x" * (1 << 25), "line 2 cannot be read as CSV"),
        ("t.jsonl", b'{"a": "' + b"x" * (1 << 25), "line 1 has more than 16 MiB"),
    ],
)
def test_what_is_no_table_is_refused_in_a_sentence(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    limit = csv.field_size_limit()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=reason):
        list(read_table(tmp_path / name, "file", ProblemLog()))
    with pytest.raises(SourceError, match="cannot be read"):
        list(read_table(tmp_path / "absent.csv", "file", ProblemLog()))
    assert csv.field_size_limit() == limit


def test_rows_stand_at_the_top_level_of_the_record(tmp_path: Path) -> None:
    path = coco(tmp_path / "a.json", [image(license=3)], [annotation()], licenses=[{"id": 3, "name": "free"}])
    (tmp_path / "t.csv").write_text("file,age,stored\na,5,9\nb,6,9\n", encoding="utf-8")
    report, store = built(tmp_path, path, files=["x/a.jpg", "x/b.png", "c.jpg"], table=tmp_path / "t.csv")
    record = store.record("x/a.jpg")
    assert record is not None
    assert list(record) == ["file", "age", "image", "license", "captions", "annotations"]
    assert (record["age"], record["license"]) == (5, {"id": 3, "name": "free"})
    assert store.record("x/b.png") == {"file": "b", "age": 6}
    assert store.record("c.jpg") is None
    assert (report.num_rows, report.num_records, report.num_images) == (2, 2, 1)
    assert report.remarks == ("2 files are in no annotation file.", "1 file has no row in the table.")
    assert "column" in sentences(report)[0]


def test_the_memory_for_a_table_does_not_grow_with_its_rows(tmp_path: Path) -> None:
    peaks = []
    for rows in (1_000, 6_000):
        with open(tmp_path / "t.csv", "w", encoding="utf-8") as file:
            file.write("file,x,y\n" + "".join(f"{number},{number / 7},text {number}\n" for number in range(rows)))
        tracemalloc.start()
        assert sum(1 for _ in read_table(tmp_path / "t.csv", "file", ProblemLog())) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


FILES = ["a.jpg", "x/b.jpg", "y/b.jpg", "x/c.jpg", "z/x/c.jpg", "d.e.jpg", "f.jpg", "f.png", ".hidden"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", ["a.jpg"]),
        ("./a.jpg", ["a.jpg"]),
        ("train/a.jpg", ["a.jpg"]),
        ("x/b.jpg", ["x/b.jpg"]),
        ("x\\b.jpg", ["x/b.jpg"]),
        ("b.jpg", ["x/b.jpg", "y/b.jpg"]),
        ("w/b.jpg", ["x/b.jpg", "y/b.jpg"]),
        ("x/c.jpg", ["x/c.jpg"]),
        ("c.jpg", ["x/c.jpg", "z/x/c.jpg"]),
        ("z/x/c.jpg", ["z/x/c.jpg"]),
        ("A.jpg", []),
        ("", []),
        ("x/", []),
        ("a", []),
    ],
)
def test_a_name_means_the_file_that_fits_best(name: str, expected: list[str]) -> None:
    assert [FILES[number] for number in FileMatcher(FILES).find(name)] == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a", ["a.jpg"]),
        ("d.e", ["d.e.jpg"]),
        ("f", ["f.jpg", "f.png"]),
        ("f.png", ["f.png"]),
        ("y/b", ["y/b.jpg"]),
        ("q/a", ["a.jpg"]),
        (".hidden", [".hidden"]),
        ("d", []),
    ],
)
def test_a_key_may_lack_the_suffix(key: str, expected: list[str]) -> None:
    assert [FILES[number] for number in FileMatcher(FILES).find_key(key)] == expected


def test_many_files_of_one_base_name_are_matched_like_few() -> None:
    files = [f"data/{video}/{frame}.jpg" for video in range(300) for frame in range(40)]
    matcher = FileMatcher(files)
    for number, path in enumerate(files):
        assert list(matcher.find(path.removeprefix("data/"))) == [number]
    assert len(matcher.find("7.jpg")) == 300
    assert len(matcher.find("999/7.jpg")) == 300
