"""Settings on the command line: YAML files, YAML or JSON text, and single assignments."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from palu import plain
from palu.errors import UserError
from palu.training.settings import MachineSettings


def merged(options: argparse.Namespace) -> dict[str, Any]:
    """`--settings` with each `--set` laid over it."""
    return read_mapping(options.settings, "--settings") | assignments(options.set)


def machine_values(options: argparse.Namespace) -> dict[str, Any]:
    """The knobs of `--machine`, checked."""
    return MachineSettings.parse(read_mapping(options.machine, "--machine"), "machine").model_dump()


def read_mapping(text: str | None, place: str) -> dict[str, Any]:
    """A mapping from a YAML file's path, or from YAML or JSON text; none gives an empty one."""
    if not text:
        return {}
    if "{" in text or ": " in text:
        return plain.as_mapping(plain.parse(text, place), place)
    # os.path, since a Path refuses what no file's name can be
    if not os.path.isfile(text):
        raise UserError(f"{place}: {text}: no such file; allowed: a file, or a mapping such as '{{key: value}}'")
    return plain.read(Path(text))


def assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` pairs whose values are YAML: `first_n=null`, `top_k=300`."""
    values = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key:
            raise UserError(f"--set: {pair!r} has no key or no '='; allowed: key=value")
        plain.check(key, "--set")
        values[key] = plain.parse(text, f"--set: {key}")
    return values
