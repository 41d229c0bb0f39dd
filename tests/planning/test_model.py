"""Parameters are counted from names and shapes, without reading a weight."""

import pytest

from palu import models
from palu.errors import UserError
from palu.models import Architecture, LoraSettings, ModelSettings
from palu.planning.model import of_architecture, of_checkpoint, starting_model


@pytest.mark.parametrize("tied", [False, True])
def test_an_architecture_has_the_parameters_of_the_model_that_is_built_from_it(tied):
    sizes = Architecture(vocab_size=300, hidden_size=24, layers=3, heads=3, kv_heads=1, tie_embeddings=tied)
    built, tokenizer = models.build_from_scratch(sizes, ["a few words"], seed=0)
    found = of_architecture(sizes.model_copy(update={"vocab_size": len(tokenizer)}))
    assert found.shapes == {name: tuple(parameter.shape) for name, parameter in built.named_parameters()}


def test_a_checkpoint_tells_the_same_as_its_model(checkpoint):
    model = models.load_model(checkpoint)
    found = of_checkpoint(checkpoint)
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (found.hidden_size, found.layers, found.inner_size, found.key_value_size) == (48, 2, 96, 24)


def test_an_adapter_has_the_parameters_that_peft_gives_it(checkpoint):
    for targets in ("all-linear", ["q_proj", "down_proj"]):
        lora = LoraSettings(rank=3, targets=targets)
        model = models.load_model(checkpoint)
        models.add_adapter(model, lora, models.AdapterBase("", None, ""), seed=0)
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        assert of_checkpoint(checkpoint).adapter_parameters(lora) == trained


def test_a_hub_id_is_not_asked_for_and_a_missing_folder_is_named(tmp_path):
    told = starting_model(ModelSettings(checkpoint="someone/model"))
    assert told == "someone/model is on the hub, and only a local folder is read here"
    with pytest.raises(UserError, match="no such model folder; allowed: a local folder or a hub id"):
        starting_model(ModelSettings(checkpoint=str(tmp_path / "none")))
    with pytest.raises(UserError, match=r"config.json is missing"):
        starting_model(ModelSettings(checkpoint=str(tmp_path)))
