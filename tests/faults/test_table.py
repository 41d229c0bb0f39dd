"""The page of faults keeps its order and what was not tried anew."""

from pathlib import Path

import pytest

from tests.faults.table import BEGIN, END, Table, plain


def test_rows_stand_in_the_order_of_faults_and_stages_and_old_ones_stay(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n\n{END}\nafter\n")
    first = Table()
    first.add("full", "tag", "a | b", "same")
    first.add("kill", "tag", "old", "same")
    first.write_into(page, ["kill", "full"], ["fetch", "tag"])
    second = Table()
    second.add("kill", "fetch", "x", "same")
    second.add("kill", "tag", "new", "same")
    second.write_into(page, ["kill", "full"], ["fetch", "tag"])
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert [line for line in text.splitlines() if line.startswith("| ") and "stage" not in line] == [
        "| fetch | x | same |",
        "| tag | new | same |",
        "| tag | a \\| b | same |",
    ]


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("text")
    with pytest.raises(ValueError, match="lacks"):
        Table().write_into(tmp_path / "page.md", [], [])


def test_a_message_loses_what_differs_between_machines() -> None:
    message = "/tmp/a/copy/results/village-68571708/x.parquet: made with 0123456789abcdef"
    assert plain(message) == "x.parquet: made with …"
