"""The table of metrics: each entry is computed by its module, and has what terminals and pages need of it."""

import pytest

from palu.errors import UserError
from palu.evaluation import METRICS, load, module_of
from palu.evaluation.metrics import SECTIONS


@pytest.mark.parametrize("module", sorted({metric.module for metric in METRICS.values()}))
def test_each_module_computes_a_family_of_metrics(module):
    name = next(name for name, metric in METRICS.items() if metric.module == module)
    family = load(name)
    assert family.__name__ == module_of(name) == f"palu.evaluation.{module}"
    assert callable(family.items)
    assert callable(family.summary)
    assert isinstance(family.SOURCES, tuple)


def test_titles_differ_and_every_section_is_known():
    titles = [metric.title for metric in METRICS.values()]
    assert len(titles) == len(set(titles))
    assert {metric.section for metric in METRICS.values()} == set(SECTIONS)
    assert all(name == metric.name for name, metric in METRICS.items())


def test_a_target_has_a_short_name_and_a_direction_that_agrees_with_its_aim():
    directions = {"leak": "lower", "language": "lower", "answer": "lower", "keep": "higher"}
    for metric in METRICS.values():
        if metric.aim in directions:
            assert metric.short, metric.name
            assert metric.better == directions[metric.aim], metric.name


def test_an_unknown_metric_is_refused_by_name():
    with pytest.raises(UserError, match="span_leek"):
        load("span_leek", "evaluation.metrics")
