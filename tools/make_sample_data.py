"""Make sample pictures in data/image, or sounds in data/audio: python tools/make_sample_data.py [audio]."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipelines.samples.command import main

if __name__ == "__main__":
    sys.exit(main())
