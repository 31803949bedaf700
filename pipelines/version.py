"""The version of the installed distribution, which holds both packages."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

try:
    __version__ = version("dirvae")
except PackageNotFoundError:  # run from a folder that was not installed
    __version__ = "unknown"
