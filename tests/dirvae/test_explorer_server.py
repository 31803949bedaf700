"""The server's half of the application: what it answers, with a run without a model behind it."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from starlette.testclient import TestClient

from dirvae.explore.registry import EXPLORATIONS
from dirvae.explorer.desk import Desk, OpenRun
from dirvae.explorer.routes import FILES, application_routes
from dirvae.web import guarded_app
from tests.dirvae.explored_fakes import HOSTILE_KEYS, FakeRun, fake_run, media_of

TOKEN = "token-of-this-test"


def desk_of(*runs: FakeRun) -> Desk:
    desk = Desk([OpenRun(run.name, lambda run=run: run) for run in runs])  # type: ignore[misc]
    desk.begin()
    deadline = time.monotonic() + 60
    while not desk.runs:
        assert desk.failure is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return desk


def client_of(desk: Desk) -> TestClient:
    client = TestClient(guarded_app(application_routes(desk), token=TOKEN), base_url="http://127.0.0.1:80")
    client.cookies.set("dirvae_80", TOKEN)
    return client


@pytest.fixture(scope="module", params=["image", "video", "audio"])
def run(request: pytest.FixtureRequest) -> FakeRun:
    return fake_run(kind=request.param, context_name="pitch and loudness" if request.param == "audio" else "")


@pytest.fixture(scope="module")
def client(run: FakeRun) -> Iterator[TestClient]:
    desk = desk_of(run)
    yield client_of(desk)
    desk.close()


@pytest.fixture(scope="module")
def pictures() -> Iterator[TestClient]:
    desk = desk_of(fake_run())
    yield client_of(desk)
    desk.close()


def unpack(content: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The facts and arrays of an answer, read as the format says."""
    end = content.index(b"\n") + 1
    facts = json.loads(content[:end])
    place, arrays = -(-end // 8) * 8, {}
    for one in facts["arrays"]:
        dtype, num = np.dtype(one["dtype"]), int(np.prod(one["shape"]))
        arrays[one["name"]] = np.frombuffer(content, dtype, num, place).reshape(one["shape"])
        place += -(-num * dtype.itemsize // 8) * 8
    assert place == len(content)
    return facts, arrays


def ask(client: TestClient, path: str, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    answer = client.post(path, json=fields)
    assert answer.status_code == 200, answer.text
    return unpack(answer.content)


ARRAY = {"image": "pictures", "video": "clips", "audio": "sounds"}


def test_a_latent_that_is_sent_is_decoded_and_exported_as_it_was_shown(client: TestClient, run: FakeRun) -> None:
    latent = run.latents[5].tolist()
    facts, arrays = ask(client, "/api/decode", latent=latent, start={"example": 3}, lane="a", sequence=1)
    expected = media_of(run.kind, run.latents[5:6].numpy()).values
    assert facts["sequence"] == 1
    np.testing.assert_allclose(arrays[ARRAY[run.kind]], expected, atol=1e-6 if run.kind == "audio" else 1)
    shown = arrays[ARRAY[run.kind]][0]
    for form in facts["formats"]:
        answer = client.post("/api/export", json={"shown": facts["shown"], "format": form})
        assert answer.headers["content-disposition"] == f"attachment; filename*=UTF-8''fake-steered.{form}"
        check_export(answer.content, form, shown, arrays)


def check_export(content: bytes, form: str, shown: Any, arrays: dict[str, Any]) -> None:
    if form == "wav":
        samples, rate = soundfile.read(io.BytesIO(content), dtype="float32")
        assert rate == 8000
        np.testing.assert_allclose(samples, shown, atol=1 / 32768)
        return
    picture = Image.open(io.BytesIO(content))
    if form == "png":
        still = arrays["spectrograms"][0] if "spectrograms" in arrays else shown if shown.ndim == 3 else shown[0]
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), still)
        return
    assert picture.n_frames == len(shown)
    for number, frame in enumerate(shown):
        picture.seek(number)
        assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - frame).max() <= 8


