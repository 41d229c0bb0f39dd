"""The subcommand that is no stage: GPUs for several processes."""

import argparse
import os
import subprocess
from typing import Any

from palu import devices


def add_commands(group: Any) -> None:
    """Add the subcommand to the command line's group of them."""
    text = "run a command with GPUs that no other job has, such as a launcher of several processes"
    one = group.add_parser("lease", help=text, description=text)
    one.set_defaults(stage=lease)
    one.add_argument("--gpus", type=int, default=1, metavar="N", help="how many (default: 1)")
    one.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="what to run")


def lease(options: argparse.Namespace) -> int:
    from palu.errors import UserError

    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    if not words or options.gpus < 1:
        raise UserError("lease: allowed: palu lease --gpus N -- COMMAND, with N at least 1")
    held = devices.take(options.gpus)
    environment = dict(os.environ)
    if held.devices:
        environment |= {devices.VISIBLE: ",".join(held.devices), devices.HELD: str(len(held.devices))}
    try:
        process = subprocess.Popen(words, env=environment)
    except OSError as error:
        raise UserError(f"lease: {words[0]!r} cannot be started: {error.strerror}") from None
    try:
        status = process.wait()
    except BaseException:
        # Ctrl-C reaches the command by itself
        process.terminate()
        process.wait()
        raise
    finally:
        held.close()
    return status if status >= 0 else 128 - status
