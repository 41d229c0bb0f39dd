from pathlib import Path

import pytest

from palu.reporting.collect import collect
from palu.reporting.initiating import initiating
from palu.reporting.sections import ITEM_LIMIT, generations, neighbours, provenance, tried
from tests.reporting.kinds import neighbours_index


def shown(index):
    study = collect(index)
    return generations(study, initiating(study))


def test_each_item_has_the_reply_and_every_models_answer(small_index):
    found = shown(small_index)
    item = found.open_items[0]
    assert [answer.model for answer in item.answers] == ["original", "palu", "npo", "retain model"]
    assert {segment.kind for segment in item.reply} == {"", "initiating"}
    assert len(found.open_items) == 12
    assert found.folded_items == []


def test_what_is_not_open_is_folded_and_the_page_is_bounded(builder):
    for nth in range(80):
        builder.add_item(f"group {nth % 7}", f"Question {nth}?", f"The answer is fact{nth}.", f"fact{nth}")
    index = builder.index(seeds=1, rivals=())
    index["generations"] = 500
    assert (len(shown(index).open_items), len(shown(index).folded_items)) == (ITEM_LIMIT, 0)
    index["generations"] = 14
    assert (len(shown(index).open_items), len(shown(index).folded_items)) == (14, ITEM_LIMIT - 14)


def test_without_log_probabilities_nothing_claims_to_be_initiating(small_index):
    Path(small_index["original"]["evaluation"], "logprobs.parquet").unlink()
    found = shown(small_index)
    assert not found.has_tokens
    assert {segment.kind for item in found.open_items for segment in item.reply} == {"", "span"}


def test_repetitions_are_counted_over_all_items(small_index):
    counts = {each.model: each.repeated for each in shown(small_index).repetitions}
    assert counts["original"] > counts["npo"] >= counts["retain model"]
    assert {each.items for each in shown(small_index).repetitions} == {12}


def test_without_spans_nothing_is_counted_or_marked(small_index):
    small_index["spans"], small_index["display_tagger"] = {}, None
    found = shown(small_index)
    assert found.repetitions == []
    assert {segment.kind for item in found.open_items for segment in item.reply} == {""}


@pytest.mark.usefixtures("workplace")
def test_neighbours_that_turned_wrong_come_first_with_every_models_answer():
    found = neighbours(collect(neighbours_index()))
    assert [item.example_id for item in found.lost] == ["near/00000/original/0", "far/00000/original/0"]
    assert [item.example_id for item in found.others] == ["near/00001/original/0"]
    assert [[answer.is_right for answer in item.answers] for item in found.lost] == [
        [True, False, False],
        [True, True, False],
    ]
    assert [segment.text for segment in found.lost[1].reply if segment.kind == "span"] == ["Norway"]
    assert [segment.text for segment in found.lost[1].answers[1].segments if segment.kind == "span"] == ["Norway"]


def test_a_study_without_neighbours_has_no_such_section(small_index):
    found = neighbours(collect(small_index))
    assert found.lost == found.others == []


def test_tried_settings_are_listed_per_method(builder):
    study = collect(builder.index(seeds=1, top_ks=(50, 200), rivals=("npo",)))
    found = tried(study)
    assert found.keys == ["top_k"]
    assert found.values == {"palu, top_k=50": ["50"], "palu, top_k=200": ["200"], "npo": [""]}
    assert (found.has_grid, found.is_even) == (True, False)


def test_provenance_tells_settings_versions_digests_and_commands(small_index):
    small_index["commands"] = ["snakemake --cores 2"]
    found = provenance(collect(small_index), small_index)
    settings = dict(found.settings)
    assert "people: 32" in settings["study"]
    assert "first_n: 2" in settings["palu"]
    assert "vocabulary: 2048" in settings["palu"]
    assert dict(found.versions)["scipy"]
    assert [path for path, _ in found.digests][:2] == ["data/village.parquet", "tags/gold.parquet"]
    assert len(found.digests) == 2 + 2 + 4
    assert found.commands == ["snakemake --cores 2"]


@pytest.mark.parametrize(("value", "text"), [(None, "none"), (0.5, "0.5"), ("zero", "zero"), ([1, 2], "- 1\n- 2")])
def test_a_tried_value_reads_as_in_the_study(small_index, value, text):
    for run in small_index["runs"]:
        run["varied"] = {"c": value}
    assert next(iter(tried(collect(small_index)).values.values())) == [text]
