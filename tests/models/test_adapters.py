"""An adapter's folder: what it gives when loaded, what it says of its base, and its full checkpoint."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from palu import models
from palu.cli import main
from palu.errors import UserError
from palu.files import read_json, write_json
from palu.models import AdapterBase, Architecture, LoraSettings
from palu.models.targets import chosen_targets

SMALL = Architecture(vocab_size=300, hidden_size=16, layers=2, heads=2, kv_heads=1, intermediate_size=32)
IDS = torch.tensor([[1, 20, 30, 40, 50]])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "model"
    models.save_model(*models.build_from_scratch(SMALL, ["Ada was born in Quell."], seed=0), folder)
    return folder


SIZES = {
    "vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 32, "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
ROUTED = {"num_local_experts": 4, "num_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2}
LOW_RANK = {
    "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8,
}  # fmt: skip
SMALL_EXPERTS = {"moe_intermediate_size": 8, "shared_expert_intermediate_size": 8}
STATES = {
    "state_size": 4,
    "mamba_d_state": 4,
    "mamba_n_heads": 4,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 8,
}
# type -> what its smallest configuration has besides; deepseek_v2's first block has no experts
MIXTURES: dict[str, dict[str, Any]] = {
    "mixtral": ROUTED,
    "qwen2_moe": ROUTED | SMALL_EXPERTS,
    "qwen3_moe": ROUTED | SMALL_EXPERTS | {"head_dim": 8},
    "deepseek_v2": ROUTED | LOW_RANK | {"moe_intermediate_size": 8, "n_group": 1, "topk_group": 1, "head_dim": 4},
}


def random_model(kind: str, **further: Any) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SIZES, **further)).eval()


def mixture(base: Path, kind: str, folder: Path) -> Path:
    models.save_model(random_model(kind, **MIXTURES[kind]), models.load_tokenizer(base), folder)
    return folder


def adapted(base: Path, alpha: float = 8.0, seed: int = 0, dtype: str = "float32", **settings: Any) -> Any:
    """The base with an adapter that changes its outputs: B is not zero."""
    model = models.load_model(base, dtype)
    facts = AdapterBase(str(base), None, models.fingerprint(base))
    models.add_adapter(model, LoraSettings(rank=4, alpha=alpha, **settings), facts, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=generator)
    return model


def saved(base: Path, folder: Path, **changes: Any) -> Path:
    models.save_model(adapted(base, **changes), models.load_tokenizer(base), folder)
    return folder


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(input_ids=IDS).logits
    return found


def test_a_loaded_adapter_is_a_plain_model_with_the_logits_of_the_adapted_one(base: Path, tmp_path: Path) -> None:
    model = adapted(base)
    models.save_model(model, models.load_tokenizer(base), tmp_path / "adapter")
    merged = models.load_model(tmp_path / "adapter")
    torch.testing.assert_close(logits(merged), logits(model), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(logits(merged), logits(models.load_model(base)), atol=1e-2)
    assert type(merged) is type(models.load_model(base))
    assert merged.state_dict().keys() == models.load_model(base).state_dict().keys()
    assert not merged.training


STACKS = ["o_proj", "gate_up_proj", "down_proj"]


@pytest.mark.parametrize("targets", ["all-linear", STACKS], ids=["all-linear", "experts"])
@pytest.mark.parametrize("kind", MIXTURES)
def test_an_adapter_of_a_mixture_of_experts_is_read_alike_by_palu_and_by_peft(
    base: Path, tmp_path: Path, kind: str, targets: Any
) -> None:
    own_base = mixture(base, kind, tmp_path / "base")
    model = adapted(own_base, targets=targets)
    models.save_model(model, models.load_tokenizer(base), tmp_path / "adapter")
    by_peft = PeftModel.from_pretrained(models.load_model(own_base), str(tmp_path / "adapter"))
    by_palu = models.load_model(tmp_path / "adapter")
    torch.testing.assert_close(logits(by_palu), logits(model), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits(by_peft.eval()), logits(model), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(logits(model), logits(models.load_model(own_base)), atol=1e-3)


def test_the_experts_of_a_mixture_are_adapted_where_they_are_named(base: Path, tmp_path: Path) -> None:
    own_base = mixture(base, "mixtral", tmp_path / "base")
    for targets, expected in (("all-linear", set()), (STACKS, {"gate_up_proj", "down_proj"})):
        models.save_model(adapted(own_base, targets=targets), models.load_tokenizer(base), tmp_path / str(targets))
        before, after = (
            models.load_model(own_base).state_dict(),
            models.load_model(tmp_path / str(targets)).state_dict(),
        )
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert {name.rpartition(".")[2] for name in changed if "experts" in name} == expected


def test_an_adapter_that_could_not_be_read_again_is_refused_before_it_is_trained(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # peft puts adapters of the experts in place of these, with a rank of their own
    monkeypatch.setattr("palu.models.adapters.chosen_targets", lambda *_: (["gate_proj", "up_proj"], []))
    own_base = mixture(base, "deepseek_v2", tmp_path / "base")
    with pytest.raises(UserError, match=r"deepseek_v2': its adapter could not be read again: .*_pattern") as error:
        adapted(own_base)
    assert "\n" not in str(error.value)


# the layers that a fused kernel reads the weights of, by type
BYPASSED = {
    "mamba": {"x_proj", "dt_proj", "out_proj"},
    "jamba": {"dt_proj"},
    "bamba": {"out_proj"},
    "falcon_h1": {"out_proj"},
}


@pytest.mark.parametrize("kind", BYPASSED)
def test_a_layer_whose_weight_a_fused_kernel_reads_is_no_target(kind: str) -> None:
    further = {"mamba_d_ssm": 32} if kind == "falcon_h1" else {}
    model = random_model(kind, **STATES, **further)
    linear = {
        name.rpartition(".")[2] for name, part in model.base_model.named_modules() if isinstance(part, nn.Linear)
    }
    chosen, _ = chosen_targets(model, LoraSettings())
    assert BYPASSED[kind] <= linear - set(chosen)
    assert "in_proj" in chosen
    with pytest.raises(UserError, match=r"lora\.targets: '\w+': the model reads its weight.*allowed: all-linear"):
        chosen_targets(model, LoraSettings(targets=sorted(BYPASSED[kind])))
    models.add_adapter(model, LoraSettings(), AdapterBase("", None, ""), seed=0)


def test_a_layer_that_no_gradient_reaches_is_no_target(base: Path) -> None:
    model: Any = models.load_model(base)
    model.model.spare = nn.Linear(16, 16)
    assert "spare" not in chosen_targets(model, LoraSettings())[0]
    with pytest.raises(UserError, match=r"'spare': no gradient reaches it; allowed: all-linear, down_proj, "):
        chosen_targets(model, LoraSettings(targets=["spare"]))


def test_a_layer_in_whose_place_peft_adapts_the_experts_is_no_target() -> None:
    model = random_model("deepseek_v2", **MIXTURES["deepseek_v2"])
    assert not {"gate_proj", "up_proj", "down_proj"} & set(chosen_targets(model, LoraSettings())[0])
    assert chosen_targets(model, LoraSettings(targets=["down_proj"])) == ([], ["down_proj"])
    with pytest.raises(UserError, match="'gate_proj': peft adapts the experts in its place"):
        chosen_targets(model, LoraSettings(targets=["gate_proj"]))


def test_a_new_adapter_changes_no_output_and_comes_from_its_seed(base: Path) -> None:
    given = [models.load_model(base) for _ in range(3)]
    for model, seed in zip(given, (0, 0, 1), strict=True):
        models.add_adapter(model, LoraSettings(rank=4), AdapterBase("", None, ""), seed)
    first, same, other = (
        torch.cat([value.flatten() for name, value in model.named_parameters() if "lora_A" in name]) for model in given
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(logits(given[0]), logits(models.load_model(base)))


def test_the_head_of_an_adapter_is_that_of_its_base(base: Path, tmp_path: Path) -> None:
    folder = saved(base, tmp_path / "adapter")
    assert torch.equal(models.head_weight(folder)[0], models.head_weight(base)[0])


def test_an_adapter_may_stand_on_an_adapter(base: Path, tmp_path: Path) -> None:
    first = saved(base, tmp_path / "first")
    model = adapted(first, seed=1)
    models.save_model(model, models.load_tokenizer(first), tmp_path / "second")
    torch.testing.assert_close(logits(models.load_model(tmp_path / "second")), logits(model), rtol=1e-5, atol=1e-5)


def test_equal_adapters_have_equal_fingerprints_wherever_they_and_their_base_lie(base: Path, tmp_path: Path) -> None:
    folder = saved(base, tmp_path / "adapter")
    elsewhere = shutil.copytree(base, tmp_path / "elsewhere")
    assert models.fingerprint(saved(elsewhere, tmp_path / "again")) == models.fingerprint(folder)
    assert models.fingerprint(saved(base, tmp_path / "alpha", alpha=4.0)) != models.fingerprint(folder)
    assert models.fingerprint(saved(base, tmp_path / "seed", seed=1)) != models.fingerprint(folder)


def test_a_base_that_moved_is_one_line(base: Path, tmp_path: Path) -> None:
    moving = shutil.copytree(base, tmp_path / "moving")
    folder = saved(moving, tmp_path / "adapter")
    moving.rename(tmp_path / "moved")
    with pytest.raises(
        UserError, match=r"adapter: the base of this adapter is gone: .*moving.*; allowed: the model w"
    ):
        models.load_model(folder)


def test_a_base_that_changed_is_one_line(base: Path, tmp_path: Path) -> None:
    changing = shutil.copytree(base, tmp_path / "changing")
    folder = saved(changing, tmp_path / "adapter")
    models.save_model(*models.build_from_scratch(SMALL, ["Ada was born in Quell."], seed=1), changing)
    digits = models.fingerprint(changing)
    with pytest.raises(UserError, match=f"changing, is now {digits}; allowed: the model with fingerprint") as error:
        models.load_model(folder)
    assert models.fingerprint(base) in str(error.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: (folder / "adapter_base.json").unlink(),
            "an adapter of peft, without .* merge it first, by",
        ),
        (lambda folder: write_json(folder / "adapter_base.json", {"path": "x"}), "damaged; allowed: the keys check"),
        (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"x"), "damaged weights"),
        (lambda folder: change(folder, peft_type="IA3"), "an adapter of type 'IA3'; allowed: LORA"),
        (lambda folder: change(folder, r=3), "r: 3; allowed: that of the weights"),
        (lambda folder: change(folder, target_modules=["q_proj"]), "the adapter does not fit its base"),
    ],
)
def test_a_damaged_adapter_is_one_line(base: Path, tmp_path: Path, damage: Any, message: str) -> None:
    folder = saved(base, tmp_path / "adapter")
    (folder / "palu.sha256").unlink()
    damage(folder)
    with pytest.raises(UserError, match=message) as error:
        models.load_model(folder)
    assert "\n" not in str(error.value)


def change(folder: Path, **facts: Any) -> None:
    write_json(folder / "adapter_config.json", read_json(folder / "adapter_config.json") | facts)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_merging_writes_a_full_checkpoint_in_the_dtype_of_the_base(base: Path, tmp_path: Path, dtype: str) -> None:
    own_base = tmp_path / "base"
    models.save_model(models.load_model(base, dtype), models.load_tokenizer(base), own_base)
    folder = saved(own_base, tmp_path / "adapter", dtype=dtype)
    assert main(["merge", "--model", str(folder), "--out", str(tmp_path / "full")]) == 0
    shutil.rmtree(own_base)
    full = AutoModelForCausalLM.from_pretrained(str(tmp_path / "full"), dtype="auto")
    assert full.dtype == getattr(torch, dtype)
    if dtype == "float32":
        torch.testing.assert_close(logits(full), logits(adapted(base)), rtol=1e-5, atol=1e-5)
    assert not (tmp_path / "full" / "adapter_config.json").exists()
    assert models.load_tokenizer(tmp_path / "full").eos_token == models.load_tokenizer(base).eos_token


def test_a_full_model_has_nothing_to_merge(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", "--model", str(base), "--out", str(tmp_path / "full")]) == 1
    assert "a full model, not an adapter" in capsys.readouterr().err
    assert not (tmp_path / "full").exists()


def by_peft(base: Path, folder: Path, **config: Any) -> Any:
    """An adapter that peft made and wrote: no fingerprint, no config.json, no tokenizer."""
    wanted = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], "init_lora_weights": False}
    model = get_peft_model(models.load_model(base), LoraConfig(**(wanted | config))).eval()
    model.save_pretrained(str(folder))
    change(folder, base_model_name_or_path=str(base))
    return model


@pytest.mark.parametrize("config", [{}, {"lora_dropout": 0.1, "task_type": "CAUSAL_LM"}, {"use_rslora": True}])
def test_the_command_that_an_adapter_of_peft_is_refused_with_makes_its_full_model(
    base: Path, tmp_path: Path, config: dict[str, Any]
) -> None:
    folder = tmp_path / "adapter"
    model = by_peft(base, folder, **config)
    for read in (models.load_model, models.load_tokenizer, models.fingerprint, models.head_weight):
        with pytest.raises(UserError, match=f"merge it first, by `palu merge --model {folder} --out FULL`"):
            read(folder)
    assert main(["merge", "--model", str(folder), "--out", str(tmp_path / "full")]) == 0
    torch.testing.assert_close(logits(models.load_model(tmp_path / "full")), logits(model), rtol=1e-5, atol=1e-5)
    assert models.load_tokenizer(tmp_path / "full").get_vocab() == models.load_tokenizer(base).get_vocab()


def test_an_adapter_of_peft_that_names_no_base_is_merged_into_the_given_one(base: Path, tmp_path: Path) -> None:
    model = by_peft(base, tmp_path / "adapter")
    change(tmp_path / "adapter", base_model_name_or_path=None)
    models.merge_adapter(tmp_path / "adapter", tmp_path / "full", str(base))
    torch.testing.assert_close(logits(models.load_model(tmp_path / "full")), logits(model), rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match=r"--base: .*own is no adapter of peft"):
        models.merge_adapter(saved(base, tmp_path / "own"), tmp_path / "other", str(base))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"base_model_name_or_path": None}, "base_model_name_or_path: names no base; allowed: --base MODEL"),
        ({"base_model_name_or_path": "./gone"}, "gone"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save: .'lm_head'.; allowed"),
        ({"target_modules": ".*_proj"}, "target_modules and target_parameters as lists of names"),
    ],
)
def test_an_adapter_of_peft_that_cannot_be_merged_is_one_line(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], facts: dict[str, Any], message: str
) -> None:
    by_peft(base, tmp_path / "adapter")
    change(tmp_path / "adapter", **facts)
    assert main(["merge", "--model", str(tmp_path / "adapter"), "--out", str(tmp_path / "full")]) == 1
    *_bars, line = capsys.readouterr().err.splitlines()
    assert re.search(f"^palu: error: .*{message}", line), line
    assert not (tmp_path / "full").exists()
