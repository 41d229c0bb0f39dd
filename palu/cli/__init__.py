"""`palu <stage>`: one subcommand per rule of the workflow, nothing but argument passing.

A user's mistake is one line and exit status 1; a bug of ours keeps its traceback. Libraries load when a stage runs.
"""

import sys
from collections.abc import Sequence

from palu.cli.parser import parser
from palu.errors import UserError

__all__ = ["main", "parser"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage; the process's exit status."""
    options = parser().parse_args(arguments)
    try:
        options.stage(options)
    except UserError as error:
        print(f"palu: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("palu: interrupted", file=sys.stderr)
        return 130
    return 0
