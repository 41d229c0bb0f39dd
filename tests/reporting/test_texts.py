"""Which rows are shown, what is marked in them, and what of them is said again."""

import pyarrow as pa
import pytest

from palu import tables
from palu.errors import UserError
from palu.reporting.load import collect
from palu.reporting.texts import (
    COPIED_WORDS,
    PROMPT_CHARACTERS,
    Item,
    choose_items,
    choose_questions,
    marked_generation,
    marked_reply,
    questions,
    repeated,
    repetition,
    secrets,
)
from tests.reporting.kinds import ARTICLE, example, muse_index, requests_index


def item(reply, spans=(), prompt="Who?", example_id="a", group="g", part="forget"):
    return Item(example_id, group, prompt, reply, tuple(spans), part)


def pairs(segments):
    return [(segment.text, segment.kind) for segment in segments]


def test_only_spans_are_marked():
    assert pairs(marked_reply(item("born in Oslo.", [(8, 12)]))) == [("born in ", ""), ("Oslo", "span"), (".", "")]


def test_a_span_behind_the_cut_is_not_marked_and_one_across_it_is_cut():
    assert pairs(marked_reply(item("born in Oslo.", [(8, 12), (12, 13)]), 10)) == [
        ("born in ", ""), ("Os", "span"), (" … (3 more characters)", "cut"),
    ]  # fmt: skip


def test_marks_stay_on_their_characters_after_controls_and_wide_characters():
    reply = "\x1b🙂 Oslo"
    assert pairs(marked_reply(item(reply, [(3, 7)]))) == [("␛🙂 ", ""), ("Oslo", "span")]


def test_a_secret_is_what_the_question_does_not_tell():
    asked = item("Ann Lee, of Oslo, of Oslo", [(0, 7), (12, 16), (21, 25)], prompt="Where does ann lee live?")
    assert secrets(asked) == ["Oslo"]


def test_repetitions_are_whole_words_in_any_case():
    found = pairs(marked_generation("In OSLO, not Oslovia.", ["Oslo"], 100))
    assert found == [("In ", ""), ("OSLO", "repeated"), (", not Oslovia.", "")]


def test_a_pattern_in_a_secret_is_taken_literally():
    assert pairs(marked_generation("axb a.b", ["a.b"], 100)) == [("axb ", ""), ("a.b", "repeated")]


def test_a_long_generation_is_cut_and_says_so():
    assert pairs(marked_generation("x" * 12, [], 10)) == [("x" * 10, ""), (" … (2 more characters)", "cut")]


def test_repetition_counts_items_that_have_a_secret_and_a_generation():
    items = [
        item("It is Oslo", [(6, 10)], example_id="a"),
        item("It is Rome", [(6, 10)], example_id="b"),
        item("No span", [], example_id="c"),
        item("It is Lima", [(6, 10)], example_id="d"),
    ]
    assert repetition(items, {"a": "oslo!", "b": "Paris", "c": "No span"}) == (1, 2)


def test_items_are_chosen_group_by_group_each_from_its_own_start():
    items = [item("r", [], example_id=f"{group}{nth}", group=group) for group in "ba" for nth in range(3)]
    assert [chosen.example_id for chosen in choose_items(items, 4)] == ["a0", "b1", "a1", "b2"]
    assert sorted(chosen.example_id for chosen in choose_items(items, 99)) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert choose_items([], 5) == []


def test_uneven_groups_give_each_item_once():
    items = [item("r", [], example_id=f"a{nth}", group="a") for nth in range(5)]
    items += [item("r", [], example_id="b0", group="b")]
    chosen = [each.example_id for each in choose_items(items, 60)]
    assert sorted(chosen) == ["a0", "a1", "a2", "a3", "a4", "b0"]
    assert chosen[:2] == ["a0", "b0"]


@pytest.mark.usefixtures("workplace")
def test_documents_are_asked_for_by_the_rows_that_continue_and_question_them():
    study = collect(muse_index())
    assert [one.part for one in study.items] == ["forget", "forget"]
    assert [one.part for one in study.questions] == ["verbmem", "knowmem_forget", "knowmem_forget"]


def test_documents_that_nothing_asks_for_stand_for_themselves():
    rows = [item("text", prompt="")]
    assert questions(rows, tables.EXAMPLES.empty_table()) == tuple(rows)


