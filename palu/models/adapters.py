"""Low-rank adapters (LoRA): added to a model for training, stored beside the name of their base, merged on loading.

An adapter's folder holds, besides config.json and the tokenizer:

    adapter_model.safetensors, adapter_config.json    as the library peft writes them
    adapter_base.json    the base: checkpoint as it was given, revision, and the fingerprint that it had
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from palu.errors import UserError
from palu.files import canonical_json, file_digest, read_json, text_digest, write_json
from palu.models.settings import LoraSettings
from palu.settings import unknown

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import Tensor
    from transformers import PreTrainedModel

WEIGHTS, CONFIG, BASE = "adapter_model.safetensors", "adapter_config.json", "adapter_base.json"
# The facts of adapter_config.json that the adapted model does not depend on
_VOLATILE = {"base_model_name_or_path", "revision", "peft_version"}
# Those that `save_adapter` writes otherwise than a new configuration has them
_FREE = {"inference_mode", "target_modules", "task_type", "auto_mapping"}


@dataclass(frozen=True)
class AdapterBase:
    """The model under an adapter: its folder or hub id as it was given, and its fingerprint at that time."""

    checkpoint: str
    revision: str | None
    fingerprint: str

    @classmethod
    def read(cls, folder: Path) -> AdapterBase:
        """Raises UserError for an adapter that does not say what it was trained on."""
        path = folder / BASE
        if not path.is_file():
            raise UserError(f"{folder}: an adapter without {BASE}; allowed: an adapter of palu, or a full model")
        facts = read_json(path)
        match facts:
            case {"checkpoint": str(checkpoint), "revision": str() | None as revision, "fingerprint": str(digits)}:
                return cls(checkpoint, revision, digits)
        raise UserError(f"{path}: damaged; allowed: the keys checkpoint, revision, fingerprint")


def is_adapter(folder: Path) -> bool:
    """Whether a model folder holds an adapter instead of all weights."""
    return (folder / CONFIG).is_file()


def add_adapter(model: PreTrainedModel, settings: LoraSettings, base: AdapterBase, seed: int) -> None:
    """Put a new adapter into the model, in place; from now on nothing else of it is trained, and `save_model` writes
    the adapter alone.

    The same seed gives the same bits. Raises UserError for a target that the model does not have.
    """
    import torch
    from peft import LoraConfig

    config = LoraConfig(
        r=settings.rank,
        # peft annotates an integer, and computes with any number
        lora_alpha=cast(int, settings.alpha),
        lora_dropout=0.0,
        target_modules=_chosen_targets(model, settings),
    )
    adapted: Any = model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted.add_adapter(config)
    adapted.eval()
    for parameter in model.parameters():
        if parameter.requires_grad:
            # in bfloat16 a small update of a large number is lost
            parameter.data = parameter.data.float()
    adapted.palu_adapter_base = base


def adapter_base(model: PreTrainedModel) -> AdapterBase | None:
    """The base of the adapter that `add_adapter` put into the model; None without one."""
    return cast("AdapterBase | None", getattr(model, "palu_adapter_base", None))


def _chosen_targets(model: PreTrainedModel, settings: LoraSettings) -> list[str]:
    """The names of the layers to adapt. Raises UserError for one that is not a linear layer of the model's body."""
    from torch import nn

    body = model.base_model
    names = {name.rpartition(".")[2] for name, part in body.named_modules() if isinstance(part, nn.Linear)}
    if not names:
        raise UserError(f"lora: a model of type {model.config.model_type!r} has no linear layer to adapt")
    if settings.targets == "all-linear":
        return sorted(names)
    for target in settings.targets:
        if target not in names:
            raise unknown("layer", target, "lora.targets", {"all-linear", *names})
    return sorted(set(settings.targets))


def save_adapter(
    model: PreTrainedModel, base: AdapterBase, folder: Path, weights: dict[str, Tensor] | None = None
) -> None:
    """Write the adapter's files and the configuration of the whole model. weights: see `palu.models.save_model`."""
    model.save_pretrained(str(folder), state_dict=weights)
    model.config.save_pretrained(str(folder))
    config = read_json(folder / CONFIG)
    # the library writes a set, whose order differs from process to process
    config |= {"target_modules": sorted(config["target_modules"]), "base_model_name_or_path": base.checkpoint}
    write_json(folder / CONFIG, config | {"revision": base.revision})
    write_json(folder / BASE, asdict(base))


def adapter_fingerprint(folder: Path) -> str:
    """16 hexadecimal digits over the adapter and its base; the base's place does not count."""
    facts = {key: value for key, value in read_json(folder / CONFIG).items() if key not in _VOLATILE}
    base = AdapterBase.read(folder)
    return text_digest(canonical_json([base.fingerprint, facts, file_digest(folder / WEIGHTS)]), digits=16)


def merge_into(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The base `model` with the folder's adapter added to its weights: W + (alpha / rank) B A, in the model's dtype.

    Raises UserError for an adapter of another kind, damaged weights, and weights that do not fit.
    """
    from peft import PeftModel, set_peft_model_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = _config(folder / CONFIG)
    try:
        weights = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder / WEIGHTS}: damaged weights: {error}") from error
    ranks = {len(weight) for name, weight in weights.items() if ".lora_A." in name}
    if ranks != {config.r}:
        raise UserError(f"{folder / CONFIG}: r: {config.r}; allowed: that of the weights, {sorted(ranks)}")
    try:
        wrapped = PeftModel(model, config)
        report: Any = set_peft_model_state_dict(wrapped, weights)
    except (ValueError, RuntimeError, TypeError) as error:
        raise UserError(f"{folder}: the adapter does not fit its base: {' '.join(str(error).split())}") from error
    gaps = _gaps(report.missing_keys, report.unexpected_keys)
    if gaps:
        raise UserError(f"{folder}: the adapter does not fit its base: {gaps[0]!r} ({len(gaps)} such gaps)")
    return cast("PreTrainedModel", wrapped.merge_and_unload().eval())


def _config(path: Path) -> LoraConfig:
    """The settings of an adapter of ours: rank, alpha and layers by name.

    What else the file asks for is refused: the library would read targets as a regular expression, other files as
    start values, and more. Raises UserError naming the key.
    """
    from peft import LoraConfig

    facts = read_json(path)
    if not isinstance(facts, dict) or facts.get("peft_type") != "LORA":
        kind = facts.get("peft_type") if isinstance(facts, dict) else None
        raise UserError(f"{path}: an adapter of type {kind!r}; allowed: LORA")
    rank, alpha, targets = (facts.get(key) for key in ("r", "lora_alpha", "target_modules"))
    is_list = isinstance(targets, list) and all(isinstance(target, str) for target in targets)
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or not is_list or rank < 1:
        raise UserError(f"{path}: allowed: a whole r, a number lora_alpha, and target_modules as a list of names")
    # peft annotates an integer, and computes with any number
    config = LoraConfig(r=rank, lora_alpha=cast(int, alpha), lora_dropout=0.0, target_modules=targets)
    plain = json.loads(json.dumps(cast(Any, config).to_dict(), default=sorted))
    for key, value in plain.items():
        if key not in _VOLATILE | _FREE and facts.get(key, value) != value:
            raise UserError(f"{path}: {key}: {facts[key]!r}; allowed: an adapter of palu, which has {value!r}")
    config.inference_mode = True
    return config


def _gaps(missing: list[str], unexpected: list[str]) -> list[str]:
    """The adapter's weights that one of the two sides lacks; the base's own weights are not in the file."""
    return sorted([*(name for name in missing if ".lora_" in name), *unexpected])
