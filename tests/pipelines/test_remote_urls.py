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
        ("http://[::1]:80/a", Url("http", "[::1]:80", "a")),
        ("s3://arn:aws:s3:mars:1:accesspoint/a@b", Url("s3", "arn:aws:s3:mars:1:accesspoint", "a@b")),
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
        ("http://us:p/HUSH@host/x", r"^http://host/x: its host or port cannot be asked"),
        ("http://us:HUSH#x@host/x", "its host or port cannot be asked"),
        ("http://[::1/x", "its host or port cannot be asked"),
        ("http://host:99999/x", "its host or port cannot be asked"),
        ("http://host:port/x", "its host or port cannot be asked"),
        ("s3://KEY:HUSH@bucket/a", r"^s3://bucket/a: keys do not belong in a URL. Set AWS_ACCESS_KEY_ID"),
        ("s3://KEY:SEC/HUSH@bucket/a", "keys do not belong in a URL"),
        ("gs://HUSH@bucket/a", "Set GOOGLE_APPLICATION_CREDENTIALS"),
        ("zip://a.zip::http://us:HUSH@host/x", "chained by ::"),
        ("simplecache::https://us:HUSH@host/x", "chained by ::"),
    ],
)
def test_what_cannot_be_a_url_is_refused(text: str, words: str) -> None:
    with pytest.raises(SourceError, match=words) as told:
        split_url(text)
    assert "HUSH" not in str(told.value)


def test_names_are_joined_before_the_query_and_encoded_for_the_web() -> None:
    assert join("s3://bucket/a/", "b c#?.tar") == "s3://bucket/a/b c#?.tar"
    assert join("https://host/a?sig=1", "b c#?.tar") == "https://host/a/b%20c%23%3F.tar?sig=1"
    assert with_suffix("http://host/a.tar?sig=1", ".x") == "http://host/a.tar.x?sig=1"
    assert join("memory://", "a.tar") == join("memory:///", "a.tar") == "memory:///a.tar"
    assert with_suffix("/folder/a?.tar", ".x") == "/folder/a?.tar.x"


def test_secrets_are_not_shown() -> None:
    assert redacted("https://me:word@host/a.tar?X-Amz-Signature=abc") == "https://host/a.tar?…"
    assert redacted("sftp://me:word@host/a.tar") == "sftp://host/a.tar"
    assert redacted("s3://key:secret@bucket/a") == "s3://bucket/a"
    assert redacted("github://org:HUSH@main/a") == "github://main/a"
    assert redacted("/folder/a?b@c") == "/folder/a?b@c"
    assert "word" not in repr(split_url("https://me:word@host/a?sig=word"))
    with pytest.raises(SourceError) as told:
        split_url("https://me:word@host/a\n?sig=word")
    assert "word" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://us:HUSH/x@h/y", "https://h/y"),
        ("https://us:HUSH#x@h/y", "https://h/y"),
        ("https://us:HUSH?x@h/y", "https://h/y"),
        ("https://us:SE@CRET@h/y", "https://h/y"),
        ("HTTPS://us:HUSH@h/y?HUSH", "HTTPS://h/y?…"),
        ("simplecache::https://u:HUSH@h/x", "simplecache::https://h/x"),
        ("zip://*.tar::simplecache::https://u:SEC/HUSH@h/x?HUSH", "zip://*.tar::simplecache::https://h/x?…"),
        ("zip://x?HUSH::http://us:HUSH@h/y", "zip://x?…::http://h/y"),
        ("s3://KEY:HUSH/HUSH@bucket/a", "s3://bucket/a"),
        ("github://tok:HUSH@x", "github://x"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("http://[::1]:80/a", "http://[::1]:80/a"),
        ("folder/a::b/c@d", "folder/a::b/c@d"),
    ],
)
def test_what_of_a_url_may_be_shown(text: str, shown: str) -> None:
    assert redacted(text) == shown
