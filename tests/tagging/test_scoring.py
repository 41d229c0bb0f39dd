"""Precision, recall and F1 of spans: by hand, with ties, without text, over annotations and tokens."""

import json

import pytest

from palu import cli, models, tables
from palu.errors import UserError
from palu.tagging.scoring import score, score_tags
from tests.tagging.tables_of import example, unmarked, write_examples, write_spans


def scored(*pairs, **more):
    """Scores of (predicted, gold) texts with brackets around spans."""
    rows, predicted, gold = [], {}, {}
    for number, (guess, truth) in enumerate(pairs):
        reply, marks = unmarked(guess)
        assert unmarked(truth)[0] == reply
        rows.append(example(number, "?", reply))
        name = rows[-1]["example_id"]
        predicted[name], gold[name] = marks, unmarked(truth)[1]
    return score(predicted, gold, rows, **more)


def shares(found, unit):
    facts = found["units"][unit]
    return facts["hits"], facts["predicted"], facts["gold"], facts["total"]


def test_counts_are_those_made_by_hand():
    found = scored(("She [is in] Oslo, [now].", "She is in [Oslo], [now]."))
    assert shares(found, "character") == (3, 7, 7, 16)
    assert shares(found, "word") == (1, 3, 2, 5)
    assert shares(found, "span")[:3] == (1, 2, 2)
    assert found["units"]["character"]["precision"] == found["units"]["character"]["f1"] == pytest.approx(3 / 7)
    assert found["units"]["word"]["f1"] == pytest.approx(2 / 5)


def test_half_a_word_marks_the_word():
    assert shares(scored(("[Os]lo it is", "Oslo [it] is")), "word") == (0, 1, 1, 3)
    assert shares(scored(("[Os]lo it is", "Os[lo] it is")), "word") == (1, 1, 1, 3)


def test_white_space_inside_a_span_is_no_character():
    assert shares(scored(("[a   b]", "[a]   b")), "character") == (1, 2, 1, 2)


def test_touching_spans_stay_two_and_agree_in_characters_only():
    found = scored(("[ab]", "[a][b]"))
    assert shares(found, "character") == (2, 2, 2, 2)
    assert shares(found, "span")[:3] == (0, 1, 2)


def test_overlapping_spans_are_joined_on_both_sides(tmp_path):
    examples = write_examples(tmp_path / "e.parquet", [example(0, "?", "abcdef gh")])
    name = "forget/00000/original/0"
    predicted = write_spans(tmp_path / "p.parquet", examples, {name: [(0, 4), (2, 6)]})
    gold = write_spans(tmp_path / "g.parquet", examples, {name: [(0, 5), (1, 6), (7, 9)]})
    for with_text in (examples, None):
        found = score_tags(predicted, gold, with_text)
        assert shares(found, "span")[:3] == (1, 1, 2)
        assert shares(found, "character")[:3] == (6, 6, 8)


def test_sums_run_over_rows_not_means():
    found = scored(("[a] b c", "[a] b c"), ("[d e f g]", "d e f [g]"))
    assert found["units"]["character"]["precision"] == pytest.approx(2 / 5)


def test_rows_without_gold_count_and_are_told_apart():
    found = scored(("[a] b", "a b"), ("c d", "c d"), ("e f", "[e] f"))
    assert (found["rows"], found["rows_without_gold"], found["rows_without_gold_marked"]) == (3, 2, 1)
    assert found["rows_without_prediction"] == 2
    assert shares(found, "character")[:3] == (0, 1, 1)
    assert found["units"]["character"]["precision"] == found["units"]["character"]["f1"] == 0


def test_a_share_of_nothing_is_null():
    facts = scored(("a b", "a [b]"))["units"]["character"]
    assert facts["precision"] is None
    assert (facts["recall"], facts["f1"]) == (0, 0)
    facts = scored(("a b", "a b"))["units"]["character"]
    assert facts["precision"] is facts["recall"] is facts["f1"] is None


def test_mistakes_are_shown_by_frequency_with_their_context():
    found = scored(("In Oslo [she] sat.", "In [Oslo] she sat."), ("Then [She] left oslo.", "Then She left [oslo]."))
    assert [(each["count"], each["text"]) for each in found["misses"]] == [(2, "Oslo")]
    assert found["false_alarms"] == [
        {"count": 2, "example_id": "forget/00000/original/0", "before": "In Oslo ", "text": "she", "after": " sat."}
    ]


