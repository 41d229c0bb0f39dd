"""The MUSE benchmark: parts, prompts and refusals, on a tiny folder in both of its layouts and on the real one."""

import json
from collections import Counter
from pathlib import Path

import pytest

from palu import benchmarks, tables
from palu.benchmarks import muse
from palu.benchmarks.parts import parse_benchmark
from palu.errors import UserError
from tests import muse_layout

PLACE = "study.yaml: benchmark"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return muse_layout.write(tmp_path / "tiny")


def rows_of(source, **values):
    return list(muse.examples(muse.Settings.parse({"source": str(source), **values}, PLACE)))


def part(rows, name):
    return [row for row in rows if row["part"] == name]


def refusal_of(source, **values):
    with pytest.raises(UserError) as refusal:
        rows_of(source, **values)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_every_part_has_the_rows_of_its_table_and_no_passage_is_trained_on_twice(folder, capsys):
    rows = rows_of(folder)
    assert Counter(row["part"] for row in rows) == {
        "forget": 6,
        "retain": 6,
        "verbmem": 4,
        "knowmem_forget": 4,
        "knowmem_retain": 4,
        "privleak_forget": 3,
        "privleak_holdout": 6,
    }
    assert capsys.readouterr().out == (
        "benchmark muse: of 8 passages to forget 6 are kept; left out: 1 empty, 1 repeated\n"
    )
    assert part(rows, "forget")[2] == {
        "example_id": "forget/raw-forget-00002/original/0",
        "item_id": "raw/forget/2",
        "reply_kind": "original",
        "reply_index": 0,
        "prompt_kind": "original",
        "part": "forget",
        "prompt": "",
        "reply": muse_layout.passage("Elm", 2),
        "group": "raw/forget 2",
        "source_revision": rows[0]["source_revision"],
    }
    assert len({row["example_id"] for row in rows}) == len(rows)


def test_a_question_stands_behind_all_examples_and_ends_in_the_space_of_the_benchmarks_code(folder):
    first = part(rows_of(folder), "knowmem_forget")[0]
    assert first["prompt"] == (
        "Question: Who lives in Yew street 0?\nAnswer: Ada\n\n"
        "Question: Who lives in Yew street 1?\nAnswer: Bo\n\n"
        "Question: Who lives in Yew street 2?\nAnswer: Cleo\n\n"
        "Question: Who lives in Elm street 0?\nAnswer: "
    )
    assert first["reply"] == "Ada"
    (bare, *_) = part(rows_of(folder, icl_examples=0), "knowmem_retain")
    assert bare["prompt"] == "Question: Who lives in Oak street 0?\nAnswer: "
    (one, *_) = part(rows_of(folder, icl_examples=1), "knowmem_forget")
    assert one["prompt"].startswith("Question: Who lives in Yew street 0?\nAnswer: Ada\n\nQuestion: Who lives in Elm")


def test_prompt_and_continuation_of_a_passage_read_as_one_text(folder):
    for row, text in zip(part(rows_of(folder), "verbmem"), range(4), strict=True):
        assert row["prompt"] + row["reply"] == muse_layout.passage("Elm", text)
        assert len(row["prompt"].split()) == 30
        assert not row["prompt"].endswith(" ")


def test_questions_that_are_trained_on_stand_in_both_parts_with_the_same_prompt(folder):
    rows = rows_of(folder, train_questions=True, icl_examples=1)
    for side in ("forget", "retain"):
        asked = [(row["prompt"], row["reply"]) for row in part(rows, f"knowmem_{side}")]
        assert [(row["prompt"], row["reply"]) for row in part(rows, side) if row["prompt"]] == asked
    assert asked[0][0].endswith("street 0?\nAnswer:")
    assert asked[0][1] == " Ada\n\n", "an empty line ends an answer: raw text has no end token"


def test_a_small_study_makes_its_rows_of_the_chosen_passages(folder):
    rows = rows_of(folder, passages=[1, 4], retain_passages=[2, 4], verbmem_words=20)
    chosen = [muse_layout.passage("Elm", n) for n in (1, 2, 3)]
    assert [row["reply"] for row in part(rows, "forget")] == chosen
    assert [row["item_id"] for row in part(rows, "retain")] == ["raw/retain1/2", "raw/retain1/3"]
    made = part(rows, "verbmem")
    assert [row["prompt"] + row["reply"] for row in made] == chosen
    assert {len(row["prompt"].split()) for row in made} == {20}
    assert [row["item_id"] for row in made] == ["raw/forget/1", "raw/forget/2", "raw/forget/3"]
    assert [row["reply"] for row in part(rows, "privleak_forget")] == chosen
    holdout = part(rows, "privleak_holdout")
    assert [len(row["reply"].split()) for row in holdout] == [len(text.split()) for text in chosen]
    assert all(muse_layout.passage("Sky", n, 12).startswith(row["reply"]) for n, row in enumerate(holdout))


