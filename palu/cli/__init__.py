"""`palu <stage>`: one subcommand per rule of the workflow, nothing but argument passing.

A user's mistake is one line and exit status 1; a bug of ours keeps its traceback. Libraries load when a stage runs.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from types import TracebackType

from palu.cli.gpus import gpus_of
from palu.cli.parser import parser
from palu.cli.signals import Terminated, told_to_end
from palu.devices import leased
from palu.errors import UserError, first_line, is_out_of_memory
from palu.inert import visible

__all__ = ["ERROR", "main", "parser"]

ERROR = "palu: error: "


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage; the process's exit status."""
    options = parser().parse_args(arguments)
    sys.excepthook = _show_bug
    if not sys.stderr.isatty():
        # seconds between two states of a library's bar, each of which is a line of a log
        os.environ.setdefault("TQDM_MININTERVAL", "5")
    try:
        with told_to_end(), leased(gpus_of(options)):
            status = options.stage(options)
    except UserError as error:
        return _failed(str(error))
    except (KeyboardInterrupt, Terminated) as signal:
        print(f"palu: {'terminated' if isinstance(signal, Terminated) else 'interrupted'}", file=sys.stderr)
        return 143 if isinstance(signal, Terminated) else 130
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return _failed(f"out of memory: {first_line(error)}: run again where more of it is free")
    return int(status or 0)


def _failed(why: str) -> int:
    print(f"{ERROR}{why}", file=sys.stderr)
    return 1


def _show_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback, whose texts may be a model's or a row's, without what these would do to a terminal."""
    print(visible("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)
