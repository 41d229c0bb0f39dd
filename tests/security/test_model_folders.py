"""A model folder may be anybody's: what is wrong with it is one line, before it costs memory, time or safety."""

import json
import os
import pickle
import shutil
from contextlib import suppress

import pytest
import torch
from safetensors.torch import load_file, save_file

from palu import models
from palu.errors import UserError
from palu.evaluation.generate import stop_tokens
from palu.models import AdapterBase, LoraSettings
from palu.models.encoders import load_encoder
from palu.planning.model import of_checkpoint
from tests.security.hostile import Pickled, code_that_touches, edit_json, refusal, write_safetensors

BOMB = 10**9
DEEP = "[" * 100_000


def refused(folder, load=models.load_model) -> str:
    with pytest.raises(UserError) as error:
        load(folder)
    return refusal(error)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"num_hidden_layers": BOMB}, "num_hidden_layers: 1000000000; allowed: up to 21"),
        ({"num_labels": BOMB}, "num_labels: 1000000000; allowed: up to 65536"),
        ({"vocab_size": BOMB}, "asks for 32"),
        ({"intermediate_size": 10**12}, "allowed: what the weights hold"),
        ({"hidden_size": BOMB, "head_dim": 8}, "allowed: what the weights hold"),
        ({"vocab_size": 10**30}, "describes no model that can be had"),
        ({"hidden_size": -16}, "describes no model that can be had"),
        ({"hidden_size": "sixteen"}, "describes no model that can be had"),
        ({"model_type": "../../x"}, "describes no model that can be had"),
        ({"model_type": ["llama"]}, "describes no model that can be had"),
        ({"hidden_act": "os.system"}, "describes no model that can be had"),
    ],
)
@pytest.mark.parametrize("load", [models.load_model, models.head_weight], ids=["whole", "head"])
def test_a_configuration_that_asks_for_too_much_is_refused_before_it_gets_it(folder, values, complaint, load):
    edit_json(folder / "config.json", **values)
    assert complaint in refused(folder, load)


def test_a_classifier_asks_for_no_more_than_it_holds_either(folder):
    edit_json(folder / "config.json", vocab_size=BOMB)
    assert "allowed: what the weights hold" in refused(folder, lambda path: load_encoder("text classifier", path))


@pytest.mark.parametrize("text", [DEEP, '{"a": ' + "1" * 5000 + "}", "[]", "", "\x00", '"text"'])
def test_a_configuration_that_is_no_object_is_one_line(folder, text):
    (folder / "config.json").write_text(text)
    for load in (models.load_model, models.head_weight):
        assert str(folder / "config.json") in refused(folder, load)


def test_code_beside_a_known_kind_of_model_is_not_run(folder, canary):
    (folder / "modeling_x.py").write_text(code_that_touches(canary))
    edit_json(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling_x.X", "AutoConfig": "modeling_x.C"})
    edit_json(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["modeling_x.T", "modeling_x.T"]})
    assert models.load_model(folder).config.model_type == "llama"
    models.load_tokenizer(folder)


def test_a_model_that_is_nothing_without_its_own_code_is_refused(folder, canary):
    (folder / "modeling_x.py").write_text(code_that_touches(canary))
    auto_map = {"AutoModelForCausalLM": "modeling_x.X", "AutoConfig": "modeling_x.C"}
    edit_json(folder / "config.json", model_type="mine", auto_map=auto_map)
    assert "describes no model that can be had" in refused(folder)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "experts_implementation"])
def test_a_kernel_of_the_hub_that_the_configuration_names_is_not_fetched(folder, key):
    edit_json(folder / "config.json", **{key: "someone/kernel"})
    with suppress(UserError):
        models.load_model(folder)
    with suppress(UserError):
        models.head_weight(folder)


def test_an_address_as_the_models_name_is_not_asked(folder):
    edit_json(folder / "config.json", _name_or_path="https://example.org/model", base_model_name_or_path="a/b")
    edit_json(folder / "tokenizer_config.json", name_or_path="https://example.org/model")
    models.load_model(folder)
    models.load_tokenizer(folder)


def test_a_pickle_beside_the_weights_or_in_their_place_is_not_read(folder, canary):
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Pickled(canary)))
    (folder / "training_args.bin").write_bytes(pickle.dumps(Pickled(canary)))
    models.load_model(folder)
    (folder / "model.safetensors").unlink()
    assert "pytorch_model.bin is a pickle, which is never read" in refused(folder)


