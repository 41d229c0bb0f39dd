"""Documents longer than a model reads at once."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors

from palu import tokens
from palu.errors import UserError
from palu.roles import COMMON, PROMPT, SENSITIVE
from tests.tokens.cases import PLAIN, TEMPLATES, TOKENIZER, example

WORDS = ["Ada", "Lovelace", "wrote", "it", "in", "1843.", "日", "é", "\n"]


def without_bos():
    backend = TOKENIZER.backend_tokenizer.__class__.from_str(TOKENIZER.backend_tokenizer.to_str())
    backend.post_processor = processors.ByteLevel()
    return type(TOKENIZER)(tokenizer_object=backend, eos_token="</s>", pad_token="</s>")


BARE = without_bos()


def both(reply, max_length, spans=(), tokenizer=TOKENIZER, template=PLAIN, **other):
    """A document uncut, and in pieces."""
    arguments = ([example(reply, prompt="", **other)], tokenizer, template)
    marked = {other.get("example_id", "e0"): list(spans)}
    (whole,) = tokens.encode(*arguments, 10**9, marked)
    return whole, tokens.encode(*arguments, max_length, marked)


def predicted(rows):
    """position -> (token, role, span_offset, char_start, char_end) of what is predicted there; none twice."""
    found = {}
    for row in rows:
        batch = tokens.collate([row], pad_id=2)
        places = range(row.first_target, len(row))
        for position, target, i in zip(batch.position.tolist(), batch.target_ids.tolist(), places, strict=True):
            assert position not in found
            assert target == row.input_ids[i]
            found[position] = (target, row.role[i], row.span_offset[i], row.char_start[i], row.char_end[i])
    return found


@settings(max_examples=150, deadline=None)
@given(
    words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=30).filter(lambda words: "".join(words).strip()),
    max_length=st.integers(2, 40),
    marks=st.lists(st.tuples(st.floats(0, 0.99), st.integers(1, 60)), max_size=3),
    tokenizer=st.sampled_from([TOKENIZER, BARE]),
)
def test_pieces_are_the_uncut_document_with_every_token_predicted_once(words, max_length, marks, tokenizer):
    reply = " ".join(words)
    spans = [(start := int(share * len(reply)), min(start + length, len(reply))) for share, length in marks]
    whole, pieces = both(reply, max_length, spans, tokenizer)
    assert all(len(piece) <= max_length for piece in pieces)
    # positions, tokens, roles, offsets in runs and characters: as if it had not been cut
    assert predicted(pieces) == predicted([whole])
    joined = np.concatenate([piece.input_ids[piece.reply_start if i else 0 :] for i, piece in enumerate(pieces)])
    assert joined.tolist() == whole.input_ids.tolist()
    assert not any(piece.end_count for piece in pieces), "a document has no end token"
    assert all(np.isin(piece.role, [COMMON, SENSITIVE]).any() for piece in pieces)
    assert tokens.count_spans(pieces).uncovered == whole.uncovered_spans
    assert not any(piece.truncated for piece in pieces)


@pytest.mark.parametrize("max_length", range(2, 9))
def test_every_piece_begins_with_bos_and_has_a_reply_token(max_length):
    _, pieces = both("Ada Lovelace wrote it in 1843.", max_length)
    assert len(pieces) > 1
    for piece in pieces:
        assert piece.input_ids[0] == TOKENIZER.bos_token_id
        assert list(piece.role[: piece.reply_start]) == [PROMPT]
        assert (piece.role == COMMON).any()
        assert len(piece.role) == len(piece.input_ids) == len(piece.span_offset) == len(piece.char_end)
    assert {piece.example_id for piece in pieces} == {"e0"}


def test_the_last_token_of_a_document_may_be_a_piece_of_its_own():
    whole, _ = both("Ada wrote it.", 512)
    _, pieces = both("Ada wrote it.", len(whole) - 1)
    assert [len(piece) for piece in pieces] == [len(whole) - 1, 2]
    assert list(pieces[1].role) == [PROMPT, COMMON]
    assert pieces[1].input_ids[-1] == whole.input_ids[-1]


def test_a_run_of_sensitive_tokens_goes_on_over_a_border():
    reply = "it was Ada Lovelace in 1843."
    _, pieces = both(reply, 8, [(7, 19)])
    offsets = np.concatenate([piece.span_offset[piece.reply_start :] for piece in pieces])
    inside = offsets[offsets >= 0]
    assert inside.tolist() == list(range(len(inside)))
    assert sum((piece.span_offset == 0).any() for piece in pieces) == 1
    assert any((piece.span_offset[piece.reply_start :][:1] > 0).all() for piece in pieces[1:]), "a border cuts the run"


def test_without_a_bos_a_piece_begins_with_the_last_token_of_the_piece_before():
    whole, pieces = both("Ada Lovelace wrote it in 1843.", 5, tokenizer=BARE)
    assert pieces[0].reply_start == 0
    for before, piece in pairwise(pieces):
        assert piece.reply_start == 1
        assert piece.input_ids[0] == before.input_ids[-1]
        assert piece.role[0] == PROMPT
    targets = [token for piece in pieces for token in piece.input_ids[piece.first_target :]]
    assert targets == whole.input_ids[1:].tolist(), "all but the first, which nothing precedes"


def test_no_template_stands_before_a_document():
    for template in TEMPLATES.values():
        _, pieces = both("Ada wrote it in 1843.", 6, template=template)
        assert [piece.reply_start for piece in pieces] == [1] * len(pieces)


def test_a_row_with_a_prompt_is_cut_off_and_not_cut_into_pieces():
    (row,) = tokens.encode([example("Ada wrote it. " * 9)], TOKENIZER, PLAIN, 40)
    assert (len(row), row.truncated, row.first_position) == (40, True, 0)


def test_a_length_without_room_for_a_reply_token_names_the_example():
    with pytest.raises(UserError, match=r"'e0': its \d+ tokens cannot be cut .* max_length 1; allowed: at least 2$"):
        both("Ada wrote it.", 1)


def test_spans_without_a_token_are_counted_once():
    whole, pieces = both("Ada wrote  it in 1843.", 6, [(3, 4), (9, 10)])
    assert whole.uncovered_spans == 2
    assert [piece.uncovered_spans for piece in pieces] == [2] + [0] * (len(pieces) - 1)


def test_pieces_of_one_document_are_grouped_and_those_of_the_next_begin_anew():
    texts = [example("Ada wrote it. " * n, "", f"e{n}") for n in (1, 4, 1, 3)] + [example("Ada", example_id="asked")]
    rows = tokens.encode(texts, TOKENIZER, PLAIN, 14)
    groups = tokens.grouped(rows)
    assert [group[0].example_id for group in groups] == ["e1", "e4", "e1", "e3", "asked"]
    assert [row for group in groups for row in group] == rows
    assert max(len(group) for group in groups) > 1
    assert all(len({row.example_id for row in group}) == 1 for group in groups)


def test_a_batch_of_pieces_restarts_the_models_positions_and_not_the_tables():
    _, pieces = both("Ada Lovelace wrote it in 1843.", 5)
    for packed in (False, True):
        batch = tokens.collate(pieces, 2, packed)
        keys = list(zip([batch.example_ids[i] for i in batch.row.tolist()], batch.position.tolist(), strict=True))
        assert len(set(keys)) == len(keys)
        assert batch.position_ids.max() < 5
        assert batch.position.max() > 5
        assert (batch.input_ids.reshape(-1)[batch.predict_index + 1] == batch.target_ids).all()
