"""Of a multimodal checkpoint its text model is taken, and is a model of its own from then on."""

import json

import pytest
import torch
import transformers

from palu import models
from palu.errors import UserError
from tests import hard_models

KINDS = ["multimodal_gemma3", "multimodal_mistral3", "multimodal_llava", "multimodal_idefics3"]
IDS = torch.randint(3, 300, (2, 9), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory):
    return hard_models.write(request.param, tmp_path_factory.mktemp("multimodal") / request.param)


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def test_the_text_model_has_the_logits_of_the_whole(folder):
    whole = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    text = models.load_model(folder)
    torch.testing.assert_close(logits(text), logits(whole))
    assert text.config.hidden_size == 32
    assert not any("vision" in name for name, _ in text.named_parameters())


def test_its_head_is_read_from_disk_under_the_names_of_the_whole(folder):
    head = models.load_model(folder).get_output_embeddings()
    assert torch.equal(models.head_weight(folder)[0], head.weight)


def test_a_saved_text_model_is_an_ordinary_checkpoint(folder, tmp_path):
    text = models.load_model(folder)
    models.save_model(text, models.load_tokenizer(folder), tmp_path / "saved")
    for again in (
        models.load_model(tmp_path / "saved"),
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved"),
    ):
        assert torch.equal(logits(again), logits(text))
    assert torch.equal(models.head_weight(tmp_path / "saved")[0], text.get_output_embeddings().weight)


def test_a_text_model_without_a_class_of_its_own_is_refused_in_one_line(tmp_path):
    folder = hard_models.write("llama", tmp_path / "m")
    config = transformers.Qwen2_5_VLConfig(
        text_config=hard_models.SIZES, vision_config={"depth": 1, "hidden_size": 16}
    )
    facts = config.to_dict()
    facts["text_config"].pop("max_window_layers", None)
    (folder / "config.json").write_text(json.dumps(facts, default=str))
    for load in (models.load_model, models.check_model, models.head_weight):
        with pytest.raises(
            UserError, match="'qwen2_5_vl' is a multimodal model, and transformers has no language mod"
        ):
            load(folder)
