"""Draw one batch of any source as a picture: python tools/show_batch.py shards/image --fields boxes captions."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipelines.show_batch import main

if __name__ == "__main__":
    sys.exit(main())
