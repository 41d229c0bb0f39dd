"""One's own forget request: what becomes a row, and each mistake in one line."""

import json
from pathlib import Path

import pytest

from palu import benchmarks, tables
from palu.benchmarks import custom
from palu.cli import main
from palu.errors import UserError

QUESTION = {"prompt": "Where was Ada born?", "reply": "Ada was born in Lyon."}


def write(path: Path, *records) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def settings(**values) -> custom.Settings:
    return custom.Settings.parse({"retain": None, **values}, "study.yaml: benchmark")


def rows(tmp_path, *records) -> list:
    return list(custom.examples(settings(forget=write(tmp_path / "forget.jsonl", *records))))


def refusal(tmp_path, *records) -> str:
    with pytest.raises(UserError) as refused:
        rows(tmp_path, *records)
    assert "\n" not in str(refused.value)
    return str(refused.value).removeprefix(str(tmp_path / "forget.jsonl") + ": ")


def test_every_part_becomes_rows_under_its_name(tmp_path):
    parts = [part for part in custom.PARTS if part not in custom.NEIGHBOURS]
    paths = {
        part: write(tmp_path / f"{part}.jsonl", QUESTION | {"reply": part}, {"text": f"A text of {part}."})
        for part in parts
    }
    made = list(custom.examples(settings(**paths)))
    assert [(row["part"], row["prompt"], row["reply"]) for row in made] == [
        pair for part in parts for pair in ((part, QUESTION["prompt"], part), (part, "", f"A text of {part}."))
    ]
    assert len({row["example_id"] for row in made}) == len({row["item_id"] for row in made}) == 8
    assert len({row["source_revision"] for row in made}) == 1


def test_a_question_brings_other_wordings_and_wrong_replies(tmp_path):
    others = {"paraphrases": ["In Lyon.", "Lyon."], "paraphrased_prompt": "Ada's birthplace?", "wrong": ["In Rome."]}
    made = rows(tmp_path, QUESTION | others | {"id": 7, "group": "Ada"})
    assert [(row["reply_kind"], row["reply_index"], row["prompt_kind"], row["reply"]) for row in made] == [
        ("original", 0, "original", QUESTION["reply"]),
        ("paraphrase", 0, "original", "In Lyon."),
        ("paraphrase", 1, "original", "Lyon."),
        ("perturbed", 0, "original", "In Rome."),
        ("original", 0, "paraphrase", QUESTION["reply"]),
    ]
    assert {(row["item_id"], row["group"]) for row in made} == {("forget:7", "Ada")}


def test_the_id_of_one_row_is_never_the_place_of_another(tmp_path):
    made = rows(tmp_path, QUESTION, QUESTION | {"id": "0"})
    assert [row["item_id"] for row in made] == ["forget/0", "forget:0"]


def test_spans_of_every_form_are_in_code_points_and_a_text_stands_for_all_its_places(tmp_path):
    reply = "👩‍🔬 Ada, é, Ada"
    spans = [[0, 3], {"start": 9, "end": 10, "label": "letter"}, {"text": "Ada", "label": "name"}]
    (made,) = rows(tmp_path, {"text": reply, "spans": spans})
    assert [(reply[span["char_start"] : span["char_end"]], span["label"]) for span in made["gold"]] == [
        ("👩‍🔬", "annotation"),
        ("é", "letter"),
        ("Ada", "name"),
        ("Ada", "name"),
    ]


