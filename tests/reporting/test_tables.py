from pathlib import Path

import pytest

from palu.files import write_json
from palu.reporting.cells import Notes
from palu.reporting.load import collect
from palu.reporting.quality import qualities
from palu.reporting.tables import arms_table, metric_table, settings_table
from palu.reporting.verdict import draws, judge
from tests.reporting.kinds import muse_index


def judged(index):
    study = collect(index)
    bootstrap = draws(study)
    return study, [judge(study, bootstrap, arm) for arm in study.arms], qualities(study, bootstrap)


def shown(index, *names, notes=None):
    """The table of these metrics."""
    return metric_table(*judged(index), names, notes or Notes(), "Metrics")


def column(table, title):
    place = [heading.rstrip("↓↑≈ ") for heading, _ in table.columns].index(title)
    return {row.name: row.cells[place] for row in table.rows}


def test_rows_are_the_original_the_retain_model_and_each_arm(small_index):
    table = shown(small_index, "span_leak")
    assert [(row.name, row.detail, row.colour is None) for row in table.rows] == [
        ("original", "", True),
        ("retain model", "", True),
        ("palu", "2 seeds", False),
        ("npo", "2 seeds", False),
    ]
    assert shown(small_index) is None


def test_the_arms_table_has_a_column_for_each_question_with_intervals_and_statuses(small_index):
    study, verdicts, _ = judged(small_index)
    table = arms_table(study, verdicts)
    assert [title for title, _ in table.columns] == ["Leak", "Language", "Utility", "Forget quality D"]
    leak = column(table, "Leak")
    assert (leak["npo"].text, leak["npo"].mark) == ("0.200 ✗", "missed")
    check = verdicts[1].of("span_leak")
    assert leak["npo"].detail == f"{check.low:.2f}–{check.high:.2f}"
    assert (leak["original"].text, leak["retain model"].text) == ("0.930", "0.060")
    assert [row.detail for row in table.rows] == ["", "", "5 of 5 targets", "4 of 5 targets"]


def test_a_question_shows_its_target_that_is_farthest_from_being_met(small_index, edit_items):
    for run in small_index["runs"]:
        edit_items(run["evaluation"], answer_nll=9.0)
    study, verdicts, _ = judged(small_index)
    language = column(arms_table(study, verdicts), "Language")
    assert (language["palu"].text, language["palu"].detail.split("\n")[0]) == ("9.000 ✗", "answer NLL")
    value = study.retain.measured("answer_nll").value
    assert language["retain model"].text == f"{value:.3f}"


@pytest.mark.usefixtures("workplace")
def test_documents_have_their_own_questions_and_no_forget_quality():
    study, verdicts, _ = judged(muse_index())
    table = arms_table(study, verdicts)
    assert [title for title, _ in table.columns] == ["Leak", "Language", "Utility"]
    assert column(table, "Language")["ga"].text == "1.000 ✗"


def test_forget_quality_is_between_its_neighbours(small_index):
    better, worse = column(shown(small_index, "forget_quality"), "Forget quality p")["npo"].detail.split("\n")
    assert better.startswith("▲ ")
    assert worse.startswith("▼ ")
    notes = Notes()
    missing = column(shown(small_index, "forget_quality_statistic", notes=notes), "KS statistic D")["retain model"]
    assert missing.text == "–"
    assert notes.texts[missing.note - 1] == missing.title == "no scores of a retain model were given"


def test_tied_methods_are_tied_in_every_row_that_shows_d(small_index):
    _, _, quality = judged(small_index)
    cells = column(shown(small_index, "forget_quality_statistic"), "KS statistic D")
    assert quality["palu"].tied == ("npo",)
    assert cells["npo"].detail.split("\n")[-1] == "lowest, tied with 1"
    assert "tied with npo" in cells["palu"].title
    assert "[" in cells["palu"].detail


def test_a_judged_metric_has_its_interval_and_status_under_its_value(small_index):
    cells = column(shown(small_index, "span_leak"), "Span leak")
    assert (cells["npo"].text, cells["npo"].mark) == ("0.200", "missed")
    interval, status = cells["npo"].detail.split("\n")
    assert interval.startswith("[0.1")
    assert status == "missed"


def test_what_is_no_target_has_its_side_and_its_range(small_index):
    table = shown(small_index, "forget_rouge", "privleak")
    cell = column(table, "Forget ROUGE")["npo"]
    assert (cell.mark, cell.detail.split("\n")[-1]) == ("under", "under-forgotten")
    assert "level from" in cell.title
    assert column(table, "PrivLeak, %")["npo"].text.startswith("−")


def test_what_is_not_judged_has_its_deviation_over_seeds(small_index):
    cell = column(shown(small_index, "real_authors_rouge"), "Real authors ROUGE")["palu"]
    assert cell.detail.startswith("± ")


def test_what_cannot_be_judged_has_a_note(small_index, edit_summary):
    edit_summary(small_index["retain"]["evaluation"], {"forget_rouge": None})
    notes = Notes()
    cell = column(shown(small_index, "forget_rouge", notes=notes), "Forget ROUGE")["palu"]
    assert (cell.detail, cell.mark) == ("not measured", "unknown")
    assert notes.texts[cell.note - 1] == "the retain model has none: no reason was given"


def test_a_p_value_without_neighbours_says_why(small_index):
    small_index["retain"] = None
    notes = Notes()
    cell = column(shown(small_index, "forget_quality", notes=notes), "Forget quality p")["palu"]
    assert "retain model's items are not here" in notes.texts[cell.note - 1]


def test_a_seed_without_a_value_is_not_averaged_away(small_index, edit_summary):
    edit_summary(small_index["runs"][0]["evaluation"], {"forget_rouge": None})
    notes = Notes()
    assert column(shown(small_index, "forget_rouge", notes=notes), "Forget ROUGE")["palu"].text == "–"
    assert notes.texts == ["1 of 2 seeds have none: no reason was given"]


def settings(index, notes=None):
    return settings_table(collect(index), notes or Notes())


def test_settings_show_time_k_of_v_and_n(small_index):
    table = settings(small_index)
    assert column(table, "Seconds")["palu"].text == "18.6"
    k_of_v = column(table, "K / V")["palu"]
    assert (k_of_v.text, k_of_v.detail) == ("9.8%", "200 / 2,048")
    assert column(table, "N")["palu"].text == "2"
    assert column(table, "N")["npo"].text == "n/a"


def test_the_share_of_initiating_tokens_is_that_of_the_run(small_index):
    for run in small_index["runs"]:
        write_json(Path(run["folder"]) / "run.json", {"initiating_tokens": 16, "forget_reply_tokens": 100})
    notes = Notes()
    table = settings(small_index, notes)
    assert column(table, "N")["palu"].detail == "16.0%"
    cell = column(table, "K / V")["palu"]
    assert (cell.text, notes.texts[cell.note - 1]) == ("200 / ?", "the run did not write the vocabulary's size")


def test_the_settings_of_a_grid_are_columns(builder):
    table = settings(builder.index(seeds=1, top_ks=(50, 200), rivals=("npo",)))
    cells = column(table, "top_k")
    assert {name: cell.text for name, cell in cells.items()} == {
        "palu, top_k=50": "50", "palu, top_k=200": "200", "npo": "",
    }  # fmt: skip
