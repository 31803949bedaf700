"""Programs in which some packages cannot be imported, as where they are not installed."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

__all__ = ["run", "without"]


def without(*packages: str) -> str:
    """The first line of a program that has none of these packages."""
    return f"import sys; sys.modules.update(dict.fromkeys({packages!r}))\n"


def run(code: str, **settings: Any) -> str:
    """What a program prints; one that fails is an `AssertionError` with the end of what it said."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **settings)
    assert done.returncode == 0, (done.stdout + done.stderr)[-1500:]
    return done.stdout.strip()
