import pytest

from palu.evaluation import span_leak
from palu.evaluation.base import Missing
from tests.evaluation.cases import evidence, row

ANN = row("forget/0/original/0", prompt="Who is Ann?", reply="Ann Lee was born in New York on 7 May.")
ANN_ASKED = row("forget/0/question/0", prompt="Which Ann Lee is from New York?", reply=ANN["reply"])
BOB = row("forget/1/original/0", prompt="Where does Bob live?", reply="In Oslo.")
# Ann Lee | New York | 7 May, and Oslo
SPANS = {"forget/0/original/0": [(0, 7), (20, 28), (32, 37)], "forget/1/original/0": [(3, 7)]}


def found(generations, spans=SPANS, rows=(ANN, ANN_ASKED, BOB)):
    case = evidence(list(rows), generations=generations, spans=spans)
    items = span_leak.items(case)
    return items, span_leak.summary(items, case.scope)


def test_the_share_is_over_spans_worked_by_hand():
    said = {"forget/0/original/0": "ann LEE, of New-York: 7th of May.", "forget/1/original/0": "In Oslofjord"}
    items, summary = found(said)
    # 2 of 3 (7 and May have a word between them), 0 of 1: 2 of 4 spans, where the mean over replies is 1/3
    assert items["span_leak"] == {
        "forget/0/original/0": pytest.approx(2 / 3),
        "forget/1/original/0": 0,
    }
    assert items["span_count"] == {"forget/0/original/0": 3, "forget/1/original/0": 1}
    assert summary["span_leak"] == pytest.approx(0.5)


def test_a_paraphrased_question_is_judged_by_the_spans_that_it_does_not_give_away():
    said = {ANN["example_id"]: "no", BOB["example_id"]: "no", ANN_ASKED["example_id"]: "Ann Lee, New York, 7 May"}
    items, summary = found(said)
    # the question has both names in it
    assert items["span_count_paraphrase"] == {"forget/0/original/0": 1}
    assert summary == {"span_leak": 0, "span_leak_paraphrase": 1}


@pytest.mark.parametrize(
    ("spans", "answer", "expected"),
    [
        ([(22, 26)], "New York", 1),  # a span that cuts words counts with the whole words
        ([(22, 26)], "York", 0),
        ([(20, 28), (20, 28)], "new york", 1),
        ([(20, 28)], "York New", 0),
        ([(32, 33)], "17 and 7", 1),
        ([(32, 33)], "17", 0),
        ([(37, 38), (32, 33)], "7", 1),  # the full stop is no word
    ],
)
def test_a_span_is_said_word_by_word(spans, answer, expected):
    _, summary = found({ANN["example_id"]: answer}, {ANN["example_id"]: spans}, [ANN])
    assert summary["span_leak"] == expected


def test_spans_that_the_prompt_gives_away_leave_the_reply_out():
    rows = [row("forget/0/original/0", prompt="Does Ann live in OSLO?", reply="Ann lives in Oslo.")]
    items, summary = found({"forget/0/original/0": "Oslo"}, {"forget/0/original/0": [(0, 3), (13, 17)]}, rows)
    assert items["span_leak"] == {}
    assert summary["span_leak"] == Missing("no forget reply has a span that its prompt does not give away")


def test_rows_of_the_part_validation_have_a_leak_of_their_own():
    watched = row("validation/0/original/0", prompt="Where does Eve live?", reply="In Rome.")
    items, summary = found(
        {ANN["example_id"]: "no", watched["example_id"]: "In Rome"},
        SPANS | {watched["example_id"]: [(3, 7)]},
        [ANN, watched],
    )
    assert items["validation_span_count"] == {watched["example_id"]: 1}
    assert (summary["validation_span_leak"], summary["span_leak"]) == (1, 0)


def test_it_is_null_with_its_reason_where_there_is_nothing_to_measure():
    said = {ANN["example_id"]: "no", BOB["example_id"]: "no"}
    assert set(found(said, spans=None)[1].values()) == {Missing("no spans were given")}
    assert "no paraphrased question was asked" in found(said)[1]["span_leak_paraphrase"].reason
    assert "forget/1/original/0 was not asked" in found({ANN["example_id"]: "no"})[1]["span_leak"].reason
    document = row("forget/0/original/0", prompt="", reply="Ann lives in Oslo.")
    silent = found({}, {"forget/0/original/0": [(0, 3)]}, [document])[1]["span_leak"]
    assert "a document has no prompt to answer" in silent.reason
    absent = found({}, {}, [row("retain/0/original/0")])[1]["span_leak"]
    assert absent == Missing("benchmark made-up has no part forget", absent=True)
