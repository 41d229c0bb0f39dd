"""Any Unicode text becomes tokens with one role each that agree with its characters, or is refused in one line."""

from functools import cache

import numpy as np
import pytest
from hypothesis import example as case
from hypothesis import given
from hypothesis import strategies as st

from palu import models, tokens
from palu.models import TemplateSettings
from palu.roles import COMMON, END, PROMPT, SENSITIVE
from palu.tokens import cut, encode_whole
from tests.fuzz.outcomes import ANY_TEXT, WHOLE_TEXT, examples, refusal

TEMPLATES = [TemplateSettings(template=name) for name in ("plain", "llama2-chat", "raw")]
COLUMNS = ("input_ids", "role", "span_offset", "char_start", "char_end")
SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), max_size=4)


@cache
def tokenizer():
    return models.train_tokenizer(["Question: Who wrote it?\nAnswer: Ada wrote it, שלום 漢字 <b> [INST]"] * 2, 300)


def example(prompt, reply):
    return {"example_id": "e0", "prompt": prompt, "reply": reply}


def check_row(row, reply, spans, is_whole=True):
    """One role for each token, in order; characters of the reply once each; sensitive as the characters say."""
    first = row.reply_start
    assert len({len(getattr(row, name)) for name in COLUMNS}) == 1
    assert set(row.role[:first].tolist()) <= {PROMPT}
    assert set(row.role[first:].tolist()) <= {COMMON, SENSITIVE, END}
    assert (row.role == END).sum() <= 1
    assert END not in row.role[:-1]
    assert ((row.span_offset >= 0) == (row.role == SENSITIVE)).all()
    marked = {place for start, end in spans for place in range(start, end)}
    solid = {place for place, letter in enumerate(reply) if not letter.isspace()}
    held = set()
    for start, end, role in zip(row.char_start[first:], row.char_end[first:], row.role[first:], strict=True):
        assert 0 <= start <= end <= len(reply)
        text = reply[start:end]
        trimmed = set(range(start + len(text) - len(text.lstrip()), start + len(text.rstrip())))
        assert (role == SENSITIVE) == bool(trimmed & marked and role != END)
        held |= trimmed & solid
    if is_whole and not row.truncated and not reply.endswith("</s>"):
        assert held == solid, "characters that no token has"


@examples(150)
@given(ANY_TEXT, ANY_TEXT, st.sampled_from(TEMPLATES), SPANS, st.sampled_from([12, 512]))
@case("Who?", "a\ud800", TEMPLATES[0], [], 512)
@case("\udfff", "a", TEMPLATES[0], [], 512)
@case("Who?", "</s>", TEMPLATES[0], [(0, 4)], 512)
@case("Who?", "e\u0301\u200d\U0001f469 \u202eשלום", TEMPLATES[0], [(1, 3)], 512)
def test_any_text_is_encoded_with_a_role_for_each_token_or_refused(prompt, reply, template, spans, max_length):
    spans = [(start, min(start + size, len(reply))) for start, size in spans if start < len(reply)]
    rows = []
    told = refusal(
        lambda: rows.extend(tokens.encode([example(prompt, reply)], tokenizer(), template, max_length, {"e0": spans}))
    )
    if told is not None:
        assert told.startswith("example 'e0'")
        return
    assert reply.strip()
    for row in rows:
        assert len(row) <= max_length
        assert row.end_count == 0 or (prompt and template.template != "raw")
        check_row(row, reply, spans, is_whole=len(rows) == 1)


@examples(80)
@given(WHOLE_TEXT, st.integers(3, 12), SPANS)
def test_the_pieces_of_a_document_are_the_whole_with_no_token_lost_or_doubled(text, max_length, spans):
    spans = [(start, min(start + size, len(text))) for start, size in spans if start < len(text)]
    wholes = []
    if refusal(lambda: wholes.extend(encode_whole([example("", text)], tokenizer(), TEMPLATES[0], max_length,
                                                  {"e0": spans}))):  # fmt: skip
        assert not text.strip()
        return
    (whole,) = wholes
    check_row(whole, text, spans)
    pieces = cut(whole, max_length)
    assert tokens.grouped(pieces) == [pieces]
    joined = {
        name: np.concatenate(
            [getattr(piece, name)[piece.reply_start if number else 0 :] for number, piece in enumerate(pieces)]
        )
        for name in COLUMNS
    }
    for name, values in joined.items():
        assert np.array_equal(values, getattr(whole, name)), name
    for piece in pieces:
        assert len(piece) <= max_length
        shift = piece.first_position
        own = slice(piece.reply_start + shift, shift + len(piece))
        assert np.array_equal(whole.input_ids[own], piece.input_ids[piece.reply_start :])


@examples(40)
@given(st.lists(st.tuples(st.integers(-3, 30), st.integers(-3, 30)), min_size=1, max_size=3))
def test_a_span_outside_its_reply_is_refused_by_name(pairs):
    reply = "Ada wrote it, in 1843."
    told = refusal(lambda: tokens.encode([example("Who?", reply)], tokenizer(), TEMPLATES[0], 64, {"e0": pairs}))
    is_sound = all(0 <= start < end <= len(reply) for start, end in pairs)
    assert (told is None) == is_sound
    if told:
        assert told.startswith("example 'e0': span ")


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_half_of_a_surrogate_pair_is_refused_with_the_name_of_its_example(text):
    told = refusal(lambda: tokens.encode([example("Who?", text)], tokenizer(), TEMPLATES[0], 64))
    assert told.startswith("example 'e0': ")
    assert "half of a surrogate pair" in told
