"""Pack a folder of images, recordings or videos into tar shards: python tools/make_shards.py data/image."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipelines.sharding.cli import main

if __name__ == "__main__":
    sys.exit(main())
