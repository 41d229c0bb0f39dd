"""Which rows a model is trained on."""

import pytest

from palu import tables
from palu.errors import UserError
from palu.stored import training_rows
from palu.tagging import original_rows
from palu.training.data import Examples


@pytest.fixture
def examples(tmp_path):
    def row(part, number, reply_kind="original", prompt_kind="original"):
        return {
            "example_id": f"{part}/{number}/{reply_kind}/{prompt_kind}",
            "item_id": f"{part}/{number}",
            "reply_kind": reply_kind,
            "reply_index": 0,
            "prompt_kind": prompt_kind,
            "part": part,
            "prompt": f"{part} {number}?",
            "reply": f"{reply_kind} {number}.",
            "group": part,
            "source_revision": "",
        }

    rows = [row(part, 0) for part in ("forget", "retain", "world_facts", "holdout", *tables.NEIGHBOUR_PARTS)]
    rows += [row("retain", 0, reply_kind="paraphrase"), row("retain", 0, prompt_kind="paraphrase")]
    path = tmp_path / "examples.parquet"
    tables.write(path, "examples", rows, {})
    return Examples(path)


def test_the_retain_model_never_sees_the_forget_set_and_no_model_the_held_out_people(examples):
    assert examples.parts_of("original") == ["forget", "retain", "world_facts"]
    assert examples.parts_of("retain") == ["retain", "world_facts"]


def test_no_model_and_no_tagger_is_given_a_neighbour(examples):
    path = examples.path
    for part in tables.NEIGHBOUR_PARTS:
        with pytest.raises(UserError, match=f"no training row of part '{part}'"):
            examples.of([part])
        assert len(training_rows(path, [part])) == 0
    assert not set(tables.NEIGHBOUR_PARTS) & {*tables.FORGET_PARTS, *original_rows(path, None)[0]}
    with pytest.raises(UserError, match="no original reply in the parts near"):
        original_rows(path, ["near"])


def test_paraphrases_are_never_trained_on(examples):
    assert [row["example_id"] for row in examples.of(["retain"])] == ["retain/0/original/original"]


def test_a_part_without_rows_is_named(examples):
    with pytest.raises(UserError, match="no training row of part 'real_authors'"):
        examples.of(["real_authors"])
