"""The tests that need a GPU."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from gpu_parts.machine import ROOT


def tests(marks: str, seconds: float) -> dict[str, Any]:
    """What pytest says of the tests with these marks; `passed` is None where they took too long."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marks, "tests"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"passed": None, "said": f"not finished after {seconds:.0f} s"}
    lines = (done.stdout.strip() or done.stderr.strip() or "nothing").splitlines()
    told = [line for line in lines if line.startswith(("FAILED", "ERROR", "E   "))]
    return {"passed": done.returncode == 0, "said": "; ".join([lines[-1], *told[:40]])}
