"""As a program: `appending_child.py SOURCE OUT STEPS…` adds files, again and again, while another process reads.

Each of STEPS is the number of a picture that is written to SOURCE and appended to OUT.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipelines import make_shards

from .test_make_shards import picture


def main() -> None:
    """Add each picture in a run of its own."""
    source, out, *numbers = sys.argv[1:]
    for number in numbers:
        (Path(source) / f"{int(number):03d}.png").write_bytes(picture(int(number)))
        make_shards(source, out, workers=0, append=True, shard_examples=3, classes=False)


if __name__ == "__main__":
    main()
