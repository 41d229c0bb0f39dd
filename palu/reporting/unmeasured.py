"""What could not be measured, and why: every metric without a number, gathered by its reason."""

from collections.abc import Iterable
from dataclasses import dataclass

from palu.reporting.collect import Evaluation, Study


@dataclass(frozen=True)
class Unmeasured:
    """One reason, the metrics that it left without a number, and of which models."""

    reason: str
    metrics: tuple[str, ...]
    models: tuple[str, ...]


def unmeasured(models: Iterable[tuple[str, Evaluation]]) -> list[Unmeasured]:
    """Of each of these models, the metrics that its summary or its reasons name without a number.

    The same reason of the same models stands once, with all its metrics, in alphabetical order.
    """
    lacking: dict[tuple[str, str], list[str]] = {}
    for name, evaluation in models:
        for metric in sorted({*evaluation.summary, *evaluation.reasons}):
            found = evaluation.measured(metric)
            if found.value is None:
                lacking.setdefault((metric, found.reason or ""), []).append(name)
    grouped: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (metric, reason), names in sorted(lacking.items()):
        grouped.setdefault((reason, tuple(names)), []).append(metric)
    found_reasons = [Unmeasured(reason, tuple(metrics), names) for (reason, names), metrics in grouped.items()]
    return sorted(found_reasons, key=lambda each: (-len(each.metrics), each.reason))


def never_measured(study: Study) -> list[Unmeasured]:
    """What no model of the study has a number of; with the first reason of each metric."""
    reasons: dict[str, str] = {}
    for metric in sorted(study.metrics - study.measured):
        reasons[metric] = next(
            reason for each in study.evaluations if (reason := each.measured(metric).reason) is not None
        )
    grouped: dict[str, list[str]] = {}
    for metric, reason in reasons.items():
        grouped.setdefault(reason, []).append(metric)
    return [Unmeasured(reason, tuple(metrics), ()) for reason, metrics in grouped.items()]
