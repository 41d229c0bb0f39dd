"""The base of every settings class: frozen, no unknown keys, numbers that are numbers, errors in one line."""

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from palu import plain
from palu.errors import UserError, shown

# As much of a wrong value as an error shows.
SHOWN_CHARACTERS = 200

# YAML 1.1, which Snakemake reads, takes 1e-5 for text because it has no dot: a number all the same.
_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


def _number(value: Any) -> Any:
    if isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)
    return value


Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
PositiveNumber = Annotated[Number, Field(gt=0)]
NonNegativeNumber = Annotated[Number, Field(ge=0)]
PositiveCount = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]


class Settings(BaseModel):
    """A validated, immutable group of settings; defaults stand in its subclasses and nowhere else."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    @classmethod
    def parse(cls, values: Mapping[str, Any], place: str) -> Self:
        """Build from plain values; `place` names where they stand, such as `config/village.yaml: methods.palu`.

        Raises UserError in one line that names the key, the value and what is allowed.
        """
        if not isinstance(values, Mapping):
            raise UserError(f"{place}: {shown(values, SHOWN_CHARACTERS)} is not a mapping of keys to values")
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise UserError(describe(error, cls, place)) from None


def check_known(kind: str, value: object, place: str, allowed: Any) -> None:
    """Raise the error of `unknown` unless `value`, of whatever type, is one of the names in `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise unknown(kind, value, place, allowed)


def unknown(kind: str, value: object, place: str, allowed: Any) -> UserError:
    """The error for a name that is not one of `allowed`, with the nearest one suggested."""
    names = sorted(str(name) for name in allowed)
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return UserError(f"{place}: unknown {kind} {shown(value, SHOWN_CHARACTERS)}{hint}; allowed: {', '.join(names)}")


def describe(error: ValidationError, cls: type[BaseModel], place: str) -> str:
    """The first complaint of a pydantic error as one line: place, key, value, what is allowed."""
    first = error.errors()[0]
    keys = tuple(str(part) for part in first["loc"] if not _is_type_tag(part))
    spot = plain.spot(place, keys)
    value = first["input"]
    if first["type"] == "extra_forbidden":
        owner, key = _owner(cls, first["loc"])
        return str(unknown("key", key, plain.spot(place, keys[:-1]), owner.model_fields))
    if first["type"] == "missing":
        return f"{spot}: is missing"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if isinstance(value, str) and first["type"] in {"float_type", "int_type", "bool_type"}:
        message = f"{message}, not text: write it without quotes"
    return f"{spot}: {shown(value, SHOWN_CHARACTERS)} {message[0].lower()}{message[1:]}"


def _is_type_tag(part: object) -> bool:
    # pydantic names the tried member of a union, as in ('first_n', 'constrained-int')
    return isinstance(part, str) and bool(re.search(r"[\[\(]|^(constrained-)?(int|float|str|bool|none)$", part))


def _owner(cls: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[type[BaseModel], str]:
    owner = cls
    for part in loc[:-1]:
        field = owner.model_fields.get(str(part))
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
        nested = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        owner = nested[0] if nested else owner
    return owner, str(loc[-1])
