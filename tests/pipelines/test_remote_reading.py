"""What a web server holds is read as what a disk holds: the same bytes, orders and states, at a bounded cost."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import SourceError, open_source
from pipelines.storage.manifest import Manifest, ShardColumns
from pipelines.storage.remote.reading import RemoteReading
from tests.fault_proxy import FaultProxy
from tests.web_server import WebServer

from .crossed import crossed
from .leftovers import threads
from .remote_sets import KINDS, ORDERS, READINGS, WHOLE, images, make_sets, play, play_all


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sets(tmp_path_factory.mktemp("data"))


@pytest.fixture
def web(sets: Path) -> Iterator[WebServer]:
    """A server of the sets, below /sets."""
    server = WebServer()
    for path in sets.rglob("*"):
        if path.is_file():
            server.files[f"/sets/{path.relative_to(sets)}"] = path.read_bytes()
    yield server
    server.close()


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize(("kind", "order"), crossed([*KINDS, "mixture"], ORDERS))
def test_every_kind_in_every_order_is_that_of_the_disk(
    kind: str, order: str, reading: str, sets: Path, web: WebServer
) -> None:
    expected = play_all(kind, sets, ORDERS[order])
    assert sum(map(len, expected)) >= 10
    assert play_all(kind, f"{web.url}/sets", ORDERS[order], READINGS[reading]) == expected


def test_a_state_goes_from_the_disk_to_the_server_and_back(sets: Path, web: WebServer) -> None:
    whole = images(sets, shuffle=True)
    expected = play(whole) + play(whole)
    places: list[tuple[str, RemoteReading]] = [(str(sets), WHOLE), (f"{web.url}/sets", WHOLE)]
    found, state = [], None
    for turn in range(6):
        place, reading = places[turn % 2]
        iterator = images(open_source(place, remote=reading), shuffle=True, threads=1 + turn % 3)
        if state is not None:
            iterator.load_state_dict(json.loads(state))
        found += play(iterator, 2)
        state = found[-1][2]
        iterator.close()
    assert found == expected


@pytest.mark.parametrize("reading", READINGS)
def test_threads_change_nothing(reading: str, sets: Path, web: WebServer) -> None:
    expected = play(images(sets, shuffle=True))
    for num in (1, 5):
        iterator = images(open_source(f"{web.url}/sets", remote=READINGS[reading]), shuffle=True, threads=num)
        assert play(iterator) == expected
        iterator.close()


@pytest.mark.parametrize("reading", READINGS)
def test_an_iterator_is_closed_pickled_and_read_again_and_leaves_no_thread(
    reading: str, sets: Path, web: WebServer
) -> None:
    before, expected = threads(), play(images(sets, shuffle=True))
    iterator = images(open_source(f"{web.url}/sets", remote=READINGS[reading]), shuffle=True)
    assert play(iterator, 2) == expected[:2]
    again = pickle.loads(pickle.dumps(iterator))
    iterator.close()
    assert [name for name in threads() if name not in before and name.startswith("fetch")] == []
    assert play(iterator) == expected[2:]
    assert play(again) == expected[2:]
    for one in (iterator, again):
        one.close()


def play_slowly(url: str) -> None:
    """What a process does until it is killed: it prints the state after every batch."""
    for state in (row[2] for row in play_one_by_one(images(open_source(url, remote=WHOLE), shuffle=True))):
        print(state, flush=True)
        sys.stdin.readline()


def play_one_by_one(iterator: Any) -> Iterator[Any]:
    while True:
        yield from play(iterator, 1)


def test_a_killed_process_is_continued_with_the_same_cache(sets: Path, web: WebServer) -> None:
    whole = images(sets, shuffle=True)
    expected = play(whole) + play(whole)
    code = f"from {__name__} import play_slowly; play_slowly({web.url + '/sets'!r})"
    root, state = str(Path(__file__).parents[2]), ""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        for _ in range(4):
            state = child.stdout.readline()
            child.stdin.write("\n")
            child.stdin.flush()
        child.send_signal(signal.SIGKILL)
    iterator = images(open_source(f"{web.url}/sets", remote=WHOLE), shuffle=True)
    iterator.load_state_dict(json.loads(state))
    assert play(iterator) == expected[4:6]
    assert iterator.stats.cache_hits > 0
    iterator.close()


@pytest.mark.filterwarnings("ignore:This DataLoader will create .* worker processes:UserWarning")
@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.heavy)])
@pytest.mark.parametrize("reading", READINGS)
def test_worker_processes_give_the_same_batches(start: str, reading: str, sets: Path, web: WebServer) -> None:
    pytest.importorskip("torch")
    from pipelines.torch_bridge import TorchLoader

    expected = play(images(sets, shuffle=True, threads=1))
    source = open_source(f"{web.url}/sets", remote=READINGS[reading])
    iterator = images(source, shuffle=True, threads=1)
    assert play(iterator, 1) == expected[:1]  # in this process, before the fork
    loader = TorchLoader(iterator, 2, multiprocessing_context=start)
    found = [(batch.data.numpy().tobytes(), batch.keys, json.dumps(batch.state)) for batch in loader]
    loader.close()
    assert [row[1:] for row in found] == [row[1:] for row in expected[1:]]
    assert all(whole.startswith(data) for (data, *_), (whole, *_) in zip(found, expected[1:], strict=True))


def test_a_set_of_a_thousand_shards_is_opened_by_one_request(sets: Path, web: WebServer) -> None:
    manifest = Manifest.load(sets / "image")
    first = manifest.shards
    columns = ShardColumns()
    for number in range(1000):
        for column in ("examples", "bytes", "sha256", "index_hash", "frames_hash"):
            getattr(columns, column).append(getattr(first, column)[0])
        name = f"many-{number:04d}.tar"
        columns.name.append(name)
        web.files[f"/many/{name}"] = web.files[f"/sets/image/{first.name[0]}"]
        web.files[f"/many/{name}.index.npy"] = web.files[f"/sets/image/{first.name[0]}.index.npy"]
    web.files["/many/manifest.json"] = dataclasses.replace(manifest, shards=columns).to_json().encode()
    with contextlib.closing(open_source(f"{web.url}/many", remote=WHOLE)) as source:
        assert (len(source), len(web.asked)) == (6000, 1)
        play(images(source, limit=None), 1)  # of two shards
    touched = {path for _, path, _ in web.asked if path.endswith(".tar")}
    alone = RemoteReading(cache_bytes=1 << 20, read_ahead_bytes=0)
    web.asked.clear()
    with contextlib.closing(open_source(f"{web.url}/many", remote=alone)) as source:
        play(images(source, batch_size=18, threads=1, prefetch_bytes=0), 1)
    assert len(touched) >= 2
    assert len(web.asked) <= 1 + 2 * 6  # the batch, and the one that is made ahead


def plain_tars(sets: Path, web: WebServer) -> list[str]:
    """The tars of the pictures alone, below /plain."""
    tars = sorted((sets / "image").glob("*.tar"))
    for tar in tars:
        web.files[f"/plain/{tar.name}"] = tar.read_bytes()
    return [tar.name for tar in tars]


@pytest.mark.parametrize("reading", READINGS)
def test_tars_without_an_index_are_scanned_once(reading: str, sets: Path, web: WebServer, tmp_path: Path) -> None:
    names = plain_tars(sets, web)
    for tar in (sets / "image").glob("*.tar"):
        shutil.copy(tar, tmp_path)
    expected = play(images(tmp_path, shuffle=True))
    with contextlib.closing(open_source(f"{web.url}/plain", remote=READINGS[reading])) as source:
        assert play(images(source, shuffle=True)) == expected
    web.asked.clear()
    with contextlib.closing(open_source(f"{web.url}/plain", remote=READINGS[reading])) as source:
        assert sum(method == "GET" and path.endswith(".tar") for method, path, _ in web.asked) <= len(names)
        assert play(images(source, shuffle=True)) == expected


def test_every_way_to_name_tars_opens_the_same_examples(sets: Path, web: WebServer) -> None:
    names = plain_tars(sets, web)
    root = f"{web.url}/plain"
    expected = open_source(sets).keys()
    every = [f"{root}/{name}" for name in names]
    ways: list[Any] = [root, root + "/", f"{root}/image-{{000000..000006}}.tar", f"{root}/*.tar", every]
    for way in ways:
        with contextlib.closing(open_source(way, remote=WHOLE)) as source:
            assert source.keys() == expected, way
    with contextlib.closing(open_source(f"{root}/{names[1]}", remote=WHOLE)) as source:
        assert source.keys() == expected[6:12]


def test_a_gzipped_tar_is_unpacked_once(sets: Path, web: WebServer) -> None:
    name = plain_tars(sets, web)[0]
    web.files["/packed/a.tar.gz"] = gzip.compress(web.files[f"/plain/{name}"])
    for _ in range(2):
        with contextlib.closing(open_source(f"{web.url}/packed/a.tar.gz", remote=WHOLE)) as source:
            assert play(images(source))[0][0] == play(images(sets, limit=6, batch_size=6))[0][0]
        web.asked.clear()


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("/absent", "no such file"),
        ("/absent.tar", "no such file"),
        ("/sets/image/x*.tar", "no file matches it"),
        ("/se*s/image/*.tar", "stand in the last part of a URL alone"),
        ("/sets/manifest.json?sig=1", r"Name its folder, http://127.0.0.1:\d+/sets/\."),
        ("/files", "only shards are read from elsewhere, not single files"),
        (["/sets/image/absent.tar"], "no such file"),
    ],
    ids=str,
)
def test_where_there_is_nothing_to_read_one_sentence_says_so(place: Any, reason: str, web: WebServer) -> None:
    web.files["/files/a.png"] = b"no shard"
    data = web.url + place if isinstance(place, str) else [web.url + one for one in place]
    with pytest.raises(SourceError, match=reason) as told:
        open_source(data, remote=WHOLE)
    assert len(str(told.value).splitlines()) == 1
    assert str(told.value).endswith(".")


def test_lists_of_urls_and_paths_are_refused(web: WebServer, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="a path, in a list of URLs"):
        open_source([f"{web.url}/a.tar", str(tmp_path)])
    with pytest.raises(SourceError, match="names no bucket"):
        open_source("s3:///a.tar")
    with pytest.raises(SourceError, match="no such file or folder"):
        open_source("s3:/bucket/a")


def test_orders_that_the_cache_is_too_small_for_are_refused(web: WebServer) -> None:
    small = RemoteReading(cache_bytes=40_000)
    source = open_source(f"{web.url}/sets", remote=small)
    for order, reason in (({}, "a full shuffle"), ({"shuffle_shards": 5}, "a window of shards")):
        with pytest.raises(SourceError, match=reason) as told:
            play(images(source, shuffle=True, **order), 1)  # type: ignore[arg-type]
        assert "cache_bytes" in str(told.value)
        assert "may hold 40.00 kB" in str(told.value)
        assert len(str(told.value).splitlines()) == 1
    source.close()


def damaged(web: WebServer) -> str:
    """The third tar of the pictures has a wrong byte in the middle of a picture; its name."""
    name = sorted(path for path in web.files if path.startswith("/sets/image/") and path.endswith(".tar"))[2]
    content = bytearray(web.files[name])
    content[content.index(b"IDAT") + 40] ^= 1
    web.files[name] = bytes(content)
    return name.rpartition("/")[2]


@pytest.mark.parametrize(("reading", "reason"), [("whole", "its SHA-256 is"), ("ranges", "fail their checksum")])
def test_a_damaged_shard_is_named_and_replaced_where_that_is_asked_for(
    reading: str, reason: str, web: WebServer
) -> None:
    name = damaged(web)
    with contextlib.closing(open_source(f"{web.url}/sets", remote=READINGS[reading])) as source:
        with pytest.raises(SourceError, match=rf"{name}: .*{reason}") as told:
            play(images(source))
        assert len(str(told.value).splitlines()) == 1
        web.asked.clear()
        iterator = images(source, on_error="substitute")
        assert len(play(iterator)) == 6
        assert iterator.stats.substituted == (6 if reading == "whole" else 1)
        assert sum(path.endswith(name) for _, path, _ in web.asked) <= 12


@pytest.mark.parametrize("reading", READINGS)
def test_a_missing_shard_is_named_and_replaced_where_that_is_asked_for(reading: str, web: WebServer) -> None:
    name = damaged(web)
    del web.files[f"/sets/image/{name}"]
    with contextlib.closing(open_source(f"{web.url}/sets", remote=READINGS[reading])) as source:
        with pytest.raises(SourceError, match=rf"{name}: no such file"):
            play(images(source))
        iterator = images(source, on_error="substitute")
        assert len(play(iterator)) == 6
        assert iterator.stats.substituted == 6


def test_statistics_count_what_was_fetched(web: WebServer) -> None:
    with contextlib.closing(open_source(f"{web.url}/sets", remote=WHOLE)) as source:
        iterator = images(source)
        play(iterator)
        first = iterator.stats
        assert first.requests == len(web.asked)
        size = sum(len(content) for path, content in web.files.items() if "/image/" in path)
        assert 0.9 * size < first.fetched_bytes <= size + 1000
        play(iterator)
        assert iterator.stats.requests == first.requests
        assert iterator.stats.cache_hits >= 7


def test_a_slow_link_is_what_limits_the_loop(web: WebServer) -> None:
    proxy = FaultProxy(web.port, bytes_per_second=100_000)
    with contextlib.closing(open_source(f"{proxy.url}/sets", remote=WHOLE)) as source:
        iterator = images(source)
        play(iterator)
        assert "link-bound" in iterator.stats.verdict
    proxy.close()


def test_secrets_of_a_url_are_never_shown(sets: Path, web: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    secret = f"http://user:geheim@127.0.0.1:{web.port}/sets?signature=geheim"
    name = damaged(web)
    shown: list[str] = []
    for reading in READINGS.values():
        with contextlib.closing(open_source(secret, remote=reading)) as source:
            iterator = images(source, on_error="raise")
            with pytest.raises(SourceError, match=name) as told:
                play(iterator)
            located = source.locate(0)
            shown += [str(told.value), repr(iterator), repr(source), source.name, located.container]
            shown += [source[0].container, repr(source[0]), str(source[0].error("odd")), repr(located)]
    plain = f"http://user:geheim@127.0.0.1:{web.port}/absent?signature=geheim"
    with pytest.raises(SourceError) as told:
        open_source(plain)
    assert [text for text in (*shown, str(told.value)) if "geheim" in text] == []
