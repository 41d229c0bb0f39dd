"""Spans from token classifiers that are built and trained here."""

import pytest
import torch
from transformers import AutoModelForTokenClassification, BertModel, pipeline

from palu.errors import UserError
from palu.models import save_model
from palu.tagging.base import Resources
from palu.tagging.classifier import Settings, spans
from palu.tagging.encoders import Encoder, innermost
from tests.tagging import tiny_encoders as tiny

RESOURCES = Resources()
# Neither the sentences nor these pairs of names were in the training text
REPLIES = ["The painter Odile moved to Karumsk long ago.", "In Lirren everybody knows Noor well long ago."]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders") / "bert"
    tiny.save_bert_classifier(folder)
    return str(folder)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders") / "llama"
    tiny.save_llama_classifier(folder)
    return str(folder)


def found(checkpoint, *replies, prompt="", **settings):
    rows = [{"example_id": str(i), "prompt": prompt, "reply": reply} for i, reply in enumerate(replies)]
    return [
        (row["label"], replies[int(row["example_id"])][row["char_start"] : row["char_end"]])
        for row in spans(rows, Settings(checkpoint=checkpoint, **settings), RESOURCES)
    ]


EXPECTED = [("PERSON", "Odile"), ("TOWN", "Karumsk"), ("TOWN", "Lirren"), ("PERSON", "Noor")]


@pytest.mark.parametrize("aggregation", ["simple", "first", "average", "max"])
def test_words_of_new_sentences_are_found(bert, aggregation):
    assert found(bert, *REPLIES, aggregation=aggregation) == EXPECTED


@pytest.mark.parametrize("aggregation", ["first", "max"])
def test_a_decoder_with_byte_level_tokens_is_read_too(llama, aggregation):
    assert found(llama, *REPLIES, aggregation=aggregation) == EXPECTED


@pytest.mark.parametrize("aggregation", ["simple", "first", "average", "max"])
def test_where_the_librarys_words_are_right_its_pipeline_finds_the_same(bert, aggregation):
    model = AutoModelForTokenClassification.from_pretrained(bert)
    oracle = pipeline(
        "token-classification", model=model, tokenizer=tiny.wordpiece(), aggregation_strategy=aggregation, device="cpu"
    )
    settings = Settings(checkpoint=bert, aggregation=aggregation)
    for reply in [*REPLIES, "Marek and Ilse had met in Zarvik."]:
        own = list(spans([{"example_id": "e", "prompt": "", "reply": reply}], settings, RESOURCES))
        theirs = oracle(reply)
        assert len(own) >= 2
        facts = [(row["label"], row["char_start"], row["char_end"]) for row in own]
        assert facts == [(row["entity_group"], row["start"], row["end"]) for row in theirs]
        # the library averages a word's tokens in `simple` and words elsewhere, as here
        assert [row["score"] for row in own] == pytest.approx([row["score"] for row in theirs], abs=1e-4)


def test_offsets_are_code_points_of_the_reply(bert):
    reply = "  \r\n👩\u200d🔬 e\u0301. In Zarvik everybody knows Marek well."
    assert ("TOWN", "Zarvik") in found(bert, reply)


def test_labels_are_selectable_without_their_prefix(bert):
    assert found(bert, *REPLIES, labels=["TOWN"]) == [("TOWN", "Karumsk"), ("TOWN", "Lirren")]
    with pytest.raises(UserError, match=r"unknown label 'TOWNS' \(did you mean 'TOWN'\?\); allowed: PERSON, TOWN"):
        found(bert, "x", labels=["TOWNS"])


def test_a_checkpoint_without_o_needs_its_labels_named(tmp_path):
    tiny.save_bert_classifier(tmp_path / "m", labels=["none", "B-PERSON", "I-PERSON", "B-TOWN", "I-TOWN"])
    with pytest.raises(UserError, match=r"no label of it is 'O', so labels must name .* allowed: PERSON, TOWN, none"):
        found(str(tmp_path / "m"), "x")
    assert ("TOWN", "Karumsk") in found(str(tmp_path / "m"), REPLIES[0], labels=["TOWN"])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["B-X", "I-X", "O", "I-X"], ["Ada Byron", "Karl"]),
        (["B-X", "B-X", "I-X", "O"], ["Ada", "Byron and"]),
        (["S-X", "S-X", "O", "O"], ["Ada", "Byron"]),
        (["B-X", "E-X", "B-X", "L-X"], ["Ada Byron", "and Karl"]),
        (["X", "X", "Y", "X"], ["Ada Byron", "and", "Karl"]),
    ],
)
def test_prefixes_of_every_scheme_open_and_close_spans(labels, expected):
    from palu.tagging.classifier import _entities

    reply = "Ada Byron and Karl"
    names = sorted(set(labels))
    words = [(0, 3), (4, 9), (10, 13), (14, 18)]
    pieces = iter([(a, b, names.index(label), 1.0) for (a, b), label in zip(words, labels, strict=True)])
    assert [reply[a:b] for a, b, *_ in _entities(pieces, names)] == expected


def test_a_token_of_several_characters_speaks_for_each_where_nothing_parts_words():
    import numpy as np

    from palu.tagging.classifier import _pieces

    probabilities = np.array([[0.2, 0.8], [0.9, 0.1]])
    pieces = list(_pieces("東京は", np.array([(0, 2), (2, 3)]), probabilities, "first"))
    assert [(a, b, label) for a, b, label, _ in pieces] == [(0, 1, 1), (1, 2, 1), (2, 3, 0)]


