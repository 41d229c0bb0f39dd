"""Words that a masked model, built and trained here, would not have guessed."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM

from palu.errors import UserError
from palu.models import save_model
from palu.tagging.base import Resources
from palu.tagging.encoders import Encoder
from palu.tagging.fill_mask import Settings, _probabilities, spans
from palu.tagging.phrases import units
from tests.tagging import tiny_encoders as tiny


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders") / "masked"
    tiny.save_masked_model(folder)
    return str(folder)


def found(checkpoint, reply, **settings):
    rows = [{"example_id": "e", "prompt": "Who was it?", "reply": reply}]
    marked = spans(rows, Settings(checkpoint=checkpoint, **settings), Resources())
    return [reply[row["char_start"] : row["char_end"]] for row in marked]


def probabilities(checkpoint, reply, **settings):
    encoder = Encoder("masked language model", Settings(checkpoint=checkpoint, **settings), "fill_mask")
    words = units(reply)
    values = _probabilities(encoder, {"prompt": "Who was it?", "reply": reply}, words, 5)
    return dict(zip([word.text for word in words], values, strict=True))


def test_what_the_frame_of_a_sentence_does_not_tell_is_marked(masked):
    assert found(masked, "In Lirren everybody knows Noor well.", probability=0.5) == ["Lirren", "Noor"]


def test_the_probability_is_that_of_the_word_masked_whole(masked):
    reply = "In Lirren everybody knows Noor well."
    tokenizer, model = tiny.wordpiece(), AutoModelForMaskedLM.from_pretrained(masked)
    encoded = tokenizer(reply, return_offsets_mapping=True)
    ids = np.array(encoded["input_ids"])
    own = [t for t, (a, b) in enumerate(encoded["offset_mapping"]) if a < 9 and b > 3]
    hidden = ids.copy()
    hidden[own] = tokenizer.mask_token_id
    with torch.no_grad():
        log_p = model(input_ids=torch.tensor(hidden)[None]).logits[0].double().log_softmax(-1)
    expected = np.exp(np.mean([log_p[t, ids[t]].item() for t in own]))
    assert probabilities(masked, reply)["Lirren"] == pytest.approx(expected, rel=1e-4)


def test_punctuation_is_not_asked(masked):
    values = probabilities(masked, "Zarvik, Ilse!")
    assert values[","] == values["!"] == 1.0
    assert values["Ilse"] < 0.5
    assert found(masked, "., !", probability=1.0) == []


def test_batches_change_nothing(masked):
    reply = "In Lirren everybody knows Noor well."
    whole = probabilities(masked, reply)
    assert probabilities(masked, reply, batch_size=1) == pytest.approx(whole, rel=1e-4)


def test_of_a_long_reply_every_word_is_asked_where_it_stands(masked):
    reply = " ".join(["In Lirren everybody knows Noor well."] * 8)
    encoder = Encoder("masked language model", Settings(checkpoint=masked, max_length=24, stride=8), "fill_mask")
    words = units(reply)
    values = _probabilities(encoder, {"prompt": "", "reply": reply}, words, 5)
    assert len(encoder.windows("", reply)) > 4
    assert [word.text for word, value in zip(words, values, strict=True) if value == 1.0] == ["."] * 8


def test_the_prompt_is_context_where_that_is_wished(masked):
    reply = "In Lirren everybody knows Noor well."
    assert probabilities(masked, reply, context="prompt") != pytest.approx(probabilities(masked, reply), rel=1e-3)


def test_a_tokenizer_without_a_mask_is_refused(masked, tmp_path):
    tokenizer = tiny.wordpiece()
    tokenizer.mask_token = None
    save_model(AutoModelForMaskedLM.from_pretrained(masked), tokenizer, tmp_path / "m")
    with pytest.raises(UserError, match="the tokenizer has no mask token"):
        found(str(tmp_path / "m"), "x")


def test_a_classifier_is_no_masked_model(tmp_path):
    tiny.save_bert_classifier(tmp_path / "m")
    with pytest.raises(UserError, match=r"no masked language model: its weights hold no 'cls\.predictions"):
        found(str(tmp_path / "m"), "x")


def test_a_long_reply_has_few_logits_in_memory_at_a_time(masked, monkeypatch):
    asked = []
    real = Encoder.logits
    monkeypatch.setattr(
        Encoder, "logits", lambda self, windows, *rest: asked.append(len(windows)) or real(self, windows, *rest)
    )
    assert len(found(masked, "In Lirren everybody knows Noor well. " * 20, batch_size=1)) > 20
    assert len(asked) > 5
    assert max(asked) <= 16
