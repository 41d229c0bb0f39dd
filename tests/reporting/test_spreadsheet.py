import csv
import io

import pytest

from palu.reporting.choice import select
from palu.reporting.load import collect
from palu.reporting.numbers import deviation
from palu.reporting.quality import qualities
from palu.reporting.spreadsheet import results_csv
from palu.reporting.verdict import draws, judge


def rows(index):
    study = collect(index)
    bootstrap = draws(study)
    verdicts = [judge(study, bootstrap, arm) for arm in study.arms]
    table = results_csv(study, qualities(study, bootstrap), verdicts, select(study, bootstrap, verdicts))
    return list(csv.DictReader(io.StringIO(table)))


def test_one_row_per_model_and_run_with_every_digit(small_index):
    study, found = collect(small_index), rows(small_index)
    assert [(row["model"], row["seed"]) for row in found] == [
        ("original", ""),
        ("retain model", ""),
        ("palu", "0"),
        ("palu", "1"),
        ("npo", "0"),
        ("npo", "1"),
    ]
    assert float(found[2]["forget_rouge"]) == study.arms[0].first.evaluation.measured("forget_rouge").value


def test_an_empty_cell_has_its_reason_and_quality_its_neighbours(small_index):
    found = rows(small_index)
    assert found[1]["forget_quality"] == ""
    assert '"forget_quality":"no scores of a retain model were given"' in found[1]["reasons"]
    palu = found[2]
    assert float(palu["forget_quality_larger_neighbour"]) < float(palu["forget_quality"])


def test_d_over_the_seeds_stands_in_every_row_of_an_arm_with_its_ties(small_index):
    study = collect(small_index)
    row = rows(small_index)[2]
    quality = qualities(study, draws(study))
    its = quality["palu"]
    assert float(row["statistic_seed_mean"]) == its.mean
    assert float(row["statistic_seed_deviation"]) == deviation(its.statistics)
    assert float(row["statistic_mean_low"]) <= its.mean <= float(row["statistic_mean_high"])
    assert row["statistic_tied_with"] == "; ".join(its.tied)
    assert rows(small_index)[0]["statistic_seed_mean"] == ""


def test_the_verdict_is_in_every_row_of_an_arm_and_in_no_references(small_index):
    found = rows(small_index)
    assert [row["span_leak_verdict"] for row in found] == ["", "", "met", "met", "missed", "missed"]
    assert float(found[2]["span_leak_verdict_low"]) <= float(found[2]["span_leak"])
    assert float(found[4]["span_leak_verdict_low"]) > 0.11
    assert found[4]["forget_rouge_verdict"] == "under-forgotten"


@pytest.mark.parametrize(("is_validated", "items"), [(True, "1 validation row"), (False, "the 48 reported rows")])
def test_the_recommended_arm_is_named_with_the_items_that_chose_it(builder, is_validated, items):
    builder.is_validated = is_validated
    found = rows(builder.index(seeds=2, top_ks=(50, 200), rivals=("npo",)))
    named = {row["model"]: row["recommended_on"] for row in found}
    assert sorted(named.values()) == ["", "", "", "", items]
    assert next(name for name, each in named.items() if each).startswith("palu, top_k=")


def test_names_cannot_become_formulas(small_index):
    small_index["runs"][0]["label"] = "=HYPERLINK(0)"
    small_index["runs"][0]["varied"] = {"top_k": 5}
    row = rows(small_index)[2]
    assert row["model"] == "'=HYPERLINK(0), top_k=5"
    assert row["varied"] == '{"top_k":5}'
    assert float(row["model_utility"]) == pytest.approx(0.794, abs=0.05)