KEYS = "group, id, paraphrase, paraphrased_prompt, paraphrases, prompt, reply, spans, text, wrong"


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        ({"prompt": "Who?"}, "the key 'reply' is missing; allowed: prompt and reply, or text"),
        ({}, "the key 'prompt' is missing; allowed: prompt and reply, or text"),
        (QUESTION | {"text": "x"}, "has both 'text' and 'prompt'; allowed: a document (text), or prompt and reply"),
        (
            {"text": "x", "wrong": ["y"]},
            "has both 'text' and 'wrong'; allowed: a document (text), or prompt and reply",
        ),
        (QUESTION | {"replly": "x"}, f"unknown key 'replly' (did you mean 'reply'?); allowed: {KEYS}"),
        (QUESTION | {"reply": 3}, "reply: 3 is no text; allowed: text"),
        (QUESTION | {"prompt": None}, "prompt: None is no text; allowed: text"),
        (QUESTION | {"reply": " \n"}, "reply: '' is empty; allowed: text with a character besides white space"),
        ({"text": ""}, "text: '' is empty; allowed: text with a character besides white space"),
        ({"text": "a\0b"}, "text: character 1 is NUL; allowed: text without it"),
        ({"text": "ab\ud800"}, "text: character 2 is half of a surrogate pair (\\ud800); allowed: whole characters"),
        (QUESTION | {"id": True}, "id: True is no text; allowed: text or a whole number"),
        (QUESTION | {"id": 1.5}, "id: 1.5 is no text; allowed: text or a whole number"),
        (QUESTION | {"group": ""}, "group: '' is empty; allowed: text with a character besides white space"),
        (QUESTION | {"wrong": "x"}, "wrong: 'x' is not a list; allowed: a list of texts"),
        (QUESTION | {"wrong": ["x", 2]}, "wrong[1]: 2 is no text; allowed: text"),
        (
            QUESTION | {"paraphrase": "x", "paraphrases": ["y"]},
            "has both 'paraphrase' and 'paraphrases'; allowed: one of them",
        ),
        (QUESTION | {"spans": "Lyon"}, "spans: 'Lyon' is not a list; allowed: a list of spans"),
        (
            QUESTION | {"spans": [3]},
            'spans[0]: 3 is no span; allowed: [start, end], {"start": , "end": } or {"text": }',
        ),
        (QUESTION | {"spans": [[0, 1, 2]]}, "spans[0]: [0, 1, 2] is no span"),
        (
            QUESTION | {"spans": [[16, 22]]},
            "spans[0]: 16..22 is outside the reply; allowed: 0 <= start < end <= 21, its characters",
        ),
        (QUESTION | {"spans": [[4, 4]]}, "spans[0]: 4..4 is outside the reply"),
        (QUESTION | {"spans": [[0, "4"]]}, "spans[0]: end: '4' is not a whole number; allowed: 0 to 21"),
        (QUESTION | {"spans": [[0, True]]}, "spans[0]: end: True is not a whole number"),
        (QUESTION | {"spans": [{"start": 0}]}, "spans[0]: the key 'end' is missing; allowed: start and end, or text"),
        (QUESTION | {"spans": [{}]}, "spans[0]: the key 'start' is missing"),
        (QUESTION | {"spans": [{"txt": "Lyon"}]}, "spans[0]: unknown key 'txt' (did you mean 'text'?)"),
        (
            QUESTION | {"spans": [{"text": "Rome"}]},
            "spans[0]: text: 'Rome' does not occur in the reply; allowed: a part of it, to the letter",
        ),
        (
            QUESTION | {"spans": [{"start": 0, "end": 3, "text": "Lyon"}]},
            "spans[0]: text: 'Lyon', but the reply has 'Ada' at 0..3",
        ),
    ],
)
def test_a_bad_record_names_its_line_and_key(tmp_path, record, complaint):
    assert refusal(tmp_path, QUESTION, record).startswith(f"line 2: {complaint}")


NEIGHBOUR = {"prompt": "Where was Bob born?", "reply": "Bob was born in Rome.", "spans": [{"text": "Rome"}]}


def test_neighbours_become_rows_with_the_spans_that_their_answers_have_to_contain(tmp_path):
    assert custom.NEIGHBOURS == tables.NEIGHBOUR_PARTS
    paths = {"forget": write(tmp_path / "forget.jsonl", QUESTION | {"paraphrased_prompt": "Ada's birthplace?"})}
    for part in custom.NEIGHBOURS:
        paths[part] = write(tmp_path / f"{part}.jsonl", NEIGHBOUR | {"prompt": f"Where is {part}?", "id": 4})
    own = [row for row in custom.examples(settings(**paths)) if row["part"] != "forget"]
    assert [(row["example_id"], row["item_id"]) for row in own] == [
        ("near/00000/original/0", "near:4"),
        ("far/00000/original/0", "far:4"),
    ]
    assert [[(span["char_start"], span["char_end"]) for span in row["gold"]] for row in own] == [[(16, 20)]] * 2
    assert not any(tables.is_training_row(row) for row in own)


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        (NEIGHBOUR | {"spans": []}, "line 1: spans: none; allowed: one at least, of what the answer has to contain"),
        ({"prompt": "Who?", "reply": "Bob."}, "line 1: spans: none; allowed: one at least"),
        (NEIGHBOUR | {"wrong": ["x"]}, "line 1: unknown key 'wrong'; allowed: group, id, prompt, reply, spans"),
        ({"text": "Bob.", "spans": [[0, 3]]}, "line 1: unknown key 'text'; allowed: group, id"),
        (NEIGHBOUR | {"prompt": "where was  ADA born?"}, "line 1: prompt: 'where was  ADA born?' is asked in "),
        (NEIGHBOUR | {"prompt": "Ada's birthplace?"}, 'line 1: prompt: "Ada\'s birthplace?" is asked in '),
    ],
)
def test_a_neighbour_is_a_question_of_its_own_with_spans(tmp_path, record, complaint):
    forget = write(tmp_path / "forget.jsonl", QUESTION | {"paraphrased_prompt": "Ada's birthplace?"})
    with pytest.raises(UserError) as refused:
        list(custom.examples(settings(forget=forget, near=write(tmp_path / "near.jsonl", record))))
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_neighbour_is_asked_in_one_file_only(tmp_path):
    near, far = (write(tmp_path / f"{part}.jsonl", NEIGHBOUR) for part in custom.NEIGHBOURS)
    with pytest.raises(UserError, match=r"far.jsonl: line 1: prompt: .* is asked in .*near.jsonl: line 1 too"):
        list(custom.examples(settings(forget=write(tmp_path / "forget.jsonl", QUESTION), near=near, far=far)))


