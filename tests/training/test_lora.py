"""Training through a low-rank adapter: what is trained, what is written, and that it resumes bit for bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from palu import models, tables
from palu.errors import UserError
from palu.files import read_json
from palu.models import LoraSettings, ModelSettings
from palu.tokens import encode
from palu.training.checkpoints import Checkpoints
from palu.training.data import Examples
from palu.training.finetune import finetune
from palu.training.loop import Loop, Machine, Rows
from palu.training.objective import LikelihoodObjective
from palu.training.plan import Plan
from palu.training.settings import FinetuneSettings, TrainingSettings
from tests.training.tiny import SMALL, Interrupted, Tiny, interrupt_after, losses, make_tiny, weights

LORA: dict[str, Any] = {"lora": {"rank": 2, "alpha": 4.0}, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def finished(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an adapter, not interrupted."""
    out = tmp_path_factory.mktemp("finished")
    tiny.unlearn(out, training=LORA, keep_epochs=[1])
    return out


def changed_weights(model: Any, base: Any) -> set[str]:
    before = base.state_dict()
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def test_a_run_writes_an_adapter_alone_and_loading_it_gives_the_changed_layers(tiny: Tiny, finished: Path) -> None:
    names = weights(finished / "model")
    assert all(".lora_A." in name or ".lora_B." in name for name in names)
    assert len(names) == 2 * 2 * 7
    assert sum(value.numel() for value in names.values()) < 0.3 * sum(v.numel() for v in weights(tiny.model).values())
    base, adapted = models.load_model(tiny.model), models.load_model(finished / "model")
    assert changed_weights(adapted, base) == {name for name in base.state_dict() if "_proj" in name}
    assert models.load_tokenizer(finished / "model").get_vocab() == models.load_tokenizer(tiny.model).get_vocab()
    values = losses(tables.rows(finished / "steps.parquet", "steps"))
    assert values[-1] < values[0]


def test_the_record_names_the_adapter_s_fingerprint_and_the_library(finished: Path) -> None:
    record = read_json(finished / "run.json")
    assert record["model"] == models.fingerprint(finished / "model")
    assert record["identity"]["training"]["lora"] == {"rank": 2, "alpha": 4.0, "targets": "all-linear"}
    assert "peft" in record["identity"]["versions"]


def test_a_kept_epoch_is_an_adapter_too(tiny: Tiny, finished: Path) -> None:
    kept, last = weights(finished / "epoch1" / "model"), weights(finished / "model")
    assert kept.keys() == last.keys()
    assert not any(torch.equal(kept[name], last[name]) for name in kept)
    assert changed_weights(models.load_model(finished / "epoch1" / "model"), models.load_model(tiny.model))


def test_gradients_reach_the_adapters_and_nothing_else(tiny: Tiny, tmp_path: Path) -> None:
    model, tokenizer = models.load_model(tiny.model), models.load_tokenizer(tiny.model)
    base = models.AdapterBase(str(tiny.model), None, "")
    models.add_adapter(model, LoraSettings(targets=["q_proj", "down_proj"]), base, seed=0)
    rows = encode(Examples(tiny.examples).of(["forget"]), tokenizer, tiny.settings, 512)
    plan = Plan(0, len(rows), 0, len(rows), 1)
    checkpoints = Checkpoints(tmp_path, {})
    data, objective = Rows(rows, [], tokenizer.pad_token_id), LikelihoodObjective(model)
    loop = Loop(objective, data, plan, TrainingSettings(), checkpoints, Machine())
    loop.accumulate(plan.step(0))
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert moved == trained
    assert {name.split(".")[-4] for name in moved} == {"q_proj", "down_proj"}
    stepped = {id(parameter) for group in loop.optimizer.param_groups for parameter in group["params"]}
    assert stepped == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}


def test_before_the_first_step_the_model_is_its_reference_without_a_copy_of_the_head(finished: Path) -> None:
    rows = tables.rows(finished / "steps.parquet", "steps")
    assert next(row["value"] for row in rows if row["term"] == "common") == pytest.approx(0, abs=1e-6)


def test_an_interrupted_run_ends_in_the_bits_of_one_that_was_not(tiny: Tiny, finished: Path, tmp_path: Path) -> None:
    stop = {"after_step": interrupt_after(3), "checkpoint_seconds": 0}
    with pytest.raises(Interrupted):
        tiny.unlearn(tmp_path, training=LORA, keep_epochs=[1], machine=stop)
    (state,) = tmp_path.glob(".checkpoint/step*/model.safetensors")
    # the checkpoint holds the adapter and no frozen weight
    assert state.stat().st_size < 1.2 * (finished / "model" / "adapter_model.safetensors").stat().st_size
    tiny.unlearn(tmp_path, training=LORA, keep_epochs=[1])
    assert read_json(tmp_path / "run.json")["resumed_from_step"] == 3
    for folder in ("model", "epoch1/model"):
        resumed, whole = weights(tmp_path / folder), weights(finished / folder)
        assert all(torch.equal(resumed[name], whole[name]) for name in whole)
        assert models.fingerprint(tmp_path / folder) == models.fingerprint(finished / folder)
    rows = [tables.rows(out / "steps.parquet", "steps") for out in (tmp_path, finished)]
    assert losses(rows[0]) == losses(rows[1])


