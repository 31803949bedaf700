"""Which client is asked, with which settings; clouds that cannot be served here are stubs."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipelines.errors import SourceError
from pipelines.sources.opening import open_source
from pipelines.storage.remote import obstore_client
from pipelines.storage.remote.clients import FsspecClient, HttpClient, ObstoreClient, open_client
from pipelines.storage.remote.obstore_client import default_settings
from pipelines.storage.remote.remote_store import RemoteOptions, RemoteStore
from pipelines.storage.remote.retrying import (
    AbsentError,
    NoBucketError,
    RangesIgnoredError,
    RequestError,
    RetryPolicy,
)
from pipelines.storage.remote.urls import split_url
from tests.absent import run, without
from tests.web_server import WebServer

POLICY = RetryPolicy(attempts=2, seconds=3, stall_seconds=1, connect_seconds=1)
Made = list[tuple[str, str, dict[str, Any]]]


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither those of this machine, nor a look for any."""
    for names in obstore_client.KEYS.values():
        for name in names.split():
            monkeypatch.delenv(name, raising=False)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(obstore_client, "VENDOR", tmp_path / "vendor")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    """The stores that are made by a stub of obstore: class, bucket and settings."""
    found: Made = []

    def kind(name: str) -> type:
        def begin(self: object, bucket: str, **settings: Any) -> None:
            found.append((name, bucket, settings))

        return type(name, (), {"__init__": begin})

    package, store = ModuleType("obstore"), ModuleType("obstore.store")
    for name in ("S3Store", "GCSStore", "AzureStore"):
        setattr(store, name, kind(name))
    package.store = store  # type: ignore[attr-defined]
    package.head = lambda store, path: {  # type: ignore[attr-defined]
        "size": len(path),
        "e_tag": "1",
        "last_modified": None,
    }
    monkeypatch.setitem(sys.modules, "obstore", package)
    monkeypatch.setitem(sys.modules, "obstore.store", store)
    monkeypatch.setattr(obstore_client, "_user", [0])
    return found


@pytest.mark.parametrize(
    ("url", "name", "bucket", "settings"),
    [
        ("s3://bucket/a.tar", "S3Store", "bucket", {"skip_signature": True}),
        ("gs://bucket/a.tar", "GCSStore", "bucket", {"skip_signature": True}),
        ("az://box/a.tar", "AzureStore", "box", {"skip_signature": True}),
        (
            "abfss://box@acc.dfs.core.windows.net/a.tar",
            "AzureStore",
            "box",
            {"skip_signature": True, "account_name": "acc"},
        ),
    ],
)
def test_public_data_is_asked_for_without_a_signature(
    made: Made, url: str, name: str, bucket: str, settings: dict[str, Any]
) -> None:
    assert RemoteStore(url, RemoteOptions(POLICY)).size_of(url) == len("a.tar")
    ((found_name, found_bucket, found),) = made
    assert (found_name, found_bucket) == (name, bucket)
    retry, options = found.pop("retry_config"), found.pop("client_options")
    assert found == settings
    assert retry["max_retries"] == 0
    assert options["read_timeout"].total_seconds() == POLICY.stall_seconds
    assert options["connect_timeout"].total_seconds() == POLICY.connect_seconds
    assert options["timeout"].total_seconds() == pytest.approx(POLICY.seconds_for(64 << 20))


