import math

import pytest

from palu.evaluation import first_word
from palu.evaluation.base import Missing
from tests.evaluation.cases import evidence, reading, row

# Ann | ␣lives | ␣in | ␣New | ␣Y | ork | . | end
REPLY = "Ann lives in New York."
CHARACTERS = [(0, 3), (3, 9), (9, 12), (12, 16), (16, 18), (18, 21), (21, 22), (0, 0)]
NAME = "first_word_probability"


def score(probabilities_and_spans):
    """Items and summary of replies REPLY, each with its tokens' probabilities and its spans."""
    rows = [row(f"forget/{i}/original/0", reply=REPLY) for i in range(len(probabilities_and_spans))]
    names = [example["example_id"] for example in rows]
    readings = {
        name: reading(probabilities, characters=CHARACTERS)
        for name, (probabilities, _) in zip(names, probabilities_and_spans, strict=True)
    }
    spans = {name: own for name, (_, own) in zip(names, probabilities_and_spans, strict=True) if own}
    case = evidence(rows, readings, spans=spans)
    items = first_word.items(case)
    return items[NAME], first_word.summary(items, case.scope)[NAME]


def test_the_geometric_mean_over_runs_and_then_over_replies_worked_by_hand():
    one = ([0.5, 1, 1, 0.02, 1, 1, 1, 1], [(0, 3), (13, 21)])
    other = ([1, 1, 1, 0.001, 1, 1, 1, 1], [(13, 21)])
    items, found = score([one, other, (one[0], [])])
    # sqrt(.5 x .02) = .1; a reply without a span does not enter; sqrt(.1 x .001) = .01
    assert items == {"forget/0/original/0": pytest.approx(0.1), "forget/1/original/0": pytest.approx(0.001)}
    assert found == pytest.approx(0.01)


def test_later_tokens_of_a_word_and_later_words_of_a_run_do_not_count():
    items, _ = score([([1, 1, 1, 0.25, 1e-6, 1e-6, 1e-6, 1e-6], [(13, 21)])])
    assert items["forget/0/original/0"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([(13, 16), (16, 21)], [3]),  # touching spans are one run
        ([(13, 16), (18, 21)], [3, 4]),  # a run that begins inside ␣Y|ork counts with the token that begins the word
        ([(19, 20)], [4]),
        ([(12, 21)], [3]),  # white space at the start of a span belongs to no word
        ([(20, 22)], [4]),
        ([(21, 22)], [6]),  # a run without a letter or digit counts with its first token
        ([(0, 1), (13, 14)], [0, 3]),
        ([(12, 13)], []),
        ([], []),
    ],
)
def test_a_run_counts_with_the_token_that_begins_its_first_word(spans, expected):
    found = first_word.first_word_tokens(reading([0.5] * 8, characters=CHARACTERS), REPLY, spans)
    assert found == expected


def test_a_quotation_mark_before_the_word_is_passed_over_and_a_token_that_straddles_it_is_taken():
    reply = 'He wrote "Dune" in "Oslo".'
    # He | ␣wrote | ␣" | D | une | " | ␣in | ␣"O | slo | ".
    characters = [(0, 2), (2, 8), (8, 10), (10, 11), (11, 14), (14, 15), (15, 18), (18, 21), (21, 24), (24, 26)]
    found = first_word.first_word_tokens(reading([0.5] * 10, characters=characters), reply, [(9, 15), (20, 24)])
    assert found == [3, 7]


def test_a_word_that_begins_two_runs_counts_once():
    reply = "Rosenborg"
    found = first_word.first_word_tokens(
        reading([0.5] * 3, characters=[(0, 2), (2, 5), (5, 9)]), reply, [(0, 1), (6, 8)]
    )
    assert found == [0]


def test_a_word_whose_first_token_is_not_predicted_does_not_count():
    characters = [(3, 9), (9, 12), (12, 16)]
    assert first_word.first_word_tokens(reading([0.5] * 3, characters=characters), "Annalives in New", [(3, 9)]) == []


def test_it_is_null_with_its_reason_where_there_is_nothing_to_measure():
    rows = [row("forget/0/original/0", reply=REPLY)]
    without = evidence(rows, {"forget/0/original/0": reading([0.5] * 8, characters=CHARACTERS)})
    assert first_word.summary(first_word.items(without), without.scope) == {NAME: Missing("no spans were given")}
    assert score([([0.5] * 8, [])])[1] == Missing("no span covers a token of a forget reply")
    broken = score([([math.nan] * 8, [(0, 3)]), ([0.5] * 8, [(0, 3)])])[1]
    assert "forget/0/original/0: the log-probability of predicted token 0 is nan" in broken.reason
    absent = evidence([row("retain/0/original/0")], spans={})
    found = first_word.summary(first_word.items(absent), absent.scope)[NAME]
    assert found == Missing("benchmark made-up has no part forget", absent=True)


def test_a_probability_below_all_numbers_makes_the_geometric_mean_zero():
    assert first_word.geometric_mean({"a": 0.0, "b": 0.5}) == 0
