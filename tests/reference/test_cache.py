"""Lookups by key, and every file that must not be believed."""

import mmap
from dataclasses import replace

import numpy as np
import pytest
import torch

from palu import models, tables, tokens
from palu.errors import UserError
from palu.reference import mapping, reference_provenance
from palu.reference import states as states_room
from palu.reference.cache import ReferenceCache
from palu.reference.states import write_states
from palu.reference.topk import write_topk
from palu.roles import SENSITIVE

EVERYTHING = frozenset({"states", "log_probs", "top_k"})


@pytest.fixture(scope="module")
def files(world):
    states, topk = world.folder / "cache-states.parquet", world.folder / "cache-topk.parquet"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(states_room, "TOKENS_PER_BATCH", 64)
        write_states(world.model, world.examples, states, world.settings)
    write_topk(states, world.spans, world.examples, world.model, 12, topk, world.settings)
    return states, topk


@pytest.fixture
def expected(world):
    return reference_provenance(world.model, world.settings)


def rewritten(path, out, change):
    """A copy of a table whose rows went through `change`, with the same provenance."""
    name = tables.provenance(path)["table"]
    facts = {key: value for key, value in tables.provenance(path).items() if key not in {"table", "version"}}
    table = change(tables.read(path, name))
    tables.write(out, name, table, facts, table.schema.remove_metadata())
    return out


def batch_of(world, *order):
    rows = world.token_rows()
    return tokens.collate([rows[i] for i in order], pad_id=0)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1), (2,)])
def test_a_batch_finds_the_live_models_facts_whatever_its_rows(world, files, expected, order):
    batch = batch_of(world, *order)
    facts = ReferenceCache(EVERYTHING, *files, expected).lookup(batch)
    model = models.load_model(world.model)
    weight = models.output_head(model)[0]
    with torch.no_grad():
        hidden = models.hidden_states(model, batch)[batch.predict_index]
        z = hidden @ weight.T
    assert facts.keys() == {"reference_hidden", "reference_log_prob", "reference_top_k"}
    torch.testing.assert_close(facts["reference_hidden"], hidden, rtol=1e-5, atol=1e-5)
    log_prob = z.log_softmax(-1).gather(-1, batch.target_ids[:, None])[:, 0]
    torch.testing.assert_close(facts["reference_log_prob"], log_prob, rtol=1e-5, atol=1e-5)
    best = z[batch.role == SENSITIVE].sort(descending=True, stable=True).indices[:, :12]
    assert torch.equal(facts["reference_top_k"], best.int())


def test_rows_are_joined_by_key_not_by_their_order_in_the_file(world, files, expected, tmp_path):
    def shuffle(table):
        return table.take(np.random.default_rng(0).permutation(len(table)))

    mixed = [rewritten(path, tmp_path / path.name, shuffle) for path in files]
    batch = batch_of(world, 2, 0, 1)
    ours, theirs = (ReferenceCache(EVERYTHING, *paths, expected).lookup(batch) for paths in (mixed, files))
    assert ours.keys() == theirs.keys() == {"reference_hidden", "reference_log_prob", "reference_top_k"}
    for name in ours:
        assert torch.equal(ours[name], theirs[name])


def test_only_what_is_needed_is_read(world, files, expected):
    facts = ReferenceCache({"log_probs"}, files[0], None, expected).lookup(batch_of(world, 0))
    assert facts.keys() == {"reference_log_prob"}
    facts = ReferenceCache({"top_k"}, None, files[1], expected).lookup(batch_of(world, 0))
    assert facts.keys() == {"reference_top_k"}
    assert facts["reference_top_k"].shape[1] == 12


def test_no_positions_find_nothing(world, files, expected):
    batch = batch_of(world, 0)
    none = {key: value[:0] for key, value in vars(batch).items() if isinstance(value, torch.Tensor)}
    facts = ReferenceCache(EVERYTHING, *files, expected).lookup(replace(batch, **none))
    shapes = {name: tuple(fact.shape) for name, fact in facts.items()}
    assert shapes == {"reference_hidden": (0, 16), "reference_log_prob": (0,), "reference_top_k": (0, 12)}