def test_a_long_reply_is_read_in_windows(bert):
    reply = " ".join(REPLIES * 6)
    assert found(bert, reply, max_length=32, stride=12) == EXPECTED * 6
    # the model reads 64 tokens at once
    assert found(bert, reply) == EXPECTED * 6
    assert found(bert, *[reply, REPLIES[0]] * 3, batch_size=2) == (EXPECTED * 6 + EXPECTED[:2]) * 3


@pytest.mark.parametrize("stride", [0, 3, 7, 400])
@pytest.mark.parametrize("context", ["none", "prompt"])
def test_windows_hold_each_token_once_and_show_the_most_around_it(bert, stride, context):
    settings = Settings(checkpoint=bert, max_length=24, stride=stride, context=context)
    encoder = Encoder("token classifier", settings, "classifier")
    prompt, reply = "Who moved to Karumsk long ago?", " ".join(REPLIES * 5)
    windows = encoder.windows(prompt, reply)
    whole = encoder.tokenizer(reply, add_special_tokens=False, return_offsets_mapping=True)
    assert len(windows) > 3
    assert max(len(window.input_ids) for window in windows) <= 24
    chosen = innermost(windows)
    assert [int(windows[w].input_ids[windows[w].place[i]]) for w, i in chosen] == whole["input_ids"]
    offsets = [(windows[w].char_start[i], windows[w].char_end[i]) for w, i in chosen]
    assert offsets == whole["offset_mapping"]
    # windows follow each other; where they overlap, the border lies in the middle of what they share
    assert [w for w, _ in chosen] == sorted(w for w, _ in chosen)
    if stride == 7:
        edge = next(i for i in range(1, len(chosen)) if chosen[i][0] != chosen[i - 1][0])
        assert 2 <= chosen[edge][1] <= 4


def test_the_prompt_is_context_and_never_marked(bert):
    prompt = "Who is Odile?"
    settings = Settings(checkpoint=bert, context="prompt")
    encoder = Encoder("token classifier", settings, "classifier")
    (window,) = encoder.windows(prompt, REPLIES[0])
    text = encoder.tokenizer.decode(window.input_ids)
    assert text.startswith("[CLS]")
    assert text.count("[SEP]") == 2
    assert window.char_start[0] == 0
    assert window.char_end[-1] == len(REPLIES[0])
    assert set(window.token_types[window.place]) == {1}
    rows = list(spans([{"example_id": "e", "prompt": prompt, "reply": "it rained"}], settings, RESOURCES))
    assert all(row["char_end"] <= len("it rained") for row in rows)


def test_of_a_long_prompt_the_end_is_shown(bert):
    encoder = Encoder("token classifier", Settings(checkpoint=bert, context="prompt"), "classifier")
    windows = encoder.windows(" ".join(["Nobody had met."] * 40) + " well.", REPLIES[0])
    assert all(len(window.input_ids) <= 64 for window in windows)
    assert "met . well . [SEP]" in encoder.tokenizer.decode(windows[0].input_ids)
    assert windows[-1].char_end[-1] == len(REPLIES[0])


def test_a_reply_of_white_space_has_no_span(bert):
    assert found(bert, " \n ", REPLIES[0]) == EXPECTED[:2]


def test_weights_without_a_classifier_are_refused(bert, tmp_path):
    model = BertModel.from_pretrained(bert)
    save_model(model, tiny.wordpiece(), tmp_path / "body")
    with pytest.raises(UserError, match=r"no token classifier: its weights hold no 'classifier\.\w+'"):
        found(str(tmp_path / "body"), "x")


def test_a_pickle_is_never_read(bert, tmp_path):
    model = AutoModelForTokenClassification.from_pretrained(bert)
    model.config.save_pretrained(tmp_path)
    tiny.wordpiece().save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin is a pickle, which is never read"):
        found(str(tmp_path), "x")


def test_bad_settings_are_one_line(bert, tmp_path):
    for settings, complaint in [
        ({"checkpoint": str(tmp_path / "none")}, "no such model folder"),
        ({"checkpoint": bert, "max_length": 65}, "max_length 65 is more than it reads; allowed: at most 64"),
        ({"checkpoint": bert, "max_length": 3}, "max_length 3 leaves a reply no room; allowed: at least 4"),
        ({"checkpoint": bert, "device": "cuda:99"}, "device 'cuda:99' cannot be used"),
        ({"checkpoint": bert, "device": "gpu"}, "device 'gpu' cannot be used"),
    ]:
        with pytest.raises(UserError, match=r"allowed|cannot|no such") as error:
            found(settings.pop("checkpoint"), "x", **settings)
        assert complaint in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="checkpoint: is missing"):
        Settings.parse({}, "study: taggers.ner")


def test_many_long_replies_have_few_windows_in_memory_at_a_time(bert, monkeypatch):
    asked = []
    real = Encoder.logits
    monkeypatch.setattr(Encoder, "logits", lambda self, windows: asked.append(len(windows)) or real(self, windows))
    replies = [" ".join(REPLIES * 40)] * 4
    marked = found(bert, *replies, max_length=16, stride=4, batch_size=1)
    assert len(marked) == 4 * 40 * len(EXPECTED)
    assert len(asked) == 4, "each of them fills a batch"
