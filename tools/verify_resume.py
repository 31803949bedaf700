"""Check whether a loader resumes exactly, by killing it: python tools/verify_resume.py shards/image."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipelines.verify_resume import main

if __name__ == "__main__":
    sys.exit(main())
