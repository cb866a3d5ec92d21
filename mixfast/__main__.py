"""`python -m mixfast` is the command `mixfast`."""

import sys

from mixfast.cli import main

if __name__ == "__main__":
    sys.exit(main())
