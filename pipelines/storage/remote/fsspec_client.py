"""Files of any other scheme, and of object stores if obstore cannot be used, by fsspec.

fsspec says less: most of its file systems hide the headers of answers, so that a file that is changed while it is read
is noticed only from one answer to the next, and only where its `info` holds a tag or a time.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from .client import Body, Facts
from .retrying import AbsentError, RangesIgnoredError, RequestError, RetryPolicy, retry_after_seconds, status_error
from .urls import Url

__all__ = ["FsspecClient"]

PIECE_BYTES = 16 << 20
"""Bytes of a whole file per request."""
TAGS = ("ETag", "etag", "e_tag", "content_md5", "md5Hash", "crc32c", "sha", "checksum")
TIMES = ("LastModified", "last_modified", "mtime", "updated", "created")
PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}


class FsspecClient:
    """Files of one place; `settings` go to the constructor of its file system, such as s3fs."""

    def __init__(self, text: str, url: Url, policy: RetryPolicy, settings: Mapping[str, Any]) -> None:
        self._scheme, self._policy = url.scheme, policy
        try:
            from fsspec.core import url_to_fs

            own = {"skip_instance_cache": True} | self._limits() | dict(settings)  # else another's keys
            self._system, _ = url_to_fs(text, **own)
        except ImportError as error:
            raise _absent(url.scheme) from error
        except (ValueError, TypeError) as error:
            raise RequestError(
                f"fsspec knows no {url.scheme}://, or not with these settings",
                passes=False,
                remedy="Look at the scheme and at storage_options.",
            ) from error
        except Exception as error:
            raise _failure(error, url.scheme) from error
        self._host = url.host

    def get(self, url: Url, start: int, length: int | None, *, seconds: float, num_bytes: int) -> Body:
        """See `Client.get`."""
        facts = Facts(None)
        if length is None:
            facts = self.facts(url)
            length = max(0, (facts.size or 0) - start)
            if facts.size is None:
                return Body(facts, 0, iter((self._asked("cat_file", self._path(url)),)), lambda: None)
        return Body(facts, start, self._pieces(self._path(url), start, length), lambda: None)

    def facts(self, url: Url) -> Facts:
        """See `Client.facts`."""
        info = self._asked("info", self._path(url))
        if info.get("type") == "directory":
            raise AbsentError("a folder, and no file")
        tag = next((str(info[key]) for key in TAGS if info.get(key)), None)
        time = next((str(info[key]) for key in TIMES if info.get(key)), None)
        size = info.get("size")
        return Facts(None if size is None else int(size), tag, time)

    def list(self, url: Url) -> Iterator[tuple[str, int | None]]:
        """See `Client.list`."""
        root = self._path(url)
        for path, info in self._asked("find", root, detail=True).items():
            size = info.get("size")
            yield url.path + path.removeprefix(root.rstrip("/")).lstrip("/"), None if size is None else int(size)

    def close(self) -> None:
        """See `Client.close`."""

    def _limits(self) -> dict[str, Any]:
        """Settings of file systems that bound how long they wait; what is seen of a folder is not kept."""
        policy = self._policy
        if self._scheme == "s3":
            times = {"connect_timeout": policy.connect_seconds, "read_timeout": policy.stall_seconds}
            return {"config_kwargs": {**times, "retries": {"max_attempts": 1}}, "use_listings_cache": False}
        return {}

    def _path(self, url: Url) -> str:
        whole = f"{url.scheme}://{url.host}/{url.path}" + (f"?{url.query}" if url.query else "")
        return str(self._system._strip_protocol(whole))

    def _pieces(self, path: str, start: int, length: int) -> Iterator[bytes]:
        for begin in range(start, start + length, PIECE_BYTES):
            end = min(begin + PIECE_BYTES, start + length)
            piece = self._asked("cat_file", path, start=begin, end=end)
            if len(piece) > end - begin:
                raise RangesIgnoredError
            yield piece
            if len(piece) < end - begin:
                return

    def _asked(self, method: str, *args: Any, **settings: Any) -> Any:
        try:
            return getattr(self._system, method)(*args, **settings)
        except Exception as error:
            raise _failure(error, self._scheme) from error


def _absent(scheme: str) -> RequestError:
    """The error for a missing package, or for obstore if it is installed and cannot be used."""
    package = PACKAGES.get(scheme)
    if package is None:
        remedy = "Run pip install 'dirvae[cloud]', and install what fsspec asks for."
        return RequestError(f"{scheme}:// needs fsspec and a package of its own", passes=False, remedy=remedy)
    if importlib.util.find_spec("obstore") is None:
        return RequestError(f"{scheme}:// needs obstore", passes=False, remedy="Run pip install 'dirvae[cloud]'.")
    return RequestError(
        "obstore cannot be used in a process that was forked from one that used it",
        passes=False,
        remedy=f"Start processes by spawn or forkserver, or run pip install {package}, which is used instead.",
    )


def _failure(error: Exception, scheme: str) -> RequestError:
    """An error of some file system in words of our own, which hold no URL."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    of_aws = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    status = getattr(error, "status", None) or of_aws.get("HTTPStatusCode") or getattr(error, "code", None)
    headers = getattr(error, "headers", None) or of_aws.get("HTTPHeaders") or {}
    if isinstance(error, FileNotFoundError | IsADirectoryError):
        code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
        return status_error(404, scheme, code=code)
    if isinstance(status, int) and 300 <= status < 600:
        after = headers.get("Retry-After", headers.get("retry-after"))
        return status_error(status, scheme, retry_after=retry_after_seconds(after))
    if isinstance(error, PermissionError):
        return status_error(403, scheme)
    if any("NoCredentials" in kind.__name__ for kind in inspect.getmro(type(error))):
        return status_error(401, scheme)
    names = {kind.__name__ for kind in inspect.getmro(type(error))}
    if names & {"TimeoutError", "FSTimeoutError", "HTTPClientError", "ClientError", "ConnectionError", "OSError"}:
        return RequestError(f"the connection broke ({type(error).__name__})", passes=True)
    return RequestError(f"it cannot be read ({type(error).__name__})", passes=False, remedy="Look at its settings.")
