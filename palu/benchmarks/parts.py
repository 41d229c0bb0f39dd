"""The benchmark of a study: its settings, and what names it in a path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from palu import benchmarks
from palu.benchmarks.base import BenchmarkSettings
from palu.errors import UserError
from palu.files import canonical_json, text_digest


@dataclass(frozen=True)
class BenchmarkPart:
    """A benchmark with its settings."""

    name: str
    settings: BenchmarkSettings

    @cached_property
    def values(self) -> dict[str, Any]:
        """The settings as plain values."""
        return self.settings.model_dump(mode="json")

    @cached_property
    def key(self) -> str:
        """Tells it apart in a path from the same name with other settings."""
        return f"{self.settings.split_name}-{text_digest(canonical_json([self.name, self.values]))}"


def parse_benchmark(raw: Mapping[str, Any], place: str) -> BenchmarkPart:
    """The benchmark that a study's section names, with its own settings.

    Raises UserError for a name that is missing or unknown, and for settings that the benchmark refuses.
    """
    values = dict(raw)
    if "name" not in values:
        raise UserError(f"{place}: name is missing; allowed: {', '.join(sorted(benchmarks.BENCHMARKS))}")
    name = values.pop("name")
    return BenchmarkPart(name, benchmarks.load(name, f"{place}.name").Settings.parse(values, place))
