"""What every tagger shares: the fallback, and the facts that stand beside the spans."""

import json
import subprocess
import sys

import pytest

from palu import tables, tagging
from palu.errors import UserError
from palu.tagging.annotations import Settings
from palu.tagging.base import NEEDS, fallback_span
from tests.tagging.tables_of import example, write_examples


@pytest.mark.parametrize(
    ("reply", "clause"),
    [
        ("She lives in Oslo, as far as I know.", "She lives in Oslo"),
        ("  Yes; always.", "Yes"),
        ("It is 3.5 km.", "It is 3.5 km"),
        ("At 19:30, or so", "At 19:30"),
        ("She was – in short – late.", "She was"),
        ("no mark at all ", "no mark at all"),
        ("彼は東京、大阪に住む。", "彼は東京"),
        ("هي تعيش في عمان، كما أعلم", "هي تعيش في عمان"),
        ("One line\nand another", "One line"),
        ("One line\r\nand another", "One line"),
        (", and so on", ", and so on"),
    ],
)
def test_the_first_clause_ends_before_its_first_mark(reply, clause):
    start, end = fallback_span(reply, "first_clause")
    assert reply[start:end] == clause


def test_the_whole_reply_is_trimmed_and_nothing_stands_in_for_white_space():
    assert fallback_span("  Oslo. \n", "whole_reply") == (2, 7)
    assert fallback_span("Oslo.", "skip") is None
    for fallback in ("skip", "whole_reply", "first_clause"):
        assert fallback_span(" \n", fallback) is None


@pytest.fixture
def tag(tmp_path):
    rows = [
        example(0, "Where?", "In Oslo, I think."),
        example(1, "Where?", "Well, nobody knows."),
        example(2, "?", "No."),
    ]
    examples = write_examples(tmp_path / "examples.parquet", rows)
    records = [{"example_id": rows[0]["example_id"], "spans": [{"start": 3, "end": 7}]}]
    (tmp_path / "marks.jsonl").write_text("\n".join(map(json.dumps, records)))

    def run(**settings):
        out = tmp_path / "tags.parquet"
        coverage = tagging.tag(
            "annotations", Settings(path=str(tmp_path / "marks.jsonl"), **settings), examples, None, out
        )
        return coverage, [
            (row["example_id"][7:12], row["char_start"], row["char_end"], row["label"])
            for row in tables.rows(out, "spans")
        ]

    return run


def test_a_reply_without_a_span_gets_what_the_fallback_says(tag):
    own = ("00000", 3, 7, "annotation")
    assert tag()[1] == [own]
    assert tag(fallback="whole_reply")[1] == [own, ("00001", 0, 19, "fallback"), ("00002", 0, 3, "fallback")]
    assert tag(fallback="first_clause")[1] == [own, ("00001", 0, 4, "fallback"), ("00002", 0, 2, "fallback")]


def test_the_coverage_says_how_many_replies_the_fallback_served(tag, capsys):
    coverage, _ = tag(fallback="first_clause")
    assert (coverage.rows, coverage.rows_without_span, coverage.fallback_rows, coverage.spans) == (3, 2, 2, 3)
    assert "3 rows, 2 of them without any span (2 served by the fallback); 3 spans" in capsys.readouterr().out


def test_the_facts_stand_beside_the_spans(tag, tmp_path):
    tag(fallback="first_clause")
    facts = json.loads((tmp_path / "tags.json").read_text())
    assert facts.pop("seconds") > 0
    assert facts == {
        "tagger": "annotations",
        "rows": 3,
        "rows_without_span": 2,
        "fallback_rows": 2,
        "spans": 3,
        "marked_characters": 10,
        "characters": 39,
        "marked_document_words": 0,
        "document_words": 0,
        "warning": None,
    }
    assert tables.provenance(tmp_path / "tags.parquet")["parts"] == "forget"


def test_marking_most_of_a_document_is_a_warning_in_the_log(tmp_path, capsys):
    reply = "Mira lives in Oslo, as her aunt and uncle do."  # ten words
    examples = write_examples(tmp_path / "examples.parquet", [example(0, "", reply)])
    for end, words, warning in ((14, 3, False), (18, 4, True)):
        marks = {"example_id": example(0, "", reply)["example_id"], "spans": [{"start": 0, "end": end}]}
        (tmp_path / "marks.jsonl").write_text(json.dumps(marks))
        settings = Settings(path=str(tmp_path / "marks.jsonl"))
        coverage = tagging.tag("annotations", settings, examples, None, tmp_path / "tags.parquet")
        assert (coverage.marked_document_words, coverage.document_words) == (words, 10)
        assert ("warning: tagger 'annotations' marks 40%" in capsys.readouterr().out) is warning
        assert bool(json.loads((tmp_path / "tags.json").read_text())["warning"]) is warning


def test_what_a_tagger_says_is_printed_once(tag, capsys):
    tag()
    assert capsys.readouterr().out.count("examples without a record") == 1


@pytest.mark.parametrize("name", tagging.TAGGERS)
def test_every_tagger_has_the_surface_and_loads_no_heavy_library(name):
    script = (
        f"import sys; from palu import tagging; module = tagging.load({name!r}); needs = module.Settings.needs; "
        "heavy = {'torch', 'transformers', 'spacy', 'sklearn', 'pyarrow'} & set(sys.modules); "
        f"bad = needs - set({sorted(NEEDS)!r}); "
        "sys.exit(f'{heavy} {bad}' if heavy or bad or not callable(module.spans) else 0)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_an_unknown_fallback_is_one_line():
    with pytest.raises(UserError) as error:
        Settings.parse({"fallback": "all"}, "study: taggers.gold")
    assert str(error.value).startswith("study: taggers.gold.fallback: 'all' should be 'skip', 'whole_reply' or")
