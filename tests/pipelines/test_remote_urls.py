"""URLs in the place of paths: their parts, their neighbours, and what of them may be shown."""

from __future__ import annotations

import pytest

from pipelines.errors import SourceError
from pipelines.storage.remote.urls import Url, is_url, join, redacted, split_url, with_suffix


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/a/b.tar", True),
        ("https://host/a.tar?x=1", True),
        ("memory://a", True),
        ("github://org:repo@main/a", True),
        ("s3:/bucket/a", False),
        ("C://folder/a.tar", False),
        ("folder/a.tar", False),
        ("folder/s3://x", False),
        ("://x", False),
        ("", False),
    ],
)
def test_what_is_a_url(text: str, expected: bool) -> None:
    assert is_url(text) is expected


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("s3://bucket/a/b c%20.tar", Url("s3", "bucket", "a/b c%20.tar")),
        ("s3a://bucket/what?.tar#1", Url("s3", "bucket", "what?.tar#1")),
        ("S3://bucket", Url("s3", "bucket", "")),
        ("gcs://bucket/a", Url("gs", "bucket", "a")),
        ("az://container/a", Url("az", "container", "a")),
        ("abfss://box@acc.dfs.core.windows.net/a/b", Url("az", "box", "a/b", account="acc")),
        ("https://me:word@host:8080/a%20b/c?sig=1#part", Url("https", "me:word@host:8080", "a%20b/c", "sig=1")),
        ("http://host?list", Url("http", "host", "", "list")),
        ("memory://a/b", Url("memory", "a", "b")),
        ("file:///tmp/a", Url("file", "", "tmp/a")),
    ],
)
def test_parts_of_urls(text: str, url: Url) -> None:
    assert split_url(text) == url


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("folder/a.tar", "not a URL"),
        ("s3:///a.tar", "names no bucket"),
        ("https:///a.tar", "names no host"),
        ("s3://bucket/a\nb", "control characters"),
    ],
)
def test_what_cannot_be_a_url_is_refused(text: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        split_url(text)


def test_names_are_joined_before_the_query_and_encoded_for_the_web() -> None:
    assert join("s3://bucket/a/", "b c#?.tar") == "s3://bucket/a/b c#?.tar"
    assert join("https://host/a?sig=1", "b c#?.tar") == "https://host/a/b%20c%23%3F.tar?sig=1"
    assert with_suffix("http://host/a.tar?sig=1", ".x") == "http://host/a.tar.x?sig=1"
    assert with_suffix("/folder/a?.tar", ".x") == "/folder/a?.tar.x"


def test_secrets_are_not_shown() -> None:
    assert redacted("https://me:word@host/a.tar?X-Amz-Signature=abc") == "https://host/a.tar?…"
    assert redacted("sftp://me:word@host/a.tar") == "sftp://host/a.tar"
    assert redacted("s3://key:secret@bucket/a") == "s3://bucket/a"
    assert redacted("github://org:repo@main/a") == "github://org:repo@main/a"
    assert redacted("/folder/a?b@c") == "/folder/a?b@c"
    assert "word" not in repr(split_url("https://me:word@host/a?sig=word"))
    with pytest.raises(SourceError) as told:
        split_url("https://me:word@host/a\n?sig=word")
    assert "word" not in str(told.value)