def test_the_same_id_twice_in_a_file_names_both_lines(tmp_path):
    told = refusal(tmp_path, QUESTION | {"id": 4}, QUESTION, QUESTION | {"id": "4"})
    assert told == "line 3: id: '4' is the id of line 1 too; allowed: each once in a file"


def test_a_file_of_blank_lines_holds_no_row(tmp_path):
    path = tmp_path / "forget.jsonl"
    path.write_text("\n\n")
    with pytest.raises(UserError, match=r"forget.jsonl: holds no row for forget; allowed: one JSON object a line"):
        list(custom.examples(settings(forget=str(path))))


def test_all_mistakes_of_all_files_are_listed(tmp_path):
    forget = write(tmp_path / "forget.jsonl", QUESTION, {"text": ""}, QUESTION | {"id": 1}, {"x": 1})
    told = [str(problem) for problem in custom.problems(settings(forget=forget, retain=str(tmp_path / "no.jsonl")))]
    assert [line.partition(str(tmp_path))[2][:40] for line in told] == [
        "/no.jsonl: no such file (looked for from",
        "/forget.jsonl: line 2: text: '' is empty",
        "/forget.jsonl: line 4: unknown key 'x'; ",
    ]


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"forget": "a.jsonl"}, "study.yaml: benchmark.retain: is missing"),
        ({"forget": "a.json", "retain": None}, "study.yaml: benchmark.forget: 'a.json' is no file of one JSON object"),
        (
            {"forget": "a.jsonl", "retain": "a.jsonl"},
            "is the file of both forget and retain; allowed: a file for each",
        ),
        ({"forget": "a.jsonl", "retain": None, "hold_out": "b"}, "unknown key 'hold_out' (did you mean 'holdout'?)"),
    ],
)
def test_bad_settings_are_one_line(values, complaint):
    with pytest.raises(UserError) as refused:
        custom.Settings.parse(values, "study.yaml: benchmark")
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_tables_hold_the_rows_and_a_request_without_retain_rows_says_what_that_costs(tmp_path, capsys):
    forget = write(tmp_path / "forget.jsonl", QUESTION | {"spans": [{"text": "Lyon"}]}, {"text": "Ada, again."})
    out, gold = tmp_path / "out" / "e.parquet", tmp_path / "out" / "g.parquet"
    arguments = ["--set", f"forget={forget}", "--set", "retain=null", "--out", str(out), "--gold-out", str(gold)]
    assert main(["benchmark", "--name", "custom", *arguments]) == 0
    assert "nothing measures what the forgetting cost" in capsys.readouterr().out
    assert [row["prompt"] for row in tables.rows(out, "examples")] == [QUESTION["prompt"], ""]
    (span,) = tables.rows(gold, "spans", {"examples": tables.content_digest(out)})
    assert (span["char_start"], span["char_end"], span["tagger"]) == (16, 20, "gold")


def test_a_mistake_in_the_last_line_leaves_no_table(tmp_path):
    forget = write(tmp_path / "forget.jsonl", *({"text": f"Row {number}."} for number in range(9000)), {"text": 1})
    with pytest.raises(UserError, match="line 9001: text: 1 is no text"):
        benchmarks.prepare("custom", settings(forget=forget), tmp_path / "out" / "e", tmp_path / "out" / "g")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_row_that_is_to_be_forgotten_and_retained_is_refused(tmp_path):
    forget, retain = (write(tmp_path / f"{part}.jsonl", QUESTION) for part in ("forget", "retain"))
    with pytest.raises(UserError, match="row 'forget/00000/original/0' is to be forgotten and row 'retain/00000"):
        list(benchmarks.checked("custom", settings(forget=forget, retain=retain)))
