"""Uploads in parts that were begun in a bucket of S3 and never completed: they cost storage and are in no listing.

obstore aborts an upload that fails, and cannot list those of a process that was killed. So the two requests for that
are made here, signed by AWS Signature Version 4 (docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-
request.html) with the credentials of `storage_options` or of the environment, or those that boto3 finds where it is
installed. Where none are known nothing is done; Azure and Google remove such uploads themselves.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import os
import re
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from .obstore_client import ENDPOINT_SETTINGS, ENDPOINTS
from .urls import Url

__all__ = ["Signer", "abort_unfinished", "find_signer"]

MOST_BYTES = 16 << 20
MOST_PAGES = 1000
UPLOAD = re.compile(r"<Upload>(.*?)</Upload>", re.DOTALL)
PART_OF_UPLOAD = re.compile(r"<(Key|UploadId)>(.*?)</\1>", re.DOTALL)
NEXT = re.compile(r"<(Next(?:KeyMarker|UploadIdMarker))>(.*?)</\1>", re.DOTALL)
SECONDS = 20.0


@dataclass(frozen=True)
class Signer:
    """Signs requests to one bucket of S3, at an endpoint in path style."""

    endpoint: str
    bucket: str
    region: str
    key: str = field(repr=False)
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)

    def request(self, method: str, key: str, query: Mapping[str, str], now: datetime) -> urllib.request.Request:
        """A signed request without a body."""
        parts = urlsplit(self.endpoint)
        path = quote(f"{parts.path.rstrip('/')}/{self.bucket}/{key}".rstrip("/"), safe="/-_.~")
        asked = "&".join(f"{quote(name, safe='')}={quote(query[name], safe='')}" for name in sorted(query))
        day, time = now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ")
        headers = {
            "host": parts.netloc,
            "x-amz-content-sha256": hashlib.sha256(b"").hexdigest(),
            "x-amz-date": time,
        }
        if self.token:
            headers["x-amz-security-token"] = self.token
        names, lines = ";".join(sorted(headers)), "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        canonical = "\n".join((method, path, asked, lines, names, headers["x-amz-content-sha256"]))
        scope = f"{day}/{self.region}/s3/aws4_request"
        text = "\n".join(("AWS4-HMAC-SHA256", time, scope, hashlib.sha256(canonical.encode()).hexdigest()))
        made = f"AWS4{self.secret}".encode()
        for word in (day, self.region, "s3", "aws4_request"):
            made = hmac.digest(made, word.encode(), "sha256")
        signature = hmac.digest(made, text.encode(), "sha256").hex()
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        url = f"{parts.scheme}://{parts.netloc}{path}?{asked}"
        return urllib.request.Request(url, method=method, headers=headers)


def find_signer(url: Url, settings: Mapping[str, Any]) -> Signer | None:
    """What signs requests to the bucket of a URL; None where no credentials are known, or it is none of S3."""

    def known(name: str) -> str:
        for key in (name, f"aws_{name}"):
            if settings.get(key):
                return str(settings[key])
        return os.environ.get(f"AWS_{name.upper()}", "")

    if url.scheme != "s3" or known("skip_signature").lower() == "true":
        return None
    if known("virtual_hosted_style_request").lower() == "true":
        return None
    region = known("region") or known("default_region") or "us-east-1"
    given = [str(settings[name]) for name in ENDPOINT_SETTINGS if settings.get(name)]
    given += [value for name in ENDPOINTS["s3"] if (value := os.environ.get(name))]
    endpoint = given[0] if given else f"https://s3.{region}.amazonaws.com"
    if not endpoint.lower().startswith(("http://", "https://")):
        return None
    key, secret = known("access_key_id"), known("secret_access_key")
    token = known("session_token") or known("token")
    if not (key and secret):
        key, secret, token = _of_boto3()
    return Signer(endpoint, url.host, region, key, secret, token) if key and secret else None


def _of_boto3() -> tuple[str, str, str]:
    """The credentials that boto3 finds; empty without."""
    try:
        import boto3

        found = boto3.Session().get_credentials()
        frozen = None if found is None else found.get_frozen_credentials()
        return (frozen.access_key, frozen.secret_key, frozen.token or "") if frozen else ("", "", "")
    except Exception:  # of botocore, or of a provider: there are none that can be used
        return "", "", ""


def abort_unfinished(signer: Signer, folder: str, names: re.Pattern[str]) -> int:
    """Abort the uploads of objects below `folder` whose names there match; returns their number. Raises `OSError`."""
    found = [key for key in _unfinished(signer, f"{folder}/") if names.fullmatch(key[0].removeprefix(f"{folder}/"))]
    for key, upload in found:
        _answer(signer.request("DELETE", key, {"uploadId": upload}, datetime.now(UTC)))
    return len(found)


def _unfinished(signer: Signer, prefix: str) -> Iterator[tuple[str, str]]:
    """Key and id of each unfinished upload."""
    query = {"uploads": "", "prefix": prefix}
    for _ in range(MOST_PAGES):
        text = _answer(signer.request("GET", "", query, datetime.now(UTC)))
        for upload in UPLOAD.findall(text):
            facts = dict(PART_OF_UPLOAD.findall(upload))
            if facts.keys() >= {"Key", "UploadId"}:
                yield html.unescape(facts["Key"]), html.unescape(facts["UploadId"])
        more = dict(NEXT.findall(text))
        if "<IsTruncated>true</IsTruncated>" not in text or not more.get("NextKeyMarker"):
            return
        query |= {"key-marker": html.unescape(more["NextKeyMarker"])}
        query |= {"upload-id-marker": html.unescape(more.get("NextUploadIdMarker", ""))}


def _answer(request: urllib.request.Request) -> str:
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        content: bytes = answer.read(MOST_BYTES)
    return content.decode("utf-8", "replace")
