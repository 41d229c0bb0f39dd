"""The one rule that says which tokens are sensitive."""

import numpy as np
import pytest

from palu.spans import first_of_runs, run_offsets, sensitive_tokens


def offsets(reply, starts, ends, spans):
    return run_offsets(sensitive_tokens(reply, starts, ends, spans)[0]).tolist()


def test_a_token_is_sensitive_when_it_meets_a_span_once_trimmed():
    reply = "Ann of Oslo, 1961"
    starts, ends = [0, 3, 6, 11, 12, 0], [3, 6, 11, 12, 17, 0]
    assert offsets(reply, starts, ends, [(7, 11), (13, 17)]) == [-1, -1, 0, -1, 0, -1]
    # the blank before a span belongs to no span, and touching spans are one run
    assert offsets(reply, starts, ends, [(6, 7)]) == [-1] * 6
    assert offsets(reply, starts, ends, [(7, 11), (11, 12), (12, 17)]) == [-1, -1, 0, 1, 2, -1]


def test_a_span_that_no_token_meets_is_told():
    _, found = sensitive_tokens("Ann of Oslo", [0, 3, 6], [3, 6, 11], [(0, 3), (3, 4), (7, 9)])
    assert found.tolist() == [True, False, True]


def test_without_spans_nothing_is_sensitive():
    tokens, found = sensitive_tokens("Ann", [0, 0], [3, 0], [])
    assert (tokens.tolist(), found.tolist()) == ([False, False], [])


@pytest.mark.parametrize(
    ("first_n", "expected"), [(1, [0, 1, 0, 0, 1]), (2, [0, 1, 1, 0, 1]), (None, [0, 1, 1, 0, 1])]
)
def test_the_first_of_each_run_are_initiating(first_n, expected):
    found = first_of_runs(np.array([-1, 0, 1, -1, 0], dtype=np.int16), first_n)
    assert found.tolist() == [bool(value) for value in expected]


@pytest.mark.parametrize(
    ("inside", "expected"),
    [([0, 1, 1, 0, 1], [-1, 0, 1, -1, 0]), ([1, 1], [0, 1]), ([0], [-1]), ([1, 0, 0, 1], [0, -1, -1, 0])],
)
def test_run_offsets_count_along_each_run(inside, expected):
    assert list(run_offsets(np.array(inside, dtype=bool))) == expected


def test_a_run_of_a_whole_book_stays_a_run():
    offsets = run_offsets(np.ones(40_000, dtype=bool))
    assert offsets[32_766:32_769].tolist() == [32_766, 32_767, 32_767]
    assert offsets[-1] == 32_767


@pytest.mark.parametrize("seed", range(20))
def test_tokens_and_spans_meet_as_the_definition_says(seed):
    draw = np.random.default_rng(seed)
    reply = "".join(draw.choice(list("ab  \n"), size=30))
    starts = draw.integers(0, 30, 12)
    ends = np.minimum(starts + draw.integers(0, 6, 12), 30)
    spans = [
        (int(start), int(min(start + size, 30)))
        for start, size in draw.integers(1, 8, (5, 2)) + [[i, 0] for i in range(5)]
    ]
    tokens, found = sensitive_tokens(reply, starts, ends, spans)

    def meets(token, span):
        text = reply[slice(*token)]
        first = token[0] + len(text) - len(text.lstrip())
        return bool(text.strip()) and first < span[1] and first + len(text.strip()) > span[0]

    pairs = [[meets(token, span) for span in spans] for token in zip(starts, ends, strict=True)]
    assert tokens.tolist() == [any(own) for own in pairs]
    assert found.tolist() == [any(own) for own in zip(*pairs, strict=True)]
