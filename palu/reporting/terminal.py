"""The study's outcome as a few plain lines, for the terminal that ran it."""

from collections.abc import Mapping, Sequence

from palu.inert import visible
from palu.reporting.cells import Table
from palu.reporting.choice import Selection

# Heading on the page -> heading in the terminal, in the order of the lines' columns.
COLUMNS = {
    "Initiating-token probability": "initiating",
    "Forget ROUGE": "ROUGE",
    "Forget probability, whole reply": "probability",
    "Model utility": "utility",
    "Verbatim memorization": "verbatim",
    "Knowledge of forget set": "knowledge",
    "Knowledge of retain set": "retained",
    "PrivLeak, %": "PrivLeak",
    "Retain probability": "retain probability",
    "Retain ROUGE": "retain ROUGE",
    "KS statistic D": "KS D",
    "Forget quality p": "p",
}


def outcome(overview: str, selection: Selection, table: Table, quality: Mapping[str, str]) -> str:
    """The overview sentence, the result table's main columns, aligned, forget quality with what it takes to read it,
    and what a grid recommends, by which items.

    A cell without a number is a dash. quality: model -> its forget quality in words.
    """
    places = [
        (title, position) for title in COLUMNS for position, (name, _) in enumerate(table.columns) if name == title
    ]
    lines = [["", *(COLUMNS[title] for title, _ in places)]]
    lines += [[visible(row.name), *(row.cells[position].text or "–" for _, position in places)] for row in table.rows]
    read = [f"{visible(name)}: {visible(words)}" for name, words in quality.items()]
    warning = [visible(selection.warning)] if selection.warning else []
    recommended = [
        f"Of {choice.tried} settings of {choice.method}, by {selection.items}: {visible(choice.arm)}"
        for choice in selection.choices
    ]
    blocks = [[visible(overview)], _aligned(lines), ["Forget quality", *read] if read else [], warning, recommended]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return [
        "  ".join(cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    ]
