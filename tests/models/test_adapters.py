"""An adapter's folder: what it gives when loaded, what it says of its base, and its full checkpoint."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from palu import models
from palu.cli import main
from palu.errors import UserError
from palu.files import read_json, write_json
from palu.models import AdapterBase, Architecture, LoraSettings

SMALL = Architecture(vocab_size=300, hidden_size=16, layers=2, heads=2, kv_heads=1, intermediate_size=32)
IDS = torch.tensor([[1, 20, 30, 40, 50]])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "model"
    models.save_model(*models.build_from_scratch(SMALL, ["Ada was born in Quell."], seed=0), folder)
    return folder


def adapted(base: Path, alpha: float = 8.0, seed: int = 0, dtype: str = "float32") -> Any:
    """The base with an adapter that changes its outputs: B is not zero."""
    model = models.load_model(base, dtype)
    facts = AdapterBase(str(base), None, models.fingerprint(base))
    models.add_adapter(model, LoraSettings(rank=4, alpha=alpha), facts, seed)
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
        (lambda folder: (folder / "adapter_base.json").unlink(), "an adapter without adapter_base.json"),
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
