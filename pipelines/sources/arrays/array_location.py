"""From a place that a user names — zarr, `.npy`, `.npz` — to one of the arrays in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import SourceError
from .numpy_array import NumpyArray, npz_names
from .stored_array import StoredArray
from .zarr_array import ZarrArray
from .zarr_node import ZarrLocation, is_zarr, listed

__all__ = ["is_array", "open_array"]

SUFFIXES = (".npy", ".npz", ".zarr", ".zarr.zip")


def is_array(place: str) -> bool:
    """Whether a path or a URL names arrays: a zarr folder, or a name that ends in .npy, .npz, .zarr or .zarr.zip."""
    name = place.rstrip("/").lower()
    if name.endswith((".npy", ".npz")) and Path(place).is_dir():
        return is_zarr(Path(place))
    return name.endswith(SUFFIXES) or ("://" not in place and is_zarr(Path(place)))


def open_array(
    place: str, name: str | None = None, *, axis: int = 0, storage_options: dict[str, Any] | None = None
) -> StoredArray:
    """The array at a place, or the one of this name in it. Raises `SourceError` if missing, or several."""
    path, is_url = Path(place), "://" in place
    if not is_url and not path.exists():
        raise SourceError(f"{place}: no such file or folder.")
    if not is_url and not (path.is_file() or path.is_dir()):
        raise SourceError(f"{place}: neither a file nor a folder. Name one that holds arrays.")
    if path.suffix.lower() == ".npy":
        if is_url:
            raise SourceError(
                f"{place}: only local .npy files are read. Copy it to this machine, or store it as zarr."
            )
        if name is not None:
            raise SourceError(
                f"{place}: a .npy holds one array, and none named {name!r}. Use .npz or zarr for several."
            )
        return NumpyArray(path, axis=axis)
    if path.suffix.lower() == ".npz" and not is_url:
        return NumpyArray(path, member=_chosen(place, name, npz_names(path)), axis=axis)
    zarr_location = ZarrLocation(place, storage_options)
    if name is None:
        names = zarr_location.names()
        return ZarrArray(zarr_location, None if names is None else _chosen(place, None, names), axis=axis)
    try:
        return ZarrArray(zarr_location, name, axis=axis)
    except SourceError:
        names = zarr_location.names()
        if names is None:
            raise SourceError(
                f"{place}: an array, so there is no {name!r} in it. Name the group it lies in."
            ) from None
        _chosen(place, name, names)
        raise


def _chosen(place: str, name: str | None, names: list[str]) -> str:
    """The name, or the only one there is."""
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        problem = f"there is no {name!r} in it" if name is not None else "name one of its arrays"
        raise SourceError(f"{place}: {problem}. It holds {listed(names)}.")
    return name