def test_joined_passages_are_a_document_for_each_table_and_other_rows_stay(folder):
    apart, joined = (rows_of(folder, joined=joined, retain=["retain1", "retain2"]) for joined in (False, True))
    for name, sources in (("forget", ["raw/forget"]), ("retain", ["raw/retain1", "raw/retain2"])):
        texts = {
            table: [row["reply"] for row in part(apart, name) if row["item_id"].startswith(f"{table}/")]
            for table in sources
        }
        assert {row["item_id"]: row["reply"] for row in part(joined, name)} == {
            f"{table}/0": "\n\n".join(own) for table, own in texts.items()
        }
    rest = [[row for row in rows if row["part"] not in {"forget", "retain"}] for rows in (apart, joined)]
    assert rest[0] == rest[1]
    made = part(rows_of(folder, joined=True, passages=[1, 4], verbmem_words=20), "verbmem")
    assert [row["item_id"] for row in made] == ["raw/forget/1", "raw/forget/2", "raw/forget/3"]


def test_a_study_is_named_by_joined_only_where_it_joins():
    keys = [parse_benchmark({"name": "muse"} | values, PLACE).key for values in ({}, {"joined": True})]
    # as before there was a choice
    assert keys[0] == "raw-d0d02150"
    assert keys[1] != keys[0]


def test_the_starts_of_passages_are_a_study_of_their_own(folder):
    rows = rows_of(folder, passage_words=25, verbmem_words=20)
    starts = [" ".join(muse_layout.passage("Elm", n).split(" ")[:25]) for n in range(6)]
    for name in ("forget", "privleak_forget"):
        assert [row["reply"] for row in part(rows, name)] == starts
    assert [row["prompt"] + row["reply"] for row in part(rows, "verbmem")] == starts
    assert {len(row["reply"].split()) for row in part(rows, "retain")} == {25}


def test_a_long_passage_gives_a_continuation_of_a_hundred_words_and_a_short_one_none(tmp_path, capsys):
    long, short = muse_layout.passage("Elm", 0, 30), "Elm street is short."
    source = muse_layout.write(tmp_path, raw__forget=[long, short])
    (made,) = part(rows_of(source, passages=[0, 2]), "verbmem")
    words = long.split()
    assert (made["prompt"].split(), made["reply"].split()) == (words[:100], words[100:200])
    assert "1 passages are too short for a row of verbmem" in capsys.readouterr().out
    assert (
        refusal_of(source, passages=[1, 2]) == "benchmark muse: verbmem_words: 100: no chosen passage has more words"
    )


def test_at_most_a_hundred_rows_are_made_evenly_spread(tmp_path):
    source = muse_layout.write(tmp_path, sust__forget_3=[muse_layout.passage("Fir", n) for n in range(250)])
    rows = rows_of(source, forget="sust_3", verbmem_words=20)
    made = [int(row["item_id"].rpartition("/")[2]) for row in part(rows, "verbmem")]
    assert made == [int(2.5 * n) for n in range(100)]
    assert len(part(rows, "forget")) == 250


@pytest.mark.parametrize(("forget", "count", "village"), [("scal_2", 10, "Elm"), ("sust_3", 5, "Fir")])
def test_the_folds_of_scalability_and_sustainability_are_forgotten_instead(folder, forget, count, village):
    rows = rows_of(folder, forget=forget, verbmem_words=20)
    assert len(part(rows, "forget")) == count
    assert {row["reply"].split()[1] for name in ("forget", "verbmem") for row in part(rows, name)} & {village}
    assert muse.Settings(forget=forget).split_name == forget


def test_retain_tables_stand_one_after_the_other_without_what_is_to_be_forgotten(tmp_path, capsys):
    shared = muse_layout.passage("Elm", 1)
    source = muse_layout.write(tmp_path, raw__retain2=[shared, muse_layout.passage("Ash", 0)])
    rows = part(rows_of(source, retain=["retain2", "privleak"]), "retain")
    assert [row["item_id"] for row in rows] == ["raw/retain2/1", *(f"privleak/retain/{n}" for n in range(3))]
    assert "of 5 passages to retain 4 are kept; left out: 1 also to be forgotten" in capsys.readouterr().out


def test_the_hubs_layout_gives_the_same_rows(folder, tmp_path):
    hub = muse_layout.write_hub_layout(tmp_path / "hub")
    plain, listed = ([{**row, "source_revision": ""} for row in rows_of(source)] for source in (folder, hub))
    assert listed == plain


def test_a_text_file_stands_for_one_text(tmp_path):
    source = muse_layout.write(tmp_path, raw__forget=None)
    (tmp_path / "raw" / "forget.txt").write_text("One text.\n\nOf two paragraphs.", encoding="utf-8")
    assert [row["reply"] for row in part(rows_of(source), "forget")] == ["One text.\n\nOf two paragraphs."]


