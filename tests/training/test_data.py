"""Which rows a model is trained on."""

import pytest

from palu import tables
from palu.errors import UserError
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

    rows = [row(part, 0) for part in ("forget", "retain", "world_facts", "holdout")]
    rows += [row("retain", 0, reply_kind="paraphrase"), row("retain", 0, prompt_kind="paraphrase")]
    path = tmp_path / "examples.parquet"
    tables.write(path, "examples", rows, {})
    return Examples(path)


def test_the_retain_model_never_sees_the_forget_set_and_no_model_the_held_out_people(examples):
    assert examples.parts_of("original") == ["forget", "retain", "world_facts"]
    assert examples.parts_of("retain") == ["retain", "world_facts"]


def test_paraphrases_are_never_trained_on(examples):
    assert [row["example_id"] for row in examples.of(["retain"])] == ["retain/0/original/original"]


def test_a_part_without_rows_is_named(examples):
    with pytest.raises(UserError, match="no training row of part 'real_authors'"):
        examples.of(["real_authors"])
