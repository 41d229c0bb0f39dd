import pytest

from palu.errors import UserError
from palu.evaluation.items import Items, asked_rows, attacked_rows, read_rows
from palu.evaluation.settings import EvaluationSettings
from tests.evaluation.cases import row

ROWS = [
    row("forget/0/perturbed/1"),
    row("forget/0/original/0"),
    row("forget/0/perturbed/0"),
    row("forget/0/paraphrase/0"),
    row("forget/0/question/0", prompt="Tell me who?"),
    row("holdout/7/original/0"),
    row("forget/1/original/0"),
]


def ids(rows):
    return [example["example_id"] for example in rows]


def test_an_item_gathers_the_rows_of_one_fact_with_wrong_replies_by_index():
    (item,) = Items(ROWS).of("forget")
    assert item.example_id == "forget/0/original/0"
    assert ids(item.perturbed) == ["forget/0/perturbed/0", "forget/0/perturbed/1"]
    assert item.restatement["example_id"] == "forget/0/paraphrase/0"
    assert item.question["prompt"] == "Tell me who?"


def test_rows_without_wrong_replies_only_train_where_others_of_the_part_have_some():
    assert "forget/1/original/0" not in ids(item.original for item in Items(ROWS).of("forget"))


def test_a_part_without_any_wrong_reply_is_evaluated_whole():
    assert [item.example_id for item in Items(ROWS).of("holdout")] == ["holdout/7/original/0"]


def test_the_right_reply_is_the_original_where_there_is_no_paraphrase():
    (item,) = Items([row("world_facts/0/original/0"), row("world_facts/0/perturbed/0")]).of("world_facts")
    assert item.restatement["example_id"] == "world_facts/0/original/0"


def test_the_same_fact_in_two_parts_is_two_items():
    rows = [row("retain/0/original/0"), row("holdout/0/original/0")]
    assert [len(Items(rows).of(part)) for part in ("retain", "holdout")] == [1, 1]


def test_an_item_without_its_original_reply_is_an_error_that_names_a_row():
    with pytest.raises(UserError, match=r"'forget/0/perturbed/0'.*no row with the original reply"):
        Items([row("forget/0/perturbed/0")]).of("forget")


def test_a_limit_takes_items_at_even_distances_of_its_part_alone():
    rows = [row(f"{part}/{number}/original/0") for part in ("forget", "retain") for number in range(10)]
    items = Items(rows, {"retain": 4})
    assert ids(item.original for item in items.of("retain")) == [f"retain/{i}/original/0" for i in (0, 2, 5, 7)]
    assert len(items.of("forget")) == 10
    assert len(Items(rows, {"retain": 20}).of("retain")) == 10


@pytest.mark.parametrize("paraphrased_questions", [False, True])
def test_each_row_is_read_once_and_holdout_rows_are_not_asked(paraphrased_questions):
    settings = EvaluationSettings(paraphrased_questions=paraphrased_questions)
    items = [item for part in ("forget", "holdout") for item in Items(ROWS).of(part)]
    extra = ["forget/0/question/0"] if paraphrased_questions else []
    assert ids(read_rows(items, settings)) == [
        "forget/0/original/0",
        "forget/0/paraphrase/0",
        "forget/0/perturbed/0",
        "forget/0/perturbed/1",
        *extra,
        "holdout/7/original/0",
    ]
    assert ids(asked_rows(items, settings)) == ["forget/0/original/0", *extra]


def test_documents_are_read_and_not_asked():
    rows = [row("forget/0/original/0", prompt=""), row("verbmem/0/original/0"), row("knowmem_retain/0/original/0")]
    items = [item for part in ("forget", "verbmem", "knowmem_retain") for item in Items(rows).of(part)]
    assert ids(asked_rows(items, EvaluationSettings())) == ["verbmem/0/original/0", "knowmem_retain/0/original/0"]
    assert ids(read_rows(items, EvaluationSettings())) == ids(rows)


def test_neighbours_are_asked_and_their_replies_are_not_read():
    rows = [row(f"{part}/0/original/0") for part in ("near", "far", "forget")]
    items = [item for part in ("near", "far", "forget") for item in Items(rows).of(part)]
    assert ids(asked_rows(items, EvaluationSettings())) == ids(rows)
    assert ids(read_rows(items, EvaluationSettings())) == ["forget/0/original/0"]


def test_membership_is_told_between_the_texts_that_a_benchmark_has_for_it():
    rows = [row(f"{part}/0/original/0") for part in ("forget", "holdout", "privleak_forget", "privleak_holdout")]
    items = {part: Items(rows).of(part) for part in ("forget", "holdout", "privleak_forget", "privleak_holdout")}
    assert ids(attacked_rows(items)) == [
        "privleak_forget/0/original/0",
        "privleak_holdout/0/original/0",
    ]
    assert ids(attacked_rows({part: items[part] for part in ("forget", "holdout")})) == [
        "forget/0/original/0",
        "holdout/0/original/0",
    ]
    assert ids(attacked_rows({"forget": items["forget"]})) == []
