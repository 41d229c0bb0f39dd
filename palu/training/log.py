"""What is known of each optimiser step: every term of the loss, for `steps.parquet`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palu import tables
from palu.errors import UserError


@dataclass(frozen=True)
class StepFacts:
    """One finished optimiser step.

    step: 1 for the run's first. epoch: epochs done after it, such as 1.25. totals, units: each term's sum over the
    step and how many tokens or rows it sums over. item_count: forget rows (or rows of a finetuning) in the step.
    grad_norm: 2-norm of the loss's gradient before clipping. learning_rate: the one that the step used.
    """

    step: int
    epoch: float
    totals: Mapping[str, float]
    units: Mapping[str, int]
    weights: Mapping[str, float]
    item_count: int
    learning_rate: float
    grad_norm: float
    seconds: float

    def mean(self, term: str) -> float:
        """The unweighted mean of `term`; NaN where the step has no unit of it: the mean of nothing is no number."""
        return self.totals[term] / self.units[term] if self.units[term] else math.nan

    @property
    def loss(self) -> float:
        """The weighted sum of the means. A term without a unit adds nothing, nor does one without a weight."""
        return math.fsum(self.weights[t] * self.mean(t) for t in self.totals if self.units[t] and self.weights[t])

    def rows(self) -> list[dict[str, Any]]:
        """The step in long form: the term `loss` (counted in rows) and every term of the method."""
        shared = {
            "step": self.step,
            "epoch": self.epoch,
            "learning_rate": self.learning_rate,
            "grad_norm": self.grad_norm,
            "seconds": self.seconds,
        }
        loss = {"term": "loss", "value": self.loss, "unit_count": self.item_count}
        terms = [{"term": t, "value": self.mean(t), "unit_count": self.units[t]} for t in self.totals]
        return [shared | row for row in (loss, *terms)]


def check_finite(values: Mapping[str, float], step: int, step_count: int, learning_rate: float) -> None:
    """Raise UserError that names the first of a step's values (terms, gradient norm) that is not a finite number."""
    for name, value in values.items():
        if not math.isfinite(value):
            raise UserError(
                f"training step {step} of {step_count}: {name} is {value}: the run stops; try a learning_rate "
                f"below {learning_rate:g}, more warmup_epochs or a smaller max_grad_norm"
            )


@dataclass
class StepLog:
    """The rows of `steps.parquet` so far. They live in each checkpoint too: a resumed run tells of every step."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """How many steps it tells of."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    def add(self, facts: StepFacts) -> None:
        self.rows += facts.rows()

    def write(self, path: Path, provenance: Mapping[str, str]) -> None:
        tables.write(path, "steps", self.rows, provenance)

    @classmethod
    def read(cls, path: Path) -> StepLog:
        return cls(tables.rows(path, "steps"))
