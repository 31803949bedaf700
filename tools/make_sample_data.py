"""Make sample pictures in data/image, sounds in data/audio or clips in data/video.

python tools/make_sample_data.py [audio | video]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipelines.samples.command import main

if __name__ == "__main__":
    sys.exit(main())
