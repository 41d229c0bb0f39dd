"""Token ids and lengths beyond the model are refused before the model runs."""

import json

import numpy as np
import pytest

from palu import models
from palu.errors import UserError
from palu.evaluation.generate import generate
from palu.models import TemplateSettings
from palu.tokens import encode
from tests import hard_models

PLAIN = TemplateSettings()
ROW = {"example_id": "a", "prompt": "Where does Ann live?", "reply": "In Oslo."}


@pytest.fixture
def folder(tmp_path):
    return hard_models.write("llama", tmp_path / "m")


def shrink(folder, vocabulary):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": vocabulary}))


def test_a_padding_token_beyond_the_embedding_is_refused_when_the_tokenizer_is_loaded(folder):
    own = models.load_tokenizer(folder)
    own.add_special_tokens({"pad_token": "[PAD]"})
    own.save_pretrained(folder)
    shrink(folder, own.pad_token_id + 1)
    models.load_tokenizer(folder)
    shrink(folder, own.pad_token_id)
    with pytest.raises(UserError) as error:
        models.load_tokenizer(folder)
    assert f"pad_token '[PAD]' has the id {own.pad_token_id}; allowed: ids below vocab_size" in str(error.value)


def test_a_token_of_a_row_beyond_the_embedding_is_refused_by_the_rows_name(folder):
    ids = models.load_tokenizer(folder)("Where does Ann live?In Oslo.")["input_ids"]
    shrink(folder, int(np.max(ids)))
    tokenizer = models.load_tokenizer(folder)
    asked = ROW | {"prompt": ROW["prompt"] + ROW["reply"]}
    for ask in (
        lambda: encode([ROW], tokenizer, PLAIN, 64),
        lambda: generate(hard_models.model("llama"), tokenizer, [asked], PLAIN, 64, 4),
    ):
        with pytest.raises(UserError, match=r"example 'a': the token '.*' has the id \d+; allowed: ids below vocab"):
            ask()


def test_more_tokens_than_the_embedding_has_do_no_harm_where_no_row_holds_them(folder):
    own = models.load_tokenizer(folder)
    own.add_tokens([f"<image {number}>" for number in range(50)])
    own.save_pretrained(folder)
    assert len(own) > 320
    assert len(encode([ROW], models.load_tokenizer(folder), PLAIN, 64)) == 1


def test_a_length_beyond_the_positions_is_refused_before_anything_is_encoded(folder):
    tokenizer = models.load_tokenizer(folder)
    assert encode([ROW], tokenizer, PLAIN, 128)
    for ask in (
        lambda: encode([ROW], tokenizer, PLAIN, 129),
        lambda: generate(hard_models.model("llama"), tokenizer, [ROW], PLAIN, 129, 4),
    ):
        with pytest.raises(UserError) as error:
            ask()
        assert str(error.value) == (
            f"model.max_length: 129 is more than the positions of {folder}; allowed: up to 128 "
            "(max_position_embeddings in its config.json)"
        )


def test_the_limits_of_a_multimodal_model_are_those_of_its_text_model(tmp_path):
    tokenizer = models.load_tokenizer(hard_models.write("multimodal_gemma3", tmp_path / "m"))
    with pytest.raises(UserError, match=r"model\.max_length: 129 is more than the positions"):
        encode([ROW], tokenizer, PLAIN, 129)
