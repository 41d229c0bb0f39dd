"""Subcommands that are no stage: what runs now, and GPUs for several processes."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from palu import devices


def add_commands(group: Any) -> None:
    """Add the subcommands to the command line's group of them."""
    one = _add(group, watch, "show how far each running job is, one line a job")
    one.add_argument("--logs", type=Path, default=Path("logs"), metavar="PATH", help="folder of the logs")
    one.add_argument("--once", action="store_true", help="print the lines once and end")
    _add_command_words(one, "run this meanwhile, such as `snakemake --cores all`, and end with it")
    one = _add(group, lease, "run a command with GPUs that no other job has, such as a launcher of several processes")
    one.add_argument("--gpus", type=int, default=1, metavar="N", help="how many (default: 1)")
    _add_command_words(one, "what to run")


def _add(group: Any, command: Any, text: str) -> argparse.ArgumentParser:
    sub: argparse.ArgumentParser = group.add_parser(command.__name__, help=text, description=text)
    sub.set_defaults(stage=command)
    return sub


def _add_command_words(sub: argparse.ArgumentParser, text: str) -> None:
    sub.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND", help=text)


def _words(options: argparse.Namespace) -> list[str]:
    """The command behind `--`."""
    words: list[str] = options.words
    return words[1:] if words[:1] == ["--"] else words


def watch(options: argparse.Namespace) -> int:
    from palu.progress.watch import watch as run

    return run(options.logs, _words(options), is_once=options.once)


def lease(options: argparse.Namespace) -> int:
    from palu.errors import UserError

    words = _words(options)
    if not words or options.gpus < 1:
        raise UserError("lease: allowed: palu lease --gpus N -- COMMAND, with N at least 1")
    held = devices.take(options.gpus)
    environment = dict(os.environ)
    if held.devices:
        for handle in held.handles:
            os.set_inheritable(handle, True)
        environment |= {devices.VISIBLE: ",".join(held.devices), devices.HELD: str(len(held.devices))}
    sys.stdout.flush()
    try:
        # the command becomes this process, and holds the open locks as long as it lives
        os.execvpe(words[0], words, environment)
    except OSError as error:
        held.close()
        raise UserError(f"lease: {words[0]!r} cannot be started: {error.strerror}") from None
