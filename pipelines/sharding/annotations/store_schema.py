"""The tables of a store of annotations, a SQLite file. Bodies are JSON objects as the files have them."""

from __future__ import annotations

import json

__all__ = ["FORMAT", "INDEXES", "TABLES", "to_path_bytes", "to_text"]

FORMAT = "dirvae-annotation-store 1"

TABLES = """
CREATE TABLE format (name);
CREATE TABLE sources (number INTEGER PRIMARY KEY, name, has_categories);
CREATE TABLE files (number INTEGER PRIMARY KEY, path BLOB);
CREATE TABLE images (row INTEGER PRIMARY KEY, source, id, file, width, height, body);
CREATE TABLE annotations (row INTEGER PRIMARY KEY, source, image, id, is_caption, category,
                          least, right, bottom, mask_height, mask_width);
CREATE TABLE bodies (annotation INTEGER PRIMARY KEY, body);
CREATE TABLE licenses (source, id, body, PRIMARY KEY (source, id));
CREATE TABLE categories (class INTEGER PRIMARY KEY, body);
CREATE TABLE category_ids (source, id, PRIMARY KEY (source, id)) WITHOUT ROWID;
CREATE TABLE rows (file INTEGER PRIMARY KEY, body);
"""

INDEXES = (
    "CREATE INDEX images_by_id ON images (source, id)",
    "CREATE INDEX images_by_file ON images (file)",
    "CREATE INDEX annotations_by_image ON annotations (source, image)",
)

to_text = json.JSONEncoder(separators=(",", ":"), check_circular=False, allow_nan=False).encode
"""JSON in ASCII, from objects that came out of a parser."""


def to_path_bytes(path: str) -> bytes:
    """A path of a listing as it is stored: names that are not UTF-8 have surrogates, which SQLite does not take."""
    return path.encode("utf-8", "surrogatepass")
