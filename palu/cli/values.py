"""Settings on the command line: YAML files, YAML or JSON text, and single assignments."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

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
    is_path = "{" not in text and ": " not in text
    if is_path and not Path(text).is_file():
        raise UserError(f"{place}: {text}: no such file; allowed: a file, or a mapping such as '{{key: value}}'")
    try:
        values = yaml.safe_load(Path(text).read_text(encoding="utf-8") if is_path else text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{place}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, Mapping):
        raise UserError(f"{place}: {values!r} is not a mapping of keys to values")
    return dict(values)


def assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` pairs whose values are YAML: `first_n=null`, `top_k=300`."""
    values = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key:
            raise UserError(f"--set: {pair!r} has no key or no '='; allowed: key=value")
        try:
            values[key] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            raise UserError(f"--set: {pair!r}: the value is not valid YAML") from None
    return values
