"""Objects of S3, Google Cloud Storage and Azure, by the package obstore, which is the fast way to them.

What obstore 0.12 does, and what is made of it here:

- Its own retries are switched off, so that a request is one request.
- It hides the headers of answers, `Retry-After` too: the waits are those of the policy.
- An answer of 200 to a request for a range is an error, and so is another range than was asked for, and a body that
  is cut off, after the bytes that came but for the last 256 KiB. What is told apart is read from their texts.
- Its limit on the time of a request is set once for a store. Stores are therefore made for reads of one size, of
  powers of two, when they are needed.
- After a fork its threads are gone, and a request would wait forever. It is not used in a process that was forked
  from one that used it.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from .client import Body, Facts, Piece
from .retrying import CREDENTIALS, RangesIgnoredError, RequestError, RetryPolicy, status_error
from .urls import Url, redacted

__all__ = ["ObstoreClient", "check_endpoints", "default_settings", "is_obstore_usable"]

PIECE_BYTES = 256 << 10
SMALL_READ_BYTES = 64 << 20
STATUS = re.compile(r"status code: (\d{3})")
CODE = re.compile(r"<Code>(\w{1,60})</Code>")
STATUS_OF_KIND = {"PermissionDeniedError": 403, "UnauthenticatedError": 401, "PreconditionError": 412}
PASSING_WORDS = {
    "kind: Timeout,": "nothing came in time",
    "kind: Connect,": "no connection can be made",
    "kind: Interrupted,": "the connection broke",
    "kind: Request,": "the connection broke",
    "kind: Decode,": "the answer broke off",
    "kind: Unknown,": "the connection broke",
    "UnexpectedRange": "other bytes came than were asked for",
}
KEYS = {
    "s3": """AWS_ACCESS_KEY_ID AWS_WEB_IDENTITY_TOKEN_FILE AWS_CONTAINER_CREDENTIALS_RELATIVE_URI
        AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_SKIP_SIGNATURE""",
    "gs": """GOOGLE_APPLICATION_CREDENTIALS GOOGLE_SERVICE_ACCOUNT GOOGLE_SERVICE_ACCOUNT_PATH
        GOOGLE_SERVICE_ACCOUNT_KEY GOOGLE_SKIP_SIGNATURE""",
    "az": """AZURE_STORAGE_ACCOUNT_KEY AZURE_STORAGE_ACCESS_KEY AZURE_STORAGE_SAS_TOKEN AZURE_STORAGE_SAS_KEY
        AZURE_STORAGE_CLIENT_ID AZURE_CLIENT_ID AZURE_STORAGE_TOKEN AZURE_FEDERATED_TOKEN_FILE AZURE_USE_AZURE_CLI
        AZURE_MSI_ENDPOINT IDENTITY_ENDPOINT AZURE_SKIP_SIGNATURE""",
}
"""Environment variables with credentials, or with where they are; obstore reads them by itself."""
ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
}
ENDPOINT_SETTINGS = (
    "endpoint",
    "endpoint_url",
    "aws_endpoint",
    "aws_endpoint_url",
    "aws_endpoint_url_s3",
    "azure_endpoint",
    "azure_storage_endpoint",
    "base_url",
    "google_base_url",
)
OWN_KEYS = (
    "access_key_id",
    "aws_access_key_id",
    "skip_signature",
    "aws_skip_signature",
    "credential_provider",
    "token",
)
MACHINES = {"s3": "Amazon EC2", "gs": "Google", "az": "Microsoft Corporation"}
"""The maker of a machine that has a role of its own, which the store asks its neighbour for."""
VENDOR = Path("/sys/class/dmi/id/sys_vendor")
GCLOUD = "~/.config/gcloud/application_default_credentials.json"

_user = [0]
"""The process that used obstore first, and those forked from it."""


def is_obstore_usable() -> bool:
    """Whether obstore is there, and no process that this one was forked from has used it."""
    try:
        import obstore  # noqa: F401
    except ImportError:
        return False
    return _user[0] in (0, os.getpid())


class ObstoreClient:
    """Objects of one bucket. `settings` are obstore's own for the kind of store, or its `client_options`."""

    def __init__(self, url: Url, policy: RetryPolicy, settings: Mapping[str, Any]) -> None:
        self._url, self._policy = url, policy
        self._settings = {**default_settings(url, settings), **settings}
        self._options = dict(self._settings.pop("client_options", {}))
        self._lock, self._stores = threading.Lock(), dict[int, Any]()
        _user[0] = os.getpid()

    def get(self, url: Url, start: int, length: int | None, *, seconds: float, num_bytes: int) -> Body:
        """See `Client.get`."""
        import obstore

        options: dict[str, Any] = {}
        if length is not None:
            options["range"] = (start, start + length)
        elif start:
            options["range"] = {"offset": start}
        store = self._store(max(num_bytes, length or 0))
        answer = self._asked(lambda: obstore.get(store, url.path, options=options))  # type: ignore[arg-type]
        return Body(_facts(answer.meta), answer.range[0], self._pieces(answer), lambda: None)

    def facts(self, url: Url) -> Facts:
        """See `Client.facts`."""
        import obstore

        return _facts(self._asked(lambda: obstore.head(self._store(0), url.path)))

    def list(self, url: Url) -> Iterator[tuple[str, int | None]]:
        """See `Client.list`."""
        import obstore

        pages = iter(obstore.list(self._store(0), url.path.rstrip("/") or None, chunk_size=1000))
        while (page := self._asked(lambda: next(pages, None))) is not None:
            yield from ((entry["path"], entry["size"]) for entry in page)

    def close(self) -> None:
        """See `Client.close`."""
        with self._lock:
            self._stores.clear()

    def _pieces(self, answer: Any) -> Iterator[Piece]:
        pieces = iter(answer.stream(min_chunk_size=PIECE_BYTES))
        while (piece := self._asked(lambda: next(pieces, None))) is not None:
            yield memoryview(piece)

    def _store(self, num_bytes: int) -> Any:
        """The store for reads of so many bytes; its limit on time fits up to twice as many."""
        most = SMALL_READ_BYTES
        while most < num_bytes:
            most *= 2
        with self._lock:
            if most not in self._stores:
                self._stores[most] = self._asked(lambda: self._make(most))
            return self._stores[most]

    def _make(self, most: int) -> Any:
        from obstore import store

        policy = self._policy
        options = {
            "timeout": timedelta(seconds=policy.seconds_for(most)),
            "read_timeout": timedelta(seconds=policy.stall_seconds),
            "connect_timeout": timedelta(seconds=policy.connect_seconds),
            **self._options,
        }
        kind = {"s3": store.S3Store, "gs": store.GCSStore, "az": store.AzureStore}[self._url.scheme]
        retry: dict[str, Any] = {"max_retries": 0, "retry_timeout": timedelta(0)}
        make: Callable[..., Any] = kind
        return make(self._url.host, client_options=options, retry_config=retry, **self._settings)

    def _asked(self, ask: Callable[[], Any]) -> Any:
        """What a call of obstore gives. Raises `RequestError`, in words of our own: obstore's may hold secrets."""
        try:
            return ask()
        except FileNotFoundError as error:
            found = CODE.search(str(error))
            raise status_error(404, self._url.scheme, code=found[1] if found else "") from error
        except RequestError:
            raise
        except Exception as error:
            raise _failure(error, self._url.scheme) from error
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # of Rust, and no Exception
                raise
            raise RequestError(
                "obstore broke down", passes=False, remedy="Look at the settings of the store, its endpoint first."
            ) from error