@pytest.mark.parametrize("name", sorted(EXPLORATIONS))
def test_every_exploration_of_the_table_is_there_with_its_defaults(client: TestClient, name: str) -> None:
    facts, arrays = ask(client, "/api/explore", name=name, values={})
    assert facts["caption"].endswith(".")
    if "svg" in facts:
        assert facts["svg"].startswith("<svg")
        return
    num = len(next(iter(arrays.values())))
    assert num > 1
    assert facts["columns"] <= num
    answer = client.post("/api/export", json={"shown": facts["shown"], "format": "png"})
    assert Image.open(io.BytesIO(answer.content)).size > (100, 100)


def test_the_page_learns_all_parameters_of_the_table(client: TestClient, run: FakeRun) -> None:
    about = client.post("/api/about", json={}).json()["runs"][0]
    assert about["keys"] == list(run.keys)
    told = {one["name"]: [p["name"] for p in one["parameters"]] for one in about["explorations"]}
    assert told == {name: [p.name for p in one.parameters] for name, one in EXPLORATIONS.items()}
    assert about["top"] == run.latents.argmax(0).tolist()
    assert sum(about["usage"]["means"]) == pytest.approx(1, abs=1e-6)


def test_a_path_begins_and_ends_at_its_examples(client: TestClient, run: FakeRun) -> None:
    for kind in ("latent", "concentration", "aitchison"):
        _, arrays = ask(client, "/api/path", start={"example": 4}, end={"example": 7}, kind=kind)
        assert arrays["latents"].shape == (65, 6)
        atol = 2e-3 if kind == "concentration" else 1e-5
        np.testing.assert_allclose(arrays["latents"][0], run.latents[4], atol=atol)
        np.testing.assert_allclose(arrays["latents"][-1], run.latents[7], atol=atol)
        np.testing.assert_allclose(arrays["latents"].sum(1), 1, atol=1e-5)


def test_a_component_comes_with_the_examples_that_have_most_of_it(client: TestClient, run: FakeRun) -> None:
    facts, arrays = ask(client, "/api/component", component=2)
    assert facts["exemplars"][:3] == np.argsort(-run.latents[:, 2].numpy())[:3].tolist()
    alone = media_of(run.kind, np.eye(6, dtype=np.float32)[2:3]).values
    np.testing.assert_allclose(arrays[ARRAY[run.kind]], alone, atol=1e-6)


def test_the_map_has_a_point_for_each_example_and_neighbours_are_alike(pictures: TestClient) -> None:
    _, arrays = ask(pictures, "/api/map")
    points, latents = arrays["points"], fake_run().latents.numpy()
    assert points.shape == (40, 2)
    assert points.min() >= 0
    assert points.max() <= 1
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    alike = np.linalg.norm(latents[:, None] - latents[None], axis=2)
    nearest = np.argsort(apart, axis=1)[:, 1:6]
    assert np.take_along_axis(alike, nearest, 1).mean() < 0.8 * alike.mean()


def test_thumbnails_stand_in_rows_of_eight(pictures: TestClient) -> None:
    content = pictures.post("/api/thumbnails", json={"page": 0}).content
    sprite = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    assert sprite.shape == (5 * 64, 8 * 64, 3)
    middle = sprite[64 + 32, 3 * 64 + 32]
    expected = fake_run().original(11).values[0][16, 16]
    assert np.abs(middle - expected).max() < 16


def test_an_upload_can_be_looked_at_and_steered(client: TestClient, run: FakeRun) -> None:
    headers = {"content-type": "application/octet-stream", "x-file-name": "%3Cb%3Emine.png"}
    answer = client.post("/api/upload", content=b"FAKE\x09", headers=headers)
    facts, arrays = unpack(answer.content)
    assert facts["label"] == "<b>mine.png"
    np.testing.assert_array_equal(arrays[ARRAY[run.kind]], run.original(9).values)
    _, found = ask(client, "/api/latent", start={"upload": facts["upload"]})
    np.testing.assert_array_equal(found["latent"], run.latents[9])
    ask(client, "/api/decode", latent=run.latents[9].tolist(), start={"upload": facts["upload"]})


