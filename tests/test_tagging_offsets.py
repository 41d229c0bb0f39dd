"""Spans survive tokenisation in any script: span -> sensitive tokens -> characters, for three kinds of tokenizers."""

from functools import cache

import numpy as np
import pytest
from hypothesis import example as case
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors, trainers
from tokenizers.models import BPE, Unigram, WordPiece
from transformers import PreTrainedTokenizerFast

from palu import models, tokens
from palu.errors import UserError
from palu.models import TemplateSettings
from palu.roles import COMMON, END, PROMPT, SENSITIVE

TEXTS = ["Question: Who wrote it?\nAnswer: Ada wrote the first program in 1843.", "[INST] the [/INST] Ada café"] * 3
SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
TEMPLATES = [TemplateSettings(template="plain"), TemplateSettings(template="llama2-chat")]


def wrapped(backend):
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        clean_up_tokenization_spaces=False,
    )


def byte_level(normalizer=None):
    tokenizer = models.train_tokenizer(TEXTS, 320)
    if normalizer is not None:
        tokenizer.backend_tokenizer.normalizer = normalizer
    return tokenizer


def sentencepiece(normalizer=None):
    """Llama's old form: the whole text is one piece, blanks are written as ▁, unknown characters as bytes."""
    trained = Tokenizer(BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=SPECIAL + BYTES, show_progress=False)
    trained.train_from_iterator(TEXTS, trainer)
    backend = Tokenizer.from_str(trained.to_str())
    backend.pre_tokenizer = None
    steps = [normalizer] if normalizer is not None else []
    backend.normalizer = normalizers.Sequence(
        [*steps, normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")],
    )
    return wrapped(backend)


def unigram():
    backend = Tokenizer(Unigram())
    backend.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=80, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator(TEXTS, trainer)
    return wrapped(backend)


def wordpiece(**options):
    backend = Tokenizer(WordPiece(unk_token="<unk>"))
    backend.normalizer = normalizers.BertNormalizer(**options)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=SPECIAL, show_progress=False)
    backend.train_from_iterator(TEXTS, trainer)
    return wrapped(backend)


KINDS = {
    "byte-level": byte_level,
    "byte-level, NFC": lambda: byte_level(normalizers.NFC()),
    "byte-level, NFD": lambda: byte_level(normalizers.NFD()),
    "sentencepiece": sentencepiece,
    "sentencepiece, NFKC": lambda: sentencepiece(normalizers.NFKC()),
    "unigram": unigram,
    "wordpiece": wordpiece,
    "wordpiece, cased": lambda: wordpiece(lowercase=False, strip_accents=False),
}
# Tokenizers that drop characters, such as accents or zero-width ones, which then may have no token at all
DROPPING = {"unigram", "wordpiece", "wordpiece, cased"}


@cache
def tokenizer(kind):
    return KINDS[kind]()


def encoded(kind, reply, spans, template=TEMPLATES[0], prompt="Who wrote it?", max_length=512):
    rows = [{"example_id": "e", "prompt": prompt, "reply": reply}]
    (row,) = tokens.encode(rows, tokenizer(kind), template, max_length, {"e": spans})
    return row


def characters(row, chosen):
    return {c for i in np.flatnonzero(chosen) for c in range(row.char_start[i], row.char_end[i])}


def solid(reply, start, end):
    return {c for c in range(start, end) if not reply[c].isspace()}


# Each with a span in it
HARD = [
    ("Ada met Jose\u0301 there", "Jose\u0301"),
    ("Ada met José there", "José"),
    ("Ada met Jose\u0301 there", "\u0301"),
    ("she is a 👩\u200d🔬 in 🇫🇮", "👩\u200d🔬"),
    ("thumbs 👍🏽 up", "👍🏽"),
    ("ولدت في أوسلو عام", "أوسلو"),
    ("היא גרה בתל אביב.", "תל אביב"),
    ("彼女は東京で生まれた。", "東京"),
    ("她生于上海。", "上海"),
    ("서울에서 태어났다", "서울"),
    ("\u1109\u1165\u110b\u116e\u11af 태어났다", "\u1109\u1165\u110b\u116e\u11af"),
    ("วันนี้ที่กรุงเทพ", "กรุงเทพ"),
    ("नमस्ते दिल्ली में", "दिल्ली"),
    ("born\r\nin Oslo\r\n", "Oslo"),
    ("  \n Oslo, 1951", "Oslo"),
    ("\u00a0Oslo\u3000x", "Oslo"),
    ("the ﬁrst ½ of it", "ﬁrst ½"),
]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.template)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("reply", "text"), HARD)
def test_a_span_is_covered_and_words_beside_it_are_not(kind, template, reply, text):
    start = reply.index(text)
    end = start + len(text)
    row = encoded(kind, reply, [(start, end)], template)
    found = characters(row, row.role == SENSITIVE)
    assert solid(reply, start, end) <= found
    assert row.uncovered_spans == row.truncated_spans == 0
    for i in np.flatnonzero(row.role == SENSITIVE):
        own = solid(reply, row.char_start[i], row.char_end[i])
        assert own & set(range(start, end)), "a token of other words is sensitive"


