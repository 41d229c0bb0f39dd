"""Which questions a terminal shows: by their places, never by the answers."""

import pyarrow as pa
import pytest

from palu import tables
from palu.errors import UserError
from palu.reporting.before_after import answer_lines, choose_questions
from palu.reporting.items import ForgetItem
from tests.reporting.kinds import example


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
    assert ids(choose_questions(ROWS, count)) == expected


def test_more_than_there_are_gives_all_of_them_once():
    found = ids(choose_questions(ROWS, 500))
    assert len(found) == len(set(found)) == 12
    assert ids(choose_questions(table(FORGET[0]), 6)) == ["forget/00000/original"]


def test_named_questions_are_shown_in_their_order_under_their_headings():
    names = ["near/00001/original/0", "forget/00003/question/0", "near/00000/original/0"]
    found = choose_questions(ROWS, names)
    assert ids(found) == ["forget/00003/question", "near/00001/original", "near/00000/original"]


@pytest.mark.parametrize("name", ["retain/00000/original/0", "validation/00000/original/0", "\x1b"])
def test_a_name_of_no_such_question_is_refused_in_one_line(name):
    with pytest.raises(UserError, match="is no question of part forget, near or far") as refused:
        choose_questions(ROWS, [name])
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)


def test_documents_have_no_question():
    assert ids(choose_questions(table(example("forget", 0, "", "A text.")), 3)) == []


def test_lines_are_cut_to_fit_and_an_empty_answer_is_named():
    item = ForgetItem("a", "g", "Why " * 60, "r", ())
    models = [("original", {"a": "so\n" * 80}), ("a long name of more than 24", {"a": " "}), ("npo", {})]
    (lines,) = answer_lines({"Kept": [item], "None": []}, models)
    assert lines[0] == "Kept"
    assert [line[4:30].rstrip() for line in lines[2:]] == ["original", "a long name of more tha…", "npo"]
    assert [line[30:] for line in lines[3:]] == ["(nothing)", "(not asked)"]
    assert lines[1].endswith("…")
    assert lines[2].endswith("so s…")
    assert max(map(len, lines)) <= 110