def test_a_file_that_cannot_be_read_gets_one_sentence(pictures: TestClient) -> None:
    headers = {"content-type": "application/octet-stream", "x-file-name": "x.png"}
    for content in (b"", b"\x89PNG\r\n\x1a\n" + bytes(100), b"GIF89a"):
        answer = pictures.post("/api/upload", content=content, headers=headers)
        assert answer.status_code == 422
        assert set(answer.json()) == {"error"}
        assert "Traceback" not in answer.text


def test_an_upload_of_200_mb_is_refused_before_it_is_read(pictures: TestClient) -> None:
    headers = {"content-type": "application/octet-stream", "content-length": "200000000"}
    started = time.monotonic()
    assert pictures.post("/api/upload", content=iter([b"x"]), headers=headers).status_code == 413
    assert time.monotonic() - started < 2


WRONG = [
    {"latent": [1.0]},
    {"latent": [0.5] * 6},
    {"latent": [1.5, -0.5, 0, 0, 0, 0]},
    {"latent": [float("nan"), 0, 0, 0, 0, 1]},
    {"latent": [1e400, 0, 0, 0, 0, 0]},
    {"latent": ["1", 0, 0, 0, 0, 0]},
    {"latent": [True, 0, 0, 0, 0, 0]},
    {"latent": [10**400, 0, 0, 0, 0, 0]},
    {"latent": None},
    {"latent": [1, 0, 0, 0, 0, 0], "start": {"example": 40}},
    {"latent": [1, 0, 0, 0, 0, 0], "start": {"example": -1}},
    {"latent": [1, 0, 0, 0, 0, 0], "start": {"upload": 99}},
    {"latent": [1, 0, 0, 0, 0, 0], "start": {"example": 1, "upload": 2}},
    {"latent": [1, 0, 0, 0, 0, 0], "start": "../../etc/passwd"},
    {"latent": [1, 0, 0, 0, 0, 0], "run": 1},
    {"latent": [1, 0, 0, 0, 0, 0], "lane": 3},
    {"latent": [1, 0, 0, 0, 0, 0], "sequence": float("nan")},
    {"latent": [1, 0, 0, 0, 0, 0], "sequence": {"a": [1]}},
]


