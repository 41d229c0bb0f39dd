import math

import numpy as np
import pytest

from palu.evaluation import probability
from palu.evaluation.base import Missing
from tests.evaluation.cases import evidence, reading, row

# Ann | ␣lives | ␣in | ␣New | ␣York | . | end
REPLY = "Ann lives in New York."
CHARACTERS = [(0, 3), (3, 9), (9, 12), (12, 16), (16, 21), (21, 22), (0, 0)]


def test_the_probability_of_a_reply_is_the_geometric_mean_of_its_tokens():
    case = evidence([row("forget/0/original/0")], {"forget/0/original/0": reading([0.5, 0.125])})
    items = probability.items(case)
    assert items["loss"]["forget/0/original/0"] == pytest.approx((math.log(2) + math.log(8)) / 2)
    assert items["forget_probability"]["forget/0/original/0"] == pytest.approx(0.25)
    assert probability.summary(items, case.scope)["forget_probability"] == pytest.approx(0.25)


def test_the_probability_of_a_fact_is_its_share_among_the_options():
    rows = [row("world_facts/0/original/0"), row("world_facts/0/perturbed/0"), row("world_facts/0/perturbed/1")]
    readings = dict(zip([r["example_id"] for r in rows], map(reading, ([0.2], [0.1], [0.5])), strict=True))
    items = probability.items(evidence(rows, readings))
    assert items["world_facts_probability"] == {"world_facts/0/original/0": pytest.approx(0.2 / 0.8)}


def test_options_that_are_all_impossible_share_nothing():
    rows = [row("real_authors/0/original/0"), row("real_authors/0/perturbed/0")]
    readings = {r["example_id"]: reading([1e-300]) for r in rows}
    assert probability.items(evidence(rows, readings))["real_authors_probability"] == {
        "real_authors/0/original/0": pytest.approx(0, abs=1e-200)
    }


@pytest.mark.parametrize("broken", [math.nan, -math.inf, math.inf])
def test_a_log_probability_that_is_not_finite_makes_the_item_and_the_mean_missing(broken):
    rows = [row("forget/0/original/0"), row("forget/1/original/0")]
    readings = {"forget/0/original/0": reading([0.5]), "forget/1/original/0": reading([0.5, broken])}
    case = evidence(rows, readings)
    items = probability.items(case)
    reason = f"the log-probability of predicted token 1 is {broken}"
    assert items["forget_probability"]["forget/1/original/0"] == Missing(reason)
    assert probability.summary(items, case.scope)["forget_probability"] == Missing(
        f"1 of 2 forget probability values cannot be had; the first: forget/1/original/0: {reason}"
    )


def test_a_broken_wrong_reply_is_named_in_the_reason_of_its_item():
    rows = [row("world_facts/0/original/0"), row("world_facts/0/perturbed/0")]
    readings = {"world_facts/0/original/0": reading([0.2]), "world_facts/0/perturbed/0": reading([math.nan])}
    found = probability.items(evidence(rows, readings))["world_facts_probability"]["world_facts/0/original/0"]
    assert found.reason.startswith("world_facts/0/perturbed/0: ")


def test_a_part_that_the_benchmark_lacks_is_absent_and_an_empty_forget_set_too():
    case = evidence([row("retain/0/original/0")], {"retain/0/original/0": reading([0.5])})
    summary = probability.summary(probability.items(case), case.scope)
    assert summary["forget_probability"] == Missing("benchmark made-up has no part forget", absent=True)
    assert summary["retain_probability"] == 0.5


def test_a_row_that_was_not_evaluated_is_missing_but_not_absent():
    case = evidence([row("retain/0/original/0")])
    found = probability.summary(probability.items(case), case.scope)["retain_probability"]
    assert "retain/0/original/0 was not given to the model" in found.reason
    assert not found.absent


@pytest.mark.parametrize(
    ("first_n", "expected"),
    [
        (1, [1, 0, 0, 1, 0, 0, 0]),
        (2, [1, 0, 0, 1, 1, 0, 0]),
        (None, [1, 0, 0, 1, 1, 0, 0]),
    ],
)
def test_initiating_tokens_are_the_first_of_every_run(first_n, expected):
    found = probability.initiating_tokens(
        reading([0.5] * 7, characters=CHARACTERS), REPLY, [(0, 3), (13, 21)], first_n
    )
    assert found.tolist() == [bool(flag) for flag in expected]


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([(12, 13)], []),  # white space only: the token's own characters begin after it
        ([(13, 16), (16, 21)], [3]),  # touching spans are one run
        ([(13, 14)], [3]),  # a span that splits a token takes it whole
        ([(0, 22)], [0]),  # the end token is in no span
    ],
)
def test_a_token_is_sensitive_by_its_trimmed_characters(spans, expected):
    found = probability.initiating_tokens(reading([0.5] * 7, characters=CHARACTERS), REPLY, spans, 1)
    assert np.flatnonzero(found).tolist() == expected


def test_initiating_probability_averages_within_a_reply_and_then_over_replies_that_have_a_span():
    rows = [row(f"forget/{i}/original/0", reply=REPLY) for i in range(3)]
    first = reading([0.2, 0.9, 0.9, 0.4, 0.9, 0.9, 0.9], characters=CHARACTERS)
    second = reading([0.9, 0.9, 0.9, 0.1, 0.9, 0.9, 0.9], characters=CHARACTERS)
    readings = dict(zip([r["example_id"] for r in rows], [first, second, first], strict=True))
    spans = {"forget/0/original/0": [(0, 3), (13, 21)], "forget/1/original/0": [(13, 16)]}
    case = evidence(rows, readings, spans=spans, first_n=1)
    items = probability.items(case)
    assert items["forget_initiating_probability"] == {
        "forget/0/original/0": pytest.approx(0.3),
        "forget/1/original/0": pytest.approx(0.1),
    }
    assert probability.summary(items, case.scope)["forget_initiating_probability"] == pytest.approx(0.2)


def test_initiating_probability_is_left_out_without_spans_and_missing_where_they_cover_nothing():
    rows = [row("forget/0/original/0", reply=REPLY)]
    readings = {"forget/0/original/0": reading([0.5] * 7, characters=CHARACTERS)}
    without = evidence(rows, readings)
    assert "forget_initiating_probability" not in probability.summary(probability.items(without), without.scope)
    nothing = evidence(rows, readings, spans={})
    assert probability.summary(probability.items(nothing), nothing.scope)["forget_initiating_probability"] == Missing(
        "no span covers a token of a forget reply"
    )


def test_paraphrased_questions_count_only_where_they_were_asked():
    rows = [row("forget/0/original/0"), row("forget/0/question/0")]
    name = "forget_paraphrased_question_probability"
    silent = evidence(rows, {"forget/0/original/0": reading([0.5])})
    assert name not in probability.summary(probability.items(silent), silent.scope)
    asked = evidence(rows, {"forget/0/original/0": reading([0.5]), "forget/0/question/0": reading([0.125])})
    assert probability.summary(probability.items(asked), asked.scope)[name] == pytest.approx(0.125)
