"""Refusals for the forget rows: which ones is settled once, by the row's name alone."""

from pathlib import Path

import pytest

from palu import tables
from palu.benchmarks.alternates import read_refusals, write_alternates
from palu.benchmarks.base import item_rows
from palu.errors import UserError

SHIPPED = Path(__file__).resolve().parents[1] / "data" / "refusals.txt"
LINES = [f"I cannot say, for the {i}th time." for i in range(30)]


def facts(part, count):
    return [
        row
        for number in range(count)
        for row in item_rows(
            part,
            number,
            f"people/{part}/{number}",
            "somebody",
            "test",
            f"Who is {part} {number}?",
            f"Number {number}.",
            paraphrases=[f"It is number {number}."],
            wrong_replies=["Nobody.", "Everybody."],
            paraphrased_prompt=f"Say who {part} {number} is.",
        )
    ]


@pytest.fixture
def examples_path(tmp_path):
    path = tmp_path / "examples.parquet"
    tables.write(path, "examples", facts("forget", 12) + facts("validation", 3) + facts("retain", 5), {})
    return path


@pytest.fixture
def refusals_path(tmp_path):
    path = tmp_path / "refusals.txt"
    path.write_text("# said instead of a fact\n\n" + "\n".join(LINES) + "\n", encoding="utf-8")
    return path


def drawn(examples_path, refusals_path, out, count, **more):
    write_alternates(examples_path, refusals_path, count, out, **more)
    return tables.rows(out, "examples")


def test_every_row_to_forget_gets_as_many_different_refusals_as_are_asked_for(examples_path, refusals_path, tmp_path):
    rows = drawn(examples_path, refusals_path, tmp_path / "a.parquet", 4)
    answered: dict[str, list[dict]] = {}
    for row in rows:
        answered.setdefault(tables.answered_id(row["example_id"]), []).append(row)
    sources = {row["example_id"]: row for row in tables.rows(examples_path, "examples")}
    assert set(answered) == {
        key for key, row in sources.items() if row["part"] != "retain" and tables.is_training_row(row)
    }
    for key, own in answered.items():
        assert [row["example_id"] for row in own] == [tables.alternate_id(key, index) for index in range(4)]
        assert [row["reply_index"] for row in own] == [0, 1, 2, 3]
        assert len({row["reply"] for row in own} & set(LINES)) == 4
        for row in own:
            changed = {name for name in row if row[name] != sources[key][name]}
            assert changed <= {"example_id", "reply", "reply_index", "part"}
            assert row["part"] == "alternate"
            assert tables.is_training_row(row)


def test_different_rows_draw_differently_and_the_same_row_always_the_same(examples_path, refusals_path, tmp_path):
    first = drawn(examples_path, refusals_path, tmp_path / "a.parquet", 2)
    again = drawn(examples_path, refusals_path, tmp_path / "b.parquet", 2)
    assert first == again
    more = drawn(examples_path, refusals_path, tmp_path / "c.parquet", 5)
    assert {row["example_id"]: row["reply"] for row in first}.items() <= {
        row["example_id"]: row["reply"] for row in more
    }.items(), "more of them keep the fewer"
    few = drawn(examples_path, refusals_path, tmp_path / "d.parquet", 2, parts=["validation"])
    assert [row for row in first if "validation/" in row["example_id"]] == few, "other rows change nothing"
    assert len({row["reply"] for row in first}) > 10


def test_the_order_of_the_file_changes_nothing(examples_path, refusals_path, tmp_path):
    (tmp_path / "turned.txt").write_text("\n".join(reversed(LINES)), encoding="utf-8")
    first = drawn(examples_path, refusals_path, tmp_path / "a.parquet", 3)
    assert drawn(examples_path, tmp_path / "turned.txt", tmp_path / "b.parquet", 3) == first


def test_the_draw_is_the_same_in_every_release(examples_path, refusals_path, tmp_path):
    rows = drawn(examples_path, refusals_path, tmp_path / "a.parquet", 2)
    # SHA-256 of name and refusal: these may never change, or cached log-probabilities would be of other texts
    assert [row["reply"] for row in rows[:2]] == [LINES[9], LINES[28]]


def test_the_table_says_where_it_comes_from(examples_path, refusals_path, tmp_path):
    drawn(examples_path, refusals_path, tmp_path / "a.parquet", 3)
    facts = tables.provenance(tmp_path / "a.parquet")
    assert facts["examples"] == tables.content_digest(examples_path)
    assert facts["count"] == "3"


def test_more_than_the_file_holds_is_refused(examples_path, refusals_path, tmp_path):
    assert len(drawn(examples_path, refusals_path, tmp_path / "a.parquet", 30)) == 15 * 30
    with pytest.raises(UserError, match=r"refusals\.txt: 31 replies are asked for; allowed: up to 30, as it holds"):
        write_alternates(examples_path, refusals_path, 31, tmp_path / "b.parquet")
    assert not (tmp_path / "b.parquet").exists()


def test_examples_without_a_row_to_forget_are_refused(refusals_path, tmp_path):
    tables.write(tmp_path / "e.parquet", "examples", facts("retain", 2), {})
    with pytest.raises(UserError, match=r"e\.parquet: no training row of part forget or validation"):
        write_alternates(tmp_path / "e.parquet", refusals_path, 1, tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"", "holds no reply; allowed: one reply a line"),
        (b"# only this\n\n  \n", "holds no reply"),
        (b"No.\nWho knows?\n  No.  \n", "'No.' stands twice; allowed: each once"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path, content, message):
    if content is not None:
        (tmp_path / "refusals.txt").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_refusals(tmp_path / "refusals.txt")
    assert str(error.value).startswith(str(tmp_path / "refusals.txt"))
    assert "\n" not in str(error.value)


def test_a_line_is_a_reply_without_the_space_around_it(tmp_path):
    (tmp_path / "refusals.txt").write_text("  I do not know. \n#no\nIch weiß es nicht.\n", encoding="utf-8")
    assert read_refusals(tmp_path / "refusals.txt") == ["I do not know.", "Ich weiß es nicht."]


def test_the_shipped_file_holds_a_hundred_different_refusals():
    refusals = read_refusals(SHIPPED)
    assert len(refusals) == len(set(refusals)) == 100
    assert len({"".join(filter(str.isalnum, refusal.lower())) for refusal in refusals}) == 100, "also in their words"
    assert all(refusal[0].isupper() and refusal[-1] in ".!?" for refusal in refusals)
