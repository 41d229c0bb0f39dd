from pathlib import Path

import pytest

from palu.files import write_json
from palu.reporting.cells import Notes, number_text, p_text, signed_text
from palu.reporting.collect import collect
from palu.reporting.initiating import initiating
from palu.reporting.metrics import Metric, further_metrics
from palu.reporting.quality import Qualities, qualities
from palu.reporting.results import check_table, metric_table, result_table
from palu.reporting.verdict import draws, judge


def main_table(index, change=None):
    study, notes = collect(index), Notes()
    bootstrap = draws(study)
    quality = change(qualities(study, bootstrap)) if change else qualities(study, bootstrap)
    verdicts = [judge(study, bootstrap, arm) for arm in study.arms]
    return result_table(study, quality, verdicts, initiating(study), notes), notes


def shown(index, notes=None):
    """The table of what is no target."""
    study = collect(index)
    bootstrap = draws(study)
    verdicts = [judge(study, bootstrap, arm) for arm in study.arms]
    return check_table(study, verdicts, study.aims.noticed, notes or Notes())


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


def test_tied_methods_are_tied_in_every_row_that_shows_d(small_index):
    def tie(found):
        return Qualities(found.references, found.arms, (("palu", "npo"),))

    tied, _ = main_table(small_index, tie)
    assert column(tied, "KS statistic D")["palu"].detail.endswith("\ntie: npo")
    assert column(tied, "KS statistic D")["npo"].detail.endswith("\ntie: palu")
    assert column(tied, "KS statistic D")["npo"].marks == ("tie",)
    apart, _ = main_table(small_index, lambda found: Qualities(found.references, found.arms))
    assert "tie" not in column(apart, "KS statistic D")["palu"].detail
    assert {cell.marks for cell in column(apart, "KS statistic D").values()} == {(), ("best",)}


def test_a_target_has_its_interval_and_status_under_its_value(small_index):
    table, _ = main_table(small_index)
    cells = column(table, "Span leak")
    assert (cells["npo"].text, cells["npo"].marks) == ("0.200", ("missed",))
    interval, status = cells["npo"].detail.split("\n")
    assert interval.startswith("[0.1")
    assert status == "missed"
    assert (cells["retain model"].text, cells["original"].text) == ("0.060", "0.930")
    assert "Forget ROUGE" not in [title for title, _ in table.columns]


def test_what_is_no_target_has_its_side_and_its_range(small_index):
    table = shown(small_index)
    cell = column(table, "Forget ROUGE")["npo"]
    assert (cell.marks, cell.detail.split("\n")[-1]) == (("under",), "under-forgotten")
    assert "level from" in cell.title
    assert column(table, "PrivLeak, %")["npo"].text.startswith("−")


def test_what_is_not_measured_has_a_note(small_index, edit_summary):
    edit_summary(small_index["retain"]["evaluation"], {"forget_rouge": None})
    notes = Notes()
    cell = column(shown(small_index, notes), "Forget ROUGE")["palu"]
    assert (cell.detail, cell.marks) == ("not measured", ("unknown",))
    assert notes.texts[cell.note - 1] == "the retain model has none: no reason was given"


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


def test_a_seed_without_a_value_is_not_averaged_away(small_index, edit_summary):
    edit_summary(small_index["runs"][0]["evaluation"], {"forget_rouge": None})
    notes = Notes()
    table = metric_table(collect(small_index), [Metric("forget_rouge", "ROUGE")], notes)
    assert column(table, "ROUGE")["palu"].text == "–"
    assert notes.texts == ["1 of 2 seeds have none: no reason was given"]


def test_further_metrics_are_those_that_no_other_table_shows(small_index, edit_summary):
    known = further_metrics(collect(small_index))
    edit_summary(small_index["original"]["evaluation"], {"model_utility_component_count": 6.0})
    found = further_metrics(collect(small_index))
    assert [metric for metric in found if metric not in known] == [
        Metric("model_utility_component_count", "model utility component count")
    ]
    assert [metric.name for metric in known] == ["forget_truth_ratio"]


def test_the_stemmed_measures_of_muse_have_a_title(small_index, edit_summary):
    edit_summary(small_index["original"]["evaluation"], {"knowledge_memorization_retain_stemmed": 0.5})
    titles = [metric.title for metric in further_metrics(collect(small_index))]
    assert "Knowledge of retain set, stemmed words" in titles
