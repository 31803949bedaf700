"""`python -m pipelines.samples`: what `tools/make_sample_data.py` does, where the package is installed."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
