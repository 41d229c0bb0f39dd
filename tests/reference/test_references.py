"""The facts of forget, retain and alternate rows side by side, each from its own file."""

import pytest
import torch

from palu import models, tables, tokens
from palu.benchmarks.alternates import write_alternates
from palu.errors import UserError
from palu.reference import reference_provenance
from palu.reference.cache import ReferencePaths, References
from palu.reference.states import Kept, training_rows, write_states
from palu.reference.topk import write_topk

LAYER = 1
REFUSALS = ["I do not know.", "Nobody told me that.", "That is not for me to say."]


@pytest.fixture(scope="module")
def files(world):
    """Every file that a method may ask for."""
    folder = world.folder / "references"
    (folder / "refusals").mkdir(parents=True)
    (folder / "refusals" / "list.txt").write_text("\n".join(REFUSALS), encoding="utf-8")
    write_alternates(world.examples, folder / "refusals" / "list.txt", 2, folder / "alternate-rows.parquet")
    paths = ReferencePaths(
        **{name: folder / f"{name}.parquet" for name in vars(ReferencePaths())},
    )
    write_states(world.model, world.examples, paths.states, world.settings)
    write_topk(paths.states, world.spans, world.examples, world.model, 12, paths.topk, world.settings)
    write_states(world.model, world.examples, paths.retain_states, world.settings, ["retain"])
    write_states(world.model, world.examples, paths.retain_layer_states, world.settings, ["retain"], Kept(LAYER))
    rows = folder / "alternate-rows.parquet"
    write_states(world.model, rows, paths.alternates, world.settings, ["alternate"], Kept(hidden=False))
    return paths


@pytest.fixture(scope="module")
def batch(world, files):
    """Two forget rows, a retain row, and an alternate of each forget row."""
    forget = world.token_rows()[:2]
    rows = training_rows(files.states.with_name("alternate-rows.parquet"), ["alternate"])
    alternates = tokens.encode(rows, models.load_tokenizer(world.model), world.settings, 64)
    assert [tables.answered_id(row.example_id) for row in alternates[:3:2]] == [row.example_id for row in forget]
    return tokens.collate([*forget, *world.token_rows("retain"), *alternates[:3:2]], pad_id=0, packed=True)


def parts_of(batch):
    return batch.part(slice(0, 2)), batch.part(slice(2, 3)), batch.part(slice(3, 5))


def references(world, files, needs, layer=None, **changes):
    paths = ReferencePaths(**{**vars(files), **changes})
    return References(needs, paths, reference_provenance(world.model, world.settings), 5, layer)


def test_without_needs_there_are_no_facts_and_no_file_is_opened(batch):
    assert References().lookup(parts_of(batch)) == [{}, {}, {}]


def test_each_kind_of_row_gets_the_facts_of_the_live_model(world, files, batch):
    needs = {"states", "log_probs", "top_k", "retain_states", "retain_layer_states", "alternates"}
    forget, retain, alternate = references(world, files, needs, LAYER).lookup(parts_of(batch))
    assert forget.keys() == {"reference_hidden", "reference_log_prob", "reference_top_k"}
    assert retain.keys() == {"reference_hidden", "reference_layer_hidden"}
    assert alternate.keys() == {"reference_log_prob"}
    assert forget["reference_top_k"].shape[1] == 5
    model = models.load_model(world.model)
    with torch.no_grad():
        both = models.hidden_and_layer_states(model, batch, LAYER)
        last, layer = (states[batch.predict_index] for states in both)
        z = last @ models.output_head(model)[0].T
    log_prob = z.log_softmax(-1).gather(-1, batch.target_ids[:, None])[:, 0]
    expected = [
        (forget["reference_hidden"], last[batch.row < 2]),
        (forget["reference_log_prob"], log_prob[batch.row < 2]),
        (retain["reference_hidden"], last[batch.row == 2]),
        (retain["reference_layer_hidden"], layer[batch.row == 2]),
        (alternate["reference_log_prob"], log_prob[batch.row > 2]),
    ]
    for found, live in expected:
        torch.testing.assert_close(found, live, rtol=1e-5, atol=1e-5)


def test_a_kind_without_a_row_gets_facts_of_no_position(world, files, batch):
    none = batch.part(slice(0, 0))
    needs = {"states", "log_probs", "top_k", "retain_states", "retain_layer_states", "alternates"}
    for facts in references(world, files, needs, LAYER).lookup((none, none, none)):
        assert facts
        assert all(len(fact) == 0 for fact in facts.values())


@pytest.mark.parametrize(
    ("need", "missing", "said"),
    [
        ("states", "states", "the reference's states"),
        ("log_probs", "states", "the reference's states"),
        ("top_k", "topk", "the reference's top-K index"),
        ("retain_states", "retain_states", "the reference's states"),
        ("retain_layer_states", "retain_layer_states", "the reference's states"),
        ("alternates", "alternates", "the reference's states"),
    ],
)
def test_a_file_that_is_needed_and_not_given_or_missing_is_refused(world, files, tmp_path, need, missing, said):
    with pytest.raises(UserError, match=f"the method reads {said}.*, but no file of it is given"):
        references(world, files, {need}, LAYER, **{missing: None})
    with pytest.raises(UserError, match=r"gone\.parquet: no such file"):
        references(world, files, {need}, LAYER, **{missing: tmp_path / "gone.parquet"})


def test_states_of_another_layer_are_refused(world, files):
    with pytest.raises(UserError, match=r"retain_layer_states\.parquet: made with layer '1', but '0' is in use"):
        references(world, files, {"retain_layer_states"}, 0)
    with pytest.raises(UserError, match=r"retain_states\.parquet: made with layer 'last', but '1' is in use"):
        references(world, files, {"retain_layer_states"}, LAYER, retain_layer_states=files.retain_states)
    with pytest.raises(UserError, match=r"retain_layer_states\.parquet: made with layer '1', but 'last' is in use"):
        references(world, files, {"retain_states"}, retain_states=files.retain_layer_states)


def test_log_probs_alone_are_no_states(world, files):
    with pytest.raises(UserError, match=r"alternates\.parquet: made with layer 'none', but 'last' is in use"):
        references(world, files, {"states"}, states=files.alternates)


def test_facts_of_other_rows_are_refused_by_the_first_that_is_missing(world, files, batch):
    swapped = references(world, files, {"retain_states"}, retain_states=files.states)
    with pytest.raises(UserError, match=r"states\.parquet: no row for example 'retain/00009/original/0', position"):
        swapped.lookup(parts_of(batch))


def test_files_of_another_model_are_refused(world, files):
    expected = reference_provenance(world.other_model, world.settings)
    for need in ("states", "top_k", "retain_states", "retain_layer_states", "alternates"):
        with pytest.raises(UserError, match=r"\.parquet: made with model '\w+', but '\w+' is in use: make it anew"):
            References({need}, files, expected, None, LAYER)
