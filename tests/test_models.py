"""Loading, saving, building and cutting models; rendering prompts."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from palu import models
from palu.errors import UserError
from palu.models import Architecture, ModelSettings, TemplateSettings

TEXTS = ["Ada Lovelace wrote the first program.", "Question: Who?\nAnswer: Ada", "Jürgen came from Zürich."]
SMALL = Architecture(vocab_size=300, hidden_size=16, heads=2, kv_heads=1, intermediate_size=24, max_positions=64)


@pytest.fixture(scope="module")
def built():
    return models.build_from_scratch(SMALL, TEXTS, seed=0)


@pytest.fixture(scope="module")
def saved(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "small"
    models.save_model(*built, folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy that a test may damage: as somebody else would have written it, without checksums."""
    return Path(shutil.copytree(saved, tmp_path / "model", ignore=shutil.ignore_patterns("palu.sha256")))


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def edit_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_no_checkpoint_means_the_default_architecture():
    assert ModelSettings.parse({}, "study: model").architecture == Architecture()


def test_settings_survive_a_round_trip_through_plain_values():
    settings = ModelSettings.parse({"template": "chat", "architecture": {"heads": 2}}, "study: model")
    assert ModelSettings.parse(settings.model_dump(mode="json"), "study: model") == settings


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"template": "alpaca"}, "model.template: 'alpaca' should be 'plain', 'llama2-chat', 'chat' or 'raw'"),
        ({"dtype": "float16"}, "model.dtype: 'float16' should be 'float32' or 'bfloat16'"),
        ({"checkpoint": "a/b", "architecture": {}}, "both a checkpoint and an architecture"),
        ({"retain_checkpoint": "a/b"}, "has a retain_checkpoint but no checkpoint"),
        ({"name": "../up"}, "model.name: '../up'"),
        ({"max_length": "512"}, "not text: write it without quotes"),
        ({"max_length": 4096}, "max_length 4096 exceeds architecture.max_positions 1024"),
        ({"architecture": {"hiden_size": 8}}, "unknown key 'hiden_size' (did you mean 'hidden_size'?)"),
        ({"architecture": {"heads": 3}}, "hidden_size 64 must be a multiple of 2 x heads, 6"),
        ({"architecture": {"kv_heads": 3}}, "heads 4 must be a multiple of kv_heads 3"),
        ({"architecture": {"vocab_size": 200}}, "vocab_size 200 must be at least 259"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(values, complaint):
    with pytest.raises(UserError) as error:
        ModelSettings.parse(values, "study.yaml: model")
    assert complaint in one_line(error)


@pytest.mark.parametrize(
    "change",
    [{"template": "llama2-chat"}, {"max_length": 256}, {"dtype": "bfloat16"}, {"architecture": {"hidden_size": 32}}],
)
def test_model_key_changes_with_what_the_files_depend_on(change):
    assert models.model_key(ModelSettings.parse(change, ""), "") != models.model_key(ModelSettings(), "")


def test_model_key_tells_training_settings_apart_and_ignores_an_unused_date():
    plain = ModelSettings()
    assert models.model_key(plain, '{"epochs":1}') != models.model_key(plain, '{"epochs":2}')
    assert models.model_key(ModelSettings(date="1 Jan 2020"), "") == models.model_key(plain, "")
    chat = {"template": "chat", "date": "1 Jan 2020"}
    assert models.model_key(ModelSettings.parse(chat, ""), "") != models.model_key(ModelSettings(template="chat"), "")
    assert models.model_key(ModelSettings(name="tiny"), "").startswith("tiny-")


def test_the_same_seed_builds_the_same_bits_and_leaves_the_global_generator_alone(built):
    before = torch.get_rng_state()
    model, tokenizer = models.build_from_scratch(SMALL, TEXTS, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert tokenizer.backend_tokenizer.to_str() == built[1].backend_tokenizer.to_str()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), built[0].parameters(), strict=True))
    other = models.build_from_scratch(SMALL, TEXTS, seed=1)[0]
    assert not torch.equal(other.lm_head.weight, model.lm_head.weight)


def test_a_tokenizer_from_scratch_puts_bos_first_adds_no_end_and_keeps_every_character(built):
    tokenizer = built[1]
    text = " Zoë \n日本 😀"
    encoded = tokenizer(text, return_offsets_mapping=True)
    assert tokenizer.convert_tokens_to_ids(["<unk>", "<s>", "</s>"]) == [0, 1, 2]
    assert encoded["input_ids"][0] == tokenizer.bos_token_id == 1
    assert encoded["input_ids"][-1] != tokenizer.eos_token_id
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 2
    assert tokenizer.decode(encoded["input_ids"][1:]) == text
    assert encoded["offset_mapping"][1][0] == 0, "a leading space belongs to its token"
    assert encoded["offset_mapping"][-1][1] == len(text)


def test_the_head_has_one_row_for_each_token(built):
    model, tokenizer = built
    assert model.get_output_embeddings().weight.shape == (len(tokenizer), SMALL.hidden_size)


