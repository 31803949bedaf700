"""What is in a bucket and in a folder, by witnesses that share no code with packing: boto3 and hashlib."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

__all__ = ["bucket_contents", "folder_contents", "unfinished_uploads"]


def bucket_contents(s3: Any, bucket: str, prefix: str) -> dict[str, tuple[int, str]]:
    """Name below the prefix → bytes and SHA-256 of every object."""
    found = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix + "/"):
        for entry in page.get("Contents", []):
            body = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            assert len(body) == entry["Size"]
            found[entry["Key"].removeprefix(prefix + "/")] = len(body), hashlib.sha256(body).hexdigest()
    return found


def folder_contents(folder: Path) -> dict[str, tuple[int, str]]:
    """The same of a folder, hidden files and sub-folders as well."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in files
    }


def unfinished_uploads(s3: Any, bucket: str) -> list[str]:
    """The objects of multi-part uploads that were neither completed nor aborted."""
    return [upload["Key"] for upload in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]
