"""Check a set of shards, and look into it: python tools/check_shards.py shards/image."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipelines.check_shards import main

if __name__ == "__main__":
    sys.exit(main())
