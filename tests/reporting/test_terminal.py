"""The lines that the terminal shows at the end."""

import pytest

from palu.reporting.choice import Choice, Selection
from palu.reporting.collect import collect
from palu.reporting.quality import qualities
from palu.reporting.terminal import outcome
from palu.reporting.verdict import draws, judge
from tests.reporting.conftest import ITEMS

NOTHING = Selection(None, "", "", None, ())


@pytest.fixture
def lines(small_index, edit_items, set_utility):
    """The outcome of a study that is made by hand: PALU forgets and is undecided in utility, NPO leaks."""

    def write(selection=NOTHING):
        models = {
            "original": (1.0, [0.80] * ITEMS), "retain": (0.02, [0.80] * ITEMS),
            "palu": (0.03, [0.66, 0.86] * (ITEMS // 2)), "npo": (0.40, [0.80] * ITEMS),
        }  # fmt: skip
        entries = [("original", small_index["original"]), ("retain", small_index["retain"])]
        for name, entry in [*entries, *((run["method"], run) for run in small_index["runs"])]:
            share, utility = models[name]
            leak = [float(nth < ITEMS * share) for nth in range(ITEMS)]
            edit_items(entry["evaluation"], span_leak=leak, repetition=0.02, empty_answers=0.0, answer_nll=1.0)
            set_utility(entry["evaluation"], utility)
        study = collect(small_index)
        bootstrap = draws(study)
        verdicts = [judge(study, bootstrap, arm) for arm in study.arms]
        return outcome(study, verdicts, selection, qualities(study, bootstrap)).splitlines()

    return write


def test_the_outcome_of_a_study_made_by_hand(lines):
    found = [line for line in lines() if "no target" not in line]
    assert found[:15] == [
        "None of 2 meets all 5 targets; most met: 4 (palu; npo).",
        "",
        "               leak    repeated    empty    answer NLL    utility    first word   KS D         p",
        "original      1.000       0.020        0         1.000      0.800         0.913  0.833  2.0×10⁻⁴",
        "retain model  0.020       0.020        0         1.000      0.800         0.056      –         –",
        "palu          0.030 ✓     0.020 ✓      0 ✓       1.000 ✓    0.760 ?       0.073  0.250    0.8690",
        "npo           0.400 ✗     0.020 ✓      0 ✓       1.000 ✓    0.800 ✓       0.198  0.208    0.8690",
        "✓ met, ✗ missed, ? undecided: the 95% interval over items and seeds reaches both sides of the target",
        "",
        "palu: forgotten, language kept, utility undecided; 4 of 5 targets met",
        found[10],
        "",
        "npo: not forgotten, language kept, utility kept; 4 of 5 targets met",
        found[13],
        "",
    ]
    assert found[10].startswith("  undecided     Model utility: 0.760 [0.7")
    assert found[10].endswith("], at least 0.760, 95% of the original's 0.800")
    assert found[13].startswith("  missed        Span leak: 0.400 [0.3")
    assert found[13].endswith("], at most 0.070, 0.05 above the retain model's 0.020")
    assert found[15] == "Forget quality"
    assert [line.partition(":")[0] for line in found[16:]] == ["palu", "npo"]
    assert found[16].endswith("; tied with npo")


def test_a_warning_about_the_choice_is_before_it(lines):
    chosen = Selection(
        "forget", "the 12 reported rows", "", "The reported rank.", (Choice("npo", "npo b", 0.1, True, 2),)
    )
    assert lines(chosen)[-3:] == ["The reported rank.", "", "Of 2 settings of npo, by the 12 reported rows: npo b"]


def test_what_was_not_measured_is_a_dash_with_its_reason(small_index, lines, edit_summary):
    lines()
    edit_summary(small_index["runs"][0]["evaluation"], {"answer_nll": None})
    study = collect(small_index)
    bootstrap = draws(study)
    verdicts = [judge(study, bootstrap, arm) for arm in study.arms]
    found = outcome(study, verdicts, NOTHING, qualities(study, bootstrap))
    assert "– –" in next(line for line in found.splitlines() if line.startswith("palu "))
    assert "  not measured  Answer NLL: cannot be judged: 1 of 2 seeds have none: no reason was given" in found


def test_a_hostile_name_cannot_steer_the_terminal(small_index, lines):
    for run in small_index["runs"][:2]:
        run["label"] = "\x1b[2Jpalu"
    chosen = Selection("forget", "\x1b", "", "\x1b", (Choice("\x1b", "\x1b", 0.1, True, 2),))
    assert "\x1b" not in "\n".join(lines(chosen))
