"""Bytes that lie elsewhere: object stores and web servers, and the cache of whole files on the local disk."""
