"""`python -m pipelines.check_shards`."""

from .command import main

if __name__ == "__main__":
    raise SystemExit(main())