@pytest.mark.parametrize("fields", WRONG, ids=lambda fields: str(fields)[:40])
def test_a_request_that_makes_no_sense_gets_a_sentence(pictures: TestClient, fields: dict[str, Any]) -> None:
    answer = pictures.post("/api/decode", content=json.dumps(fields), headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["error"].endswith(".")


def test_only_json_that_says_so_is_taken(pictures: TestClient) -> None:
    text = json.dumps({"latent": [1, 0, 0, 0, 0, 0]})
    assert pictures.post("/api/decode", content=text, headers={"content-type": "text/plain"}).status_code == 415
    headers = {"content-type": "application/json"}
    assert pictures.post("/api/decode", content="[" * 100_000, headers=headers).status_code == 400
    assert pictures.post("/api/decode", content="[]", headers=headers).status_code == 400
    assert pictures.get("/api/decode").status_code == 405
    assert pictures.post("/api/upload", content=b"x", headers=headers).status_code == 415


def test_an_unknown_exploration_or_parameter_gets_a_sentence(pictures: TestClient) -> None:
    for fields in (
        {"name": "__class__"},
        {"name": "traverse", "values": {"key": "none"}},
        {"name": "traverse", "values": {"x": 1}},
        {"name": "traverse", "values": {"self": 1}},
        {"name": "usage", "values": {"explored": 1}},
    ):
        answer = pictures.post("/api/explore", json=fields)
        assert answer.status_code == 422
        assert answer.json()["error"].endswith(".")


def test_keys_that_are_html_are_told_as_they_are_in_json_only(pictures: TestClient) -> None:
    answer = pictures.post("/api/latent", json={"start": {"example": 0}})
    assert unpack(answer.content)[0]["label"] == HOSTILE_KEYS[0]
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_files_of_the_page_are_all_there_and_bring_nothing_from_elsewhere(pictures: TestClient) -> None:
    for path in ("/", *FILES):
        answer = pictures.get(path)
        assert answer.status_code == 200
        text = answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text
        assert path != "/" or "style=" not in text
        assert "innerHTML" not in text
        assert "eval(" not in text
    scripts = [path for path in FILES if path.endswith(".js")]
    imported = {
        f"/{name}"
        for path in scripts
        for name in pictures.get(path).text.split('from "./')[1:]
        for name in [name.split('"')[0]]
    }
    assert imported <= set(scripts)
    assert set(scripts) - imported == {"/main.js"}


def test_a_chart_is_saved_as_the_drawing_that_is_shown(pictures: TestClient) -> None:
    facts, _ = unpack(pictures.post("/api/explore", json={"name": "usage", "values": {}}).content)
    assert facts["formats"] == ["png", "svg"]
    saved = {
        wanted: pictures.post("/api/export", json={"shown": facts["shown"], "format": wanted})
        for wanted in ("svg", "png", "gif")
    }
    assert saved["svg"].headers["content-type"].startswith("image/svg+xml")
    assert saved["svg"].headers["content-disposition"].endswith("fake-usage.svg")
    drawn = facts["svg"].partition(">")[2]
    assert saved["svg"].text.rstrip().endswith(drawn)
    assert f"<title>{facts['caption']}</title>" in saved["svg"].text
    assert Image.open(io.BytesIO(saved["png"].content)).width > 300
    assert saved["gif"].status_code == 422
    assert "there is png, svg" in saved["gif"].json()["error"]


def test_before_the_model_is_there_the_page_and_its_state_are() -> None:
    gate = threading.Event()

    def open_slowly() -> FakeRun:
        gate.wait(30)
        return fake_run()

    desk = Desk([OpenRun("slow", open_slowly)])
    client = client_of(desk)
    assert client.get("/").status_code == 200
    state = client.get("/api/state").json()
    assert state == {"stage": state["stage"], "failure": None, "ready": False, "whole": False, "labels": ["slow"]}
    assert client.post("/api/about", json={}).status_code == 503
    gate.set()
    deadline = time.monotonic() + 30
    while not client.get("/api/state").json()["ready"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert client.post("/api/about", json={}).status_code == 200
    desk.close()


def test_the_first_examples_are_there_while_the_rest_is_read() -> None:
    gate = threading.Event()
    part = replace(fake_run(), latents=fake_run().latents[:10], keys=fake_run().keys[:10])

    def open_slowly() -> FakeRun:
        gate.wait(30)
        return fake_run()

    desk = Desk([OpenRun("slow", open_slowly, lambda: part)])
    client = client_of(desk)
    for is_whole, num in ((False, 10), (True, 40)):
        deadline = time.monotonic() + 30
        while not (state := client.get("/api/state").json())["ready"] or state["whole"] != is_whole:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert len(client.post("/api/about", json={}).json()["runs"][0]["keys"]) == num
        points = unpack(client.post("/api/map", json={}).content)[1]["points"]
        assert points.shape == (num, 2)
        assert client.post("/api/latent", json={"start": {"example": 39}}).is_success == is_whole
        sheet = Image.open(io.BytesIO(client.post("/api/thumbnails", json={}).content))
        assert sheet.height == 64 * -(-num // 8)
        gate.set()
    desk.close()


def test_a_run_that_cannot_be_opened_says_why() -> None:
    def fail() -> FakeRun:
        raise ValueError("runs/x: its data is gone. Name it with --source.")

    desk = Desk([OpenRun("x", fail)])
    client = client_of(desk)
    deadline = time.monotonic() + 30
    while (failure := client.get("/api/state").json()["failure"]) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert failure == "runs/x: its data is gone. Name it with --source."
    desk.close()
