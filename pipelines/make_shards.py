"""`python -m pipelines.make_shards SOURCE`: what `tools/make_shards.py` does, where the package is installed.

Importing this module leaves `pipelines.make_shards` the function: it takes the module's place.
"""

import sys

from .sharding import make_shards
from .sharding.cli import main

if __name__ == "__main__":
    sys.exit(main())

sys.modules[__name__] = make_shards  # type: ignore[assignment]
