"""Is a loader's resume exact? Kill it and read the ledger: python tools/verify_resume.py shards/image."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipelines.verify_resume import main

if __name__ == "__main__":
    sys.exit(main())
