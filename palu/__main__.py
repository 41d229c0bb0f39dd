"""`python -m palu`: the `palu` command of a clone that is not installed."""

import sys

from palu.cli import main

if __name__ == "__main__":
    sys.exit(main())
