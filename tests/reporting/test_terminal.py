"""The lines that the terminal shows at the end."""

from palu.reporting.cells import Cell, Row, Table
from palu.reporting.choice import Choice, Selection
from palu.reporting.terminal import outcome

NOTHING = Selection(None, "", "", None, ())
COLUMNS = (("Forget ROUGE", ""), ("Seconds", ""), ("Model utility", ""))


def test_the_columns_are_aligned_and_an_empty_cell_is_a_dash():
    rows = (
        Row("original", "reference", "", None, (Cell("1.000"), Cell(""), Cell("0.748"))),
        Row("palu", "arm", "1 seed", 0, (Cell("0.25"), Cell("20.1"), Cell(""))),
    )
    chosen = Selection(
        "validation", "24 validation rows", "Words.", None, (Choice("palu", "palu top_k=8", 0.1, True, 3),)
    )
    told = {"palu": "D = 0.100 (1 seed, no spread)"}
    assert outcome("One of 1 meets all targets.", chosen, Table(COLUMNS, rows), told).splitlines() == [
        "One of 1 meets all targets.",
        "",
        "          ROUGE  utility",
        "original  1.000    0.748",
        "palu       0.25        –",
        "",
        "Forget quality",
        "palu: D = 0.100 (1 seed, no spread)",
        "",
        "Of 3 settings of palu, by 24 validation rows: palu top_k=8",
    ]


def test_a_warning_about_the_choice_stands_before_it():
    chosen = Selection(
        "forget", "the 12 reported rows", "", "The reported rank.", (Choice("npo", "npo b", 0.1, True, 2),)
    )
    lines = outcome("None.", chosen, Table(COLUMNS, ()), {}).splitlines()
    assert lines[-3:] == ["The reported rank.", "", "Of 2 settings of npo, by the 12 reported rows: npo b"]


def test_a_hostile_name_cannot_steer_the_terminal():
    rows = (Row("\x1b[2Jpalu", "arm", "", 0, (Cell("1"), Cell(""), Cell("2"))),)
    assert "\x1b" not in outcome("\x1b[31m", NOTHING, Table(COLUMNS, rows), {"\x1b": "\x1b"})
