"""Spans of any shape: what is sensitive follows from the characters alone, and foreign ones are refused."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from palu import tables
from palu.spans import first_of_runs, run_offsets, sensitive_tokens
from palu.tagging.annotations import annotated
from palu.tagging.base import Resources
from palu.tagging.merging import merge
from tests.fuzz.outcomes import ANY_TEXT, JSON_VALUES, WHOLE_TEXT, examples, refusal

PAIRS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6)
REPLY = "Ada Lovelace wrote it in 1843, in London."


def row(reply=REPLY, name="forget/0"):
    return {"example_id": name, "prompt": "Who wrote it?", "reply": reply, "part": "forget"}


def as_rows(pairs, name="forget/0"):
    return [{"example_id": name, "char_start": a, "char_end": b, "label": "x"} for a, b in pairs]


def covered(pairs):
    return {place for start, end in pairs for place in range(start, end)}


@examples(120)
@given(PAIRS)
@example([(0, 3), (3, 6), (2, 4)])
def test_merging_twice_is_merging_once_and_covers_the_same_characters(pairs):
    pairs = [(start, end) for start, end in pairs if start < end]
    once = merge(as_rows(pairs))
    assert merge(once) == once
    spans = [(span["char_start"], span["char_end"]) for span in once]
    assert covered(spans) == covered(pairs)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))
    assert set(spans) <= {(a, b) for a, _ in pairs for _, b in pairs}


@examples(120)
@given(WHOLE_TEXT, st.lists(st.integers(0, 40), max_size=12), PAIRS)
def test_a_token_is_sensitive_where_a_character_of_it_that_is_no_space_is_marked(reply, cuts, pairs):
    borders = sorted({0, len(reply), *(min(cut, len(reply)) for cut in cuts)})
    tokens = list(pairwise(borders)) or [(0, 0)]
    spans = [(start, end) for start, end in pairs if 0 <= start < end]
    starts, ends = zip(*tokens, strict=True)
    sensitive, found = sensitive_tokens(reply, starts, ends, spans)
    marked = {place for place in covered(spans) if place < len(reply)}

    def trimmed(start, end):
        text = reply[start:end]
        return set(range(start + len(text) - len(text.lstrip()), start + len(text.rstrip())))

    assert sensitive.tolist() == [bool(trimmed(*token) & marked) for token in tokens]
    assert found.tolist() == [any(trimmed(*token) & covered([span]) for token in tokens) for span in spans]


@examples(100)
@given(st.lists(st.booleans(), min_size=1, max_size=30), st.one_of(st.none(), st.integers(1, 5)))
def test_initiating_tokens_are_the_first_of_each_run(inside, first_n):
    offsets = run_offsets(np.array(inside))
    assert [offset >= 0 for offset in offsets] == inside
    initiating = first_of_runs(offsets, first_n)
    for place, is_first in enumerate(initiating):
        run = 0
        while place - run >= 0 and inside[place - run]:
            run += 1
        assert is_first == (0 < run <= (first_n or len(inside)))


@examples(100)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["example_id", "prompt", "question", "reply", "answer", "spans", "x"]),
            st.one_of(
                st.sampled_from(["forget/0", "Who wrote it?", REPLY]),
                JSON_VALUES,
                st.lists(
                    st.dictionaries(
                        st.sampled_from(["start", "end", "label", "text", "score"]),
                        st.one_of(st.integers(-1, 50), st.sampled_from(["Ada"]), JSON_VALUES),
                    ),
                    max_size=2,
                ),
            ),
        ),
        max_size=3,
    )
)
@example([{"example_id": ["forget/0"], "spans": []}])
@example([{"prompt": [], "reply": {}, "spans": []}])
@example([{"example_id": "forget/0", "spans": [{"start": 0, "end": 3, "label": 7}]}])
@example([{"example_id": "forget/0", "spans": [{"start": 0, "end": 3, "score": "high"}]}])
@example([{"example_id": "forget/0", "spans": [{"start": 0, "end": 10**400}]}])
def test_any_annotations_are_spans_of_a_table_or_one_line(tmp_path_factory, records):
    path = tmp_path_factory.getbasetemp() / "marked.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    found = {}
    told = refusal(lambda: found.update(annotated([row()], str(path), Resources())))
    if told is not None:
        assert told.startswith(str(path))
        return
    spans = [{"example_id": name, "tagger": "x", **span} for name, own in found.items() for span in own]
    tables.write(path.with_suffix(".parquet"), "spans", spans, {})
    assert all(0 <= span["char_start"] < span["char_end"] <= len(REPLY) for span in spans)


@examples(50)
@given(st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1)), max_size=3), ANY_TEXT)
def test_a_table_of_wild_spans_is_read_or_refused_in_one_line(tmp_path_factory, pairs, label):
    from palu.span_tables import read_spans

    path = tmp_path_factory.getbasetemp() / "wild.parquet"
    label = label.encode("utf-8", "replace").decode()
    rows = [{**span, "label": label, "score": None, "tagger": "x"} for span in as_rows(pairs)]
    tables.write(path, "spans", rows, {})
    told = refusal(lambda: read_spans(path))
    if all(0 <= start < end for start, end in pairs):
        assert told is None
    else:
        assert told.startswith(f"{path}: example 'forget/0': span ")


def test_annotations_that_are_text_in_another_coding_are_one_line(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    broken = pa.Array.from_buffers(pa.string(), 1, [None, *pa.array([b"a\xff"]).buffers()[1:]])
    path = tmp_path / "marked.parquet"
    pq.write_table(pa.table({"example_id": broken, "spans": pa.array([[]], pa.list_(pa.int32()))}), path)
    assert refusal(lambda: annotated([row()], str(path), Resources())).startswith(f"{path}: ")


@pytest.mark.parametrize("values", [[], None, 3, True])
def test_a_prompt_that_is_no_text_names_no_reply(tmp_path, values):
    path = tmp_path / "marked.jsonl"
    path.write_text(json.dumps({"prompt": values, "reply": REPLY, "spans": []}))
    told = refusal(lambda: annotated([row()], str(path), Resources()))
    assert told.startswith(f"{path}: line 1: ")
