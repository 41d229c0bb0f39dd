import csv
import io

import pytest

from palu.reporting.collect import collect
from palu.reporting.spreadsheet import results_csv


def rows(index):
    return list(csv.DictReader(io.StringIO(results_csv(collect(index)))))


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
    assert float(palu["statistic_low"]) <= float(palu["forget_quality_statistic"]) <= float(palu["statistic_high"])


def test_names_cannot_become_formulas(small_index):
    small_index["runs"][0]["label"] = "=HYPERLINK(0)"
    small_index["runs"][0]["varied"] = {"top_k": 5}
    row = rows(small_index)[2]
    assert row["model"] == "'=HYPERLINK(0), top_k=5"
    assert row["varied"] == '{"top_k":5}'
    assert float(row["model_utility"]) == pytest.approx(0.794, abs=0.05)
