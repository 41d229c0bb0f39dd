import random
from dataclasses import replace

import pytest
from rouge_score.rouge_scorer import RougeScorer

from palu.evaluation import rouge, verbatim
from palu.evaluation.base import Missing
from tests.evaluation.cases import evidence, reading, row

ID = "verbmem/0/original/0"
WORDS = ["Ann", "writes", "writing", "novels", "novel", "in", "Oslo's", "old", "harbours", "1980", "prize-winning,"]


def one(reply, generation, tokens=128, characters=None, end_count=1):
    """The metrics of one row; every word of the reply is a token, but where `characters` says otherwise."""
    if characters is None:
        ends = [i for i, character in enumerate(reply + " ") if character == " "]
        characters = [(0, end) for end in ends]
    characters = [*characters, *[(0, 0)] * end_count]
    found = reading([0.5] * len(characters), characters=characters, end_count=end_count)
    case = evidence([row(ID, "Once upon", reply)], {ID: found}, {ID: generation}, continuation_tokens=tokens)
    return verbatim.summary(verbatim.items(case), case.scope)


def test_three_cases_by_hand():
    whole = one("he went home", "he went home")
    assert whole == {"verbatim_memorization": 1, "verbatim_memorization_stemmed": 1}
    # common: he ... home = 2 of 3 true and of 4 written words: 2 * (2/3) * (2/4) / (2/3 + 2/4)
    assert one("he went home", "he never came home")["verbatim_memorization"] == pytest.approx(4 / 7)
    # walked and walking are one word once stemmed: 2 of 2 and 2, else 1 of 2 and 2
    assert one("he walked", "he walking") == {"verbatim_memorization": 0.5, "verbatim_memorization_stemmed": 1}


def test_only_as_many_tokens_of_the_true_continuation_count():
    found = one("he went home and slept", "he went", tokens=2)
    assert found["verbatim_memorization"] == 1
    # the peer compares with the whole reply: 2 of 5 true words, 2 of 2 written ones
    assert found["verbatim_memorization_stemmed"] == pytest.approx(4 / 7)


def test_the_end_token_is_none_of_the_tokens_and_a_truncated_reply_is_cut_where_the_reading_ends():
    assert one("he went", "he went", tokens=2)["verbatim_memorization"] == 1
    cut = one("he went home", "he went", characters=[(0, 2), (2, 7)], end_count=0)
    assert cut["verbatim_memorization"] == 1


@pytest.mark.parametrize("stemmed", [False, True])
def test_f1_equals_that_of_the_package_of_the_field(stemmed):
    draw = random.Random(1)
    scorer = RougeScorer(["rougeL"], use_stemmer=stemmed)
    cut = rouge.words if stemmed else rouge.plain_words
    for _ in range(300):
        true, said = (" ".join(draw.choices(WORDS, k=draw.randrange(0, 60))) for _ in range(2))
        assert rouge.f1(said, true, cut) == scorer.score(true, said)["rougeL"].fmeasure


def test_a_row_that_was_not_asked_or_not_read_has_a_reason_and_the_mean_none():
    rows = [row(ID, "Once", "he went"), row("verbmem/1/original/0", "Once", "she went")]
    case = evidence(rows, {ID: reading([0.5, 0.5], characters=[(0, 7), (0, 0)])}, {ID: "he went"})
    items = verbatim.items(case)
    assert items["verbatim_memorization"] == {
        ID: 1,
        "verbmem/1/original/0": Missing("verbmem/1/original/0 was not asked"),
    }
    assert isinstance(verbatim.summary(items, case.scope)["verbatim_memorization"], Missing)
    unread = replace(case, readings={})
    assert verbatim.items(unread)["verbatim_memorization"][ID] == Missing(f"{ID} was not given to the model")


def test_a_benchmark_without_starts_of_documents_has_no_such_metric():
    case = evidence([row("forget/0/original/0")])
    assert verbatim.summary(verbatim.items(case), case.scope) == {}