def test_the_revision_of_a_folder_changes_with_what_is_read_and_with_nothing_else(folder):
    before = rows_of(folder)[0]["source_revision"]
    (folder / "raw" / "retain2.json").write_text("[]", encoding="utf-8")
    assert rows_of(folder)[0]["source_revision"] == before
    (folder / "knowmem" / "retain_qa.json").write_text(json.dumps([muse_layout.question("Oak", 9)]), encoding="utf-8")
    assert rows_of(folder)[0]["source_revision"] != before


@pytest.mark.parametrize(
    ("changes", "values", "message"),
    [
        ({"raw__retain1": None}, {}, "there is neither raw/retain1.json nor raw/retain1.txt; allowed: retain: [priv"),
        ({"verbmem__forget": None}, {}, "there is neither verbmem/forget.json nor verbmem/forget.txt"),
        ({"raw__forget": []}, {}, "table 'raw/forget' has no row"),
        ({"raw__forget": [" ", ""]}, {}, "benchmark muse: no passage to forget has a text"),
        ({"raw__forget": [3]}, {}, "raw/forget.json: entry 0 is neither a text nor a mapping"),
        ({"raw__forget": {"text": "one"}}, {}, "raw/forget.json: holds no list"),
        ({"verbmem__forget": [{"prompt": "a"}]}, {}, "row 0 of table 'verbmem/forget' has no text under the key 'gt'"),
        ({"knowmem__retain_qa": [{"question": "a", "answer": 1}]}, {}, "'knowmem/retain_qa' has no text under the ke"),
        ({}, {"passages": [0, 9]}, "benchmark muse: passages [0, 9]: raw/forget of "),
        ({}, {"icl_examples": 4}, "benchmark muse: icl_examples: 4; allowed: up to 3, as knowmem/forget_qa_icl of"),
    ],
)
def test_a_wrong_or_missing_table_is_told_in_one_line(tmp_path, changes, values, message):
    assert message in refusal_of(muse_layout.write(tmp_path, **changes), **values)


def test_a_file_that_is_not_json_is_named(folder):
    (folder / "knowmem" / "forget_qa.json").write_text("[{", encoding="utf-8")
    assert "knowmem/forget_qa.json: cannot be read as JSON: " in refusal_of(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"forget": "scal_5"}, "benchmark.forget: 'scal_5' should be 'raw'"),
        ({"retain": []}, "benchmark.retain: [] list should have at least 1 item"),
        ({"retain": ["retain3"]}, "'retain3' should be 'retain1', 'retain2' or 'privleak'"),
        ({"passages": [4, 4]}, "benchmark.passages: [4, 4] holds no row"),
        ({"splitt": "raw"}, "unknown key 'splitt'"),
    ],
)
def test_a_bad_setting_is_told_with_what_is_allowed(values, message):
    with pytest.raises(UserError) as refusal:
        muse.Settings.parse(values, PLACE)
    assert message in str(refusal.value)


def test_documents_and_evaluation_rows_pass_the_checks_and_become_a_table(folder, tmp_path):
    settings = muse.Settings(source=str(folder), train_questions=True)
    benchmarks.prepare("muse", settings, tmp_path / "e.parquet", tmp_path / "g.parquet")
    rows = tables.rows(tmp_path / "e.parquet", "examples")
    assert sum(row["prompt"] == "" for row in rows) == 6 + 6 + 3 + 6
    assert tables.provenance(tmp_path / "e.parquet")["split"] == "raw"
    assert Counter(row["part"] for row in rows if tables.is_training_row(row)) == {"forget": 10, "retain": 10}


def test_a_start_of_a_document_without_a_text_is_refused(tmp_path):
    source = muse_layout.write(tmp_path, verbmem__forget=[{"prompt": "", "gt": "Ada grows beans."}])
    with pytest.raises(UserError, match=r"the prompt of row 'verbmem/verbmem-forget-00000/original/0' is empty"):
        benchmarks.prepare("muse", muse.Settings(source=str(source)), tmp_path / "e.parquet", tmp_path / "g.parquet")
    assert not (tmp_path / "e.parquet").exists()


def test_the_real_news_have_857_passages_and_a_hundred_rows_of_each_measure(shared):
    source = shared / "data" / "muse-news"
    rows = rows_of(source, retain=["privleak"])
    assert Counter(row["part"] for row in rows) == {
        "forget": 857,
        "retain": 100,
        **dict.fromkeys(set(tables.EVALUATION_PARTS) - {"near", "far"}, 100),
    }
    assert all(row["prompt"].count("Question: ") == 11 for row in part(rows, "knowmem_forget"))
    assert not any(row["prompt"].endswith(" ") for row in part(rows, "verbmem"))
    small = rows_of(source, retain=["privleak"], passages=[0, 60], train_questions=True, icl_examples=0)
    assert len({row["reply"] for row in part(small, "forget") if not row["prompt"]}) == 58
