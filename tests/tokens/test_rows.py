"""Character spans become token roles."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import processors

from palu import models, tables, tokens
from palu.errors import UserError
from palu.models import Architecture, TemplateSettings
from palu.roles import COMMON, END, PROMPT, SENSITIVE
from palu.tokens import rows as room
from tests.tokens.cases import LLAMA, PLAIN, TEMPLATES, TEXTS, TOKENIZER, example


def encode_one(reply, spans=(), template=PLAIN, prompt="Who wrote it?", max_length=512, tokenizer=TOKENIZER):
    (row,) = tokens.encode([example(reply, prompt)], tokenizer, template, max_length, {"e0": list(spans)})
    return row


def sensitive_text(row, reply):
    """The characters of each run of sensitive tokens, as the tokens tell them."""
    starts = np.flatnonzero(row.span_offset == 0)
    texts = []
    for start in starts:
        end = start
        while end + 1 < len(row) and row.span_offset[end + 1] == row.span_offset[end] + 1:
            end += 1
        texts.append(reply[row.char_start[start] : row.char_end[end]])
    return texts


def test_a_sequence_is_bos_prompt_reply_and_one_end():
    row = encode_one("Ada wrote it.")
    assert row.input_ids[0] == TOKENIZER.bos_token_id
    assert row.input_ids[-1] == TOKENIZER.eos_token_id
    assert (row.input_ids == TOKENIZER.eos_token_id).sum() == 1
    assert TOKENIZER.decode(row.input_ids[1:-1]) == "Question: Who wrote it?\nAnswer: Ada wrote it."
    assert list(row.role[: row.reply_start]) == [PROMPT] * row.reply_start
    assert set(row.role[row.reply_start : -1]) == {COMMON}
    assert row.role[-1] == END
    assert row.end_count == 1
    assert not row.truncated


def test_the_dtypes_are_those_of_the_contract():
    row = encode_one("Ada wrote it.", [(0, 3)])
    kinds = [row.input_ids, row.role, row.span_offset, row.char_start, row.char_end]
    assert [array.dtype for array in kinds] == [np.int32, np.int8, np.int16, np.int32, np.int32]
    assert {len(array) for array in kinds} == {len(row)}


def test_characters_are_counted_from_the_start_of_the_reply():
    reply = "Ada wrote it."
    row = encode_one(reply)
    inside = slice(row.reply_start, -1)
    assert not row.char_start[: row.reply_start].any()
    assert not row.char_end[: row.reply_start].any()
    assert (row.char_start[-1], row.char_end[-1]) == (0, 0)
    pieces = [reply[a:b] for a, b in zip(row.char_start[inside], row.char_end[inside], strict=True)]
    assert "".join(pieces) == reply


def test_a_token_that_straddles_the_prompt_end_belongs_to_the_reply():
    # the template ends in a space, which byte-level BPE joins to the word that follows
    row = encode_one("Ada wrote it.", [(0, 3)])
    assert TOKENIZER.decode([row.input_ids[row.reply_start]]) == " Ada"
    assert (row.char_start[row.reply_start], row.char_end[row.reply_start]) == (0, 3)
    assert row.role[row.reply_start] == SENSITIVE
    alone = TOKENIZER("Question: Who wrote it?\nAnswer: ")["input_ids"]
    assert row.reply_start == len(alone) - 1, "counting the prompt's own tokens would lose the first reply token"


def test_where_nothing_straddles_the_reply_starts_after_the_prompt():
    row = encode_one("Ada wrote it.", [(0, 3)], LLAMA)
    assert TOKENIZER.decode(row.input_ids[1 : row.reply_start]) == "[INST] Who wrote it? [/INST]"
    assert sensitive_text(row, "Ada wrote it.") == ["Ada"]


def test_a_leading_space_does_not_make_its_token_sensitive():
    reply = "Ada wrote it"
    row = encode_one(reply, [(3, 4)])  # the space before "wrote"
    assert not (row.role == SENSITIVE).any()
    assert (row.uncovered_spans, row.truncated_spans) == (1, 0)
    row = encode_one(reply, [(3, 5)])
    assert sensitive_text(row, reply)[0].startswith(" w")


def test_a_token_that_a_span_cuts_is_sensitive_whole():
    reply = "by Lovelace"
    row = encode_one(reply, [(4, 5)])
    covered = np.flatnonzero(row.role == SENSITIVE)
    assert len(covered) == 1
    assert row.char_start[covered[0]] <= 4 < 5 <= row.char_end[covered[0]]


def test_every_byte_token_of_a_split_character_is_sensitive():
    reply = "x 日 y"
    row = encode_one(reply, [(2, 3)])
    covered = row.role == SENSITIVE
    assert covered.sum() == 3, "three bytes, none of them merged"
    assert list(row.span_offset[covered]) == [0, 1, 2]
    assert set(zip(row.char_start[covered], row.char_end[covered], strict=True)) == {(2, 3)}


def test_a_span_inside_a_grapheme_takes_the_code_points_it_names():
    reply = "a e\u0301 b"
    row = encode_one(reply, [(3, 4)])  # the combining accent alone
    covered = row.role == SENSITIVE
    assert covered.any()
    assert all(row.char_start[covered] <= 3)
    assert all(row.char_end[covered] >= 4)


def test_a_span_may_end_on_the_last_token_and_the_end_token_stays_end():
    reply = "it was Ada"
    row = encode_one(reply, [(7, 10)])
    assert row.role[-2] == SENSITIVE
    assert row.role[-1] == END
    assert row.span_offset[-1] == -1
    assert sensitive_text(row, reply) == [" Ada"]


def test_touching_spans_are_one_run_and_separate_spans_are_two():
    reply = "Ada Lovelace wrote the program"
    touching = encode_one(reply, [(0, 4), (4, 12)])
    covered = touching.span_offset[touching.role == SENSITIVE]
    assert list(covered) == list(range(len(covered)))
    separate = encode_one(reply, [(0, 12), (23, 30)])
    assert sensitive_text(separate, reply) == ["Ada Lovelace", " program"]


def test_overlapping_and_unordered_spans_mark_their_union():
    reply = "Ada Lovelace wrote the program"
    row = encode_one(reply, [(4, 12), (0, 6)])
    assert sensitive_text(row, reply) == ["Ada Lovelace"]


def test_a_white_space_token_inside_a_span_is_common():
    reply = "Ada  \n  wrote"
    row = encode_one(reply, [(0, len(reply))])
    for start, end, role in zip(row.char_start, row.char_end, row.role, strict=True):
        if start < end:
            assert (role == SENSITIVE) == bool(reply[start:end].strip())


def test_a_span_in_truncated_text_is_left_out_and_counted():
    reply = "Ada wrote the first program in 1843."
    whole = encode_one(reply)
    limit = whole.reply_start + 2
    row = encode_one(reply, [(0, 3), (31, 35)], max_length=limit)
    assert len(row) == limit
    assert row.truncated
    assert row.end_count == 0
    assert sensitive_text(row, reply) == ["Ada"]
    assert (row.uncovered_spans, row.truncated_spans) == (0, 1)


def test_the_end_token_comes_only_where_it_fits():
    reply = "Ada wrote it."
    whole = len(encode_one(reply))
    assert encode_one(reply, max_length=whole).end_count == 1
    short = encode_one(reply, max_length=whole - 1)
    assert short.end_count == 0
    assert not short.truncated, "no text was lost"


def test_an_end_token_that_stands_already_is_not_doubled():
    backend = TOKENIZER.backend_tokenizer.__class__.from_str(TOKENIZER.backend_tokenizer.to_str())
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    adds_end = type(TOKENIZER)(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    assert adds_end("Ada")["input_ids"][-1] == 2
    for row in (encode_one("Ada wrote it.", tokenizer=adds_end), encode_one("Ada wrote it.</s>")):
        assert list(row.input_ids) == list(encode_one("Ada wrote it.").input_ids)
        assert row.role[-1] == END
    without_end = encode_one("Ada wrote it.", tokenizer=adds_end, max_length=len(row) - 1)
    assert not without_end.truncated, "only the end token did not fit"


def test_a_document_is_bos_and_text():
    row = encode_one("Ada wrote it.", [(0, 3)], prompt="")
    assert row.reply_start == 1
    assert sensitive_text(row, "Ada wrote it.") == ["Ada"]


def test_without_any_token_before_it_a_replys_first_token_is_not_predicted():
    backend = TOKENIZER.backend_tokenizer.__class__.from_str(TOKENIZER.backend_tokenizer.to_str())
    backend.post_processor = processors.ByteLevel()
    no_bos = type(TOKENIZER)(tokenizer_object=backend, eos_token="</s>", pad_token="</s>")
    row = encode_one("Ada wrote it.", prompt="", tokenizer=no_bos)
    assert (row.reply_start, row.first_target) == (0, 1)
    batch = tokens.collate([row], pad_id=2)
    assert list(batch.target_ids) == list(row.input_ids[1:])
    with pytest.raises(UserError, match=r"^example 'e0': its reply 'A' is one token that none precedes; allowed: "):
        encode_one("A", prompt="", tokenizer=no_bos)


def test_a_chat_template_brings_its_own_bos():
    chatty = models.train_tokenizer(TEXTS, 320)
    chatty.chat_template = "<s>{% for m in messages %}{{ m.content }}|{% endfor %}"
    row = encode_one("Ada wrote it.", [(0, 3)], TEMPLATES["chat"], tokenizer=chatty)
    assert list(row.input_ids[:2]).count(chatty.bos_token_id) == 1
    assert sensitive_text(row, "Ada wrote it.") == ["Ada"]
    both = tokens.encode([example("Ada"), example("Ada", "", "e1")], chatty, TEMPLATES["chat"], 512, None)
    assert [list(r.input_ids).count(chatty.bos_token_id) for r in both] == [1, 1]
    assert [r.example_id for r in both] == ["e0", "e1"]


def ending_in(end):
    """A tokenizer whose chat template puts `end` after a reply."""
    tokenizer = models.train_tokenizer(TEXTS, 320)
    tokenizer.add_tokens(["<|end|>"], special_tokens=True)
    tokenizer.chat_template = "<s>{% for m in messages %}{{ m.content + " + repr(end) + " }}{% endfor %}"
    return tokenizer


@pytest.mark.parametrize(("end", "count"), [("<|end|>", 1), ("\n\n<|end|>", 3), ("", 1)])
def test_every_token_that_a_chat_template_puts_after_a_reply_is_its_end(end, count):
    reply = "It was Ada"
    tokenizer = ending_in(end)
    row = encode_one(reply, [(7, 10)], TEMPLATES["chat"], tokenizer=tokenizer)
    assert row.end_count == count
    assert list(row.role[-count - 1 :]) == [SENSITIVE] + [END] * count
    assert tokenizer.decode(row.input_ids[-count:]) == (end or "</s>")
    assert not row.char_start[-count:].any()
    assert not row.char_end[-count:].any()
    assert list(row.span_offset[-count:]) == [-1] * count
    assert sensitive_text(row, reply) == [" Ada"]
    assert "".join(reply[a:b] for a, b in zip(row.char_start, row.char_end, strict=True)) == reply


def test_an_end_of_several_tokens_comes_whole_or_not_at_all():
    tokenizer = ending_in("\n<|end|>")
    whole = encode_one("Ada wrote it.", template=TEMPLATES["chat"], tokenizer=tokenizer)
    for missing, kept in ((0, 2), (1, 0), (2, 0), (3, 0)):
        limit = len(whole) - missing
        row = encode_one("Ada wrote it.", template=TEMPLATES["chat"], tokenizer=tokenizer, max_length=limit)
        assert row.end_count == kept
        assert len(row) == min(limit, len(whole) - 2 + kept)
        assert row.truncated == (missing > 2)


@pytest.mark.parametrize("own", ["\n<|end|>", "<|end|>"])
def test_a_reply_that_brings_its_chat_templates_end_gets_no_second_one(own):
    tokenizer = ending_in("\n<|end|>")
    row = encode_one("Ada wrote it." + own, template=TEMPLATES["chat"], tokenizer=tokenizer)
    assert row.end_count == len(own.split("<")[0]) + 1
    assert tokenizer.decode(row.input_ids[row.reply_start :]) == "Ada wrote it." + own


def test_an_end_that_a_prompt_and_its_reply_spell_together_is_the_replys_part_alone():
    row = encode_one("<|end|>", template=TEMPLATES["chat"], prompt="Who?\n", tokenizer=ending_in("\n<|end|>"))
    assert row.reply_start + row.end_count <= len(row)
    assert END not in row.role[: row.reply_start]


@pytest.mark.parametrize(("template", "prompt"), [("raw", "Question: Who?\nAnswer:"), ("raw", ""), ("plain", "")])
def test_no_end_token_follows_a_document_or_a_raw_prompts_reply(template, prompt):
    reply = "Ada wrote it."
    for tokenizer in (TOKENIZER, ending_in("<|end|>")):
        row = encode_one(reply, [(10, 13)], TemplateSettings(template=template), prompt, tokenizer=tokenizer)
        assert row.end_count == 0
        assert row.role[-1] == SENSITIVE
        assert row.input_ids.tolist() == tokenizer(prompt + reply)["input_ids"]


def test_an_end_token_in_a_documents_own_text_is_text():
    row = encode_one("Ada wrote it.</s>", prompt="")
    assert row.input_ids[-1] == TOKENIZER.eos_token_id
    assert (row.end_count, row.role[-1], row.char_end[-1]) == (0, COMMON, 17)


def test_many_rows_are_encoded_as_each_alone(monkeypatch):
    monkeypatch.setattr(room, "TOKENIZER_ROWS", 2)
    examples = [example("Ada " * (i + 1), example_id=f"e{i}") for i in range(5)]
    spans = {f"e{i}": [(0, 3)] for i in range(0, 5, 2)}
    rows = tokens.encode(examples, TOKENIZER, PLAIN, 512, spans)
    assert [row.example_id for row in rows] == [f"e{i}" for i in range(5)]
    for row, source in zip(rows, examples, strict=True):
        (alone,) = tokens.encode([source], TOKENIZER, PLAIN, 512, spans)
        assert list(row.input_ids) == list(alone.input_ids)
        assert list(row.role) == list(alone.role)


@pytest.mark.parametrize("span", [(-1, 2), (2, 2), (3, 2), (0, 14), (13, 14)])
def test_a_span_outside_its_reply_names_example_offsets_and_length(span):
    with pytest.raises(UserError) as error:
        encode_one("Ada wrote it.", [span])
    assert f"example 'e0': span {span[0]}..{span[1]} lies outside its reply of 13 characters" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("reply", ["", " \n"])
def test_an_empty_reply_names_the_example(reply):
    with pytest.raises(UserError, match=r"example 'e0': its reply .* is empty after tokenization"):
        encode_one(reply)


def test_a_prompt_that_leaves_no_room_names_the_example_and_the_limit():
    start = encode_one("Ada").reply_start
    assert encode_one("Ada", max_length=start + 1).truncated is False
    with pytest.raises(UserError, match=rf"'e0': its prompt takes {start} tokens.* within max_length {start}$"):
        encode_one("Ada", max_length=start)


def test_a_tokenizer_without_offsets_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(UserError, match="Slow reports no character offsets"):
        encode_one("Ada", tokenizer=Slow())


def test_what_became_of_the_spans_is_counted():
    examples = [example("Ada  wrote", example_id="a"), example("it", example_id="b")]
    rows = tokens.encode(examples, TOKENIZER, PLAIN, 512, {"a": [(0, 3), (3, 5)]})
    counts = tokens.count_spans(rows)
    assert (counts.rows, counts.sensitive_tokens, counts.uncovered, counts.truncated) == (2, 1, 1, 0)
    assert "spans without a token: 1, in truncated text: 0" in str(counts)


def test_spans_are_read_by_example(tmp_path):
    rows = [
        {"example_id": e, "char_start": a, "char_end": b, "label": "X", "score": None, "tagger": "t"}
        for e, a, b in (("a", 0, 3), ("b", 1, 2), ("a", 5, 6))
    ]
    tables.write(tmp_path / "spans.parquet", "spans", rows, {"tagger": "t"})
    assert tokens.read_spans(tmp_path / "spans.parquet") == {"a": [(0, 3), (5, 6)], "b": [(1, 2)]}
    with pytest.raises(UserError, match="made with tagger 't'"):
        tokens.read_spans(tmp_path / "spans.parquet", {"tagger": "other"})


@settings(max_examples=60, deadline=None)
@given(data=st.data(), template=st.sampled_from([PLAIN, LLAMA]), prompt=st.sampled_from(["Who?", "日 ", "", "a\n"]))
def test_tokens_of_a_span_cover_it_and_nothing_of_the_prompt(data, template, prompt):
    alphabet = st.one_of(st.characters(codec="utf-8"), st.sampled_from("  \n aeéñ日😀\u0301\u200d.,"))
    reply = data.draw(st.text(alphabet, min_size=1, max_size=20).filter(lambda text: text.strip() and "<" not in text))
    start = data.draw(st.integers(0, len(reply) - 1))
    end = data.draw(st.integers(start + 1, len(reply)))
    row = encode_one(reply, [(start, end)], template, prompt)
    covered = np.flatnonzero(row.role == SENSITIVE)
    assert row.uncovered_spans == (len(covered) == 0)
    assert all(covered >= row.reply_start)
    characters = {c for i in covered for c in range(row.char_start[i], row.char_end[i])}
    assert {c for c in range(start, end) if not reply[c].isspace()} <= characters
    for i in covered:
        token = reply[row.char_start[i] : row.char_end[i]]
        assert row.char_start[i] + len(token) - len(token.lstrip()) < end, "no token of later words"
        assert row.char_start[i] + len(token.rstrip()) > start, "no token of earlier words"
    plain = encode_one(reply, (), template, prompt)
    assert list(plain.input_ids) == list(row.input_ids), "spans do not move tokens"


def test_roles_are_those_of_the_authors_batch(shared):
    source = shared / "data" / "tofu-spans" / "forget10-minus-forget05.jsonl"
    records = [json.loads(line) for line in source.read_text().splitlines()[:8]]
    examples = [example(r["answer"], r["question"], str(r["row"])) for r in records]
    spans = {str(r["row"]): [(s["start"], s["end"]) for s in r["spans"]] for r in records}
    tokenizer = models.load_tokenizer(shared / "oracles" / "tofu-eval-tiny" / "model-full")
    batch = load_file(shared / "oracles" / "loss-parity" / "policy-retain" / "batch.safetensors")
    for i, row in enumerate(tokens.encode(examples, tokenizer, LLAMA, 512, spans)):
        labels = np.where(row.role == SENSITIVE, row.input_ids, np.where(row.role == PROMPT, -100, -200))
        assert list(labels) == batch["forget_tagged.labels"][i, : len(row)].tolist()
        assert list(row.input_ids) == batch["forget_tagged.input_ids"][i, : len(row)].tolist()


def test_an_architecture_and_its_tokenizer_encode_and_run_together():
    model, tokenizer = models.build_from_scratch(
        Architecture(vocab_size=300, hidden_size=16, heads=2, kv_heads=1, intermediate_size=24), TEXTS, seed=0
    )
    rows = tokens.encode([example("Ada wrote it.")], tokenizer, PLAIN, 512, None)
    batch = tokens.collate(rows, tokenizer.pad_token_id)
    assert models.hidden_states(model, batch).shape == (batch.input_ids.numel(), 16)
