"""The orientation in an EXIF block, read as Pillow reads it."""

from __future__ import annotations

__all__ = ["ORIENTATION_TAG", "read_orientation"]

ORIENTATION_TAG = 0x0112


def read_orientation(tiff: bytes) -> int | None:
    """The orientation, 1 to 8, in a TIFF header's first directory (EXIF 2.3, section 4.6); 0 where it has none.

    None where the directory is damaged or says it in an unusual way: ask Pillow.
    """
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None or len(tiff) < 10:
        return None
    little = order == "little"

    def number(start: int, size: int) -> int:
        return int.from_bytes(tiff[start : start + size], "little" if little else "big")

    directory = number(4, 4)
    num_entries = number(directory, 2)
    if directory + 2 + 12 * num_entries > len(tiff):
        return None
    for start in range(directory + 2, directory + 2 + 12 * num_entries, 12):
        if number(start, 2) == ORIENTATION_TAG:
            value = number(start + 8, 2)
            is_usual = number(start + 2, 2) == 3 and number(start + 4, 4) == 1 and 1 <= value <= 8
            return value if is_usual else None
    return 0
