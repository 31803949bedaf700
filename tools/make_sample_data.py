"""Make sample pictures in data/image: python tools/make_sample_data.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipelines.sharding.sample_scenes import main

if __name__ == "__main__":
    sys.exit(main())
