import numpy as np
import pytest

from palu.roles import COMMON
from palu.tokens import TokenRow, lay_out, shared_lines


def row(*ids):
    count = len(ids)
    return TokenRow(
        example_id=str(ids),
        input_ids=np.array(ids, np.int32),
        reply_start=1,
        role=np.full(count, COMMON, np.int8),
        span_offset=np.full(count, -1, np.int16),
        char_start=np.zeros(count, np.int32),
        char_end=np.zeros(count, np.int32),
        truncated=False,
    )


# the rows of the module's own example, in another order
ROWS = [row(1, 2, 3, 5), row(1, 2, 6), row(1, 2, 3, 4)]


def test_what_rows_begin_with_alike_is_in_their_line_once():
    (line,) = shared_lines(ROWS, 10)
    assert (line.rows, line.kept, line.tokens, line.branches) == ([2, 0, 1], [0, 3, 2], 6, True)
    found = lay_out([line], ROWS, pad_id=0)
    assert found.input_ids.tolist() == [[1, 2, 3, 4, 5, 6]]
    assert found.position_ids.tolist() == [[0, 1, 2, 3, 3, 2]]
    assert found.before.tolist() == [0, 0, 1, 2, 2, 1]
    assert [path.tolist() for path in found.places] == [[0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 5]]
    assert found.attention_mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 0, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]


def test_a_line_has_no_more_tokens_than_allowed_and_longer_rows_are_alone():
    rows = [row(1, 2, *range(first, first + 5)) for first in range(10, 100, 10)] + [row(*range(1, 30))]
    lines = shared_lines(rows, 13)
    assert sorted(i for line in lines for i in line.rows) == list(range(10))
    assert [line.tokens for line in lines if line.branches] == [12] * 4
    assert {line.tokens for line in lines if not line.branches} == {7, 29}


@pytest.mark.parametrize("width", [0, 100])
def test_equal_rows_and_the_beginning_of_a_row_need_no_mask(width):
    rows = [row(1, 2, 3), row(1, 2), row(1, 2, 3), row(7, 8)]
    lines = shared_lines(rows, width)
    assert sorted((line.tokens, line.branches) for line in lines) == [(2, False), (3, False)]
    found = lay_out(lines, rows, pad_id=9)
    assert found.attention_mask is None
    assert found.position_ids.tolist() == [[0, 1, 2]] * 2
    assert sorted(found.input_ids.tolist()) == [[1, 2, 3], [7, 8, 9]]


def test_padding_sees_itself_and_no_row_sees_it():
    rows = [*ROWS, row(4, 5), row(4, 6)]
    found = lay_out(shared_lines(rows, 10), rows, pad_id=0)
    mask = found.attention_mask[1, 0]
    assert found.input_ids[1].tolist() == [4, 5, 6, 0, 0, 0]
    assert mask[3:].int().tolist() == [[0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1]]
    assert not mask[:3, 3:].any()
