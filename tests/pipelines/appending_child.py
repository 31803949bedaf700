"""As a program: `appending_child.py SOURCE OUT STEPS…` adds files, again and again, while another process reads.

Each of STEPS is the number of a picture that is written to SOURCE and appended to OUT.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines import make_shards


def main() -> None:
    """Add each picture in a run of its own."""
    source, out, *numbers = sys.argv[1:]
    for number in numbers:
        pixels = np.full((16, 24, 3), int(number), np.uint8)
        Image.fromarray(pixels).save(Path(source) / f"{int(number):03d}.png")
        make_shards(source, out, workers=0, append=True, shard_examples=3)


if __name__ == "__main__":
    main()
