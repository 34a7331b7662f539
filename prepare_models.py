"""Prepares models/: `python prepare_models.py`, the same as `python -m preparation`; --help tells more."""

import sys

from preparation.main import main

if __name__ == "__main__":
    sys.exit(main())
