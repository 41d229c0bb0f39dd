from pathlib import Path

import pytest

from palu import tables
from palu.reporting.cells import Notes
from palu.reporting.collect import collect
from palu.reporting.distances import attack_table, distance_table


def column(table, title):
    place = [heading for heading, _ in table.columns].index(title)
    return {row.name: row.cells[place] for row in table.rows}


def test_distances_carry_their_side(small_index, edit_summary):
    edit_summary(small_index["original"]["evaluation"], {"exact_memorization": 0.9})
    edit_summary(small_index["retain"]["evaluation"], {"exact_memorization": 0.4})
    for run, value in zip(small_index["runs"], (0.6, 0.6, 0.1, 0.1), strict=True):
        edit_summary(run["evaluation"], {"exact_memorization": value})
    cells = column(distance_table(collect(small_index), Notes()), "Exact memorization")
    assert (cells["palu"].text, cells["palu"].detail) == ("+0.200", "under-forgotten")
    assert (cells["npo"].text, cells["npo"].detail) == ("−0.300", "over-forgotten")
    assert cells["original"].text == "+0.500"


def test_without_a_retain_model_there_is_no_distance(small_index):
    small_index["retain"] = None
    assert distance_table(collect(small_index), Notes()) is None


def test_memorization_truth_ratio_min_k_and_probability_are_told_on_both_sides(small_index):
    titles = [title for title, _ in distance_table(collect(small_index), Notes()).columns]
    assert {
        "Exact memorization",
        "Truth ratio, s/(1+s)",
        "Min-K attack",
        "Forget probability, whole reply",
    } <= set(titles)


def test_a_metric_that_the_retain_model_lacks_says_so_in_every_cell(small_index, edit_summary):
    edit_summary(small_index["retain"]["evaluation"], {"forget_rouge": None})
    notes = Notes()
    cells = column(distance_table(collect(small_index), notes), "Forget ROUGE")
    assert {cell.text for cell in cells.values()} == {"–"}
    assert cells["palu"].title == "the retain model has none: no reason was given"


def set_attack(index, edit_summary, metric, values):
    for model, value in values.items():
        runs = [index[model]] if model in ("original", "retain") else []
        runs += [run for run in index["runs"] if run["label"] == model]
        for run in runs:
            edit_summary(run["evaluation"], {metric: value})


def test_an_attacks_auc_has_its_distance_and_side_to_the_retain_models(small_index, edit_summary):
    set_attack(small_index, edit_summary, "mia_loss", {"original": 0.98, "retain": 0.55, "palu": 0.75, "npo": 0.30})
    cells = column(attack_table(collect(small_index), Notes()), "Loss")
    assert (cells["palu"].text, cells["palu"].marks) == ("0.750", ("under",))
    assert cells["palu"].detail.split("\n")[-2:] == ["+0.200", "under-forgotten"]
    assert cells["npo"].detail.split("\n")[-2:] == ["−0.250", "over-forgotten"]
    assert (cells["retain model"].text, cells["original"].text) == ("0.550", "0.980")


def test_the_reference_attacks_level_is_that_of_a_model_that_ties_with_its_reference(small_index, edit_summary):
    values = {"original": 1.0, "retain": 0.001, "palu": 0.52, "npo": 0.2}
    set_attack(small_index, edit_summary, "mia_reference", values)
    cells = column(attack_table(collect(small_index), Notes()), "Reference model")
    assert cells["palu"].detail.split("\n")[-2:] == ["+0.020", "level"]
    assert cells["npo"].detail.split("\n")[-2:] == ["−0.300", "over-forgotten"]


def test_the_side_of_an_attack_is_known_where_the_original_resists_it(small_index, edit_summary):
    set_attack(small_index, edit_summary, "mia_min_k", {"original": 0.56, "retain": 0.55, "palu": 0.30, "npo": 0.57})
    study = collect(small_index)
    assert column(attack_table(study, Notes()), "Min-K")["palu"].marks == ("over",)
    assert column(attack_table(study, Notes()), "Min-K")["npo"].marks == ("level",)
    assert column(distance_table(study, Notes()), "Min-K attack")["palu"].detail == "over-forgotten"


@pytest.mark.parametrize(("value", "side"), [(-40.0, "under"), (-9.0, "level"), (9.0, "level"), (35.0, "over")])
def test_privleak_below_zero_is_under_forgotten_and_above_over_forgotten(small_index, edit_summary, value, side):
    set_attack(small_index, edit_summary, "privleak", {"palu": value})
    notes = Notes()
    cells = column(attack_table(collect(small_index), notes), "PrivLeak, %")
    assert cells["palu"].marks == (side,)
    assert cells["palu"].text == f"{value:+.1f}".replace("-", "−")
    assert notes.texts[cells["retain model"].note - 1] == "no AUC of a retain model was given"


def test_without_a_retain_model_an_auc_stands_alone(small_index):
    small_index["retain"] = None
    cell = column(attack_table(collect(small_index), Notes()), "Min-K")["npo"]
    assert (cell.marks, "forgotten" in cell.detail) == ((), False)


def test_a_study_without_attacks_has_no_table_of_them(small_index, monkeypatch):
    study = collect(small_index)
    monkeypatch.setattr(type(study), "measured", frozenset({"forget_rouge"}))
    assert attack_table(study, Notes()) is None


def test_a_truth_ratio_beyond_the_retain_models_is_over_forgotten_though_the_metric_falls_on_both_sides(small_index):
    # the retain model's items around 1, PALU's at a quarter of that (truth preferred), NPO's at four times
    index = small_index
    reference = tables.rows(Path(index["retain"]["evaluation"], "scores.parquet"), "scores")
    for run in index["runs"]:
        factor = 0.25 if run["label"] == "palu" else 4.0
        path = Path(run["evaluation"], "scores.parquet")
        tables.write(path, "scores", [row | {"value": row["value"] * factor} for row in reference], {})
    cells = column(distance_table(collect(index), Notes()), "Truth ratio, s/(1+s)")
    assert (cells["palu"].detail, cells["npo"].detail) == ("under-forgotten", "over-forgotten")
    assert cells["palu"].text.startswith("−")
    assert cells["npo"].text.startswith("+")
    assert cells["original"].text.startswith("−")


def test_truth_ratios_that_are_not_there_give_the_summarys_reason(small_index, edit_summary):
    edit_summary(small_index["runs"][0]["evaluation"], {"forget_truth_ratio": None})
    cell = column(distance_table(collect(small_index), Notes()), "Truth ratio, s/(1+s)")["palu"]
    assert (cell.text, cell.title) == ("–", "1 of 2 seeds have none: no reason was given")
