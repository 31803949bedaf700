"""The tests that need a GPU."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from gpu_parts.machine import ROOT

MOST_OUTPUT = 20_000
"""Characters of what pytest printed that are kept where a test fails."""


def tests(marks: str, seconds: float) -> dict[str, Any]:
    """What pytest says of the tests with these marks; `passed` is None where they took too long."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "-m", marks, "tests"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"passed": None, "said": f"not finished after {seconds:.0f} s"}
    text = done.stdout.strip() or done.stderr.strip() or "nothing"
    lines = text.splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    has_passed = done.returncode == 0
    told = {"passed": has_passed, "said": "; ".join([lines[-1], *failed])}
    return told if has_passed else {**told, "output": text[-MOST_OUTPUT:]}