@pytest.mark.parametrize(
    "name", ["evil.bin", "../weights.safetensors", "/weights.safetensors", "a/b.safetensors", 5, None]
)
def test_an_index_of_weights_names_files_of_the_folder_alone(folder, canary, name):
    (folder / "evil.bin").write_bytes(pickle.dumps(Pickled(canary)))
    shutil.copy(folder / "model.safetensors", folder.parent / "weights.safetensors")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    index = {"metadata": {}, "weight_map": {"model.norm.weight": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert f"weight_map: {name!r}; allowed: a safetensors file of this folder" in refused(folder)


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "data", "length"),
    [
        ({}, b"", 2**64 - 1),
        ({}, b"", 2**40),
        ({"a": F32}, b"\0" * 8, 0),
        ({"a": F32, "b": F32}, b"\0" * 8, None),
        ({"a": F32, "b": {**F32, "data_offsets": [4, 12]}}, b"\0" * 12, None),
        ({"a": {**F32, "data_offsets": [0, 2**62]}}, b"\0" * 8, None),
        ({"a": {**F32, "shape": [2**33, 2**33]}}, b"\0" * 8, None),
        ({"a": {**F32, "shape": [-2]}}, b"\0" * 8, None),
        ({"a": {**F32, "dtype": "OBJECT"}}, b"\0" * 8, None),
        (b'{"a":' + DEEP.encode(), b"", None),
    ],
    ids=["longest", "long", "none", "twice", "overlapping", "beyond", "overflowing", "negative", "objects", "deep"],
)
def test_damaged_or_cunning_weights_are_one_line(folder, header, data, length):
    write_safetensors(folder / "model.safetensors", header, data, length)
    for load in (models.load_model, models.head_weight, of_checkpoint):
        assert "damaged weights" in refused(folder, load)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(folder, value):
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][3] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "the weights 'model.norm.weight' hold NaN or infinity" in refused(folder)


def test_large_weights_are_numbers_all_the_same(folder):
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][:] = 3e38
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert torch.isfinite(models.load_model(folder).model.norm.weight).all()


def test_a_pipe_or_a_device_in_the_folder_is_refused_and_not_read(folder):
    os.mkfifo(folder / "generation_config.json2")
    assert "is no file; allowed: files, and links to them" in refused(folder)
    (folder / "generation_config.json2").unlink()
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/dev/zero")
    assert "config.json is missing" in refused(folder)


def test_a_link_that_leads_out_of_the_folder_is_followed_for_reading_and_never_written_through(folder, tmp_path):
    outside = tmp_path / "outside.json"
    (folder / "config.json").rename(outside)
    (folder / "config.json").symlink_to(outside)
    before = outside.read_bytes()
    models.save_model(models.load_model(folder), models.load_tokenizer(folder), folder)
    assert not (folder / "config.json").is_symlink()
    assert outside.read_bytes() == before


@pytest.mark.parametrize("text", [DEEP, "[]", '{"cache_implementation": "mine", "custom_generate": "a/b"}'])
def test_settings_of_generation_that_the_library_refuses_are_one_line(folder, text):
    (folder / "generation_config.json").write_text(text)
    assert "cannot be loaded as a causal language model" in refused(folder)


@pytest.mark.parametrize("ends", ["x", [1, "x"], {"a": 1}, 1.5])
def test_ends_of_a_reply_that_are_no_tokens_are_one_line(folder, ends):
    edit_json(folder / "generation_config.json", eos_token_id=ends)
    tokenizer = models.load_tokenizer(folder)
    assert "eos_token_id: " in refused(folder, lambda path: stop_tokens(models.load_model(path), tokenizer))


@pytest.fixture
def adapter(folder, tmp_path):
    base = AdapterBase(str(folder), None, models.fingerprint(folder))
    model = models.load_model(folder)
    models.add_adapter(model, LoraSettings(rank=2), base, seed=0)
    models.save_model(model, models.load_tokenizer(folder), tmp_path / "adapter")
    return tmp_path / "adapter"


def test_a_sound_adapter_is_still_read(adapter):
    models.load_model(adapter)


@pytest.mark.parametrize(
    "values",
    [
        {"target_modules": "(q+)+x"},
        {"r": BOMB},
        {"r": "2"},
        {"lora_alpha": None},
        {"use_dora": True},
        {"init_lora_weights": "corda"},
        {"modules_to_save": ["lm_head"]},
        {"layer_replication": [[0, BOMB]]},
        {"rank_pattern": {"(q+)+x": BOMB}},
        {"peft_type": "PROMPT_TUNING"},
        {"megatron_config": {}, "megatron_core": "os"},
    ],
)
def test_an_adapter_that_asks_for_more_than_ours_is_refused(adapter, values):
    edit_json(adapter / "adapter_config.json", **values)
    assert "adapter_config.json" in refused(adapter)


@pytest.mark.parametrize(
    "text", ["[]", '{"checkpoint": 5}', '{"checkpoint": "a", "fingerprint": {}}', DEEP, '{"x": "y"}']
)
def test_an_adapter_that_names_no_base_is_refused(adapter, text):
    (adapter / "adapter_base.json").write_text(text)
    assert "adapter_base.json" in refused(adapter)


def test_a_classifiers_folder_with_an_adapter_in_it_is_refused(adapter):
    (adapter / "model.safetensors").write_bytes((adapter / "adapter_model.safetensors").read_bytes())
    assert "an adapter" in refused(adapter, lambda path: load_encoder("text classifier", path))