@pytest.mark.parametrize(
    ("url", "variable"),
    [
        ("s3://bucket/a", "AWS_ACCESS_KEY_ID"),
        ("s3://bucket/a", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        ("gs://bucket/a", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("az://bucket/a", "AZURE_STORAGE_ACCOUNT_KEY"),
        ("az://bucket/a", "AZURE_STORAGE_SAS_TOKEN"),
    ],
)
def test_credentials_of_the_environment_are_left_to_obstore(
    url: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "something")
    assert default_settings(split_url(url), {}) == {}


def test_a_profile_of_aws_gives_credentials_where_boto3_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("boto3")
    pytest.importorskip("obstore")
    assert default_settings(split_url("s3://bucket/a"), {}) == {"skip_signature": True}
    (tmp_path / "credentials").write_text("[work]\naws_access_key_id = key\naws_secret_access_key = hush\n")
    monkeypatch.setenv("AWS_PROFILE", "work")
    provider = default_settings(split_url("s3://bucket/a"), {})["credential_provider"]
    assert provider()["access_key_id"] == "key"
    monkeypatch.setenv("AWS_PROFILE", "absent")
    with pytest.raises(SourceError, match=r"s3://bucket/a: the AWS profile cannot be read .* Look at AWS_PROFILE"):
        RemoteStore("s3://bucket", RemoteOptions(POLICY)).size_of("s3://bucket/a")


def test_a_machine_of_the_cloud_has_a_role_and_gcloud_leaves_a_file(tmp_path: Path) -> None:
    (tmp_path / "vendor").write_text("Google\n")
    assert default_settings(split_url("gs://bucket/a"), {}) == {}
    assert default_settings(split_url("az://bucket/a"), {}) == {"skip_signature": True}
    (tmp_path / "vendor").unlink()
    login = tmp_path / ".config" / "gcloud" / "application_default_credentials.json"
    login.parent.mkdir(parents=True)
    login.write_text("{}")
    assert default_settings(split_url("gs://bucket/a"), {}) == {}


def test_plain_http_is_allowed_where_the_endpoint_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"endpoint": "http://127.0.0.1:9000", "skip_signature": True, "client_options": {"timeout": "5s"}}
    allowed = {"client_options": {"allow_http": True, "timeout": "5s"}}
    assert default_settings(split_url("s3://bucket/a"), given) == allowed
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    assert default_settings(split_url("s3://bucket/a"), {}) == {"client_options": {"allow_http": True}}
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://minio.example")
    assert default_settings(split_url("s3://bucket/a"), {}) == {}


def test_settings_of_the_caller_come_before_all_others(made: Made) -> None:
    options = RemoteOptions(POLICY, {"access_key_id": "key", "region": "mars", "client_options": {"timeout": "9s"}})
    RemoteStore("s3://bucket", options).size_of("s3://bucket/a")
    assert made[0][2]["region"] == "mars"
    assert made[0][2]["client_options"]["timeout"] == "9s"
    assert "skip_signature" not in made[0][2]


def test_stores_of_obstore_are_made_for_reads_of_one_size(made: Made) -> None:
    client = ObstoreClient(split_url("s3://bucket/a"), POLICY, {})
    for num_bytes in (0, 1000, 64 << 20, 65 << 20, 100 << 20, 1 << 30):
        client._store(num_bytes)
    seconds = [settings["client_options"]["timeout"].total_seconds() for _, _, settings in made]
    assert seconds == pytest.approx([POLICY.seconds_for(most << 20) for most in (64, 128, 1024)])


def test_the_web_is_asked_by_python_and_other_schemes_by_fsspec() -> None:
    def client_of(url: str, **settings: Any) -> object:
        return open_client(url, split_url(url), POLICY, settings)

    assert isinstance(client_of("https://host/a", headers={"X": "1"}), HttpClient)
    with pytest.raises(RequestError, match="storage_options has 'token'"):
        client_of("https://host/a", token="hush")
    pytest.importorskip("fsspec")
    assert isinstance(client_of("memory://a/b"), FsspecClient)
    with pytest.raises(RequestError, match="fsspec knows no nothing://"):
        client_of("nothing://a/b")


def test_settings_reach_s3fs_by_the_names_that_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[dict[str, Any]] = []
    monkeypatch.setattr("pipelines.storage.remote.clients.is_obstore_usable", lambda: False)
    monkeypatch.setattr(
        "pipelines.storage.remote.clients.FsspecClient", lambda text, url, policy, settings: found.append(settings)
    )
    given = {"endpoint": "http://e", "access_key_id": "k", "secret_access_key": "s", "region": "mars"}
    open_client("s3://b/a", split_url("s3://b/a"), POLICY, {**given, "client_options": {"allow_http": True}})
    open_client("s3://b/a", split_url("s3://b/a"), POLICY, {})
    expected = {"endpoint_url": "http://e", "key": "k", "secret": "s", "client_kwargs": {"region_name": "mars"}}
    assert found == [expected, {"anon": True}]


class Gone(Exception):
    """As aiohttp and botocore have them."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        super().__init__("https://me:hush@host")
        self.status, self.headers = status, headers


def of_botocore(code: str) -> FileNotFoundError:
    """As s3fs has them."""
    cause, error = Exception("hush"), FileNotFoundError("hush")
    cause.response = {"Error": {"Code": code}}  # type: ignore[attr-defined]
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "passes", "retry_after"),
    [
        (Gone(503, {"Retry-After": "7"}), RequestError, True, 7.0),
        (Gone(404, {}), AbsentError, False, 0.0),
        (FileNotFoundError("s3://hush"), AbsentError, False, 0.0),
        (of_botocore("NoSuchKey"), AbsentError, False, 0.0),
        (of_botocore("NoSuchBucket"), NoBucketError, False, 0.0),
        (PermissionError("hush"), RequestError, False, 0.0),
        (TimeoutError("hush"), RequestError, True, 0.0),
        (ConnectionResetError("hush"), RequestError, True, 0.0),
        (KeyError("hush"), RequestError, False, 0.0),
    ],
)
def test_errors_of_file_systems_are_told_in_words_of_our_own(
    error: Exception, kind: type[RequestError], passes: bool, retry_after: float
) -> None:
    pytest.importorskip("fsspec")
    client = FsspecClient("memory://a", split_url("memory://a"), POLICY, {})

    class System:
        def info(self, path: str) -> None:
            raise error

        def _strip_protocol(self, path: str) -> str:
            return path

    client._system = System()
    with pytest.raises(kind) as told:
        client.facts(split_url("memory://a/b"))
    assert (told.value.passes, told.value.retry_after) == (passes, retry_after)
    assert "hush" not in f"{told.value.reason} {told.value.remedy}"


def test_a_file_system_that_cannot_be_made_is_told_without_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    core = pytest.importorskip("fsspec.core")

    def refuse(text: str, **settings: Any) -> None:
        raise FileNotFoundError("http://us:hush@host")

    monkeypatch.setattr(core, "url_to_fs", refuse)
    with pytest.raises(RequestError) as told:
        FsspecClient("memory://a", split_url("memory://a"), POLICY, {})
    assert "hush" not in f"{told.value.reason} {told.value.remedy}"


def test_each_client_has_a_file_system_of_its_own() -> None:
    pytest.importorskip("fsspec")
    first, second = (FsspecClient("memory://a", split_url("memory://a"), POLICY, {}) for _ in range(2))
    assert first._system is not second._system


@pytest.mark.parametrize(
    ("url", "variable", "value", "words"),
    [
        ("s3://b/a", "AWS_ENDPOINT_URL", "127.0.0.1:18182", "AWS_ENDPOINT_URL is '127.0.0.1:18182'; it must begin"),
        ("s3://b/a", "AWS_ENDPOINT_URL_S3", "us:hush@host", "AWS_ENDPOINT_URL_S3 is not an address; it must begin"),
        ("az://b/a", "AZURE_STORAGE_ENDPOINT", "ftp://us:hush@host", "it must begin with http:// or https://"),
        ("gs://b/a", "GOOGLE_BASE_URL", "host", "it must begin with http:// or https://"),
        ("s3://b/a", "AWS_ENDPOINT_URL", "", "AWS_ENDPOINT_URL is empty; unset it, or give an address"),
    ],
)
def test_endpoints_without_a_scheme_are_refused(
    url: str, variable: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SourceError, match=words) as told:
        RemoteStore(url, RemoteOptions(POLICY)).size_of(url)
    assert "hush" not in str(told.value)
    monkeypatch.delenv(variable)
    with pytest.raises(RequestError, match="endpoint"):
        open_client(url, split_url(url), POLICY, {"endpoint": value})


def test_a_panic_of_obstore_is_told_in_a_sentence(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        """As pyo3 has it."""

    def fail(store: object, path: str) -> None:
        raise PanicException("hush")

    monkeypatch.setattr(sys.modules["obstore"], "head", fail)
    with pytest.raises(SourceError, match=r"obstore broke down\. Look at the settings") as told:
        RemoteStore("s3://b/a", RemoteOptions(POLICY)).size_of("s3://b/a")
    assert "hush" not in str(told.value)


def test_a_folder_of_the_web_that_may_not_be_listed() -> None:
    server = WebServer()
    server.answers["/set/"] = 403, {}
    server.answers["/set/a.tar"] = 403, {}
    store = RemoteStore(f"{server.url}/set", RemoteOptions(POLICY))
    with pytest.raises(SourceError, match=r"cannot be listed\. Name its tars as in shard-\{000\.\.031\}\.tar"):
        store.list()
    told = []
    for query in ("", "?sig=1"):
        with pytest.raises(SourceError, match="access is denied") as error:
            store.read_whole(f"{server.url}/set/a.tar{query}")
        told.append("signature" in str(error.value))
    assert told == [False, True]
    store.close()
    server.close()


def test_a_redirect_or_a_proxy_that_is_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    server = WebServer()
    for name, location in (("/a", "http://[::1/x"), ("/b", "http://us:p/x")):
        server.answers[name] = 302, {"Location": location}
        with pytest.raises(SourceError, match="not an address"):
            RemoteStore(server.url, RemoteOptions(POLICY)).read_whole(server.url + name)
    server.close()


def test_the_root_of_a_file_system_is_listed() -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/root-of-all.tar", b"12345")
    try:
        store = RemoteStore("memory://", RemoteOptions(POLICY))
        assert ("memory:///root-of-all.tar", 5) in [(one.name, one.size) for one in store.list()]
        assert store.read_whole("memory:///root-of-all.tar") == b"12345"
        with pytest.raises(SourceError, match=r"memory:///image-\*.tar: no file matches it"):
            open_source("memory:///image-*.tar")
    finally:
        memory.rm_file("/root-of-all.tar")


def test_a_file_system_that_sends_more_than_was_asked_for_is_noticed() -> None:
    pytest.importorskip("fsspec")
    client = FsspecClient("memory://a", split_url("memory://a"), POLICY, {})

    class System:
        def cat_file(self, path: str, start: int, end: int) -> bytes:
            return bytes(100)

        def _strip_protocol(self, path: str) -> str:
            return path

    client._system = System()
    with pytest.raises(RangesIgnoredError):
        list(client.get(split_url("memory://a/b"), 5, 10, seconds=1, num_bytes=10).pieces)


def test_secrets_of_an_object_store_are_not_in_its_errors() -> None:
    pytest.importorskip("obstore")
    server = WebServer()
    server.answers["/bucket/a.tar"] = 403, {}
    settings = {"endpoint": server.url, "access_key_id": "KEYHUSH", "secret_access_key": "HUSH", "region": "mars"}
    store = RemoteStore("s3://bucket", RemoteOptions(POLICY, settings))
    with pytest.raises(SourceError) as told:
        store.read_whole("s3://bucket/a.tar")
    assert "HUSH" not in f"{told.value} {store!r} {store.options!r}"
    assert str(told.value).startswith(
        "s3://bucket/a.tar: the server answers 403 Forbidden: access is denied. Set AWS"
    )
    assert "HUSH" in str(server.headers[-1])
    server.close()


def test_names_that_no_object_can_have_are_refused_in_a_sentence() -> None:
    pytest.importorskip("obstore")
    store = RemoteStore(
        "s3://bucket", RemoteOptions(POLICY, {"skip_signature": True, "endpoint": "http://127.0.0.1:1"})
    )
    with pytest.raises(SourceError, match=r"s3://bucket/a/\.\./b: not a name that a store can hold"):
        store.size_of("s3://bucket/a/../b")
    unknown = RemoteStore("s3://bucket", RemoteOptions(POLICY, {"colour": "red", "skip_signature": True}))
    with pytest.raises(SourceError, match=r"s3://bucket/a: a setting of storage_options is unknown"):
        unknown.size_of("s3://bucket/a")
    with pytest.raises(
        SourceError, match=r"az://box/a: the store cannot be used .* Set AZURE_STORAGE_ACCOUNT_NAME"
    ):
        RemoteStore("az://box", RemoteOptions(POLICY)).size_of("az://box/a")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://bucket/a.tar", "s3://bucket/a.tar: s3:// needs obstore. Run pip install 'dirvae[cloud]'."),
        ("gs://bucket/a.tar", "gs://bucket/a.tar: gs:// needs obstore. Run pip install 'dirvae[cloud]'."),
        ("memory://a/b", "memory://a/b: memory:// needs fsspec and a package of its own. Run pip install"),
    ],
)
def test_without_the_packages_the_command_that_installs_them_is_named(url: str, words: str) -> None:
    code = without("obstore", "fsspec", "s3fs", "gcsfs", "boto3") + (
        "from pipelines.errors import SourceError\n"
        "from pipelines.storage.remote.remote_store import RemoteStore\n"
        f"try:\n    RemoteStore({url!r}).size_of({url!r})\nexcept SourceError as error:\n    print(error)\n"
    )
    assert run(code).startswith(words)
    assert run(code + "import sys; print('aiohttp' in sys.modules)").endswith("False")
