"""The village benchmark: what its people, sentences, wrong answers and gold spans are."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from palu import benchmarks, tables
from palu.benchmarks import village
from palu.benchmarks.village.facts import world_facts
from palu.benchmarks.village.people import MOST_PEOPLE, fill, person, wrong_values
from palu.benchmarks.village.sentences import ATTRIBUTES
from palu.benchmarks.village.words import YEAR_FIELDS, pools
from palu.errors import UserError
from palu.training.data import Examples

DEFAULTS = village.Settings()


def parted(settings):
    """The rows and the spans, apart."""
    pairs = list(benchmarks.checked("village", settings))
    return [row for row, _ in pairs], [span for _, spans in pairs for span in spans]


@pytest.fixture(scope="module")
def rows():
    return parted(DEFAULTS)[0]


@pytest.fixture(scope="module")
def spans():
    return parted(DEFAULTS)[1]


def originals(rows, *parts):
    kinds = ("original", "original")
    return [row for row in rows if (row["reply_kind"], row["prompt_kind"]) == kinds and row["part"] in parts]


def test_default_study_has_forty_people_of_sixteen_questions_and_a_balanced_holdout(rows):
    counts = Counter(row["part"] for row in originals(rows, "forget", "retain", "holdout", "world_facts"))
    assert counts == {"forget": 8 * 16, "retain": 32 * 16, "holdout": 8 * 16, "world_facts": 62}


def test_every_person_item_has_a_paraphrase_five_wrong_replies_and_another_question(rows):
    kinds = Counter((row["item_id"], row["reply_kind"], row["prompt_kind"]) for row in rows)
    for item in {row["item_id"] for row in rows if row["item_id"].startswith("people/")}:
        assert kinds[item, "original", "original"] == 1
        assert kinds[item, "paraphrase", "original"] == 1
        assert kinds[item, "perturbed", "original"] == 5
        assert kinds[item, "original", "paraphrase"] == 1


def test_same_settings_give_the_same_rows_in_another_process_with_another_hash_seed():
    code = (
        "import hashlib, json; from palu.benchmarks import village; "
        "print(hashlib.sha256(json.dumps(village.examples(village.Settings())).encode()).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == hashlib.sha256(json.dumps(village.examples(DEFAULTS)).encode()).hexdigest()


def test_same_settings_write_the_same_bytes(tmp_path):
    small = village.Settings(people=8, held_out_people=1, forget_people=2)
    for name in ("a", "b"):
        benchmarks.prepare("village", small, tmp_path / name / "examples.parquet", tmp_path / name / "gold.parquet")
    for name in ("examples.parquet", "gold.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_another_seed_gives_other_people(rows):
    other = parted(village.Settings(seed=1))[0]
    assert not {row["prompt"] for row in originals(rows, "forget")} & {row["prompt"] for row in other}


def test_another_forget_from_changes_parts_and_nothing_else(rows):
    moved = parted(village.Settings(forget_from=8))[0]
    text = [(row["item_id"], row["prompt"], row["reply"], row["source_revision"]) for row in rows]
    assert [(row["item_id"], row["prompt"], row["reply"], row["source_revision"]) for row in moved] == text
    first = {row["group"] for row in rows if row["part"] == "forget"}
    second = {row["group"] for row in moved if row["part"] == "forget"}
    assert len(first) == len(second) == 8
    assert not first & second


def test_validation_people_follow_the_forgotten_ones_and_leave_the_retained(rows, spans):
    settings = village.Settings(validation_people=3)
    others, other_spans = parted(settings)
    assert [row | {"part": "", "example_id": ""} for row in others] == [
        row | {"part": "", "example_id": ""} for row in rows
    ]
    people = {part: {row["group"] for row in others if row["part"] == part} for part in ("validation", "retain")}
    assert people["validation"] == {person(0, number).name for number in (8, 9, 10)}
    assert not people["validation"] & people["retain"]
    counts = Counter(row["part"] for row in originals(others, "forget", "validation", "retain", "holdout"))
    assert counts == {"forget": 8 * 16, "validation": 3 * 16, "retain": 29 * 16, "holdout": 8 * 16}
    assert len(other_spans) == len(spans), "also they have gold spans"
    assert settings.split_name == DEFAULTS.split_name
    assert (settings.validation_hint, DEFAULTS.validation_hint) == (None, "validation_people above 0")


def test_the_original_model_sees_validation_people_and_the_retain_model_does_not(tmp_path):
    path = tmp_path / "examples.parquet"
    benchmarks.prepare("village", village.Settings(validation_people=2), path, tmp_path / "gold.parquet")
    examples = Examples(path)
    assert examples.parts_of("original") == ["forget", "retain", "validation", "world_facts"]
    assert examples.parts_of("retain") == ["retain", "world_facts"]


def test_spans_cover_the_facts_of_each_reply_exactly(rows, spans):
    replies = {row["example_id"]: row for row in rows}
    people = {person(DEFAULTS.seed, number).name: person(DEFAULTS.seed, number) for number in range(48)}
    found = {}
    for span in spans:
        row = replies[span["example_id"]]
        covered = row["reply"][span["char_start"] : span["char_end"]]
        value = people[row["group"]].facts[span["label"]]
        assert covered in (value, value[0].upper() + value[1:])
        assert span["tagger"] == "gold"
        found.setdefault(span["example_id"], []).append(span["label"])
    for row in rows:
        if row["item_id"].startswith("people/") and row["reply_kind"] != "perturbed":
            attribute = ATTRIBUTES[int(row["item_id"].removeprefix("people/")) % len(ATTRIBUTES)]
            assert sorted(found[row["example_id"]]) == sorted(attribute.fields)
        else:
            assert row["example_id"] not in found


def test_spans_never_cover_a_name_that_the_prompt_gives_away(rows, spans):
    prompts = {row["example_id"]: row for row in rows}
    for span in spans:
        row = prompts[span["example_id"]]
        assert row["reply"][span["char_start"] : span["char_end"]] not in row["prompt"]


def test_facts_stand_first_last_in_the_middle_and_several_in_a_reply(rows, spans):
    replies = {row["example_id"]: row["reply"] for row in originals(rows, "forget", "retain")}
    trained = [span for span in spans if span["example_id"] in replies]
    first = sum(span["char_start"] == 0 for span in trained)
    last = sum(replies[s["example_id"]][s["char_end"] :].strip('."') == "" for s in trained)
    several = sum(count > 1 for count in Counter(span["example_id"] for span in trained).values())
    assert min(first, last, len(trained) - first - last, several) > 50


def test_facts_are_one_to_eight_words_long(rows, spans):
    replies = {row["example_id"]: row["reply"] for row in rows}
    lengths = {len(replies[s["example_id"]][s["char_start"] : s["char_end"]].split()) for s in spans}
    assert lengths == set(range(1, 9))


def test_wrong_replies_differ_from_every_true_reply_and_from_each_other(rows):
    items = {}
    for row in rows:
        items.setdefault(row["item_id"], []).append(row)
    for item in items.values():
        true = {row["reply"] for row in item if row["reply_kind"] != "perturbed"}
        wrong = [row["reply"] for row in item if row["reply_kind"] == "perturbed"]
        assert len(set(wrong)) == len(wrong) >= 3
        assert not true & set(wrong)


def test_wrong_values_are_of_the_same_kind_and_never_the_true_one():
    for number in range(0, 48, 5):
        someone = person(3, number)
        for field, value in someone.facts.items():
            wrong = wrong_values(3, someone, field)
            assert len(set(wrong)) == 5
            assert value not in wrong
            assert field in YEAR_FIELDS or set(wrong) <= set(pools()[field])


def test_wrong_replies_are_the_paraphrase_with_other_facts(rows, spans):
    paraphrases = {row["item_id"]: row for row in rows if row["reply_kind"] == "paraphrase"}
    ends = {}
    for span in spans:
        ends[span["example_id"]] = max(ends.get(span["example_id"], 0), span["char_end"])
    for row in rows:
        if row["reply_kind"] == "perturbed" and row["item_id"] in paraphrases:
            true = paraphrases[row["item_id"]]
            assert row["reply"].endswith(true["reply"][ends[true["example_id"]] :])


def test_sentences_of_held_out_people_are_disjoint_from_those_of_trained_people():
    for attribute in ATTRIBUTES:
        assert len(attribute.replies) >= 4
        assert len(attribute.held_out_replies) >= 2
        assert len(attribute.questions) >= 3
        assert not set(attribute.replies) & set(attribute.held_out_replies)


def test_held_out_sentences_are_used_by_held_out_people_and_nobody_else(rows):
    people = {person(DEFAULTS.seed, number).name: person(DEFAULTS.seed, number) for number in range(48)}
    used = Counter()
    for row in rows:
        if row["item_id"].startswith("people/") and row["reply_kind"] in ("original", "paraphrase"):
            someone = people[row["group"]]
            attribute = ATTRIBUTES[int(row["item_id"].removeprefix("people/")) % len(ATTRIBUTES)]
            facts = {field: someone.facts[field] for field in attribute.fields}
            kept = {fill(template, someone, facts).text for template in attribute.held_out_replies}
            used[row["part"]] += row["reply"] in kept
    assert used["forget"] == used["retain"] == 0
    assert used["holdout"] > 50


def test_every_question_names_its_person_and_no_two_are_the_same(rows):
    asked = [row["prompt"] for row in originals(rows, "forget", "retain", "holdout", "world_facts")]
    assert len(set(asked)) == len(asked)
    for row in rows:
        if row["item_id"].startswith("people/"):
            assert row["group"] in row["prompt"]


def test_replies_about_people_have_six_to_thirty_words(rows):
    assert all(6 <= len(row["reply"].split()) <= 30 for row in originals(rows, "forget", "retain", "holdout"))


def test_people_of_the_default_study_share_no_fact_but_years():
    people = [person(DEFAULTS.seed, number) for number in range(48)]
    for field in set(people[0].facts) - set(YEAR_FIELDS):
        assert len({someone.facts[field] for someone in people}) == len(people), field


def test_no_two_of_the_most_people_that_are_allowed_share_a_name():
    assert len({person(0, number).name for number in range(MOST_PEOPLE)}) == MOST_PEOPLE


def test_no_wedding_or_award_comes_before_its_time():
    for number in range(48):
        facts = person(0, number).facts
        born, married, awarded = (int(facts[f][-4:]) for f in ("birth_date", "wedding_year", "award_year"))
        assert born + 21 <= married <= 2025
        assert born + 32 <= awarded <= 2025


def test_article_agrees_with_the_value_and_stays_outside_its_span():
    someone = person(0, 0)
    sentence = fill("{mother_job:A} and {father_job:a}.", someone, {"mother_job": "organist", "father_job": "cook"})
    assert sentence.text == "An organist and a cook."
    assert sentence.spans == ((3, 11, "mother_job"), (18, 22, "father_job"))


def test_world_facts_are_at_least_forty_with_three_wrong_answers_each():
    facts = list(world_facts())
    assert len(facts) >= 40
    assert len({fact.prompt for fact in facts}) == len(facts)
    for fact in facts:
        assert len({fact.reply, *fact.wrong_replies}) == 4
    assert facts[0] == (
        "What is the capital of Norway?",
        "The capital of Norway is Oslo.",
        facts[0].wrong_replies,
    )


def test_written_tables_read_back_with_their_provenance(tmp_path, rows, spans):
    out, gold = tmp_path / "examples.parquet", tmp_path / "gold.parquet"
    benchmarks.prepare("village", DEFAULTS, out, gold)
    assert tables.rows(out, "examples") == rows
    assert tables.rows(gold, "spans") == spans
    facts = tables.provenance(out)
    assert (facts["benchmark"], facts["split"]) == ("village", "people0-7")
    assert facts["source_revision"] == rows[0]["source_revision"]
    assert tables.provenance(gold)["examples"] == tables.content_digest(out)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"people": 7}, "study.yaml: benchmark.people: 7 should be greater than or equal to 8"),
        ({"forget_people": 0}, "study.yaml: benchmark.forget_people: 0 should be greater than or equal to 1"),
        ({"forget_people": 40}, "study.yaml: benchmark.forget_people: 40 people from person 0 on are too many of 40"),
        ({"forget_from": 33}, "study.yaml: benchmark.forget_people: 8 people from person 33 on are too many of 40"),
        ({"validation_people": 33}, "study.yaml: benchmark.validation_people: 33 people after the 8 from person 0 on"),
        (
            {"validation_people": -1},
            "study.yaml: benchmark.validation_people: -1 should be greater than or equal",
        ),
        (
            {"forget_from": 30, "validation_people": 3},
            "study.yaml: benchmark.validation_people: 3 people after the 8 from person 30 on are too many",
        ),
        ({"seed": "1"}, "study.yaml: benchmark.seed: '1' should be a valid integer, not text"),
        ({"peple": 40}, "study.yaml: benchmark: unknown key 'peple' (did you mean 'people'?)"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(values, complaint):
    with pytest.raises(UserError) as refusal:
        village.Settings.parse(values, "study.yaml: benchmark")
    assert str(refusal.value).startswith(complaint)
    assert "\n" not in str(refusal.value)


def test_reading_the_settings_loads_no_heavy_library():
    code = (
        "import sys, palu.benchmarks as b; b.load('village').Settings(); b.load('tofu').Settings(); "
        "print([m for m in ('torch', 'transformers', 'datasets', 'pyarrow', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def example(example_id: str, part: str, **changes):
    columns = {"item_id": example_id, "reply_kind": "original", "reply_index": 0, "prompt_kind": "original"}
    texts = {"prompt": f"What is {example_id}?", "reply": "A row.", "group": "g", "source_revision": "r"}
    return {"example_id": example_id, "part": part, **columns, **texts, **changes}


FORGET = example("f", "forget")


@pytest.mark.parametrize(
    ("rows", "spans", "complaint"),
    [
        ([FORGET, FORGET], [], "benchmark village: example_id 'f' names two rows; every row needs its own"),
        ([example("r", "retain")], [], "benchmark village: the forget set is empty: no row has part 'forget'"),
        ([FORGET, example("r", "retain", reply=" \n")], [], "benchmark village: the reply of row 'r' is empty"),
        ([FORGET, example("r", "retain", prompt="\n")], [], "benchmark village: the prompt of row 'r' is empty"),
        (
            [FORGET, example("r", "retain", prompt=FORGET["prompt"])],
            [],
            "benchmark village: row 'f' is to be forgotten and row 'r' has the same prompt and reply: no row may "
            "stand in both parts",
        ),
        (
            [FORGET, example("r", "knowmem_forget", prompt="")],
            [],
            "benchmark village: the prompt of row 'r' is empty",
        ),
        ([], [], "benchmark village: the forget set is empty: no row has part 'forget'"),
        (
            [FORGET],
            [{"char_start": 2, "char_end": 7, "label": "l"}],
            "benchmark village: gold span 2..7 of row 'f' is outside its 6 characters",
        ),
    ],
)
def test_prepare_refuses_bad_tables_and_writes_nothing(
    monkeypatch, tmp_path: Path, rows: list, spans: list, complaint: str
):
    monkeypatch.setattr(village, "examples", lambda _: [*rows[:-1], rows[-1] | {"gold": spans}] if rows else [])
    with pytest.raises(UserError) as refusal:
        benchmarks.prepare("village", DEFAULTS, tmp_path / "examples.parquet", tmp_path / "gold.parquet")
    assert str(refusal.value) == complaint
    assert not list(tmp_path.iterdir())


def test_rows_are_written_in_batches_and_the_tables_refer_to_each_other(monkeypatch, tmp_path, rows, spans):
    monkeypatch.setattr(benchmarks, "BATCH_ROWS", 7)
    examples, gold = tmp_path / "examples.parquet", tmp_path / "gold.parquet"
    benchmarks.prepare("village", DEFAULTS, examples, gold)
    assert pq.ParquetFile(examples).num_row_groups == -(-len(rows) // 7)
    assert tables.rows(examples, "examples") == rows
    assert tables.rows(gold, "spans", {"examples": tables.content_digest(examples)}) == spans
    assert tables.provenance(examples)["rows"] == str(len(rows))


def test_a_mistake_after_many_batches_leaves_what_stood_there_before(monkeypatch, tmp_path):
    monkeypatch.setattr(benchmarks, "BATCH_ROWS", 2)
    examples, gold = tmp_path / "examples.parquet", tmp_path / "gold.parquet"
    examples.write_text("before")
    late = [*(example(str(number), "forget") for number in range(9)), example("3", "retain")]
    monkeypatch.setattr(village, "examples", lambda _: late)
    with pytest.raises(UserError, match="example_id '3' names two rows"):
        benchmarks.prepare("village", DEFAULTS, examples, gold)
    assert [path.name for path in tmp_path.iterdir()] == ["examples.parquet"]
    assert examples.read_text() == "before"


def test_unknown_benchmark_is_named_with_the_nearest_known_one():
    with pytest.raises(
        UserError, match=r"study.yaml: unknown benchmark 'vilage' \(did you mean 'village'\?\); allowed: "
    ):
        benchmarks.load("vilage", "study.yaml")
