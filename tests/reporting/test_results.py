from dataclasses import replace
from pathlib import Path

import pytest

from palu.files import write_json
from palu.reporting.cells import Notes, number_text, p_text, signed_text
from palu.reporting.collect import collect
from palu.reporting.initiating import initiating
from palu.reporting.metrics import Metric, further_metrics
from palu.reporting.quality import Qualities, qualities
from palu.reporting.results import best_arms, metric_table, result_table


def main_table(index):
    study, notes = collect(index), Notes()
    return result_table(study, qualities(study), initiating(study), notes), notes


def column(table, title):
    place = [heading for heading, _ in table.columns].index(title)
    return {row.name: row.cells[place] for row in table.rows}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.1234, "0.123"),
        (5.867e-14, "5.9×10⁻¹⁴"),
        (12.345, "12.345"),
        (456.78, "456.8"),
        (32000, "32,000"),
    ],
)
def test_numbers_are_written_with_three_digits_that_say_something(value, text):
    assert number_text(value) == text


def test_p_values_keep_four_decimals_while_these_tell_neighbours_apart():
    assert (p_text(0.62843), p_text(0.0001)) == ("0.6284", "1.0×10⁻⁴")
    assert signed_text(-0.25) == "−0.250"


def test_rows_are_the_original_the_retain_model_and_each_arm(small_index):
    table, _ = main_table(small_index)
    assert [(row.name, row.kind, row.detail) for row in table.rows] == [
        ("original", "reference", ""),
        ("retain model", "reference", ""),
        ("palu", "arm", "2 seeds"),
        ("npo", "arm", "2 seeds"),
    ]


def test_forget_quality_stands_between_its_neighbours_with_its_statistic(small_index):
    table, notes = main_table(small_index)
    better, worse, lowest, highest = column(table, "Forget quality p")["npo"].detail.split("\n")
    assert better.startswith("▲ ")
    assert worse.startswith("▼ ")
    assert (lowest.split()[0], highest.split()[0]) == ("seeds", "to")
    assert "[" in column(table, "KS statistic D")["npo"].detail
    missing = column(table, "KS statistic D")["retain model"]
    assert missing.text == "–"
    assert notes.texts[missing.note - 1] == missing.title == "no scores of a retain model were given"


def test_methods_within_one_step_are_tied_in_every_row_that_shows_d(small_index):
    study = collect(small_index)
    notes, found = Notes(), qualities(study)
    level = found.arms["palu"].statistic
    arms = {"palu": found.arms["palu"], "npo": replace(found.arms["npo"], statistic=level)}
    tied = result_table(study, Qualities(found.references, arms), initiating(study), notes)
    assert column(tied, "KS statistic D")["palu"].detail.endswith("\ntie: npo")
    assert column(tied, "KS statistic D")["npo"].detail.endswith("\ntie: palu")
    assert column(tied, "KS statistic D")["npo"].marks == ("tie",)
    far = replace(level, mean=level.mean + 0.3)
    apart = Qualities(found.references, arms | {"npo": replace(found.arms["npo"], statistic=far)})
    table = result_table(study, apart, initiating(study), notes)
    assert "tie" not in column(table, "KS statistic D")["palu"].detail


def test_a_d_without_an_interval_says_why(small_index):
    small_index["retain"] = None
    table, notes = main_table(small_index)
    cell = column(table, "KS statistic D")["palu"]
    assert "retain model's items are not here" in notes.texts[cell.note - 1]


def test_cost_columns_tell_time_k_of_v_and_n(small_index):
    table, _ = main_table(small_index)
    assert column(table, "Seconds")["palu"].text == "18.6"
    k_of_v = column(table, "K / V")["palu"]
    assert (k_of_v.text, k_of_v.detail) == ("9.8%", "200 / 2,048")
    first_n = column(table, "N")["palu"]
    assert (first_n.text, first_n.detail) == ("2", "13.2%")
    assert column(table, "N")["npo"].text == "n/a"


def test_the_runs_own_count_of_initiating_tokens_comes_first(small_index):
    for run in small_index["runs"]:
        write_json(Path(run["folder"]) / "run.json", {"initiating_tokens": 16, "forget_reply_tokens": 100})
    table, notes = main_table(small_index)
    assert column(table, "N")["palu"].detail == "16.0%"
    cell = column(table, "K / V")["palu"]
    assert (cell.text, notes.texts[cell.note - 1]) == ("200 / ?", "the run did not write the vocabulary's size")


def test_whole_reply_measures_of_localized_methods_show_what_a_perfectly_local_one_would_leave(small_index):
    table, _ = main_table(small_index)
    for title in ("Forget probability, whole reply", "Extraction strength"):
        cells = column(table, title)
        assert "perfectly local" in cells["palu"].detail
        assert "perfectly local" not in cells["npo"].detail


def test_best_is_nearest_to_the_retain_model_on_either_side(small_index, edit_summary):
    edit_summary(small_index["retain"]["evaluation"], {"forget_rouge": 0.30})
    for run, value in zip(small_index["runs"], (0.1, 0.1, 0.42, 0.42), strict=True):
        edit_summary(run["evaluation"], {"forget_rouge": value})
    study = collect(small_index)
    assert best_arms(study, Metric("forget_rouge", "", "retain")) == {"npo"}
    assert best_arms(study, Metric("forget_rouge", "", "low")) == {"palu"}
    assert best_arms(study, Metric("forget_rouge", "", "none")) == set()


def test_a_lone_arm_is_not_best(builder):
    study = collect(builder.index(seeds=1, rivals=()))
    assert best_arms(study, Metric("model_utility", "", "high")) == set()


def test_a_seed_without_a_value_is_not_averaged_away(small_index, edit_summary):
    edit_summary(small_index["runs"][0]["evaluation"], {"forget_rouge": None})
    notes = Notes()
    table = metric_table(collect(small_index), [Metric("forget_rouge", "ROUGE", "retain")], notes)
    assert column(table, "ROUGE")["palu"].text == "–"
    assert notes.texts == ["1 of 2 seeds have none: no reason was given"]


def test_further_metrics_are_those_that_no_other_table_shows(small_index, edit_summary):
    assert further_metrics(collect(small_index)) == []
    edit_summary(small_index["original"]["evaluation"], {"model_utility_component_count": 6.0})
    assert further_metrics(collect(small_index)) == [
        Metric("model_utility_component_count", "model utility component count", "none")
    ]


def test_the_stemmed_measures_of_muse_have_a_title_and_a_direction(small_index, edit_summary):
    edit_summary(small_index["original"]["evaluation"], {"knowledge_memorization_retain_stemmed": 0.5})
    (found,) = further_metrics(collect(small_index))
    assert (found.title, found.goal) == ("Knowledge of retain set, stemmed words", "high")