def check_endpoints(scheme: str, given: Mapping[str, Any]) -> None:
    """Raise `RequestError` for an endpoint that is no http(s) address, also an empty one: obstore survives none."""
    of_caller = [(f"storage_options[{name!r}]", given.get(name)) for name in ENDPOINT_SETTINGS]
    for name, value in (*of_caller, *((name, os.environ.get(name)) for name in ENDPOINTS[scheme])):
        if value == "":
            raise RequestError(
                f"{name} is empty; unset it, or give an address of http:// or https://", passes=False
            )
        if value is not None and not str(value).lower().startswith(("http://", "https://")):
            shown = "not an address" if "@" in str(value) else repr(redacted(str(value)))
            raise RequestError(f"{name} is {shown}; it must begin with http:// or https://", passes=False)


def default_settings(url: Url, given: Mapping[str, Any]) -> dict[str, Any]:
    """What obstore is told besides its own look at the environment, which has the first word; `given` is of the caller.

    The account of an Azure URL. Plain http where the endpoint that is named says so. Credentials of a profile of AWS,
    by boto3 where it is installed. And where there are none at all, that requests are not signed, as for public data.
    """
    found: dict[str, Any] = {"account_name": url.account} if url.account else {}
    named = (given[name] for name in ENDPOINT_SETTINGS if given.get(name))
    endpoint = next(named, None) or _endpoint(url.scheme)
    if str(endpoint or "").lower().startswith("http://"):
        found["client_options"] = {"allow_http": True, **given.get("client_options", {})}
    if any(key in given for key in OWN_KEYS) or any(os.environ.get(key) for key in KEYS[url.scheme].split()):
        return found
    if url.scheme == "s3" and (provider := _aws_profile()) is not None:
        return {**found, "credential_provider": provider}
    is_at_home = url.scheme == "gs" and Path(GCLOUD).expanduser().exists()
    return found if is_at_home or _has_role(url.scheme) else {**found, "skip_signature": True}


