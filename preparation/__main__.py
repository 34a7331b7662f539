"""`python -m preparation` prepares models/; --help tells more."""

import sys

from preparation.main import main

if __name__ == "__main__":
    sys.exit(main())