@pytest.mark.parametrize("tie_embeddings", [False, True])
def test_a_saved_model_comes_back_the_same(tmp_path, tie_embeddings):
    architecture = SMALL.model_copy(update={"tie_embeddings": tie_embeddings})
    model, tokenizer = models.build_from_scratch(architecture, TEXTS, seed=0)
    models.save_model(model, tokenizer, tmp_path / "m")
    loaded = models.load_model(tmp_path / "m")
    assert not loaded.training
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, loaded.get_parameter(name)), name
    assert models.load_tokenizer(tmp_path / "m")("Ada Zürich")["input_ids"] == tokenizer("Ada Zürich")["input_ids"]
    assert models.load_model(tmp_path / "m", "bfloat16").dtype == torch.bfloat16


def test_saving_leaves_nothing_half_written(built, tmp_path, monkeypatch):
    def refuse(_folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(built[1], "save_pretrained", refuse)
    with pytest.raises(UserError, match="No space left on device"):
        models.save_model(*built, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_fingerprints_tell_models_apart_and_survive_a_save(saved, folder, tmp_path):
    tokenizer = models.load_tokenizer(saved)
    tokenizer(["a", "b b"], padding=True, truncation=True, max_length=4)
    models.save_model(models.load_model(saved), tokenizer, tmp_path / "again")
    assert models.fingerprint(tmp_path / "again") == models.fingerprint(saved)
    assert models.tokenizer_fingerprint(tmp_path / "again") == models.tokenizer_fingerprint(saved)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert models.fingerprint(folder) != models.fingerprint(saved)


def test_a_tokenizer_written_by_another_version_keeps_its_fingerprint(saved, folder):
    path = folder / "tokenizer.json"
    facts = json.loads(path.read_text())
    facts["model"]["merges"] = [" ".join(pair) for pair in facts["model"]["merges"]]
    path.write_text(json.dumps(facts))
    assert models.tokenizer_fingerprint(folder) == models.tokenizer_fingerprint(saved)
    facts["model"]["merges"].pop()
    path.write_text(json.dumps(facts))
    assert models.tokenizer_fingerprint(folder) != models.tokenizer_fingerprint(saved)


def test_hidden_states_of_a_padded_batch_are_those_of_each_row_alone(built):
    model = built[0].eval()
    rows = [torch.randint(3, 200, (length,)) for length in (5, 9, 2)]
    input_ids = torch.full((3, 9), 2)
    for i, row in enumerate(rows):
        input_ids[i, : len(row)] = row
    batch = SimpleNamespace(input_ids=input_ids, position_ids=torch.arange(9).repeat(3, 1), attention_mask=None)
    states = models.hidden_states(model, batch).view(3, 9, -1)
    for i, row in enumerate(rows):
        alone = model(input_ids=row[None], output_hidden_states=True).hidden_states[-1][0]
        torch.testing.assert_close(states[i, : len(row)], alone)
    weight, bias, transform = models.output_head(model)
    assert bias is None
    assert transform.is_identity
    torch.testing.assert_close(states[1] @ weight.T, model(input_ids=rows[1][None]).logits[0])


def test_the_head_is_read_from_disk_without_the_model(saved, built):
    weight, bias = models.head_weight(saved)
    assert bias is None
    assert torch.equal(weight, built[0].lm_head.weight)
    assert models.head_weight(saved, "bfloat16")[0].dtype == torch.bfloat16


def test_a_tied_head_is_read_as_its_embedding(tmp_path):
    model, tokenizer = models.build_from_scratch(SMALL.model_copy(update={"tie_embeddings": True}), TEXTS, seed=0)
    models.save_model(model, tokenizer, tmp_path / "m")
    assert "lm_head.weight" not in load_file(tmp_path / "m" / "model.safetensors")
    assert torch.equal(models.head_weight(tmp_path / "m")[0], model.get_input_embeddings().weight)


def test_a_head_is_found_in_shards_and_under_another_name(tmp_path):
    config = GPTNeoXConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
    )
    model = GPTNeoXForCausalLM(config)
    model.save_pretrained(tmp_path, max_shard_size="5KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert torch.equal(models.head_weight(tmp_path)[0], model.get_output_embeddings().weight)


def missing(folder):
    shutil.rmtree(folder)


def no_weights(folder):
    (folder / "model.safetensors").unlink()


def pickled_weights(folder):
    no_weights(folder)
    (folder / "pytorch_model.bin").write_bytes(b"anything")


def no_config(folder):
    (folder / "config.json").unlink()


def cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def lacking_weights(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, path, metadata={"format": "pt"})


def other_shapes(folder):
    edit_config(folder, intermediate_size=32)


def unknown_kind(folder):
    edit_config(folder, model_type="unheard-of", architectures=["UnheardOf"])


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (missing, "no such model folder"),
        (no_weights, "a model folder without weights: no *.safetensors"),
        (pickled_weights, "pytorch_model.bin is a pickle, which is never read"),
        (no_config, "config.json is missing"),
        (cut_weights, "damaged weights"),
        (lacking_weights, "the weights hold no 'model.layers.1.mlp.up_proj.weight'"),
        (other_shapes, "hold no 'model.layers.0.mlp.down_proj.weight' of the shape that config.json asks for (6 such"),
        (unknown_kind, "unheard-of"),
    ],
)
def test_a_damaged_model_folder_is_one_line_that_names_it(folder, damage, complaint):
    damage(folder)
    with pytest.raises(UserError) as error:
        models.load_model(folder)
    assert one_line(error).startswith(str(folder))
    assert complaint in str(error.value)


