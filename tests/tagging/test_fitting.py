"""What a tagger that is trained is given to learn from."""

import json
from types import SimpleNamespace
from typing import ClassVar

import pytest

from palu import tagging
from palu.errors import UserError
from palu.tagging.base import TaggerSettings
from palu.tagging.fitting import fit
from tests.tagging.tables_of import example, write_examples, write_spans


class Learning(TaggerSettings):
    needs: ClassVar[frozenset[str]] = frozenset({"trained"})

    annotations: str | None = None

    @property
    def files(self):
        return (self.annotations,) if self.annotations else ()


@pytest.fixture
def learner(monkeypatch):
    """A tagger that keeps what it is given to learn from."""
    given = {}
    module = SimpleNamespace(Settings=Learning, train=lambda *arguments: given.update(arguments=arguments))
    monkeypatch.setattr(tagging, "load", lambda *_: module)
    return given


@pytest.fixture
def rows(tmp_path):
    rows = [
        example(0, "Who?", "Ada wrote it."),
        example(1, "Where?", "In Bern."),
        example(2, "Why?", "Nobody knows."),
        example(3, "When?", "In 1843.", part="retain"),
        example(4, "What?", "Snow is white.", part="world_facts"),
    ]
    examples = write_examples(tmp_path / "e.parquet", rows)
    names = [row["example_id"] for row in rows]
    spans = {names[0]: [(0, 3), (2, 5)], names[1]: [(3, 7)], names[3]: [(3, 7)]}
    return names, examples, write_spans(tmp_path / "g.parquet", examples, spans)


def learnt(given):
    examples, spans, _settings, _out = given["arguments"]
    assert [row["example_id"] for row in examples] == list(spans)
    return spans


def test_gold_spans_of_all_annotated_parts_are_learnt_from_and_joined(learner, rows, tmp_path):
    names, examples, gold = rows
    fit("trained", {}, examples, gold, tmp_path / "out")
    assert learnt(learner) == {names[0]: [(0, 5)], names[1]: [(3, 7)], names[2]: [], names[3]: [(3, 7)]}


def test_parts_are_selectable(learner, rows, tmp_path):
    names, examples, gold = rows
    fit("trained", {}, examples, gold, tmp_path / "out", ["retain"])
    assert learnt(learner) == {names[3]: [(3, 7)]}


def test_of_a_file_only_the_annotated_rows_are_learnt_from(learner, rows, tmp_path):
    names, examples, gold = rows
    records = [{"example_id": names[0], "spans": [{"start": 0, "end": 3}]}, {"example_id": names[2], "spans": []}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    fit("trained", {"annotations": str(tmp_path / "a.jsonl")}, examples, gold, tmp_path / "out")
    assert learnt(learner) == {names[0]: [(0, 3)], names[2]: []}


def test_a_tagger_that_is_not_trained_is_refused(rows, tmp_path):
    with pytest.raises(UserError, match="--tagger: 'spacy' is not trained"):
        fit("spacy", {}, rows[1], rows[2], tmp_path / "out")
