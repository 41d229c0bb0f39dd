"""The lines that the terminal shows at the end."""

from pathlib import Path

import pytest

from palu import tables
from palu.reporting.choice import Choice, Selection
from palu.reporting.load import collect
from palu.reporting.quality import qualities
from palu.reporting.terminal import answer_lines, outcome
from palu.reporting.texts import Item
from palu.reporting.verdict import draws, judge
from tests.reporting.conftest import ITEMS
from tests.reporting.kinds import neighbours_index

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


def outcome_of(index):
    study = collect(index)
    bootstrap = draws(study)
    verdicts = [judge(study, bootstrap, arm) for arm in study.arms]
    return outcome(study, verdicts, NOTHING, qualities(study, bootstrap))


@pytest.mark.usefixtures("workplace")
def test_the_answers_before_and_after_come_first_and_neighbours_have_columns():
    found = outcome_of(neighbours_index() | {"questions": 3}).splitlines()
    assert found[:15] == [
        "To be forgotten",
        "  What is code 0?",
        "    original       The code is X0Y.",
        "    palu, top_k=8  I do not know.",
        "    palu, top_k=9  I do not know.",
        "",
        "To be forgotten, in other words",
        "  Code 1, say?",
        "    original       (not asked)",
        "    palu, top_k=8  (not asked)",
        "    palu, top_k=9  (not asked)",
        "",
        "To be kept, close to it",
        "  What is door 0?",
        "    original       Door 0 is R0D.",
    ]
    table = next(line for line in found if "leak" in line)
    assert table.split()[-2:] == ["near", "far"]
    (row,) = (line for line in found if line.startswith("palu, top_k=9  "))
    # two questions and one are too few to say
    assert row.split()[-4:] == ["0", "?", "0", "?"]


def test_the_table_leaves_out_what_is_no_target_where_a_line_has_no_room(lines, small_index):
    for run in small_index["runs"]:
        run["label"] = f"{run['label']} with a name that has some thirty"
    head = next(line for line in lines() if "leak" in line)
    assert "utility" in head
    assert "KS D" not in head
    assert len(head) <= 110


@pytest.mark.usefixtures("workplace")
def test_a_hostile_answer_cannot_steer_the_terminal_or_break_its_lines():
    index = neighbours_index() | {"questions": ["far/00000/original/0"]}
    path = Path(index["original"]["evaluation"], "generations.parquet")
    rows = [row | {"generation": "\x1b[2J a\r\nb\u2028c " + "x" * 200} for row in tables.rows(path, "generations")]
    tables.write(path, "generations", rows, {})
    found = outcome_of(index)
    assert "\x1b" not in found
    assert "␛[2J a b c xx" in found
    assert all(len(line) <= 110 for line in found.partition("\n\n")[0].splitlines())


def test_a_hostile_name_cannot_steer_the_terminal(small_index, lines):
    for run in small_index["runs"][:2]:
        run["label"] = "\x1b[2Jpalu"
    chosen = Selection("forget", "\x1b", "", "\x1b", (Choice("\x1b", "\x1b", 0.1, True, 2),))
    assert "\x1b" not in "\n".join(lines(chosen))


def test_lines_are_cut_to_fit_and_an_empty_answer_is_named():
    item = Item("a", "g", "Why " * 60, "r", ())
    models = [("original", {"a": "so\n" * 80}), ("a long name of more than 24", {"a": " "}), ("npo", {})]
    (lines,) = answer_lines({"Kept": [item], "None": []}, models)
    assert lines[0] == "Kept"
    assert [line[4:30].rstrip() for line in lines[2:]] == ["original", "a long name of more tha…", "npo"]
    assert [line[30:] for line in lines[3:]] == ["(nothing)", "(not asked)"]
    assert lines[1].endswith("…")
    assert lines[2].endswith("so s…")
    assert max(map(len, lines)) <= 110
