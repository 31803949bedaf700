"""Plain PNG and WebP by imagecodecs: which files go that way, and that their pixels are Pillow's to the last bit."""

from __future__ import annotations

import os
import pickle
import threading
from typing import Any

import numpy as np
import pytest

from pipelines import Example
from pipelines.decode import ImageDecoder
from pipelines.decode.image import codecs
from pipelines.decode.scratch import KEPT_BYTES, Scratch

from .pictures import FAST, PLACE, Pixels, decode, encode, smooth
from .plain_pictures import HEIGHT, PLAIN, UNUSUAL, WIDTH, decode_plain, needs_codecs, stored_pixels, verdict


@needs_codecs
@pytest.mark.parametrize("kind", PLAIN)
def test_plain_pictures_go_the_fast_way_and_come_out_as_pillows_pixels(kind: str) -> None:
    data = PLAIN[kind]()
    found = decode_plain(data, Scratch())
    assert found is not None
    expected = stored_pixels(data)
    assert np.array_equal(found, expected[:, :, :3] if "WebP" in kind else expected)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it forgives
@pytest.mark.parametrize("kind", UNUSUAL)
def test_everything_unusual_is_left_to_pillow(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = UNUSUAL[kind]()
    asked = []
    decoders = {name: lambda *args, **options: asked.append(args) for name in ("png", "webp")}
    monkeypatch.setattr(codecs, "_codecs", lambda: decoders)
    assert decode_plain(data, Scratch()) is None
    assert not asked
    exact = verdict(data, "exact", size=None)
    assert isinstance(exact, str) == (kind == "PNG with a box")
    for resizer in FAST:
        found = verdict(data, resizer, size=8 if isinstance(exact, str) else exact.shape[:2])
        assert found == exact if isinstance(found, str) else np.array_equal(found, exact)


@needs_codecs
@pytest.mark.parametrize("kind", [*PLAIN, "palette", "turned PNG", "turned WebP"])
@pytest.mark.parametrize("settings", [{}, {"grayscale": True}, {"fit": "pad"}, {"size": None}], ids=str)
def test_with_and_without_imagecodecs_every_resizer_gives_the_same_pixels(
    kind: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {**PLAIN, **UNUSUAL}[kind]()
    settings = {"size": (17, 23), **settings}
    for resizer in FAST:
        with_it = decode(data, resizer=resizer, **settings)
        with monkeypatch.context() as patch:
            patch.setattr(codecs, "_codecs", dict)
            assert np.array_equal(decode(data, resizer=resizer, **settings), with_it)


@pytest.mark.parametrize("failure", [RuntimeError, ValueError, MemoryError])
@pytest.mark.parametrize("kind", ["PNG", "WebP"])
def test_a_codec_that_fails_leaves_the_picture_to_pillow(
    kind: str, failure: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, asked = PLAIN[kind](), []

    def fail(file: bytes, out: Pixels) -> None:
        asked.append(out.shape)
        raise failure("not with me")

    monkeypatch.setattr(codecs, "_codecs", lambda: {"png": fail, "webp": fail})
    assert np.array_equal(decode(data, size=(HEIGHT, WIDTH)), stored_pixels(data))
    assert asked == [(HEIGHT, WIDTH, 3)]


@needs_codecs
def test_threads_decode_at_once_without_sharing_memory() -> None:
    files = [encode(smooth(90 + number, 120, number), name) for number in range(6) for name in ("PNG", "WEBP")]
    decoder = ImageDecoder(size=64)
    expected = [decode(data, size=64) for data in files]
    wrong: list[int] = []

    def work(offset: int) -> None:
        out = decoder.allocate(1)
        assert out is not None
        for turn in range(60):
            number = (turn + offset) % len(files)
            decoder.decode_into(Example(0, "key", files[number]), out[0], PLACE)
            if not np.array_equal(out[0].transpose(1, 2, 0), expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@needs_codecs
@pytest.mark.parametrize("kind", ["PNG", "WebP"])
def test_a_used_decoder_works_in_a_fork_and_as_a_pickle(kind: str) -> None:
    decoder, example = ImageDecoder(size=16, resizer="pillow"), Example(0, "key", PLAIN[kind]())
    out = decoder.allocate(2)
    assert out is not None
    decoder.decode_into(example, out[0], PLACE)
    pickle.loads(pickle.dumps(decoder)).decode_into(example, out[1], PLACE)
    assert np.array_equal(out[0], out[1])
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        decoder.decode_into(example, out[1], PLACE)
        os.write(send, out[1].tobytes())
        os._exit(0)
    os.close(send)
    with open(receive, "rb") as pipe:
        assert pipe.read() == out[0].tobytes()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_giant_does_not_stay_with_the_thread() -> None:
    scratch = Scratch()
    small = scratch.raster(2, 3, 4)
    assert small.shape == (2, 3, 4)
    assert small.base is scratch.take(10)
    assert len(scratch.take(KEPT_BYTES + 1)) == KEPT_BYTES + 1
    assert scratch.take(10) is small.base
    others: list[Any] = []
    thread = threading.Thread(target=lambda: others.append(scratch.take(10)))
    thread.start()
    thread.join()
    assert others[0] is not small.base
