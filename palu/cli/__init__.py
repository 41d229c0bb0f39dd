"""`palu <stage>`: one subcommand per rule of the workflow, nothing but argument passing.

A user's mistake is one line and exit status 1; a bug of ours keeps its traceback. Libraries load when a stage runs.
"""

import sys
from collections.abc import Sequence

from palu.cli.gpus import gpus_of
from palu.cli.parser import parser
from palu.devices import leased
from palu.errors import UserError
from palu.inert import one_line
from palu.progress.logs import mark_running

__all__ = ["main", "parser"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage; the process's exit status."""
    options = parser().parse_args(arguments)
    mark_running()
    try:
        with leased(gpus_of(options)):
            status = options.stage(options)
    except UserError as error:
        print(f"palu: error: {one_line(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("palu: interrupted", file=sys.stderr)
        return 130
    return int(status or 0)
