import math
from dataclasses import replace
from pathlib import Path

import pytest

from palu import tables
from palu.reporting.collect import collect
from palu.reporting.initiating import (
    ReplyTokens,
    TokenShares,
    initiating,
    localized,
    mean_extraction,
    mean_probability,
    read_tokens,
    token_shares,
)
from palu.reporting.items import ForgetItem


def reply_tokens(log_probs, hits, offset, char_ends=None):
    ends = char_ends if char_ends is not None else [*range(1, len(offset)), 0]
    return ReplyTokens([max(end - 1, 0) for end in ends], ends, log_probs, hits, offset)


def test_shares_leave_the_end_token_out():
    tokens = reply_tokens([0.0] * 6, [True] * 6, [-1, 0, 1, 2, -1, -1])
    assert token_shares([tokens], 2) == TokenShares(initiating=2, past_first_n=1, common=2)
    assert token_shares([tokens], None) == TokenShares(initiating=3, past_first_n=0, common=2)


def test_probability_and_extraction_worked_by_hand():
    half, quarter = math.log(0.5), math.log(0.25)
    first = reply_tokens([half, half, quarter, quarter], [True, False, True, False], [-1] * 4)
    second = reply_tokens([0.0, 0.0, 0.0], [True, True, True], [-1] * 3)
    assert mean_probability({"a": first, "b": second}) == pytest.approx((2**-1.5 + 1) / 2)
    # without the last token: the reply ends in one hit of three, and in two of two
    assert mean_extraction({"a": first, "b": second}) == pytest.approx((1 / 3 + 1) / 2)
    wrong = replace(second, argmax_hits=[True, False, True])
    assert mean_extraction({"b": wrong}) == pytest.approx(1 / 2)


def test_a_localized_model_takes_initiating_tokens_from_the_retain_model():
    before = reply_tokens([-0.1, -0.2, -0.3, -0.4], [True] * 4, [-1, 0, 1, -1])
    after = reply_tokens([-5.0, -6.0, -7.0, -8.0], [False] * 4, [-1, 0, 1, -1])
    mixed = localized({"a": before}, {"a": after}, 1)
    assert mixed is not None
    assert mixed["a"].log_probs == [-0.1, -6.0, -0.3, -0.4]
    assert mixed["a"].argmax_hits == [True, False, True, True]


def test_other_replies_or_other_tokens_give_no_localized_model():
    tokens = reply_tokens([-0.1, -0.2], [True] * 2, [0, -1])
    other = reply_tokens([-0.1, -0.2, -0.3], [True] * 3, [0, 1, -1])
    assert localized({"a": tokens}, {"b": tokens}, 1) is None
    assert localized({"a": tokens}, {"a": other}, 1) is None
    assert localized({}, {}, 1) is None


def test_what_a_perfectly_local_method_would_leave_is_between_the_retain_model_and_the_original(small_index):
    study = collect(small_index)
    floor = initiating(study).floors[2]
    for metric in ("forget_probability", "extraction_strength"):
        before, after = study.original.measured(metric).value, study.retain.measured(metric).value
        assert after < floor.of(metric) < before
    # spans of 1, 3, 3, 1, 1, 3 words and of 1, 4, 3, 1, 1, 4
    assert (floor.shares.initiating, floor.shares.past_first_n) == (9 + 9, 3 + 5)
    assert initiating(study).of(study, study.arms[0]) == floor
    assert initiating(study).of(study, study.arms[1]) is None


def test_what_does_not_reproduce_the_summary_is_not_shown(small_index, edit_summary):
    edit_summary(small_index["original"]["evaluation"], {"forget_probability": 0.5})
    floor = initiating(collect(small_index)).floors[2]
    assert floor.probability is None
    assert floor.extraction is not None


def test_without_log_probabilities_or_tagger_there_is_nothing_to_show(small_index):
    Path(small_index["original"]["evaluation"], "logprobs.parquet").unlink()
    assert initiating(collect(small_index)).floors == {}
    small_index["display_tagger"] = None
    assert initiating(collect(small_index)).tokens == {}


def test_tokens_of_other_examples_are_left_in_the_table(small_index):
    study = collect(small_index)
    item = study.items[3]
    found = read_tokens(study.original.log_probs_path, [item, ForgetItem("none", "g", "p", "r", ())])
    assert list(found) == [item.example_id]
    assert len(found[item.example_id].offset) == len(
        next(
            row["log_probs"]
            for row in tables.rows(study.original.log_probs_path, "logprobs")
            if row["example_id"] == item.example_id
        )
    )