# fmt: off
SCRAPS = [
    "Ada", " ", "  ", "\n", "\r\n", "e\u0301", "é", "日本", "أحمد", " שלום", "👩\u200d🔬", "👍🏽", "🇫🇮", "\u0301", "ﬁ",
    "½", "ß", "A\u030a", "ก็", "नमस्ते", "\u1100\u1161", "\t", "\u00a0", "\u3000", "İ", "\u200b", "\u200d", "\ufeff", ".",
    "1843",
]
# fmt: on
PIECES = st.one_of(
    st.sampled_from(SCRAPS),
    st.characters(codec="utf-8", exclude_characters="<", exclude_categories=["Cc", "Cn", "Co", "Cs"]),
)


def has_token_before(reply, c, covered):
    """Whether a token ends in the stretch without white space before c."""
    while c > 0 and not reply[c - 1].isspace():
        c -= 1
        if c in covered:
            return True
    return False


@settings(max_examples=200, deadline=None)
@given(
    data=st.data(),
    kind=st.sampled_from(sorted(KINDS)),
    template=st.sampled_from(TEMPLATES),
    prompt=st.sampled_from(["Who?", "日", "", "a\n", "e", "é "]),
    pieces=st.lists(PIECES, min_size=1, max_size=8),
)
def test_tokens_of_any_span_cover_it_and_nothing_of_the_prompt(data, kind, template, prompt, pieces):
    reply = "".join(pieces)
    try:
        plain = encoded(kind, reply, [], template, prompt)
    except UserError:
        assert kind in DROPPING or not reply.strip(), "only what a tokenizer drops leaves a reply empty"
        return
    start = data.draw(st.integers(0, len(reply) - 1))
    end = data.draw(st.integers(start + 1, len(reply)))
    row = encoded(kind, reply, [(start, end)], template, prompt)
    assert list(row.input_ids) == list(plain.input_ids), "spans do not move tokens"
    assert set(row.role[: row.reply_start]) <= {PROMPT}
    assert not row.char_end[: row.reply_start].any()
    assert ((row.char_start >= 0) & (row.char_start <= row.char_end) & (row.char_end <= len(reply))).all()

    everywhere = characters(row, (row.role == SENSITIVE) | (row.role == COMMON))
    found = characters(row, row.role == SENSITIVE)
    assert solid(reply, start, end) & everywhere <= found
    assert row.uncovered_spans == (not found)
    for c in solid(reply, 0, len(reply)) - everywhere:
        assert kind in DROPPING
        assert not has_token_before(reply, c, everywhere), "a dropped character belongs to the token before it"
    for i in np.flatnonzero(row.role == SENSITIVE):
        assert solid(reply, row.char_start[i], row.char_end[i]) & set(range(start, end))


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(sorted(KINDS)), pieces=st.lists(PIECES, min_size=1, max_size=8), room=st.integers(1, 6))
@case(kind="byte-level, NFC", pieces=["e\u0301", "e\u0301"], room=1)
def test_a_span_in_a_cut_reply_is_sensitive_as_far_as_the_text_goes(kind, pieces, room):
    reply = "Ada " + "".join(pieces)
    whole = encoded(kind, reply, [(0, len(reply))])
    cut = encoded(kind, reply, [(0, len(reply))], max_length=whole.reply_start + room)
    shared = min(len(cut), len(whole))
    # the end token is that of the text only where it fits
    same = [i for i in range(shared) if END not in (cut.role[i], whole.role[i])]
    for field in ("input_ids", "role", "char_start", "char_end"):
        assert list(getattr(cut, field)[same]) == list(getattr(whole, field)[same]), field


def test_white_space_at_the_end_is_not_cut_text():
    row = encoded("wordpiece", "Oslo \n", [(4, 6)])
    assert (row.uncovered_spans, row.truncated_spans) == (1, 0)


@pytest.mark.parametrize("kind", ["byte-level, NFC", "sentencepiece, NFKC", "wordpiece"])
def test_an_accent_that_the_tokenizer_composes_or_drops_belongs_to_its_letter(kind):
    reply = "Jose\u0301 met"
    row = encoded(kind, reply, [(4, 5)])  # the accent alone
    covered = characters(row, row.role == SENSITIVE)
    assert {3, 4} <= covered
    assert not covered & set(range(6, 9))