def test_head_weight_of_damaged_weights_is_one_line(folder):
    cut_weights(folder)
    with pytest.raises(UserError, match="damaged weights"):
        models.head_weight(folder)


def test_an_unknown_dtype_lists_the_allowed_ones(saved):
    with pytest.raises(UserError, match=r"unknown dtype 'float8'.*; allowed: bfloat16, float32"):
        models.load_model(saved, "float8")


def test_a_folder_without_a_tokenizer_is_one_line(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(UserError) as error:
        models.load_tokenizer(folder)
    assert one_line(error).startswith(str(folder))
    with pytest.raises(UserError, match=r"holds no tokenizer \(tokenizer\.json\)"):
        models.tokenizer_fingerprint(folder)


def test_a_damaged_tokenizer_is_one_line(folder):
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(UserError, match="holds no readable tokenizer"):
        models.load_tokenizer(folder)
    with pytest.raises(UserError, match="a damaged tokenizer"):
        models.tokenizer_fingerprint(folder)


def test_a_tokenizer_without_offsets_is_refused(tmp_path, saved):
    shutil.copy(saved / "config.json", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "CanineTokenizer"}')
    with pytest.raises(UserError) as error:
        models.load_tokenizer(tmp_path)
    assert "reports no character offsets" in one_line(error)


def test_a_tokenizer_without_an_end_token_is_refused_and_a_missing_pad_is_the_end(built, tmp_path):
    backend = built[1].backend_tokenizer
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>").save_pretrained(tmp_path)
    assert models.load_tokenizer(tmp_path).pad_token_id == 2
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no end-of-sequence token"):
        models.load_tokenizer(tmp_path)


@pytest.mark.parametrize("name", ["./runs/model", "a/b/c", "/no/such/folder"])
def test_a_missing_folder_never_asks_the_hub(monkeypatch, name):
    from palu import hub

    monkeypatch.setattr(hub, "_snapshot", lambda *_a, **_o: pytest.fail("asked the hub"))
    with pytest.raises(UserError, match="no such model folder"):
        models.model_folder(name)


def test_a_linked_checkpoint_is_the_checkpoint(saved, folder, tmp_path):
    models.link_checkpoint(saved, None, tmp_path / "link" / "model")
    assert models.fingerprint(tmp_path / "link" / "model") == models.fingerprint(saved)
    no_weights(folder)
    with pytest.raises(UserError, match="a model folder without weights"):
        models.link_checkpoint(folder, None, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_templates_render_the_text_before_the_reply(built):
    tokenizer = built[1]
    plain = models.render_prompt("plain", "Who?", tokenizer)
    assert (plain.text, plain.add_special_tokens) == ("Question: Who?\nAnswer: ", True)
    chat = models.render_prompt("llama2-chat", "Who?", tokenizer)
    assert (chat.text, chat.add_special_tokens) == ("[INST] Who? [/INST]", True)


@pytest.mark.parametrize("template", ["plain", "llama2-chat", "chat"])
def test_an_empty_prompt_is_a_document_without_a_template(built, template):
    rendered = models.render_prompt(template, "", built[1])
    assert (rendered.text, rendered.add_special_tokens) == ("", True)


CHAT_TEMPLATE = (
    "<s>{{ date_string }}|{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}"
    "{% if add_generation_prompt %}assistant={% endif %}"
)


def test_a_chat_template_gets_system_prompt_and_date_and_writes_its_own_bos(saved):
    tokenizer = models.load_tokenizer(saved)
    tokenizer.chat_template = CHAT_TEMPLATE
    rendered = models.render_prompt("chat", "Who?", tokenizer, system_prompt="Be kind.", date="1 Jan 2020")
    assert rendered.text == "<s>1 Jan 2020|system=Be kind.;user=Who?;assistant="
    assert not rendered.add_special_tokens
    default = models.render_prompt("chat", "Who?", tokenizer)
    assert default.text == "<s>10 Apr 2025|system=You are a helpful assistant.;user=Who?;assistant="
    assert TemplateSettings().date == "10 Apr 2025"


def test_unusable_templates_list_the_allowed_ones(built):
    with pytest.raises(UserError, match="unknown template 'alpaca'; allowed: chat, llama2-chat, plain"):
        models.render_prompt("alpaca", "Who?", built[1])
    with pytest.raises(UserError, match="no chat template of its own; allowed: plain, llama2-chat"):
        models.render_prompt("chat", "Who?", built[1])
