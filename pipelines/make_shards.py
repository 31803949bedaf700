"""`python -m pipelines.make_shards SOURCE`: what `tools/make_shards.py` does, where the package is installed.

Importing this module leaves `pipelines.make_shards` the function: it takes the module's place.
"""

import sys

if __name__ == "__main__":
    from .sharding.cli import main

    sys.exit(main())

from .sharding import make_shards  # the command line parses its arguments before this is imported

sys.modules[__name__] = make_shards  # type: ignore[assignment]
