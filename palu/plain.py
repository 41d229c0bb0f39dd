"""Plain values, as studies and settings are written: read from YAML, and checked before anything looks inside them.

Plain are text, whole numbers of 64 bits, finite numbers, true, false, null, lists, and mappings whose keys are text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from palu.errors import UserError
from palu.inert import hidden_character

# Far beyond any study, and few enough to print: YAML's aliases let a short file stand for more values than memory has.
MOST_VALUES = 1_000_000
MOST_MERGED_KEYS = 10_000
DEEPEST = 40
LARGEST = 2**63 - 1
_ALLOWED = "text in quotes, numbers, true, false, null, lists and mappings"

# What PyYAML raises besides its own errors for a scalar that is not what its tag or form says, such as `!!bool 3`,
# 2020-99-99 or a number of 5,000 digits, and for a text that is nested too deep.
_YAML_ERRORS = (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class _Loader(yaml.SafeLoader):
    """Safe YAML, in which a key that stands twice is an error and merged mappings have a limit."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            # `<<` may stand several times
            if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
                continue
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MOST_MERGED_KEYS:
            problem = f"'<<' merges more than {MOST_MERGED_KEYS} keys into a mapping"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def parse(text: str, place: str) -> Any:
    """The plain value of a YAML text. place: what to name in errors.

    Raises UserError in one line for a text that is not YAML, has a key twice in one mapping, or is not plain.
    """
    try:
        value = _Loader(text).get_single_data()
    except _YAML_ERRORS as error:
        told = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{place}: not valid YAML: {told}") from None
    check(value, place)
    return value


def read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises UserError as `parse` does, and for a file that cannot be read or that holds
    no mapping."""
    where = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{where}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: is not UTF-8 text (at byte {error.start}); allowed: UTF-8") from None
    return as_mapping(parse(text, where), where)


def as_mapping(value: Any, place: str) -> dict[str, Any]:
    """`value` once it is a mapping; else UserError."""
    if not isinstance(value, Mapping):
        raise UserError(f"{place}: {value!r} is not a mapping of keys to values")
    return dict(value)


def check(value: Any, place: str) -> None:
    """Raise UserError, naming the key, unless `value` and all in it is plain.

    Also refused: more than `MOST_VALUES` values, an alias counted each time that it stands for something; more than
    `DEEPEST` levels, so that a list may not hold itself; in a text, what acts on a terminal or hides a part of it:
    control characters but tab and line end, direction overrides, halves of surrogate pairs.
    """
    count = 0
    pending: list[tuple[Any, tuple[str, ...]]] = [(value, ())]
    while pending:
        value, keys = pending.pop()
        count += 1
        if count > MOST_VALUES:
            raise UserError(f"{place}: holds more than {MOST_VALUES} values, aliases counted each time")
        if len(keys) > DEEPEST:
            raise UserError(f"{spot(place, keys[:3])}: is nested more than {DEEPEST} levels deep")
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, str):
                    raise UserError(f"{spot(place, keys)}: the key {_shown(key)} is no text; allowed: text in quotes")
                _check_scalar(key, place, keys)
            pending += [(each, (*keys, key)) for key, each in value.items()]
        elif isinstance(value, list):
            pending += [(each, (*keys, str(index))) for index, each in enumerate(value)]
        else:
            _check_scalar(value, place, keys)


def spot(place: str, keys: tuple[str, ...]) -> str:
    """A place with the keys that lead on from there: `study.yaml: methods.palu`."""
    path = ".".join(keys)
    if not path:
        return place
    return f"{place}.{path}" if ": " in place else f"{place}: {path}"


def _check_scalar(value: Any, place: str, keys: tuple[str, ...]) -> None:
    complaint = None
    if isinstance(value, str):
        if (found := hidden_character(value)) is not None:
            complaint = f"{value!r} holds the character {found!a}; allowed: characters that show"
    elif isinstance(value, float):
        if not math.isfinite(value):
            complaint = f"{value} is not finite; allowed: finite numbers"
    elif isinstance(value, int):
        if not -LARGEST <= value <= LARGEST:
            complaint = f"{_shown(value)} is too large; allowed: whole numbers up to {LARGEST} on either side of 0"
    elif value is not None:
        complaint = f"{_shown(value)} is not plain; allowed: {_ALLOWED}"
    if complaint:
        raise UserError(f"{spot(place, keys)}: {complaint}")


def _shown(value: Any) -> str:
    """A value that may be too large to be written out, for an error."""
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"a number of {value.bit_length()} bits"
    return (
        repr(value) if value is None or isinstance(value, int | float) else f"a value of type {type(value).__name__}"
    )