def test_what_is_half_right_is_a_mistake_in_its_other_half():
    found = scored(("[Ada Byron] wrote", "Ada [Byron wrote]"))
    assert [each["text"] for each in found["misses"]] == ["wrote"]
    assert [each["text"] for each in found["false_alarms"]] == ["Ada"]


def test_characters_are_code_points_and_marks_belong_to_their_word():
    found = scored(("[Zo\u0308e] e\u0301te\u0301", "Zo\u0308e [e\u0301te\u0301]"))
    assert shares(found, "word") == (0, 1, 1, 2)
    assert shares(found, "character") == (0, 4, 5, 9)


@pytest.fixture
def files(tmp_path):
    """Two parts; tags of the part forget, gold of both, in a table and as annotations of three of four rows."""
    rows = [example(0, "Who?", "Ada wrote it."), example(1, "Where?", "In Bern."), example(2, "Why?", "Nobody knows.")]
    rows.append(example(3, "When?", "In 1843.", part="retain"))
    examples = write_examples(tmp_path / "e.parquet", rows)
    names = [row["example_id"] for row in rows]
    predicted = write_spans(tmp_path / "p.parquet", examples, {names[0]: [(0, 3)], names[1]: [(0, 7)]}, parts="forget")
    gold = write_spans(tmp_path / "g.parquet", examples, {names[0]: [(0, 3)], names[1]: [(3, 7)], names[3]: [(3, 7)]})
    records = [
        {"question": "Who?", "answer": "Ada wrote it.", "spans": [{"start": 0, "end": 3}]},
        {"question": "Why?", "answer": "Nobody knows.", "spans": []},
        {"question": "When?", "answer": "In 1843.", "spans": [{"start": 3, "end": 7}]},
    ]
    (tmp_path / "g.jsonl").write_text("\n".join(map(json.dumps, records)))
    return examples, predicted, gold, tmp_path / "g.jsonl"


def test_only_the_parts_that_were_tagged_count(files):
    examples, predicted, gold, _ = files
    found = score_tags(predicted, gold, examples)
    assert (found["rows"], found["rows_without_gold"]) == (3, 1)
    assert shares(found, "character")[:3] == (7, 9, 7)


def test_of_a_file_of_annotations_only_the_annotated_rows_count(files):
    examples, predicted, _, annotations = files
    found = score_tags(predicted, annotations, examples)
    assert (found["rows"], found["rows_without_gold"]) == (2, 1)
    assert shares(found, "character")[:3] == (3, 3, 3)


def test_without_examples_there_are_characters_and_spans_only(files):
    _, predicted, gold, annotations = files
    found = score_tags(predicted, gold)
    assert set(found["units"]) == {"character", "span"}
    assert "misses" not in found
    with pytest.raises(UserError, match=r"g\.jsonl names replies by their text.*allowed: --examples FILE"):
        score_tags(predicted, annotations)


def test_tags_of_other_examples_are_refused(files, tmp_path):
    other = write_examples(tmp_path / "o.parquet", [example(0, "Who?", "Eve wrote it.")])
    with pytest.raises(UserError, match=r"p\.parquet: made with examples"):
        score_tags(files[1], files[2], other)


def test_tokens_are_those_of_the_reply_in_training(files):
    examples, predicted, gold, _ = files
    texts = [row["prompt"] + " " + row["reply"] for row in tables.rows(examples, "examples")]
    tokenizer = models.train_tokenizer(texts, 300)
    found = score_tags(predicted, gold, examples, tokenizer)
    facts = found["units"]["token"]
    assert 0 < facts["hits"] < facts["predicted"] <= facts["total"]
    # a byte-level tokenizer has no more tokens than the replies have characters, and an end token in each row
    assert facts["total"] <= sum(len(row["reply"]) for row in tables.rows(examples, "examples")) + 4
    assert facts["recall"] == 1


def test_the_command_prints_a_table_or_one_json_object(files, capsys, tmp_path):
    examples, predicted, gold, annotations = map(str, files)
    command = ["score-tags", "--predicted", predicted, "--examples", examples, "--gold"]
    assert cli.main([*command, gold]) == 0
    printed = capsys.readouterr().out
    assert "3 rows, 1 of them without any gold span (0 of these are marked)" in printed
    assert "character      0.778   1.000  0.875" in printed
    assert "false 1×  [In] Bern." in printed
    assert cli.main([*command, annotations, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 2
    assert cli.main([*command, gold, "--out", str(tmp_path / "s.json")]) == 0
    assert capsys.readouterr().out == ""
    assert json.loads((tmp_path / "s.json").read_text())["rows"] == 3
