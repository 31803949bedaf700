"""What a bucket holds is read as what a disk holds, by obstore and by s3fs."""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import ArrayIterator, ArraySource, SourceError, open_source

from .array_files import numbers, write_zarr
from .moto_server import aws_settings, run_moto
from .remote_sets import KINDS, ORDERS, READINGS, WHOLE, images, make_sets, play, play_all

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sets(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def bucket(sets: Path) -> Iterator[tuple[str, Any]]:
    """The address of an S3 with the sets in its bucket, and boto3's client of it."""
    with contextlib.contextmanager(run_moto)() as (address, client):
        client.create_bucket(Bucket="data")
        upload(client, sets, "sets")
        yield address, client


def upload(client: Any, folder: Path, prefix: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            client.put_object(Bucket="data", Key=f"{prefix}/{path.relative_to(folder)}", Body=path.read_bytes())


@pytest.fixture(params=["obstore", "s3fs"])
def client(request: pytest.FixtureRequest, bucket: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """boto3's client; the environment leads to the bucket."""
    pytest.importorskip(request.param)
    if request.param == "s3fs":
        monkeypatch.setattr("pipelines.storage.remote.clients.is_obstore_usable", lambda: False)
    for name, value in aws_settings(bucket[0]).items():
        monkeypatch.setenv(name, value)
    return bucket[1]


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", [*KINDS, "mixture"])
def test_every_kind_in_every_order_is_that_of_the_disk(
    kind: str, order: str, reading: str, sets: Path, client: Any
) -> None:
    expected = play_all(kind, sets, ORDERS[order])
    assert play_all(kind, "s3://data/sets", ORDERS[order], READINGS[reading]) == expected


def test_a_state_goes_from_the_disk_to_the_bucket_and_back(sets: Path, client: Any) -> None:
    whole = images(sets, shuffle=True)
    expected = play(whole) + play(whole)
    found: list[Any] = []
    for turn in range(6):
        place = "s3://data/sets" if turn % 2 else str(sets)
        iterator = images(open_source(place, remote=WHOLE), shuffle=True, threads=1 + turn % 3)
        if found:
            iterator.load_state_dict(json.loads(found[-1][2]))
        found += play(iterator, 2)
        iterator.close()
    assert found == expected


@pytest.mark.filterwarnings("ignore:This DataLoader will create .* worker processes:UserWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.parametrize("reading", READINGS)
def test_worker_processes_give_the_same_batches(start: str, reading: str, sets: Path, client: Any) -> None:
    pytest.importorskip("torch")
    from pipelines.torch_bridge import TorchLoader

    expected = play(images(sets, shuffle=True, threads=1))
    iterator = images(open_source("s3://data/sets", remote=READINGS[reading]), shuffle=True, threads=1)
    assert play(iterator, 1) == expected[:1]  # in this process, before the fork
    again = pickle.loads(pickle.dumps(iterator))
    loader = TorchLoader(iterator, 2, multiprocessing_context=start)
    found = [(batch.keys, json.dumps(batch.state)) for batch in loader]
    loader.close()
    assert found == [row[1:] for row in expected[1:]]
    assert play(again) == expected[1:]
    again.close()


def test_every_way_to_name_tars_opens_the_same_examples(sets: Path, client: Any) -> None:
    names = sorted(path.name for path in (sets / "image").glob("*.tar"))
    for name in names:
        client.put_object(Bucket="data", Key=f"plain/{name}", Body=(sets / "image" / name).read_bytes())
    expected = open_source(sets).keys()
    root = "s3://data/plain"
    every = [f"{root}/{name}" for name in names]
    ways: list[Any] = [root, root + "/", f"{root}/image-{{000000..000006}}.tar", f"{root}/*.tar", every]
    for way in ways:
        with contextlib.closing(open_source(way, remote=WHOLE)) as source:
            assert source.keys() == expected, way


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("s3://absent/sets", "bucket|no such file"),
        ("s3://data/absent", "no manifest.json and no tars in it"),
        ("s3://data/absent.tar", "no such file"),
        ("s3://data/sets/image/x*.tar", "no file matches it"),
        ("s3://data/files", "only shards are read from elsewhere, not single files"),
    ],
)
def test_where_there_is_nothing_to_read_one_sentence_says_so(place: str, reason: str, client: Any) -> None:
    client.put_object(Bucket="data", Key="files/a.png", Body=b"no shard")
    with pytest.raises(SourceError, match=reason) as told:
        open_source(place, remote=WHOLE)
    assert len(str(told.value).splitlines()) == 1
    assert str(told.value).endswith(".")


@pytest.mark.parametrize("order", [{}, {"shuffle": True}])
def test_arrays_in_a_bucket_are_those_of_the_disk(
    order: dict[str, Any], tmp_path: Path, bucket: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("s3fs")
    for name, value in aws_settings(bucket[0]).items():
        monkeypatch.setenv(name, value)
    write_zarr(tmp_path / "a.zarr", numbers())
    upload(bucket[1], tmp_path / "a.zarr", "a.zarr")

    def rows(source: Any) -> list[tuple[bytes, str]]:
        iterator = ArrayIterator(source, batch_size=8, seed=1, **order)
        found = [(np.asarray(batch.data).tobytes(), json.dumps(batch.state)) for batch in iterator]
        iterator.close()
        return found

    far, here = rows("s3://data/a.zarr"), rows(tmp_path / "a.zarr")
    assert [data for data, _ in far] == [data for data, _ in here]  # a state of arrays names their place
    np.save(tmp_path / "b.npy", numbers())
    bucket[1].upload_file(str(tmp_path / "b.npy"), "data", "b.npy")
    with pytest.raises(SourceError, match=r"only local \.npy files are read"):
        ArraySource("s3://data/b.npy")
