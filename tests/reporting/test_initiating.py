from pathlib import Path

from palu import tables
from palu.reporting.collect import collect
from palu.reporting.initiating import (
    ReplyTokens,
    TokenShares,
    initiating,
    read_tokens,
    token_shares,
)
from palu.reporting.items import ForgetItem


def test_shares_leave_the_end_token_out():
    ends = [1, 2, 3, 4, 5, 0]
    tokens = ReplyTokens([max(end - 1, 0) for end in ends], ends, [-1, 0, 1, 2, -1, -1])
    assert token_shares([tokens], 2) == TokenShares(initiating=2, past_first_n=1, common=2)
    assert token_shares([tokens], None) == TokenShares(initiating=3, past_first_n=0, common=2)
    assert token_shares([tokens], 2).share == 2 / 5


def test_each_n_has_its_share_and_rivals_that_aim_at_whole_replies_have_none(small_index):
    study = collect(small_index)
    shares = initiating(study).shares[2]
    # spans of 1, 3, 3, 1, 1, 3 words and of 1, 4, 3, 1, 1, 4
    assert (shares.initiating, shares.past_first_n) == (9 + 9, 3 + 5)
    assert initiating(study).of(study, study.arms[0]) == shares
    assert initiating(study).of(study, study.arms[1]) is None


def test_without_log_probabilities_or_tagger_there_is_no_share(small_index):
    Path(small_index["original"]["evaluation"], "logprobs.parquet").unlink()
    assert initiating(collect(small_index)).shares == {}
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
