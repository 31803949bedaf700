"""Which client serves a URL: Python's http, obstore, or fsspec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .client import Body, Client, Facts, Listed
from .fsspec_client import FsspecClient
from .http_client import HttpClient
from .obstore_client import ObstoreClient, check_endpoints, default_settings, is_obstore_usable
from .retrying import RequestError, RetryPolicy
from .urls import Url

__all__ = [
    "Body",
    "Client",
    "Facts",
    "FsspecClient",
    "HttpClient",
    "Listed",
    "ObstoreClient",
    "open_client",
]

OBJECT_STORES = ("s3", "gs", "az")
NAMES_OF_S3FS = {
    "endpoint": "endpoint_url",
    "access_key_id": "key",
    "secret_access_key": "secret",
    "session_token": "token",
    "skip_signature": "anon",
}
WEB_SETTINGS = {"headers", "verify"}


def open_client(text: str, url: Url, policy: RetryPolicy, settings: Mapping[str, Any]) -> Client:
    """The client of the place that a URL, whole in `text`, lies in. Raises `RequestError`.

    `settings` are those of the client: `headers` and `verify` for the web, obstore's for an object store, and those of
    a file system of fsspec for any other scheme, or where obstore is absent.
    """
    if url.is_web:
        if unknown := sorted(settings.keys() - WEB_SETTINGS):
            raise RequestError(
                f"storage_options has {unknown[0]!r}", passes=False, remedy="The web knows headers and verify."
            )
        return HttpClient(url, policy, **settings)
    if url.scheme in OBJECT_STORES:
        check_endpoints(url.scheme, settings)
    if url.scheme in OBJECT_STORES and is_obstore_usable():
        return ObstoreClient(url, policy, settings)
    return FsspecClient(text, url, policy, _for_fsspec(url, settings))


def _for_fsspec(url: Url, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of obstore for S3 as s3fs calls them; all others are passed on as they are."""
    found = {NAMES_OF_S3FS.get(name, name): value for name, value in settings.items()}
    if url.scheme != "s3":
        return dict(settings)
    found.pop("client_options", None)
    if "region" in found:
        found["client_kwargs"] = {"region_name": found.pop("region"), **found.get("client_kwargs", {})}
    if "anon" not in found and "key" not in found and default_settings(url, settings).get("skip_signature"):
        found["anon"] = True
    return found
