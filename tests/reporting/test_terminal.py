"""The lines that the terminal shows at the end."""

from palu.reporting.cells import Cell, Row, Table
from palu.reporting.choice import Choice
from palu.reporting.terminal import outcome

COLUMNS = (("Forget ROUGE", ""), ("Seconds", ""), ("Model utility", ""))


def test_the_columns_are_aligned_and_an_empty_cell_is_a_dash():
    rows = (
        Row("original", "reference", "", None, (Cell("1.000"), Cell(""), Cell("0.748"))),
        Row("palu", "arm", "1 seed", 0, (Cell("0.25"), Cell("20.1"), Cell(""))),
    )
    assert outcome(
        "One of 1 meets all targets.", [Choice("palu", "palu top_k=8", 0.1, True, 3)], Table(COLUMNS, rows)
    ).splitlines() == [
        "One of 1 meets all targets.",
        "",
        "          ROUGE  utility",
        "original  1.000    0.748",
        "palu       0.25        –",
        "",
        "Of 3 settings of palu: palu top_k=8",
    ]


def test_a_hostile_name_cannot_steer_the_terminal():
    rows = (Row("\x1b[2Jpalu", "arm", "", 0, (Cell("1"), Cell(""), Cell("2"))),)
    assert "\x1b" not in outcome("\x1b[31m", [], Table(COLUMNS, rows))
