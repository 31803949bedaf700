"""`python -m pipelines.show_batch`."""

from .command import main

if __name__ == "__main__":
    raise SystemExit(main())
