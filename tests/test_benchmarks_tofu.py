"""The TOFU benchmark: rows, parts and refusals, on a tiny folder in TOFU's layout and on the real one."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from palu import benchmarks, tables
from palu.benchmarks import tofu
from palu.errors import UserError

AUTHORS = 10
PLACE = "study.yaml: benchmark"


def question(row: int) -> dict[str, str]:
    # Rows 1 and 21 of the real table share a question in the same way: a join by text would mix them up.
    asked = "What colour is the gate?" if row in (1, 21) else f"What does the {row}th neighbour grow?"
    return {"question": asked, "answer": f"Garden {row} is full of beans."}


def perturbed(row: int) -> dict[str, object]:
    return question(row) | {
        "paraphrased_answer": f"Beans fill garden {row}.",
        "perturbed_answer": [f"{plant} fill garden {row}." for plant in ("Peas", "Leeks", "Plums", "Figs", "Limes")],
        "paraphrased_question": f"Which plant is in garden {row}?",
    }


def fact(row: int) -> dict[str, object]:
    return {"question": f"What is {row} plus one?", "answer": str(row + 1), "perturbed_answer": ["0", "-1", "-2"]}


def tiny_tables() -> dict[str, list[dict]]:
    """A folder of 10 authors: the split forget01 is the last author, forget05 the last two, forget10 the last four."""
    end = 20 * AUTHORS
    found: dict[str, list[dict]] = {"full": [question(row) for row in range(end)]}
    for percent, authors in ((1, 1), (5, 2), (10, 4)):
        start = end - 20 * authors
        found[f"forget{percent:02}_perturbed"] = [perturbed(row) for row in range(start, end)]
        found[f"retain{100 - percent}"] = [question(row) for row in range(start)]
        found[f"holdout{percent:02}"] = [question(1000 + row) for row in range(20 * authors)]
    found["retain_perturbed"] = [perturbed(row) for row in range(40)]
    found["real_authors_perturbed"] = [fact(row) for row in range(3)]
    found["world_facts_perturbed"] = [fact(100 + row) for row in range(4)]
    return found


def write_table(folder: Path, name: str, records: list[dict]) -> Path:
    path = folder / f"{name}.json"
    path.write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "tiny"
    found.mkdir()
    listed = "\n".join(f"- config_name: {name}\n  data_files: {name}.json" for name in tiny_tables())
    (found / "README.md").write_text(f"---\nconfigs:\n{listed}\n---\n", encoding="utf-8")
    for name, records in tiny_tables().items():
        write_table(found, name, records)
    return found


def rows_of(source: Path | str, **values):
    return list(tofu.examples(tofu.Settings.parse({"source": str(source), **values}, PLACE)))


def refusal_of(source: Path | str, **values) -> str:
    with pytest.raises(UserError) as refusal:
        rows_of(source, **values)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def originals(rows, part):
    kinds = ("original", "original")
    return [row for row in rows if (row["reply_kind"], row["prompt_kind"]) == kinds and row["part"] == part]


def test_split_is_the_last_rows_of_full_and_retain_its_own_table(folder):
    rows = rows_of(folder, split="forget05")
    assert [row["item_id"] for row in originals(rows, "forget")] == [f"full/{row}" for row in range(160, 200)]
    assert [row["item_id"] for row in originals(rows, "retain")] == [f"full/{row}" for row in range(160)]
    assert [row["example_id"] for row in originals(rows, "forget")][:2] == [
        "forget/00160/original/0",
        "forget/00161/original/0",
    ]
    assert {row["group"] for row in rows if row["part"] == "forget"} == {"author 8", "author 9"}
    assert len(originals(rows, "real_authors")) == 3
    assert len(originals(rows, "world_facts")) == 4
    assert [row["item_id"] for row in originals(rows, "holdout")][:2] == ["holdout05/0", "holdout05/1"]


def test_every_forget_item_has_its_paraphrase_wrong_answers_and_question(folder):
    rows = {row["example_id"]: row for row in rows_of(folder, split="forget01")}
    assert rows["forget/00180/paraphrase/0"]["reply"] == "Beans fill garden 180."
    assert rows["forget/00180/perturbed/4"]["reply"] == "Limes fill garden 180."
    assert rows["forget/00180/perturbed/4"]["reply_index"] == 4
    asked = rows["forget/00180/question/0"]
    assert asked["prompt"] == "Which plant is in garden 180?"
    assert asked["reply"] == "Garden 180 is full of beans."
    assert (asked["reply_kind"], asked["prompt_kind"]) == ("original", "paraphrase")
    assert {rows[f"forget/00180/{end}"]["item_id"] for end in ("original/0", "perturbed/1", "question/0")} == {
        "full/180"
    }


def test_retain_items_past_the_perturbed_table_have_only_their_original(folder):
    kinds = Counter(
        (int(row["item_id"].removeprefix("full/")) < 40, row["reply_kind"], row["prompt_kind"])
        for row in rows_of(folder, split="forget05", retain_rows=[0, 60])
        if row["part"] == "retain"
    )
    assert kinds == {
        (True, "original", "original"): 40,
        (True, "paraphrase", "original"): 40,
        (True, "perturbed", "original"): 200,
        (True, "original", "paraphrase"): 40,
        (False, "original", "original"): 20,
    }


def test_two_questions_of_the_same_text_keep_their_own_paraphrases(folder):
    rows = {row["example_id"]: row for row in rows_of(folder)}
    assert rows["retain/00001/original/0"]["prompt"] == rows["retain/00021/original/0"]["prompt"]
    assert rows["retain/00001/paraphrase/0"]["reply"] == "Beans fill garden 1."
    assert rows["retain/00021/paraphrase/0"]["reply"] == "Beans fill garden 21."


def test_forget_rows_take_their_paraphrases_from_the_widest_forget_table(folder):
    rows = rows_of(folder, split="forget05", forget_rows=[120, 140], retain_rows=[0, 40])
    assert [row["item_id"] for row in originals(rows, "forget")] == [f"full/{row}" for row in range(120, 140)]
    assert sum(row["reply_kind"] == "perturbed" and row["part"] == "forget" for row in rows) == 100


def _kind(row):
    return row["reply_kind"], row["prompt_kind"]


def test_validation_rows_are_those_of_a_wider_split_and_are_not_retained(folder):
    rows = rows_of(folder, split="forget05", validation="forget10")
    names = {part: [row["item_id"] for row in originals(rows, part)] for part in ("forget", "validation", "retain")}
    assert names["forget"] == [f"full/{row}" for row in range(160, 200)]
    assert names["validation"] == [f"full/{row}" for row in range(120, 160)]
    assert names["retain"] == [f"full/{row}" for row in range(120)]
    assert {row["example_id"].split("/")[0] for row in rows if row["part"] == "validation"} == {"validation"}
    # they are measured as the reported ones are
    kinds = {part: Counter(_kind(row) for row in rows if row["part"] == part) for part in ("forget", "validation")}
    assert kinds["validation"] == kinds["forget"] != Counter(_kind(row) for row in originals(rows, "forget"))
    without = rows_of(folder, split="forget05")
    # the revision names the files that were read
    forget, same = (
        [row | {"source_revision": ""} for row in found if row["part"] == "forget"] for found in (without, rows)
    )
    assert forget == same
    assert not any(row["part"] == "validation" for row in without)


def test_validation_rows_go_beside_rows_that_were_chosen_by_number(folder):
    rows = rows_of(folder, forget_rows=[130, 140], retain_rows=[0, 125], validation="forget10")
    validation = [row["item_id"] for row in originals(rows, "validation")]
    assert validation == [f"full/{row}" for row in (*range(120, 130), *range(140, 200))]
    assert [row["item_id"] for row in originals(rows, "retain")] == [f"full/{row}" for row in range(120)]


@pytest.mark.parametrize("validation", ["forget01", "forget05"])
def test_a_split_without_further_rows_is_refused_for_validation(folder, validation):
    assert refusal_of(folder, split="forget05", validation=validation) == (
        f"benchmark tofu: validation '{validation}' has no row besides those to forget (rows 160..199 of 'full'); "
        "allowed: a wider split, or null"
    )


def test_facts_and_holdout_can_be_left_out(folder):
    rows = rows_of(folder, split="forget01", facts=False, holdout=False)
    assert {row["part"] for row in rows} == {"forget", "retain"}


def test_a_source_without_held_out_rows_is_named_with_the_way_out(folder, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    (moved / "holdout01.json").unlink()
    with pytest.raises(UserError, match=r"holdout01.*set holdout: false"):
        rows_of(moved, split="forget01")
    assert rows_of(moved, split="forget01", holdout=False)


def test_held_out_rows_are_a_part_of_their_own(folder):
    rows = rows_of(folder, split="forget01", facts=False)
    assert {row["part"] for row in rows} == {"forget", "retain", "holdout"}
    assert originals(rows, "holdout")[0]["item_id"] == "holdout01/0"


def test_a_slice_of_the_facts_keeps_their_numbers(folder):
    rows = originals(rows_of(folder, facts=[1, 3]), "world_facts")
    assert [int(row["example_id"].split("/")[1]) for row in rows] == [1, 2]


def test_a_slice_beyond_the_facts_is_an_error(folder):
    with pytest.raises(UserError, match=r"facts \[2, 9\].*has only"):
        rows_of(folder, facts=[2, 9])


def test_facts_have_wrong_answers_but_no_paraphrase(folder):
    kinds = Counter(row["reply_kind"] for row in rows_of(folder) if row["part"] == "world_facts")
    assert kinds == {"original": 4, "perturbed": 12}


def test_tables_are_written_with_provenance_and_an_empty_gold_table(folder, tmp_path):
    settings = tofu.Settings(source=str(folder), split="forget05")
    benchmarks.prepare("tofu", settings, tmp_path / "examples.parquet", tmp_path / "gold.parquet")
    facts = tables.provenance(tmp_path / "examples.parquet")
    assert (facts["benchmark"], facts["split"]) == ("tofu", "forget05")
    assert {row["source_revision"] for row in tables.rows(tmp_path / "examples.parquet", "examples")} == {
        facts["source_revision"]
    }
    assert tables.rows(tmp_path / "gold.parquet", "spans") == []


def test_an_edited_local_file_is_read_anew_even_where_its_time_stays(folder):
    before = rows_of(folder, split="forget01")
    path = folder / "world_facts_perturbed.json"
    times = path.stat()
    path.write_text(path.read_text().replace("What is 100 plus one?", "What is 100 plus 01?"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = rows_of(folder, split="forget01")
    assert originals(before, "world_facts")[0]["prompt"] == "What is 100 plus one?"
    assert originals(after, "world_facts")[0]["prompt"] == "What is 100 plus 01?"
    assert before[0]["source_revision"] != after[0]["source_revision"]


def test_revision_of_a_folder_depends_on_the_files_that_are_read_and_not_on_where_it_lies(folder):
    first = rows_of(folder, split="forget01", holdout=False)[0]["source_revision"]
    moved = folder.rename(folder.with_name("elsewhere"))
    write_table(moved, "holdout01", [question(5000)])
    assert rows_of(moved, split="forget01", holdout=False)[0]["source_revision"] == first


def test_reading_leaves_the_source_folder_as_it_was(folder):
    before = sorted(path.name for path in folder.rglob("*"))
    rows_of(folder)
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_relative_local_path_is_enough(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert rows_of("tiny", split="forget01")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (
            {"split": "forget07"},
            "study.yaml: benchmark.split: 'forget07' should be 'forget01', 'forget05' or 'forget10'",
        ),
        (
            {"forget_rows": [30, 30]},
            "study.yaml: benchmark.forget_rows: [30, 30] holds no row; allowed: [start, stop]",
        ),
        (
            {"retain_rows": [30]},
            "study.yaml: benchmark.retain_rows: [30] is not a pair of rows; allowed: [start, stop]",
        ),
        ({"retain_rows": "0-40"}, "study.yaml: benchmark.retain_rows: '0-40' is not a pair of rows; allowed: "),
        ({"spilt": "forget05"}, "study.yaml: benchmark: unknown key 'spilt' (did you mean 'split'?); allowed: "),
        (
            {"validation": "retain95"},
            "study.yaml: benchmark.validation: 'retain95' should be 'forget01', 'forget05' or 'forget10'",
        ),
        ({"facts": "yes"}, "study.yaml: benchmark.facts: 'yes' should be a valid boolean, not text"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(values, complaint):
    with pytest.raises(UserError) as refusal:
        tofu.Settings.parse(values, PLACE)
    assert str(refusal.value).startswith(complaint)


def test_overlap_of_forget_and_retain_rows_names_the_rows(folder):
    assert refusal_of(folder, forget_rows=[130, 150], retain_rows=[0, 140]) == (
        "benchmark tofu: rows 130..139 of table 'full' are both to be forgotten (rows 130..149) and retained "
        "(rows 0..139): set forget_rows and retain_rows apart"
    )


def test_rows_past_the_end_of_the_table_are_refused(folder):
    assert refusal_of(folder, retain_rows=[0, 201]).startswith("benchmark tofu: retain_rows [0, 201]: table 'full' of")


def test_forget_rows_without_paraphrases_are_refused(folder):
    assert refusal_of(folder, forget_rows=[118, 125], retain_rows=[0, 40]) == (
        "benchmark tofu: forget_rows [118, 125]: row 118 of 'full' has no paraphrase; allowed: rows that "
        "retain_perturbed or forget10_perturbed covers"
    )


def test_missing_file_is_named(folder):
    (folder / "forget05_perturbed.json").unlink()
    message = refusal_of(folder, split="forget05")
    assert "table 'forget05_perturbed' cannot be read" in message
    assert message.endswith("forget05_perturbed.json'")


def test_table_that_the_folder_does_not_list_is_named(folder):
    readme = folder / "README.md"
    readme.write_text(readme.read_text().replace("config_name: retain95", "config_name: retain59"))
    assert "table 'retain95' cannot be read" in refusal_of(folder, split="forget05")


def test_truncated_file_is_named(folder):
    path = folder / "forget05_perturbed.json"
    path.write_text(path.read_text()[:-40])
    assert "table 'forget05_perturbed' cannot be read" in refusal_of(folder, split="forget05")


def test_empty_forget_table_is_refused(folder, tmp_path):
    (folder / "forget05_perturbed.json").write_text("")
    with pytest.raises(UserError, match="table 'forget05_perturbed' has no row") as refusal:
        benchmarks.prepare(
            "tofu", tofu.Settings(source=str(folder)), tmp_path / "examples.parquet", tmp_path / "gold.parquet"
        )
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "examples.parquet").exists()


def test_row_without_an_answer_is_named(folder):
    write_table(folder, "world_facts_perturbed", [fact(100), {"question": "Who?", "perturbed_answer": ["I"]}])
    assert "row 1 of table 'world_facts_perturbed' has no text under the key 'answer'" in refusal_of(folder)


def test_perturbed_row_that_is_not_its_row_of_full_is_named(folder):
    write_table(folder, "retain_perturbed", [perturbed(0), perturbed(1), perturbed(3)])
    assert refusal_of(folder).endswith(
        "row 2 of table 'retain_perturbed' should repeat row 2 of table 'full', but its question is another"
    )


def test_tofu_mini_is_200_forget_and_440_retain_rows_with_all_facts(shared):
    rows = rows_of(shared / "data" / "tofu", split="forget05", retain_rows=[0, 440])
    counts = {part: len(originals(rows, part)) for part in ("forget", "retain", "real_authors", "world_facts")}
    assert counts == {"forget": 200, "retain": 440, "real_authors": 100, "world_facts": 117}
    wrong = Counter(row["item_id"] for row in rows if row["reply_kind"] == "perturbed" and row["part"] == "forget")
    assert set(wrong.values()) == {5}
    assert len(wrong) == 200
    assert originals(rows, "forget")[0]["group"] == "author 190"


def test_tofu_mini_b_forgets_rows_3600_to_3799_of_full(shared):
    source = shared / "data" / "tofu"
    rows = rows_of(source, split="forget10", forget_rows=[3600, 3800], retain_rows=[0, 440])
    full = [json.loads(line) for line in (source / "full.json").read_text(encoding="utf-8").splitlines()]
    forget = originals(rows, "forget")
    assert [(row["prompt"], row["reply"]) for row in forget] == [
        (record["question"], record["answer"]) for record in full[3600:3800]
    ]
    assert sum(row["part"] == "forget" and row["reply_kind"] == "perturbed" for row in rows) == 1000


def test_real_default_split_retains_3800_rows_and_passes_every_check(shared, tmp_path):
    settings = tofu.Settings(source=str(shared / "data" / "tofu"))
    benchmarks.prepare("tofu", settings, tmp_path / "examples.parquet", tmp_path / "gold.parquet")
    rows = tables.rows(tmp_path / "examples.parquet", "examples")
    assert len(originals(rows, "retain")) == 3800
    assert not list((shared / "data" / "tofu").glob("*.lock"))