def mixture_of_experts(tiny: Tiny, folder: Path) -> Path:
    """A Mixtral of the tiny model's sizes, with its tokenizer."""
    sizes = read_json(tiny.model / "config.json")
    kept = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "mixtral", **{key: sizes[key] for key in kept}, intermediate_size=8, num_local_experts=4
    )
    models.save_model(AutoModelForCausalLM.from_config(config), models.load_tokenizer(tiny.model), folder)
    return folder


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("kind", ["llama", "mixtral"])
def test_with_gradient_checkpointing_every_part_of_the_adapter_moves(
    tiny: Tiny, tmp_path: Path, kind: str, packed: bool
) -> None:
    base, targets = tiny.model, "all-linear"
    if kind == "mixtral":
        base, targets = mixture_of_experts(tiny, tmp_path / "base"), ["q_proj", "o_proj", "gate_up_proj", "down_proj"]
    found = []
    for recomputed in (True, False):
        tiny.unlearn(
            tmp_path / str(recomputed),
            method="gd",
            training={"lora": {"rank": 2, "targets": targets}, "epochs": 1},
            machine={"gradient_checkpointing": recomputed, "packed": packed},
            model_folder=base,
        )
        found.append(weights(tmp_path / str(recomputed) / "model"))
    moved = {name: bool(value.any()) for name, value in found[0].items() if ".lora_B" in name}
    assert len(moved) == 2 * (4 if kind == "mixtral" else 7)
    assert all(moved.values()), moved
    for name, value in found[1].items():
        torch.testing.assert_close(found[0][name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("given", "expected"), [({}, 1e-4), ({"learning_rate": 3e-5}, 3e-5)])
def test_an_adapter_has_a_learning_rate_of_its_own_unless_the_study_sets_one(
    tiny: Tiny, tmp_path: Path, given: dict[str, float], expected: float
) -> None:
    settings = TrainingSettings.parse({"lora": {"rank": 2}, "epochs": 1, "warmup_epochs": 0.0, **given}, "test")
    assert (settings.learning_rate, TrainingSettings().learning_rate) == (expected, 1e-5)
    tiny.unlearn(tmp_path, method="gd", settings=settings)
    assert read_json(tmp_path / "run.json")["identity"]["training"]["learning_rate"] == expected
    assert tables.rows(tmp_path / "steps.parquet", "steps")[0]["learning_rate"] == expected


def test_a_finetuning_with_an_adapter_has_its_learning_rate_too() -> None:
    given = FinetuneSettings.parse({"lora": {}}, "test")
    assert (given.learning_rate, FinetuneSettings().learning_rate) == (1e-4, 5e-3)


def test_on_a_bfloat16_model_the_adapter_is_float32(tmp_path: Path) -> None:
    tiny = make_tiny(tmp_path / "tiny", "bfloat16")
    rows = tiny.unlearn(tmp_path / "run", training=LORA)
    assert losses(rows)[-1] < losses(rows)[0]
    assert {value.dtype for value in weights(tmp_path / "run" / "model").values()} == {torch.float32}
    assert models.load_model(tmp_path / "run" / "model", "bfloat16").dtype == torch.bfloat16


@pytest.mark.parametrize("target", ["lm_head", "query", "embed_tokens"])
def test_a_target_that_is_no_linear_layer_of_the_body_is_one_line_with_the_allowed_ones(
    tiny: Tiny, tmp_path: Path, target: str
) -> None:
    with pytest.raises(UserError, match=f"lora.targets: unknown layer '{target}'.*allowed: all-linear, down_proj, ga"):
        tiny.unlearn(tmp_path / "run", training={"lora": {"targets": ["q_proj", target]}})
    assert not (tmp_path / "run").exists()


def test_a_finetuning_of_a_base_checkpoint_can_train_an_adapter(tiny: Tiny, tmp_path: Path) -> None:
    settings = ModelSettings.parse({"base_checkpoint": str(tiny.model)}, "test")
    given = FinetuneSettings.parse({"epochs": 1, "warmup_epochs": 0.0, **LORA}, "test")
    finetune(
        model_settings=settings,
        settings=given,
        examples_path=tiny.examples,
        parts=["retain"],
        seed=0,
        out=tmp_path,
    )
    assert changed_weights(models.load_model(tmp_path / "model"), models.load_model(tiny.model))
    assert (tmp_path / "model" / "adapter_base.json").is_file()


def test_a_model_from_nothing_has_no_base_for_an_adapter(tiny: Tiny, tmp_path: Path) -> None:
    settings = ModelSettings(architecture=SMALL)
    given = FinetuneSettings.parse({"epochs": 1, "warmup_epochs": 0.0, **LORA}, "test")
    with pytest.raises(
        UserError, match=r"finetune\.lora: an adapter needs a base: allowed with model\.base_checkpoin"
    ):
        finetune(
            model_settings=settings,
            settings=given,
            examples_path=tiny.examples,
            parts=["retain"],
            seed=0,
            out=tmp_path / "run",
        )
