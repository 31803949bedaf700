"""Bytes that lie elsewhere: object stores and web servers, behind the same `Store` and `Blob` as files."""
