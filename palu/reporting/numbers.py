"""How numbers are written, and what can be said of one number over a few seeds."""

from collections.abc import Sequence

import numpy as np

from palu.evaluation.metrics import METRICS

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number_text(value: float) -> str:
    """A number as the tables show it: three decimals, or three digits and a power of ten where that says nothing."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 0.0005:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}×10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"


def p_text(value: float) -> str:
    """A p-value: four decimals while these show a difference between neighbours, else a power of ten."""
    return f"{value:.4f}" if value >= 0.001 else number_text(value)


def signed_text(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def percent_text(value: float) -> str:
    """A signed percentage of a metric that is one already."""
    return f"{value:+.1f}".replace("-", "−")


def metric_text(metric: str, value: float | None) -> str:
    """A metric's value as the table of metrics says that it is written; a dash for none."""
    if value is None:
        return "–"
    written = METRICS[metric].written if metric in METRICS else "number"
    return {"number": number_text, "p-value": p_text, "percent": percent_text}[written](value)


def few(names: Sequence[str], limit: int = 4) -> str:
    """The names, or the first of them and how many more there are."""
    more = f"; and {len(names) - limit} more" if len(names) > limit else ""
    return "; ".join(names[:limit]) + more


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def deviation(values: Sequence[float]) -> float | None:
    """The sample standard deviation over seeds; None for a single seed."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def seed_interval(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95% interval of the mean over seeds, mean +- t(0.975, n - 1) s / sqrt(n), s the sample deviation.

    It says what another choice of seeds could change, and nothing about other rows. Raises ValueError for less than
    two values.
    """
    # a second to load, which a page of taggers need not wait for
    from scipy.stats import t as student

    spread = deviation(values)
    if spread is None:
        raise ValueError("one value has no interval")
    # not student.interval, which gives NaN where all seeds are equal
    mean, half = float(np.mean(values)), float(student.ppf(0.975, len(values) - 1)) * spread / len(values) ** 0.5
    return mean - half, mean + half
