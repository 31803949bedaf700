"""`python -m pipelines.verify_resume`."""

from .command import main

if __name__ == "__main__":
    raise SystemExit(main())
