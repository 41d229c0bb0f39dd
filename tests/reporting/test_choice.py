"""A grid recommends one setting of each method, by one rule, and says by which rows."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from palu.evaluation.metrics import METRICS
from palu.reporting.checks import Check
from palu.reporting.choice import choose, select
from palu.reporting.load import collect
from palu.reporting.verdict import Judged, draws, judge
from tests.reporting.conftest import ITEMS

LEAK, KEPT = METRICS["span_leak"], METRICS["model_utility"]


def verdict(method, name, utility, keeps, *distances, met=1, varied=True):
    """keeps: the status of the utility, or whether it is met; met: how many targets are met, with utility."""
    status = keeps if isinstance(keeps, str) else "met" if keeps else "missed"
    gone = [
        Check(LEAK, "met" if place < met - (status == "met") else "missed", distance=value)
        for place, value in enumerate(distances)
    ]
    kept = Check(KEPT, status, value=utility, original=1.0)
    arm = SimpleNamespace(name=name, method=method, varied={"top_k": 1} if varied else {})
    return Judged(arm, tuple(gone), (), (kept,))


def test_the_smallest_distance_of_the_farthest_leak_wins_among_those_that_keep_utility():
    found = choose(
        [
            verdict("palu", "one level exact, one far", 0.75, True, 0.0, 0.3),
            verdict("palu", "both near", 0.72, True, 0.1, 0.2),
            verdict("palu", "nearest, utility lost", 0.5, False, 0.0, 0.0),
        ]
    )
    assert [(choice.arm, choice.distance, choice.keeps_utility, choice.tried) for choice in found] == [
        ("both near", 0.2, True, 3)
    ]


def test_more_targets_met_come_before_a_nearer_level():
    one, two = verdict("palu", "one", 0.7, True, 0.1, 0.1), verdict("palu", "two", 0.7, True, 0.0, 0.2, met=2)
    assert [choice.arm for choice in choose([one, two])] == ["two"]


def test_a_setting_whose_utility_is_undecided_comes_after_those_that_keep_it_and_before_those_that_miss():
    kept, open_one = verdict("palu", "kept", 0.9, True, 0.3), verdict("palu", "open", 0.8, "undecided", 0.0)
    lost = verdict("palu", "lost", 0.7, False, 0.0)
    assert [choice.arm for choice in choose([lost, open_one, kept])] == ["kept"]
    assert [choice.arm for choice in choose([lost, open_one])] == ["open"]
    assert not choose([lost, open_one])[0].keeps_utility


def test_the_highest_utility_wins_where_none_keeps_it():
    found = choose([verdict("npo", "a", 0.4, False, 0.0, 0.0), verdict("npo", "b", 0.6, False, 0.9, 0.9)])
    assert [(choice.arm, choice.keeps_utility) for choice in found] == [("b", False)]


def test_without_a_grid_there_is_nothing_to_choose():
    one, other = (verdict("palu", name, 0.7, True, 0.1, 0.1, varied=False) for name in ("gold", "rules"))
    assert choose([one, other]) == []


def test_a_setting_that_cannot_be_judged_is_passed_over():
    known = verdict("palu", "unknown", 0.9, True, 0.0, 0.0)
    unknown = replace(known, gone=(replace(known.gone[0], status="not measured"), known.gone[1]))
    found = choose([unknown, verdict("palu", "known", 0.7, True, 0.4, 0.1)])
    assert [choice.arm for choice in found] == ["known"]


def test_a_setting_that_misses_one_target_and_cannot_be_judged_by_another_is_passed_over():
    lost = verdict("palu", "lost", 0.1, False)
    assert choose([replace(lost, gone=(Check(LEAK, "not measured"),))]) == []


def leak(share):
    return [float(nth < round(ITEMS * share)) for nth in range(ITEMS)]


@pytest.fixture
def grid(builder, edit_items, set_utility):
    """A grid of two settings, the first leaks less on the reported rows, the second on the validation rows."""

    def make(note=None, validated=True):
        builder.is_validated = validated
        index = builder.index(seeds=1, top_ks=(50, 200), rivals=())
        index["selection"] = {"note": note} if note else None
        for run, reported, watched in zip(index["runs"], (0.07, 0.60), (0.60, 0.07), strict=True):
            edit_items(run["evaluation"], span_leak=leak(reported))
            if validated:
                edit_items(run["evaluation"], validation_span_leak=leak(watched))
            set_utility(run["evaluation"], 0.82)
        return index

    return make


def selected(index):
    study = collect(index)
    bootstrap = draws(study)
    return select(study, bootstrap, [judge(study, bootstrap, arm) for arm in study.arms])


def test_validation_rows_choose_and_the_reported_ones_have_no_say(grid):
    found = selected(grid())
    assert (found.part, found.items, found.warning) == ("validation", "1 validation row", None)
    assert [choice.arm for choice in found.choices] == ["palu, top_k=200"]
    assert found.choices[0].distance == pytest.approx(0.01)
    assert "the reported items had no say" in found.words


def test_another_value_on_the_reported_rows_changes_no_choice(grid, edit_items, edit_summary):
    index = grid()
    edit_items(index["runs"][1]["evaluation"], span_leak=leak(0.9))
    edit_summary(index["runs"][1]["evaluation"], {"repetition": None})
    assert [choice.arm for choice in selected(index).choices] == ["palu, top_k=200"]


def test_broken_language_on_the_validation_rows_loses_the_choice(grid, edit_items):
    index = grid()
    for entry in (index["original"], index["retain"], *index["runs"]):
        edit_items(entry["evaluation"], validation_repetition=0.02)
    assert [choice.arm for choice in selected(index).choices] == ["palu, top_k=200"]
    edit_items(index["runs"][0]["evaluation"], validation_span_leak=leak(0.07))
    edit_items(index["runs"][1]["evaluation"], validation_repetition=0.9)
    assert [choice.arm for choice in selected(index).choices] == ["palu, top_k=50"]


def test_without_validation_rows_the_reported_ones_rank_the_grid_and_this_is_warned_about(grid):
    found = selected(grid(validated=False))
    assert (found.part, found.items) == ("forget", "the 48 reported rows")
    assert [choice.arm for choice in found.choices] == ["palu, top_k=50"]
    assert "The reported items themselves rank the grid" in found.warning
    assert "1 validation row, but its evaluations measure none" in found.warning


def test_a_note_says_what_chose_and_the_rank_is_still_said_to_be_of_the_reported_rows(grid):
    found = selected(grid(note="Other people.", validated=False))
    assert found.words.startswith("Other people. The study has 1 validation row")
    assert "the 48 reported rows rank the grid: a recommendation is for another study" in found.words
    assert found.warning is None


def test_validation_rows_that_the_retain_model_knows_choose_nothing(grid, edit_items):
    index = grid()
    for model in ("original", "retain"):
        edit_items(index[model]["evaluation"], validation_span_leak=leak(0.9))
    found = selected(index)
    assert found.choices == ()
    assert "as one that was trained on them would be" in found.warning
    edit_items(index["retain"]["evaluation"], validation_span_leak=leak(0.3))
    assert selected(index).choices


def test_leaks_of_the_validation_rows_that_are_not_known_choose_nothing_and_say_why(grid, edit_summary):
    index = grid()
    for run in index["runs"]:
        edit_summary(run["evaluation"], {"validation_span_leak": None})
    found = selected(index)
    assert found.choices == ()
    assert "Span leak: cannot be judged: no reason was given." in found.warning


def test_a_study_with_one_setting_each_names_its_note_or_that_there_is_none(small_index):
    assert selected(small_index).words.startswith("24 held-out people of the village")
    small_index["selection"] = None
    found = selected(small_index)
    assert (found.part, found.choices) == (None, ())
    assert found.warning.startswith("The study does not say which items chose the settings")
