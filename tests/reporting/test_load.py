from pathlib import Path

import pytest

from palu.errors import UserError
from palu.files import write_json
from palu.reporting.load import Evaluation, collect


def evaluation(folder, summary, reasons=None):
    write_json(folder / "summary.json", summary)
    if reasons is not None:
        write_json(folder / "reasons.json", reasons)
    return Evaluation(folder)


def test_a_number_or_the_reason_why_there_is_none(tmp_path):
    found = evaluation(tmp_path, {"a": 0.25, "b": None, "c": None}, {"b": "no spans"})
    assert (found.measured("a").value, found.measured("a").reason) == (0.25, None)
    assert (found.measured("b").value, found.measured("b").reason) == (None, "no spans")
    assert found.measured("c").reason == "no reason was given"
    assert found.measured("d").reason == "not among this evaluation's metrics"


def test_a_value_that_is_not_finite_is_no_number(tmp_path):
    (tmp_path / "summary.json").write_text('{"a": NaN}')
    assert Evaluation(tmp_path).measured("a").reason == "the evaluation wrote nan"


@pytest.mark.parametrize("summary", ['{"a": "0.5"}', '{"a": true}', "[1]"])
def test_a_summary_of_something_else_is_an_error_that_names_the_file(tmp_path, summary):
    (tmp_path / "summary.json").write_text(summary)
    with pytest.raises(UserError, match=r"summary\.json"):
        Evaluation(tmp_path).measured("a")


def test_runs_that_differ_in_the_seed_only_are_one_arm(builder):
    study = collect(builder.index(seeds=2, top_ks=(50, 200), rivals=("npo",)))
    assert [arm.name for arm in study.arms] == ["palu, top_k=50", "palu, top_k=200", "npo"]
    assert [[run.entry.seed for run in arm.runs] for arm in study.arms] == [[0, 1]] * 3


def test_arms_of_one_label_without_a_difference_in_the_grid_have_names_of_their_own(small_index):
    small_index["runs"][1]["training"] = {"learning_rate": 0.5, "epochs": 10}
    assert [arm.name for arm in collect(small_index).arms] == ["palu", "palu (2)", "npo"]


def test_two_taggers_of_one_label_stand_in_the_name(small_index):
    small_index["runs"][1]["tagger"] = "other"
    assert [arm.name for arm in collect(small_index).arms][:2] == ["palu, tagger=gold", "palu, tagger=other"]


def test_only_original_forget_rows_are_items_and_carry_their_spans(small_index):
    study = collect(small_index)
    assert len(study.items) == 12
    assert {item.group for item in study.items} == {"Ilse Varga", "Bao Nkemelu"}
    item = study.items[0]
    assert [item.reply[start:end] for start, end in item.spans] == ["Tromsø"]


def test_the_page_begins_with_six_questions_and_the_terminal_with_those_that_are_asked_for(small_index):
    study = collect(small_index)
    assert [item.example_id for items in study.first.values() for item in items] == [
        item.example_id for item in (*study.items[:1], *study.items[6:7], *study.items[1:2])
    ] + [item.example_id for item in (study.items[7], study.items[2], study.items[8])]
    assert study.shown == {}
    named = [study.items[3].example_id]
    study = collect(small_index | {"questions": named})
    assert [item.example_id for items in study.first.values() for item in items] == named
    assert study.shown == study.first


def test_keys_that_the_report_does_not_know_are_left_alone(small_index):
    small_index["finetune"] = {"epochs": 3}
    small_index["runs"][0]["key"] = "ab12cd34"
    assert collect(small_index).index.study == "village"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"study": None}, "index: study: None"),
        ({"runs": []}, "index: runs"),
        ({"display_tagger": "gpt"}, r"index: display_tagger: no spans of 'gpt'; allowed: gold"),
        ({"examples": "data/none.parquet"}, r"data/none\.parquet: no such file"),
    ],
)
def test_a_broken_index_is_one_line_that_names_the_key(small_index, change, message):
    with pytest.raises(UserError, match=message):
        collect(small_index | change)


def test_a_missing_summary_is_named(small_index):
    study = collect(small_index)
    (Path(study.original.folder) / "summary.json").unlink()
    with pytest.raises(UserError, match=r"results/original/evaluation-ab12cd34/summary\.json: no such file"):
        study.original.measured("a")


def test_run_facts_are_numbers_or_nothing(small_index):
    run = collect(small_index).arms[0].first
    assert run.number("vocabulary") == 2048
    assert run.number("device") is None
    assert run.number("parameters") is None
    assert run.seconds == pytest.approx(60 * 0.31)
