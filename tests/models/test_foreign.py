"""What is said of a model folder before a weight of it is read."""

import json

import pytest

from palu import models
from palu.errors import UserError
from tests import hard_models


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return hard_models.write("qwen2", tmp_path_factory.mktemp("foreign") / "qwen2")


@pytest.fixture
def folder(sound, tmp_path):
    """The same files as links; `edit` replaces one."""
    made = tmp_path / "model"
    made.mkdir()
    for path in sound.iterdir():
        (made / path.name).symlink_to(path)
    return made


def edit(folder, **values):
    path = folder / "config.json"
    facts = json.loads(path.read_text()) | values
    path.unlink()
    path.write_text(json.dumps(facts))


def refusal(folder):
    """The one line that loading, checking and reading the head end with."""
    lines = set()
    for load in (models.load_model, models.check_model, models.head_weight):
        with pytest.raises(UserError) as error:
            load(folder)
        lines.add(str(error.value))
    (line,) = lines
    return line


def test_a_small_model_with_the_defaults_of_its_class_loads(folder):
    assert json.loads((folder / "config.json").read_text())["max_window_layers"] == 28
    models.load_model(folder)


@pytest.mark.parametrize(
    "key", ["max_window_layers", "num_kv_shared_layers", "global_attn_every_n_layers", "num_nextn_predict_layers"]
)
def test_a_key_that_counts_no_blocks_may_be_more_than_the_tensors_but_not_without_end(folder, key):
    edit(folder, **{key: 999})
    models.check_model(folder)
    edit(folder, **{key: 10**6})
    assert f"{key}: 1000000; allowed: up to 1000" in refusal(folder)


@pytest.mark.parametrize(
    "key", ["num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "num_decoder_layers", "layers"]
)
def test_blocks_are_at_most_as_many_as_the_tensors(folder, key):
    edit(folder, **{key: 28})
    assert f"{key}: 28; allowed: up to 27" in refusal(folder)


@pytest.mark.parametrize(
    ("found", "method"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "awq", "bits": 4}, "awq"),
        ({"load_in_8bit": True}, "quant_method is not given"),
    ],
)
@pytest.mark.parametrize("is_nested", [False, True])
def test_quantised_weights_are_refused_by_their_method(folder, found, method, is_nested):
    quantised = {"quantization_config": found}
    edit(folder, **({"text_config": quantised} if is_nested else quantised))
    line = refusal(folder)
    assert line.startswith(f"{folder / 'config.json'}: quantization_config: the weights are quantised ({method}); ")
    assert "model.dequantize()" in line


def test_a_gguf_file_alone_is_refused_with_how_to_name_it(tmp_path):
    (tmp_path / "model-Q4_K_M.gguf").write_bytes(b"GGUF")
    line = refusal(tmp_path)
    assert "with a GGUF file" in line
    assert line.endswith(f"name the file itself, {tmp_path / 'model-Q4_K_M.gguf'}")


def test_a_folder_without_a_tokenizer_names_the_file(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    for load in (models.load_tokenizer, models.tokenizer_fingerprint):
        with pytest.raises(UserError) as error:
            load(folder)
        assert str(error.value) == f"{folder}: holds no tokenizer (tokenizer.json)"


def test_what_check_loads_has_the_structure_and_no_numbers(folder):
    bare, whole = models.check_model(folder), models.load_model(folder)
    assert {parameter.device.type for parameter in bare.parameters()} == {"meta"}
    shapes = [{name: parameter.shape for name, parameter in model.named_parameters()} for model in (bare, whole)]
    assert shapes[0] == shapes[1]


def test_lacking_weights_are_the_same_line_without_reading_numbers(folder):
    edit(folder, intermediate_size=64)
    with pytest.raises(UserError) as error:
        models.load_model(folder)
    with pytest.raises(UserError) as checked:
        models.check_model(folder)
    assert str(checked.value) == str(error.value)
    assert "of the shape that config.json asks for" in str(error.value)
