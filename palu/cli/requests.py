"""What stands before a study's stages: writing one, and checking it. A function's name is the subcommand's."""

import argparse
from collections.abc import Mapping
from typing import Any

from palu import plain
from palu.cli.values import assignments
from palu.inert import visible


def init(options: argparse.Namespace) -> None:
    from palu.starting import write

    print(write(options.name, options.out))


def check(options: argparse.Namespace) -> None:
    from palu.planning.check import check as run

    values = plain.read(options.study)
    for key, value in assignments(options.set).items():
        values = _laid_over(values, key.split("."), value)
    found = run(values, str(options.study))
    print(visible(found.told()), end="")
    if found.problems:
        raise SystemExit(1)


def _laid_over(values: Mapping[str, Any], keys: list[str], value: Any) -> dict[str, Any]:
    """`values` with one of them changed, however deep, as Snakemake's --config does: a mapping goes over a mapping."""
    first, *rest = keys
    old = values.get(first)
    if rest:
        return {**values, first: _laid_over(old if isinstance(old, Mapping) else {}, rest, value)}
    if isinstance(old, Mapping) and isinstance(value, Mapping):
        value = {**old, **value}
    return {**values, first: value}