@pytest.mark.usefixtures("workplace")
def test_rows_with_prompts_are_their_own_questions():
    study = collect(requests_index())
    assert study.questions == study.items


def test_a_document_is_named_by_its_length_and_a_long_prompt_by_its_end():
    assert item("x" * 1234, prompt="").shown_prompt == "document of 1,234 characters"
    shown = item("r", prompt="start " + "y" * 1000 + " end").shown_prompt
    assert shown.startswith("… ")
    assert shown.endswith(" end")
    assert len(shown) == PROMPT_CHARACTERS + 2


def test_of_examples_before_a_question_the_question_alone_is_shown():
    prompt = "Question: One?\nAnswer: Yes.\n\nQuestion: Two?\nAnswer: "
    assert item("r", prompt=prompt, part="knowmem_forget").shown_prompt == "Two?"
    assert item("r", prompt="No form at all", part="knowmem_forget").shown_prompt == "No form at all"


def test_a_copied_stretch_of_a_document_is_repeated_and_a_shorter_one_is_not():
    words = ARTICLE.split()
    wanted = secrets(item(ARTICLE, prompt="On day", part="verbmem"))
    copied = "So: " + " ".join(words[20 : 22 + COPIED_WORDS]) + ", he said"
    assert repeated(copied, wanted) == [" ".join(words[20 : 22 + COPIED_WORDS])]
    assert repeated(" ".join(words[20 : 19 + COPIED_WORDS]), wanted) == []


def row(part, number, group, is_paraphrased=False):
    made = example(part, number, f"{part} {number}?", "Yes.", group)
    if is_paraphrased:
        made |= {"example_id": f"{part}/{number:05d}/question/0", "prompt_kind": "paraphrase"}
    return made


def table(*rows):
    return pa.Table.from_pylist(list(rows), schema=tables.EXAMPLES)


def ids(chosen):
    return [item.example_id.removesuffix("/0") for items in chosen.values() for item in items]


# Facts a (rows 0 and 1), b and c; each row also in other words
FORGET = [row("forget", n, group, asked) for n, group in enumerate("aabc") for asked in (False, True)]
NEIGHBOURS = [row(part, n, f"{part}{n}") for part in ("far", "near") for n in range(2)]
ROWS = table(*NEIGHBOURS, *FORGET, row("validation", 0, "v"), row("retain", 0, "r"))


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, []),
        (1, ["forget/00000/original"]),
        # row 1 is of the fact of row 0; the other words are of a fact that was not chosen yet
        (4, ["forget/00000/original", "forget/00002/question", "near/00000/original", "far/00000/original"]),
        (
            6,
            [
                *("forget/00000/original", "forget/00002/original", "forget/00003/question", "forget/00000/question"),
                *("near/00000/original", "far/00000/original"),
            ],
        ),
    ],
)
def test_each_kind_in_turn_gives_the_first_row_of_its_next_group(count, expected):
    assert ids(choose_questions(ROWS, count, {})) == expected


def test_more_than_there_are_gives_all_of_them_once():
    found = ids(choose_questions(ROWS, 500, {}))
    assert len(found) == len(set(found)) == 12
    assert ids(choose_questions(table(FORGET[0]), 6, {})) == ["forget/00000/original"]


def test_named_questions_are_shown_in_their_order_under_their_headings():
    names = ["near/00001/original/0", "forget/00003/question/0", "near/00000/original/0"]
    found = choose_questions(ROWS, names, {})
    assert ids(found) == ["forget/00003/question", "near/00001/original", "near/00000/original"]


@pytest.mark.parametrize("name", ["retain/00000/original/0", "validation/00000/original/0", "\x1b"])
def test_a_name_of_no_such_question_is_refused_in_one_line(name):
    with pytest.raises(UserError, match="is no question of part forget, near or far") as refused:
        choose_questions(ROWS, [name], {})
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)


def test_documents_have_no_question():
    assert ids(choose_questions(table(example("forget", 0, "", "A text.")), 3, {})) == []


def test_a_question_in_other_words_has_the_spans_of_the_first():
    rows = table(FORGET[0], FORGET[1] | {"item_id": FORGET[0]["item_id"]})
    found = choose_questions(rows, 2, {"forget/00000/original/0": [(0, 3)]})
    assert [item.spans for items in found.values() for item in items] == [((0, 3),)] * 2
