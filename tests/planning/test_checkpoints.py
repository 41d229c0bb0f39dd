"""`palu check` says of a model what the first stage that reads it says."""

import json

import pytest

from palu import benchmarks, models
from palu.errors import UserError
from palu.evaluation.infer import infer
from palu.evaluation.settings import EvaluationSettings
from palu.models import Architecture
from palu.planning import checkpoints, jobs
from palu.planning.check import check
from palu.planning.machine import Room
from palu.reference.states import write_states
from palu.study import Study
from tests import gguf_files, hard_models

ROOM = Room(memory=64 * 10**9, gpu_memory=None, free_disk=10**12)
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{{ m['content'] }}{% endfor %}"
)


@pytest.fixture(autouse=True)
def no_dry_run(monkeypatch):
    monkeypatch.setattr(jobs, "planned", lambda _: {"unlearn_model": 1})


def edit(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def without_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


def padding_beyond(folder):
    tokenizer = hard_models.tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.add_tokens([f"<{n}>" for n in range(60)])
    tokenizer.add_special_tokens({"pad_token": "<59>"})
    tokenizer.save_pretrained(folder)


def no_system_role(folder):
    tokenizer = hard_models.tokenizer()
    tokenizer.chat_template = NO_SYSTEM
    tokenizer.save_pretrained(folder)


FAULTS = {
    "holds no tokenizer (tokenizer.json)": without_tokenizer,
    "the tokenizer's pad_token '<59>' has the id": padding_beyond,
    "the weights are quantised (awq)": lambda folder: edit(folder, quantization_config={"quant_method": "awq"}),
    "model.max_length: 64 is more than the positions": lambda folder: edit(folder, max_position_embeddings=63),
    "of the shape that config.json asks for": lambda folder: edit(folder, intermediate_size=64),
    "config.json is missing": lambda folder: (folder / "config.json").unlink(),
    "no *.safetensors": lambda folder: (folder / "model.safetensors").unlink(),
    "template 'chat': this tokenizer has no chat template": lambda _: None,
    "template 'chat': the tokenizer's chat template fails: System role not supported": no_system_role,
}


@pytest.mark.parametrize("complaint", FAULTS)
@pytest.mark.parametrize("role", ["checkpoint", "retain_checkpoint", "base_checkpoint"])
def test_check_ends_with_the_line_of_the_stage(own, tmp_path, complaint, role):
    folder = hard_models.write("llama", tmp_path / "faulty")
    FAULTS[complaint](folder)
    model = {"max_length": 64, "template": "chat" if "chat" in complaint else "plain", role: str(folder)}
    if role == "retain_checkpoint":
        sound = hard_models.write("llama", tmp_path / "sound")
        no_system_role(sound)
        model |= {"checkpoint": str(sound), "system_prompt": ""} if "fails" not in complaint else {}
        model.setdefault("checkpoint", str(sound))
    study = Study.parse(own | {"model": model}, "study.yaml")
    examples = tmp_path / "examples.parquet"
    benchmarks.prepare("custom", study.benchmark.settings, examples, tmp_path / "gold.parquet")
    with pytest.raises(UserError) as error:
        write_states(folder, examples, tmp_path / "states.parquet", study.model)
    assert complaint in str(error.value)
    told = check(own | {"model": model}, "study.yaml", ROOM).told()
    assert told.splitlines()[-1] == f"problem: {error.value}"


@pytest.mark.parametrize("kind", ["gpt2", "opt350", "qwen2", "multimodal_gemma3"])
def test_what_check_finds_sound_goes_through_the_stages(own, tmp_path, kind):
    folder = hard_models.write(kind, tmp_path / kind)
    values = own | {"model": {"checkpoint": str(folder), "max_length": 128}}
    assert check(values, "study.yaml", ROOM).problems == []
    study = Study.parse(values, "study.yaml")
    examples = tmp_path / "examples.parquet"
    benchmarks.prepare("custom", study.benchmark.settings, examples, tmp_path / "gold.parquet")
    write_states(folder, examples, tmp_path / "states.parquet", study.model)
    infer(folder, examples, tmp_path / "out", study.model, EvaluationSettings(max_new_tokens=2))


def test_a_prompt_without_room_for_its_reply_is_found_though_it_is_not_the_first(own, tmp_path):
    lines = [{"prompt": "Where?", "reply": "In Oslo."}, {"prompt": "word " * 100, "reply": "In Oslo."}]
    lines[0]["spans"] = [[3, 7]]
    (tmp_path / "forget.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (told,) = check(own, "study.yaml", ROOM).problems
    assert "which leaves the reply no room within max_length 64" in told


def test_the_template_is_tried_though_the_rows_are_on_the_hub(own, checkpoint):
    model = {"checkpoint": str(checkpoint), "template": "chat"}
    (told,) = check(own | {"benchmark": {"name": "tofu"}, "model": model}, "study.yaml", ROOM).problems
    assert told.startswith("template 'chat': this tokenizer has no chat template of its own")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"model": {"template": "chat"}}, "model.template: 'chat' needs a base_checkpoint"),
        ({"finetune": {"lora": {"rank": 2}}, "model": {}}, "finetune.lora: an adapter needs a base"),
    ],
)
def test_what_a_model_from_nothing_cannot_have_is_said(own, changes, complaint):
    (told,) = check(own | changes, "study.yaml", ROOM).problems
    assert told.startswith(complaint)


def test_no_number_of_a_checkpoint_is_read(own, monkeypatch):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(models.storage, "check_numbers", refuse)
    assert checkpoints.problems(Study.parse(own, "study.yaml"), None) == ([], [])


def test_an_architecture_is_no_checkpoint(own):
    study = Study.parse(own | {"model": {"architecture": Architecture().model_dump()}}, "study.yaml")
    assert checkpoints.local_checkpoints(study) == []


@pytest.mark.parametrize("role", ["checkpoint", "retain_checkpoint", "base_checkpoint"])
def test_check_reads_a_gguf_file_by_its_header(own, tmp_path, role):
    path = gguf_files.write(tmp_path / "m.gguf")
    model = {"checkpoint": own["model"]["checkpoint"]} if role == "retain_checkpoint" else {}
    values = own | {"model": model | {role: str(path), "max_length": 64}}
    found = check(values, "study.yaml", ROOM)
    assert found.problems == []
    if not model:
        parameters = sum(parameter.numel() for parameter in gguf_files.small_model()[0].parameters())
        assert f"model model: {parameters / 1000:.2f} thousand parameters, float32, {path}" in found.lines
        assert "by the model's tokenizer" in found.told()
    path.write_bytes(path.read_bytes()[:-1])
    (told,) = check(values, "study.yaml", ROOM).problems
    assert told.startswith(f"{path}: a GGUF file that was cut")
