"""The other members of examples: parsed by suffix, packed where they are ragged, refused by name where damaged."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest

from pipelines import Example, ExampleError
from pipelines.batching.fields import FieldReader, Packed, absent_fields, gather_field


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array))
    return file.getvalue()


def gather(name: str, *contents: bytes | None, suffix: str | None = None) -> Any:
    examples = [
        Example(number, f"key{number}", b"", "x.tar", 512, {} if content is None else {suffix or name: content})
        for number, content in enumerate(contents)
    ]
    return gather_field(name, [FieldReader(example).value(name) for example in examples])


def test_json_gives_a_list_of_objects() -> None:
    objects = [{"a": [1, 2.5, None]}, [], "ü", 3, None]
    assert gather("json", *(json.dumps(item).encode() for item in objects)) == objects


def test_labels_give_one_array_of_64_bit_numbers() -> None:
    labels = gather("cls", b"3", b"-7\n", b" 9223372036854775807 ")
    assert labels.dtype == np.int64
    assert labels.tolist() == [3, -7, 2**63 - 1]


def test_text_gives_a_list_of_strings() -> None:
    assert gather("txt", "a straße\n".encode(), b"") == ["a straße\n", ""]


def test_arrays_of_one_shape_are_stacked() -> None:
    arrays = [np.arange(6).reshape(2, 3) + 10 * number for number in range(3)]
    stacked = gather("npy", *map(npy, arrays))
    assert stacked.shape == (3, 2, 3)
    assert np.array_equal(stacked, arrays)
    assert gather("npy", npy(2.5), npy(3.5)).tolist() == [2.5, 3.5]


def test_arrays_of_other_lengths_are_packed_and_come_out_as_they_went_in() -> None:
    arrays = [np.arange(length * 2, dtype=np.float32).reshape(length, 2) for length in (3, 0, 5, 1)]
    packed = gather("npy", *map(npy, arrays))
    assert isinstance(packed, Packed)
    assert packed.offsets.tolist() == [0, 3, 3, 8, 9]
    assert packed.values.shape == (9, 2)
    assert len(packed) == 4
    for number, array in enumerate(arrays):
        assert np.array_equal(packed[number], array)
        assert packed[number].dtype == np.float32


@pytest.mark.parametrize(
    "arrays",
    [[np.zeros((2, 3)), np.zeros((2, 4))], [np.zeros(3), np.zeros(4, np.int32)], [np.zeros(()), np.zeros(3)]],
    ids=["shapes", "dtypes", "scalars"],
)
def test_arrays_that_agree_in_nothing_stay_a_list(arrays: list[Any]) -> None:
    found = gather("npy", *map(npy, arrays))
    assert isinstance(found, list)
    assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(arrays, found, strict=True))


def test_anything_else_stays_bytes() -> None:
    assert gather("seg.png", b"\x89PNG", b"") == [b"\x89PNG", b""]
    assert gather("pkl", b"\x80\x04.") == [b"\x80\x04."], "a pickle is never read"


def test_the_last_suffix_says_how_a_member_is_parsed() -> None:
    assert gather("boxes.json", b"[1]") == [[1]]
    assert gather("a.b.cls", b"4").tolist() == [4]


@pytest.mark.parametrize(("name", "content"), [("json", b"{}"), ("cls", b"1"), ("txt", b"x"), ("npy", npy([1]))])
def test_where_a_member_is_missing_there_is_none_in_its_place(name: str, content: bytes) -> None:
    found = gather(name, content, None, content)
    assert isinstance(found, list)
    assert found[1] is None
    assert found[0] is not None
    assert gather(name, None, None) == [None, None]


def pickled_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}, None], object), allow_pickle=True)
    return file.getvalue()


def lying_array() -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    return file.getvalue() + bytes(80)


DAMAGED = {
    "json": [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"nul"],
    "cls": [b"", b"x", b"1.5", b"1 2", b"\xb2", b"9223372036854775808", b"9" * 5000],
    "txt": [b"\xff", b"\xc3"],
    "npy": [
        b"",
        b"x",
        npy([1, 2, 3])[:-1],
        npy([1])[:20],
        pickled_array(),
        lying_array(),
        b"\x93NUMPY\x09\x00" + bytes(99),
    ],
}


@pytest.mark.parametrize(("name", "content"), [(name, c) for name, cs in DAMAGED.items() for c in cs])
def test_damage_is_refused_with_example_field_and_reason(name: str, content: bytes) -> None:
    good = {"json": b"1", "cls": b"1", "txt": b"x", "npy": npy([1])}[name]
    with pytest.raises(
        ExampleError, match=rf"x\.tar: example 'key1' at byte 512 .*field '{name}' is damaged \(.+\)\."
    ):
        gather(name, good, content)


@pytest.mark.parametrize(
    ("content", "said"), [(b"a,b\n1,2\n", "begin like an npy"), (pickled_array(), "Python objects")]
)
def test_what_is_no_array_is_said_without_advice_to_unpickle_it(content: bytes, said: str) -> None:
    with pytest.raises(ExampleError, match=said) as caught:
        gather("npy", content)
    assert "pickle" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("json", b"[" * 100_000, "nested too deeply"),
        ("json", b"1" * 5000, "too many digits"),
        ("cls", b"9" * 5000, "not a whole number of 64 bits"),
        ("cls", b"x", "b'x' is not a whole number"),
    ],
)
def test_the_reason_is_not_advice_of_another_library(name: str, content: bytes, said: str) -> None:
    with pytest.raises(ExampleError, match=said) as caught:
        gather(name, content)
    assert "sys." not in str(caught.value)
    assert "codec" not in str(caught.value)


def test_random_damage_to_an_array_is_refused_or_harmless() -> None:
    rng = np.random.default_rng(0)
    whole, refused = npy(np.arange(6)), 0
    for _ in range(1000):
        content = bytearray(whole)
        for place in rng.integers(0, 128, 2):
            content[place] = rng.integers(0, 256)
        try:
            gather("npy", bytes(content))
        except ExampleError:
            refused += 1
    assert refused > 300


def test_a_field_that_no_example_of_a_batch_has_is_absent() -> None:
    fields = {name: gather(name, *contents) for name, contents in (("txt", [b"a", None]), ("cls", [None, None]))}
    assert absent_fields({**fields, "npy": gather("npy", npy([1]), npy([1, 2]))}) == ["cls"]
    assert absent_fields({}) == []
