import json
from pathlib import Path

import pytest

from palu.errors import UserError
from palu.reporting.collect import collect
from palu.reporting.page import write_report
from palu.reporting.tagged import Tagged, tagged

FACTS = {
    "rows": 10,
    "rows_without_span": 2,
    "fallback_rows": 2,
    "spans": 12,
    "marked_characters": 30,
    "characters": 120,
    "tagger": "annotations",
    "seconds": 0.5,
}


def test_what_a_tagger_marked_and_its_policy_stand_on_the_page(builder, tmp_path):
    index = builder.index()
    assert tagged(collect(index)) == []
    Path("tags/gold.json").write_text(json.dumps(FACTS))
    index["taggers"] = {"gold": {"name": "annotations", "fallback": "first_clause"}}
    expected = Tagged("gold", 10, 2, 2, 12, 0.25, "their first clause counts as sensitive")
    assert tagged(collect(index)) == [expected]
    write_report(index, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "12 spans over 25.0% of the characters of 10 replies" in page
    assert "2 of them have no span: their first clause counts as sensitive (2 served so)" in page


def test_a_warning_of_the_tagger_is_on_the_page(builder, tmp_path):
    index = builder.index()
    Path("tags/gold.json").write_text(json.dumps(FACTS | {"warning": "marks 36% of the words"}))
    write_report(index, tmp_path / "out")
    assert "<b>Warning</b>: it marks 36% of the words." in (tmp_path / "out" / "report.html").read_text()


def test_another_file_is_refused(builder):
    index = builder.index()
    Path("tags/gold.json").write_text("[]")
    with pytest.raises(UserError, match=r"gold\.json: not a tagger's coverage"):
        tagged(collect(index))
