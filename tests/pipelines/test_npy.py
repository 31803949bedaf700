"""NumPy's file format: what NumPy wrote is read, what it did not is refused, and threads do not meet in a parser."""

from __future__ import annotations

import io
import threading
from typing import Any

import numpy as np
import pytest

from pipelines.storage import npy
from pipelines.storage.index import INDEX_DTYPE
from pipelines.storage.npy import load_npy, read_npy_header

ARRAYS: list[Any] = [
    np.arange(7, dtype="<i8"),
    np.arange(6, dtype=">f4").reshape(2, 3),
    np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
    np.array(3.5),
    np.zeros((0, 4), np.uint8),
    np.array([True, False]),
    np.array(["a", "bc"]),
    np.zeros(3, INDEX_DTYPE),
    np.zeros(2, [("x", "<f4", (2,)), ("y", [("z", "i1")])]),
    np.array([1, 2], "datetime64[s]"),
]


def stored(array: Any, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version, allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str}{array.shape}")
def test_what_numpy_writes_is_read_as_numpy_reads_it(array: Any, version: tuple[int, int]) -> None:
    content = stored(array, version)
    found, expected = load_npy(content), np.load(io.BytesIO(content))
    np.testing.assert_array_equal(found, expected)
    assert (found.dtype, found.shape, found.flags.f_contiguous) == (
        expected.dtype,
        expected.shape,
        expected.flags.f_contiguous,
    )
    assert found.flags.writeable


def test_an_unusual_header_is_left_to_numpy() -> None:
    content = stored(np.arange(3, dtype="<i4")).replace(b"'descr'", b'"descr"').replace(b"'shape'", b'"shape"')
    assert load_npy(content).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello, I am text",
        stored(np.array([{}], object)),
        stored(np.arange(9))[:-1],
        b"\x93NUMPY\x02\x00\xff\xff\xff\x7f",
        b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16,
        stored(np.arange(9)).replace(b"(9,), }", b"(99999,), }"),
        stored(np.arange(9)).replace(b"(9,), } ", b"(-9,), }"),
        stored(np.arange(9)).replace(b"'<i8'", b"'<U99999999'"),
    ],
    ids=["empty", "text", "objects", "cut", "long header", "brackets", "lying shape", "negative", "wide"],
)
def test_anything_else_is_refused_with_a_reason(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^it(s header)? "):
        load_npy(content)


def header_only(descr: str, shape: str) -> bytes:
    """An npy file that claims these values, and holds none."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("descr", "shape", "reason"),
    [
        ("'|S0'", "(5000000000,)", "take no bytes"),
        ("'<U0'", "(500000000,)", "take no bytes"),
        ("'|V0'", "(1000000,)", "take no bytes"),
        ("[]", "(1000000000,)", "take no bytes"),
        ("[('x', '<f4', (0,))]", "(10,)", "take no bytes"),
        ("'<f4'", f"({'0, ' * 33})", "33 axes"),
        ("'<f4'", f"(0, {10**17})", "no memory could hold"),
        ("'<f4'", f"(0, {10**30})", "no memory could hold|not a number of values"),
        ("'<f4'", f"({'9' * 5000},)", "damaged"),
        ("'<f4'", "(True,)", "damaged"),
        ("'(2,3)<f4'", "(0,)", "arrays themselves"),
        ("'2<f4'", "(0,)", "arrays themselves"),
    ],
    ids=str,
)
def test_claims_that_no_file_could_justify_are_refused_in_own_words(descr: str, shape: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        load_npy(header_only(descr, shape))
    assert "sys." not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ordinary_headers_are_never_parsed_as_python(monkeypatch: pytest.MonkeyPatch) -> None:
    load_npy(stored(np.zeros(1, INDEX_DTYPE)))  # its fields are parsed once
    monkeypatch.setattr(np.lib.format, "read_array_header_1_0", None)
    for array in (*ARRAYS[:7], np.zeros(2, INDEX_DTYPE)):
        read_npy_header(io.BytesIO(stored(array, (1, 0))))


def test_threads_that_read_headers_at_once_all_get_them() -> None:
    contents = [stored(array) for array in ARRAYS]
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(200):
                npy._dtype.cache_clear()
                for content in contents:
                    load_npy(content)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