def _endpoint(scheme: str) -> str | None:
    return next((value for name in ENDPOINTS[scheme] if (value := os.environ.get(name))), None)


def _aws_profile() -> Any:
    """A provider of the credentials that boto3 finds, first those of the chosen profile; None if it finds none."""
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        return None
    try:
        return Boto3CredentialProvider()
    except ValueError:
        return None  # boto3 has none
    except Exception as error:
        remedy = "Look at AWS_PROFILE and at ~/.aws/config."
        raise RequestError(
            f"the AWS profile cannot be read ({type(error).__name__})", passes=False, remedy=remedy
        ) from error


def _has_role(scheme: str) -> bool:
    """Whether this machine is one of the store's own cloud."""
    try:
        return VENDOR.read_text(encoding="ascii", errors="replace").strip() == MACHINES[scheme]
    except OSError:
        return False


def _facts(meta: Any) -> Facts:
    modified = meta["last_modified"]
    return Facts(int(meta["size"]), meta["e_tag"], modified.isoformat() if modified else None)


def _failure(error: Exception, scheme: str) -> RequestError:
    """An error of obstore in words of our own."""
    kind, text = type(error).__name__, str(error)
    if "RangeNotSupported" in text or "NotPartial" in text:
        return RangesIgnoredError()
    if "MissingContentLength" in text:
        return RequestError(
            "the server does not say how much it sends", passes=False, remedy="Look at its settings."
        )
    code = CODE.search(text)
    found = STATUS.search(text)
    status = int(found[1]) if found else STATUS_OF_KIND.get(kind)
    if status is not None:
        return status_error(status, scheme, code=code[1] if code else "")
    if "without LOCATION" in text:
        return status_error(301, scheme)
    if isinstance(error, ValueError) or kind == "InvalidPathError":
        return RequestError(
            "not a name that a store can hold", passes=False, remedy="Leave out empty parts and .. in it."
        )
    if kind == "UnknownConfigurationKeyError":
        return RequestError(
            "a setting of storage_options is unknown", passes=False, remedy="Look at obstore's names."
        )
    for words, reason in PASSING_WORDS.items():
        if words in text:
            return RequestError(reason, passes=True)
    return RequestError(f"the store cannot be used ({kind})", passes=False, remedy=CREDENTIALS[scheme])
