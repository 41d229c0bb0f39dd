"""What a finished model knows: its generations and log-probabilities, and the metrics that read them.

The model part (`infer`) writes two tables; the arithmetic part (`score`) reads them and loads no torch, so that a
corrected metric never needs the model again. `METRICS` (`palu.evaluation.metrics`) states every metric.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from palu.evaluation.metrics import METRICS
from palu.settings import unknown

__all__ = ["METRICS", "load", "module_of"]


def module_of(name: str, place: str = "metric") -> str:
    """The module that computes metric `name`. Raises UserError naming the place and the known metrics."""
    if name not in METRICS:
        raise unknown("metric", name, place, METRICS)
    return f"{__name__}.{METRICS[name].module}"


def load(name: str, place: str = "metric") -> ModuleType:
    """The module that computes metric `name`, a `palu.evaluation.family.Family`. Raises as `module_of` does."""
    return importlib.import_module(module_of(name, place))