def test_bfloat16_states_come_back_as_bfloat16(world, tmp_path):
    settings = world.settings.model_copy(update={"dtype": "bfloat16"})
    write_states(world.model, world.examples, tmp_path / "s.parquet", settings)
    cache = ReferenceCache({"states"}, tmp_path / "s.parquet", None, reference_provenance(world.model, settings))
    batch = batch_of(world, 0, 1, 2, 3)
    model = models.load_model(world.model, "bfloat16")
    with torch.no_grad():
        hidden = models.hidden_states(model, batch)[batch.predict_index]
    found = cache.lookup(batch)["reference_hidden"]
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, hidden)


def test_the_states_are_mapped_from_the_file_and_nothing_is_written(files, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    cache = ReferenceCache({"states"}, files[0], None, expected)
    mapped = cache._states.wide._bytes.obj
    assert isinstance(mapped, mmap.mmap)
    assert len(mapped) == files[0].stat().st_size
    with pytest.raises(TypeError, match=r"read-only|readonly"):
        mapped[0] = 0


def test_a_footer_that_misplaces_the_states_is_refused(files, expected, monkeypatch):
    real = mapping.row_places
    monkeypatch.setattr(mapping, "row_places", lambda *of: (real(*of)[0], real(*of)[1][::-1].copy()))
    with pytest.raises(UserError, match="a damaged Parquet file: its footer misplaces column 'hidden'"):
        ReferenceCache({"states"}, files[0], None, expected)


@pytest.mark.parametrize("layout", [{"compression": "zstd"}, {"use_dictionary": True}, {"data_page_size": 64}])
def test_states_that_are_not_plain_in_their_file_are_refused(files, expected, tmp_path, monkeypatch, layout):
    monkeypatch.setattr(tables, "WIDE_LAYOUT", tables.WIDE_LAYOUT | layout)
    packed = rewritten(files[0], tmp_path / "packed.parquet", lambda table: table)
    with pytest.raises(UserError, match=r"packed\.parquet: a damaged Parquet file: .* column 'hidden'"):
        ReferenceCache({"states"}, packed, None, expected)


def test_a_smaller_top_k_gives_the_first_columns(world, files, expected):
    batch = batch_of(world, 0, 1)
    all_columns = ReferenceCache({"top_k"}, None, files[1], expected).lookup(batch)["reference_top_k"]
    few = ReferenceCache({"top_k"}, None, files[1], expected, top_k=5).lookup(batch)["reference_top_k"]
    assert torch.equal(few, all_columns[:, :5])


def test_a_top_k_beyond_the_index_is_refused_with_both_numbers(files, expected):
    with pytest.raises(UserError, match="top_k 13 is asked for, but 12 are indexed; allowed: 1 to 12"):
        ReferenceCache({"top_k"}, None, files[1], expected, top_k=13)


def test_a_top_k_beyond_the_vocabulary_takes_the_whole_vocabulary(world, files, expected, tmp_path):
    write_topk(files[0], world.spans, world.examples, world.model, 10**6, tmp_path / "k.parquet", world.settings)
    cache = ReferenceCache({"top_k"}, None, tmp_path / "k.parquet", expected, top_k=5000)
    assert cache.lookup(batch_of(world, 0))["reference_top_k"].shape[1] == models.head_weight(world.model)[0].shape[0]


@pytest.fixture(scope="module")
def short_index(world, files):
    """The first two tokens of each run only."""
    path = world.folder / "cache-first-2.parquet"
    write_topk(files[0], world.spans, world.examples, world.model, 12, path, world.settings, first_n=2)
    return path


@pytest.mark.parametrize("first_n", [1, 2])
def test_the_first_tokens_of_each_run_are_looked_up_and_no_others(world, files, short_index, expected, first_n):
    batch = batch_of(world, 0, 2, 1)
    every = ReferenceCache({"top_k"}, None, files[1], expected).lookup(batch)["reference_top_k"]
    chosen = batch.span_offset[batch.role == SENSITIVE] < first_n
    assert 0 < chosen.sum() < len(chosen)
    for path in (files[1], short_index):
        found = ReferenceCache({"top_k"}, None, path, expected, first_n=first_n).lookup(batch)["reference_top_k"]
        assert found.dtype == torch.int32
        assert torch.equal(found, every[chosen])


@pytest.mark.parametrize(("first_n", "asked"), [(3, "3"), (None, "null")])
def test_a_first_n_beyond_the_index_is_refused_with_both_numbers(short_index, expected, first_n, asked):
    told = f"first_n {asked} is asked for, but the first 2 tokens of each run .* are indexed; allowed: 1 to 2"
    with pytest.raises(UserError, match=told):
        ReferenceCache({"top_k"}, None, short_index, expected, first_n=first_n)


def test_files_of_another_model_are_refused(world, files):
    other = reference_provenance(world.other_model, world.settings)
    for needs, name in (({"states"}, "cache-states"), ({"top_k"}, "cache-topk")):
        with pytest.raises(UserError, match=rf"{name}\.parquet: made with model '\w+', but '\w+' is in use"):
            ReferenceCache(needs, *files, other)


def test_a_table_of_another_kind_is_refused(files, expected):
    with pytest.raises(UserError, match="holds 'topk', expected the table 'states'"):
        ReferenceCache({"states"}, files[1], None, expected)


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_a_truncated_file_is_refused(files, expected, tmp_path, kept):
    whole = files[0].read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(UserError, match=r"cut\.parquet: not a readable Parquet file \(truncated\?\)"):
        ReferenceCache({"states"}, tmp_path / "cut.parquet", None, expected)


def test_a_missing_file_and_a_file_not_given_are_refused(files, expected, tmp_path):
    with pytest.raises(UserError, match=r"gone\.parquet: no such file"):
        ReferenceCache({"states"}, tmp_path / "gone.parquet", None, expected)
    with pytest.raises(UserError, match="reads the reference's top-K index, but no file of it is given"):
        ReferenceCache({"top_k"}, files[0], None, expected)


@pytest.mark.parametrize("which", [0, 1])
def test_a_missing_row_is_refused_by_example_and_position(world, files, expected, tmp_path, which):
    batch = batch_of(world, 1)
    position = int(batch.position[batch.role == SENSITIVE][0])

    def without_one(table):
        keys = zip(table["example_id"].to_pylist(), table["position"].to_pylist(), strict=True)
        return table.filter(np.array([key != (batch.example_ids[0], position) for key in keys]))

    paths = list(files)
    paths[which] = rewritten(files[which], tmp_path / "short.parquet", without_one)
    cache = ReferenceCache(EVERYTHING, *paths, expected)
    cache.lookup(batch_of(world, 0))
    with pytest.raises(UserError, match=rf"short\.parquet: no row for example 'forget/00001.*', position {position}"):
        cache.lookup(batch)


def test_an_example_without_any_row_is_refused(world, files, expected):
    cache = ReferenceCache({"states"}, files[0], None, expected)
    stranger = tokens.encode(
        [{"example_id": "forget/00099/original/0", "prompt": "Who?", "reply": "Nobody."}],
        models.load_tokenizer(world.model),
        world.settings,
        64,
    )
    with pytest.raises(UserError, match="no row for example 'forget/00099/original/0'"):
        cache.lookup(tokens.collate(stranger, 0))


def test_a_row_made_for_another_token_is_refused(world, files, expected):
    batch = batch_of(world, 0)
    batch.target_ids[2] += 1
    with pytest.raises(UserError, match=r"example 'forget/00000.*', position \d+: made for token \d+, but \d+ is"):
        ReferenceCache({"log_probs"}, files[0], None, expected).lookup(batch)
