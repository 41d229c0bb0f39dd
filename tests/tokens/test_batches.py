"""Rows become batches, padded or packed, and packed rows do not see each other."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from palu import models, tokens
from palu.heads import Head
from palu.roles import END, PROMPT
from tests.tokens.cases import PLAIN, TEXTS, TOKENIZER, example, row_of_length, two_rows

LENGTHS = [4, 9, 3, 9, 5, 2, 4]


def rows_of_lengths(*lengths):
    return [row_of_length(length, f"row{i}") for i, length in enumerate(lengths)]


def places(batch):
    """(line, column of the first token, length) of every row that the position ids tell of, padding included."""
    found = []
    for line, ids in enumerate(batch.position_ids.tolist()):
        starts = [t for t in range(len(ids)) if t == 0 or ids[t] != ids[t - 1] + 1]
        found += [(line, a, b - a) for a, b in zip(starts, [*starts[1:], len(ids)], strict=True)]
    return found


def test_a_batch_pads_on_the_right_and_keeps_positions():
    rows = two_rows()
    batch = tokens.collate(rows, pad_id=7)
    width = max(map(len, rows))
    assert batch.input_ids.shape == batch.position_ids.shape == (2, width)
    assert batch.attention_mask is None
    for line, row in enumerate(rows):
        assert batch.input_ids[line, : len(row)].tolist() == row.input_ids.tolist()
        assert (batch.input_ids[line, len(row) :] == 7).all()
    assert batch.position_ids.tolist() == [list(range(width))] * 2
    assert (batch.row_count, batch.example_ids) == (2, ["short", "long"])


def test_a_position_predicts_the_next_token_of_its_row():
    rows = two_rows()
    batch = tokens.collate(rows, pad_id=2)
    width = batch.input_ids.shape[1]
    expected = [(r, t) for r, row in enumerate(rows) for t in range(row.reply_start - 1, len(row) - 1)]
    assert list(zip(batch.row.tolist(), batch.position.tolist(), strict=True)) == expected
    assert batch.predict_index.tolist() == [r * width + t for r, t in expected]
    assert batch.target_ids.tolist() == [rows[r].input_ids[t + 1] for r, t in expected]
    assert batch.role.tolist() == [rows[r].role[t + 1] for r, t in expected]
    assert batch.span_offset.tolist() == [rows[r].span_offset[t + 1] for r, t in expected]
    assert PROMPT not in batch.role
    assert [batch.role[batch.row == r][-1].item() for r in (0, 1)] == [END, END]
    kinds = [batch.predict_index, batch.position, batch.target_ids, batch.row, batch.role, batch.span_offset]
    assert [tensor.dtype for tensor in kinds] == [torch.int64] * 4 + [torch.int8, torch.int16]


def test_a_batch_moves_whole():
    batch = tokens.collate(two_rows(), pad_id=2)
    moved = batch.to("meta")
    assert all(value.is_meta for value in vars(moved).values() if isinstance(value, torch.Tensor))
    assert (moved.row_count, moved.example_ids) == (2, batch.example_ids)


def test_packed_rows_lie_whole_and_apart_and_their_positions_start_again():
    rows = rows_of_lengths(*LENGTHS)
    batch = tokens.collate(rows, pad_id=0, packed=True)
    assert batch.input_ids.shape[1] == 9, "lines are as long as the longest row"
    found = places(batch)
    for row in rows:
        held = [
            (line, start)
            for line, start, _ in found
            if batch.input_ids[line, start : start + len(row)].tolist() == row.input_ids.tolist()
        ]
        assert held
    taken = np.zeros(batch.input_ids.shape, dtype=int)
    first = {int(r): int(i) for r, i in zip(batch.row.flip(0), batch.predict_index.flip(0), strict=True)}
    for r, row in enumerate(rows):
        line, column = divmod(first[r] - (row.first_target - 1), 9)
        taken[line, column : column + len(row)] += 1
        assert batch.position_ids[line, column : column + len(row)].tolist() == list(range(len(row)))
        assert batch.input_ids[line, column : column + len(row)].tolist() == row.input_ids.tolist()
    assert taken.max() == 1
    assert taken.sum() == sum(LENGTHS)
    assert not batch.input_ids.numpy()[taken == 0].any(), "what no row takes is padding"


def test_packing_is_first_fit_of_the_longest_rows_first():
    batch = tokens.collate(rows_of_lengths(*LENGTHS), pad_id=0, packed=True)
    # 9 | 9 | 5 + 4 | 4 + 3 + 2: no padding at all
    assert places(batch) == [(0, 0, 9), (1, 0, 9), (2, 0, 5), (2, 5, 4), (3, 0, 4), (3, 4, 3), (3, 7, 2)]
    # 7 | 6 | 3 + 3, of which the second 3 would fit behind neither 7 nor 6, and 1 goes to the first line with room
    assert places(tokens.collate(rows_of_lengths(6, 3, 7, 3), pad_id=0, packed=True)) == [
        *[(0, 0, 7), (1, 0, 7), (2, 0, 3), (2, 3, 3), (2, 6, 1)],
    ]


def test_a_packed_position_predicts_what_it_predicts_in_a_padded_batch():
    rows = two_rows() * 2
    padded, packed = (tokens.collate(rows, 2, kind) for kind in (False, True))
    for name in ("position", "target_ids", "role", "span_offset", "row"):
        assert getattr(packed, name).equal(getattr(padded, name))
    assert packed.example_ids == padded.example_ids
    # in the flattened tokens the next one is the target
    flat = packed.input_ids.reshape(-1)
    assert flat[packed.predict_index + 1].equal(packed.target_ids)
    assert packed.position_ids.reshape(-1)[packed.predict_index].equal(packed.position)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(2, 30), min_size=1, max_size=20))
def test_packing_never_pads_more(lengths):
    sizes = [tokens.collate(rows_of_lengths(*lengths), 0, kind).input_ids.numel() for kind in (False, True)]
    assert sum(lengths) <= sizes[1] <= sizes[0]


def test_packing_lowers_the_share_of_padding():
    rows = rows_of_lengths(*range(4, 40, 3))
    shares = [
        1 - sum(map(len, rows)) / tokens.collate(rows, 0, packed=kind).input_ids.numel() for kind in (False, True)
    ]
    assert shares[0] > 0.4
    assert shares[1] < 0.1


@pytest.mark.parametrize("packed", [False, True])
def test_a_part_is_the_batch_of_its_rows_alone(packed):
    rows = rows_of_lengths(*LENGTHS)
    batch = tokens.collate(rows, 0, packed)
    for chosen in (slice(0, 3), slice(3, 4), slice(4, 7), slice(0, 7)):
        part, alone = batch.part(chosen), tokens.collate(rows[chosen], 0)
        for name in ("position", "target_ids", "role", "span_offset", "row"):
            assert getattr(part, name).equal(getattr(alone, name)), name
        assert (part.row_count, part.example_ids) == (alone.row_count, alone.example_ids)


@pytest.mark.parametrize("chosen", [slice(0, 0), slice(2, 2), slice(7, 7), slice(7, 9)])
def test_a_part_may_be_empty(chosen):
    part = tokens.collate(rows_of_lengths(*LENGTHS), 0, packed=True).part(chosen)
    assert (part.row_count, part.example_ids) == (0, [])
    assert {len(getattr(part, name)) for name in ("position", "target_ids", "role", "span_offset", "row")} == {0}


def test_buckets_hold_each_row_once_within_the_padded_size():
    lengths = [3, 9, 4, 4, 8, 1, 30]
    buckets = tokens.length_buckets([[length] for length in lengths], tokens_per_batch=16)
    assert sorted(i for bucket in buckets for i in bucket) == list(range(7))
    for bucket in buckets:
        assert len(bucket) == 1 or len(bucket) * max(lengths[i] for i in bucket) <= 16
    assert buckets == [[6], [1], [4, 2], [3, 0, 5]], "longest first; 30 > 16 stands alone"


def test_no_rows_make_no_buckets():
    assert tokens.length_buckets([], 16) == []
    assert tokens.length_buckets([], 16, packed=True) == []


def test_packed_buckets_take_as_many_rows_as_fill_their_lines():
    lengths = [[6], [6], [3], [3], [3], [3]]
    assert tokens.length_buckets(lengths, 18) == [[0, 1, 2], [3, 4, 5]], "padded: 3 x 6, then 3 x 3"
    assert tokens.length_buckets(lengths, 18, packed=True) == [[0, 1, 2, 3], [4, 5]]
    assert tokens.length_buckets(lengths, 24, packed=True) == [[0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize("packed", [False, True])
@settings(max_examples=200, deadline=None)
@given(
    units=st.lists(st.lists(st.integers(2, 30), min_size=1, max_size=3), min_size=1, max_size=12),
    limit=st.sampled_from([20, 40, 64, 100]),
)
def test_a_bucket_of_several_units_keeps_within_the_limit_once_laid_out(packed, units, limit):
    buckets = tokens.length_buckets(units, limit, packed)
    assert sorted(i for bucket in buckets for i in bucket) == list(range(len(units))), "each once, none is cut"
    for bucket in buckets:
        batch = tokens.collate(rows_of_lengths(*(length for i in bucket for length in units[i])), 0, packed)
        assert len(bucket) == 1 or batch.input_ids.numel() <= limit
    longest = [max(max(units[i]) for i in bucket) for bucket in buckets]
    assert longest == sorted(longest, reverse=True)


def test_units_that_fit_only_in_the_order_of_units_are_not_put_together():
    # unit after unit: 10 | 6 2 2 | 5 3 2; by length, as rows are laid out: 10 | 6 3 | 5 2 2 | 2
    units = [[10], [6, 2], [5, 3], [2, 2]]
    assert tokens.collate(rows_of_lengths(10, 6, 2, 5, 3, 2, 2), 0, packed=True).input_ids.numel() == 40
    assert tokens.length_buckets(units, 30, packed=True) == [[0, 1, 2], [3]]
    assert tokens.length_buckets(units, 40, packed=True) == [[0, 1, 2, 3]]


SMALL = models.Architecture(
    vocab_size=320, hidden_size=32, layers=2, heads=4, kv_heads=2, intermediate_size=48, max_positions=128
)


@pytest.fixture(params=["sdpa", "eager"])
def llama(request):
    model, _ = models.build_from_scratch(SMALL, TEXTS, seed=0)
    model.set_attn_implementation(request.param)
    assert model.config._attn_implementation == request.param
    # larger than at the start of a training, so that attention looks at some tokens more than at others
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "self_attn" in name:
                parameter.mul_(20)
    return model.double()


def encoded(*replies):
    examples = [example(reply, example_id=f"e{i}") for i, reply in enumerate(replies)]
    return tokens.encode(examples, TOKENIZER, PLAIN, 512)


REPLIES = [
    "Ada Lovelace wrote the first program of all, in 1843, so they say.",
    "Ada.",
    "It was she.",
    "the Ada",
    "No",
]


def passed(model, rows, packed):
    """States at the predicting positions, the loss, and its gradient in every parameter."""
    batch = tokens.collate(rows, 2, packed)
    states = models.hidden_states(model, batch)[batch.predict_index]
    weight, bias, transform = models.output_head(model)
    loss = -Head(weight, bias, transform=transform).log_prob(states, batch.target_ids).mean()
    return batch, states, loss, torch.autograd.grad(loss, list(model.parameters()))


def test_packed_rows_have_the_states_the_loss_and_the_gradients_of_padded_ones(llama):
    rows = encoded(*REPLIES)
    padded_batch, *padded = passed(llama, rows, packed=False)
    packed_batch, *packed = passed(llama, rows, packed=True)
    assert packed_batch.input_ids.shape[0] < padded_batch.input_ids.shape[0] == len(rows)
    for ours, theirs in zip(packed[:2], padded[:2], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    for ours, theirs in zip(packed[2], padded[2], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_one_rows_tokens_do_not_reach_its_line_mates(llama):
    rows = encoded(*REPLIES)
    batch = tokens.collate(rows, 2, packed=True)
    line_of = batch.predict_index // batch.input_ids.shape[1]
    for changed in range(1, len(rows)):
        mine = batch.row == changed
        if (line_of == line_of[mine][0]).sum() == mine.sum():
            continue  # it has its line for itself
        ids = rows[changed].input_ids.copy()
        ids[1:] = (ids[1:] + 17) % 300 + 3
        altered = list(rows)
        altered[changed] = tokens.TokenRow(**{**vars(rows[changed]), "input_ids": ids})
        other = tokens.collate(altered, 2, packed=True)
        with torch.no_grad():
            before, after = (models.hidden_states(llama, b)[batch.predict_index] for b in (batch, other))
        torch.testing.assert_close(after[~mine], before[~mine], rtol=0, atol=1e-12)
        assert (after[mine] - before[mine]).abs().min(-1).values.max() > 1e-6, "the row itself changed"
    assert len({int(line) for line in line_of}) < len(rows)


def test_padding_does_not_reach_any_row(llama):
    rows = encoded(*REPLIES)
    for packed in (False, True):
        one, other = (tokens.collate(rows, pad_id, packed) for pad_id in (2, 77))
        with torch.no_grad():
            states = [models.hidden_states(llama, batch)[batch.predict_index] for batch in (one, other)]
        torch.testing.assert_close(*states, rtol=0, atol=1e-12)
