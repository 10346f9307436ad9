"""`python -m autodan`: the same as the command `autodan`."""

import sys

from autodan.cli import main

if __name__ == "__main__":
    sys.exit(main())
