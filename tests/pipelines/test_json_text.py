"""JSON of others is read and written with the same values, whichever library does it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from pipelines.storage import json_text
from pipelines.storage.json_text import encode_json, parse_json, parse_json_exactly

VALUES: dict[str, Any] = {
    "numbers": [0, -1, 1.5, 1e-7, 1e22, 0.1 + 0.2, -0.0, (1 << 64) - 1, -(1 << 63), 0.12345678901234567],
    "text": ["a", 'q"\\/\n\x00\x1f\x7f', "dög ☃ \U0001f600", "\u2028"],
    "literals": [True, False, None, [], {}, ""],
    "the word null": {"null": "null"},
    "whole numbers of more than 64 bits": [1 << 64, -(1 << 63) - 1, 10**40, {"id": 12345678901234567890123}],
    "infinities": [math.inf, {"a": -math.inf}],
    "half of a surrogate pair": ["\ud83d", {"\udc00": 1}],
    "deep": json.loads("[" * 400 + "]" * 400),
}


def without_orjson(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "orjson_function", lambda name: None)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("is_installed", [True, False], ids=["orjson", "json"])
def test_what_is_written_says_the_same(value: Any, is_installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if is_installed:
        pytest.importorskip("orjson")
    else:
        without_orjson(monkeypatch)
    text = encode_json(value)
    assert repr(json.loads(text)) == repr(value)
    assert repr(parse_json_exactly(text)) == repr(value)
    assert b", " not in text
    assert b": " not in text


def test_a_number_that_is_none_stays_one() -> None:
    for text in (encode_json([math.nan]), b"[NaN]"):
        (found,) = parse_json_exactly(text)
        assert math.isnan(found)


def test_orjson_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes other letters than ASCII as they are; `json` as it is called here does not."""
    pytest.importorskip("orjson")
    assert encode_json("☃") == '"☃"'.encode()
    assert encode_json([None, "☃"]) == b'[null,"\\u2603"]', "a null may have been NaN"
    without_orjson(monkeypatch)
    assert encode_json("☃") == b'"\\u2603"'


@pytest.mark.parametrize("text", [b"", b"[1", b"{'a': 1}", b"\xff", b"[" * 100_000, b"[" + b"1" * 5000 + b"]"])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    for parse in (parse_json, parse_json_exactly):
        with pytest.raises(ValueError):  # noqa: PT011
            parse(text)
