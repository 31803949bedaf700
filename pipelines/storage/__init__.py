"""Bytes and files: tars, their indexes and manifests, folders, caches. Nothing of iterating."""
