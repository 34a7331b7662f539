"""`python -m preparation`."""

import sys

from preparation.main import main

if __name__ == "__main__":
    sys.exit(main())
