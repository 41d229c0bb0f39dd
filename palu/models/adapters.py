"""Low-rank adapters (LoRA): added to a model for training, stored with the name of their base, merged on loading.

An adapter's folder holds, besides config.json and the tokenizer:

    adapter_model.safetensors, adapter_config.json    as the library peft writes them
    adapter_base.json    the base: checkpoint as it was given, revision, and the fingerprint that it had

One that peft wrote elsewhere has no adapter_base.json and often no tokenizer: it is merged first (`palu merge`).
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from palu.errors import UserError, first_line
from palu.files import canonical_json, file_digest, read_json, text_digest, write_json
from palu.models.settings import LoraSettings
from palu.models.targets import chosen_targets

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

WEIGHTS, CONFIG, BASE = "adapter_model.safetensors", "adapter_config.json", "adapter_base.json"
# The facts of adapter_config.json that the adapted model does not depend on
_VOLATILE = {"base_model_name_or_path", "revision", "peft_version"}
# Those that are checked by themselves, or have no meaning for a finished adapter
_FREE = _VOLATILE | {
    "auto_mapping", "inference_mode", "lora_alpha", "lora_dropout", "r", "target_modules", "target_parameters",
    "task_type",
}  # fmt: skip
# Values other than peft's own default: a scale, and start values that leave the base as it was
_PLAIN: dict[str, list[Any]] = {"use_rslora": [True], "init_lora_weights": [False, "gaussian"]}


@dataclass(frozen=True)
class AdapterBase:
    """The model under an adapter: its folder or hub id as it was given, and its fingerprint at that time."""

    checkpoint: str
    revision: str | None
    fingerprint: str

    @classmethod
    def read(cls, folder: Path) -> AdapterBase:
        """Raises UserError for an adapter that does not say what it was trained on."""
        check_of_palu(folder)
        path = folder / BASE
        facts = read_json(path)
        match facts:
            case {"checkpoint": str(checkpoint), "revision": str() | None as revision, "fingerprint": str(digits)}:
                return cls(checkpoint, revision, digits)
        raise UserError(f"{path}: damaged; allowed: the keys checkpoint, revision, fingerprint")


def is_adapter(folder: Path) -> bool:
    """Whether a model folder holds an adapter instead of all weights."""
    return (folder / CONFIG).is_file()


def is_foreign(folder: Path) -> bool:
    """Whether it holds an adapter that peft wrote elsewhere: without its base's fingerprint."""
    return is_adapter(folder) and not (folder / BASE).is_file()


def check_of_palu(folder: Path) -> None:
    """Raise UserError, with the command that helps, for an adapter that peft wrote elsewhere."""
    if is_foreign(folder):
        raise UserError(
            f"{folder}: an adapter of peft, without {BASE}: merge it first, by "
            f"`palu merge --model {folder} --out FULL`; allowed: the full model FULL"
        )


def foreign_base(folder: Path) -> tuple[str, str | None]:
    """The checkpoint and the revision that an adapter of peft names as its base. Raises UserError without them."""
    facts = read_json(folder / CONFIG)
    match facts:
        case {"base_model_name_or_path": str(checkpoint)} if checkpoint:
            revision = facts.get("revision")
            return checkpoint, revision if isinstance(revision, str) else None
    raise UserError(f"{folder / CONFIG}: base_model_name_or_path: names no base; allowed: --base MODEL")


def add_adapter(model: PreTrainedModel, settings: LoraSettings, base: AdapterBase, seed: int) -> None:
    """Put a new adapter into the model, in place; from now on nothing else of it is trained, and `save_model` writes
    the adapter alone.

    The same seed gives the same bits. Raises UserError for a target that the model does not have or that an adapter
    cannot change, and for an adapter that could not be read again.
    """
    import torch
    from peft import LoraConfig

    layers, stacks = chosen_targets(model, settings)
    alpha = settings.alpha
    config = LoraConfig(
        r=settings.rank,
        # peft computes with any number, and some programs that serve adapters read a whole one only
        lora_alpha=int(alpha) if alpha.is_integer() else cast(int, alpha),
        lora_dropout=0.0,
        target_modules=layers,
        target_parameters=stacks or None,
    )
    adapted: Any = model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            adapted.add_adapter(config)
        except ValueError as error:
            raise UserError(f"{_place(model)}: {first_line(error)}") from error
    adapted.eval()
    for parameter in model.parameters():
        if parameter.requires_grad:
            # in bfloat16 a small update of a large number is lost
            parameter.data = parameter.data.float()
    adapted.palu_adapter_base = base
    # without numbers there is nothing to write, and of several processes the library writes in the first one
    if model.device.type != "meta" and not (torch.distributed.is_initialized() and torch.distributed.get_rank()):
        _check_runs(model)
        _check_readable(model, base)


def _check_runs(model: PreTrainedModel) -> None:
    """Raise UserError where the model's code does not run with the new adapter, on one short row."""
    import torch

    try:
        with torch.no_grad():
            model.base_model(input_ids=torch.tensor([[0, 1, 2]], device=model.device), use_cache=False)
    except Exception as error:
        # a family's code may use its layers in a way of its own
        reason = f"{_place(model)}: does not run with the adapter: {first_line(error)}"
        raise UserError(
            f"{reason}; allowed: lora: null, or lora.targets without the layers that it uses so"
        ) from error


def _place(model: PreTrainedModel) -> str:
    """How messages name the setting and the model."""
    return f"lora: a model of type {model.config.model_type!r}"


def _check_readable(model: PreTrainedModel, base: AdapterBase) -> None:
    """Write the new adapter, and raise UserError where a model without numbers would not read the same of it.

    Names, shapes and scales are compared: what peft makes of an architecture differs from version to version.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        bare = cast(Any, AutoModelForCausalLM).from_config(copy.deepcopy(model.config), dtype=model.dtype)
    with tempfile.TemporaryDirectory(prefix="palu-adapter-") as scratch:
        save_adapter(model, base, Path(scratch))
        # which the library turns into text when it writes
        model.config.dtype = bare.config.dtype
        place = _place(model)
        try:
            read = _facts(_wrapped(bare, Path(scratch)).base_model.model)
        except UserError as error:
            reason = str(error).replace(scratch, "the adapter")
            raise UserError(f"{place}: its adapter could not be read again: {reason}; allowed: lora: null") from error
    written = _facts(model)
    wrong = sorted(name for name in written.keys() | read.keys() if written.get(name) != read.get(name))
    if wrong:
        raise UserError(f"{place}: its adapter would be read otherwise, at {wrong[0]!r}; allowed: lora: null")


def _facts(model: Any) -> dict[str, Any]:
    """The shape of each of the adapter's weights and the scale of each adapted layer, by name."""
    from peft.tuners.lora import LoraLayer

    shapes = {name: tuple(value.shape) for name, value in model.named_parameters() if ".lora_" in name}
    scales = {name: part.scaling for name, part in model.named_modules() if isinstance(part, LoraLayer)}
    return shapes | scales


def adapter_base(model: PreTrainedModel) -> AdapterBase | None:
    """The base of the adapter that `add_adapter` put into the model; None without one."""
    return cast("AdapterBase | None", getattr(model, "palu_adapter_base", None))


def save_adapter(
    model: PreTrainedModel, base: AdapterBase, folder: Path, weights: dict[str, Tensor] | None = None
) -> None:
    """Write the adapter's files and the configuration of the whole model. weights: see `palu.models.save_model`."""
    model.save_pretrained(str(folder), state_dict=weights)
    model.config.save_pretrained(str(folder))
    config = read_json(folder / CONFIG)
    # the library writes sets, whose order differs from process to process
    config["target_modules"] = sorted(config["target_modules"])
    config["target_parameters"] = sorted(config["target_parameters"] or []) or None
    write_json(folder / CONFIG, config | {"base_model_name_or_path": base.checkpoint, "revision": base.revision})
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
    return cast("PreTrainedModel", _wrapped(model, folder).merge_and_unload().eval())


def _wrapped(model: PreTrainedModel, folder: Path) -> Any:
    """The base `model` with the folder's adapter in it, as peft's own class. Raises what `merge_into` does."""
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import SafetensorError, safe_open

    rank = _checked_rank(folder / CONFIG)
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as stored:
            sizes = {name: len(stored.get_tensor(name)) for name in stored.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError, TypeError) as error:
        raise UserError(f"{folder / WEIGHTS}: damaged weights: {error}") from error
    # of a stack of experts a weight has the rank of each
    ranks = {size for name, size in sizes.items() if ".lora_A." in name}
    if not ranks or any(size % rank for size in ranks):
        raise UserError(f"{folder / CONFIG}: r: {rank}; allowed: that of the weights, {sorted(ranks)}")
    bare = model.device.type == "meta"
    try:
        with warnings.catch_warnings():
            # what is missing is an error below, and peft asks the model for an attribute that has another name by now
            warnings.simplefilter("ignore")
            wrapped = PeftModel.from_pretrained(model, str(folder), low_cpu_mem_usage=bare, torch_device="cpu")
    except (ValueError, RuntimeError, TypeError) as error:
        raise UserError(f"{folder}: the adapter does not fit its base: {' '.join(str(error).split())}") from error
    gaps = sorted(get_peft_model_state_dict(wrapped).keys() ^ sizes.keys())
    if gaps:
        raise UserError(f"{folder}: the adapter does not fit its base: {gaps[0]!r} ({len(gaps)} such gaps)")
    return wrapped


def _checked_rank(path: Path) -> int:
    """The rank of an adapter whose settings are plain LoRA: rank, alpha, and layers and stacks of experts by name.

    What else the file asks for is refused: peft would read targets as a regular expression, other files as start
    values, and more. Raises UserError naming the key.
    """
    from peft import LoraConfig

    facts = read_json(path)
    if not isinstance(facts, dict) or facts.get("peft_type") != "LORA":
        kind = facts.get("peft_type") if isinstance(facts, dict) else None
        raise UserError(f"{path}: an adapter of type {kind!r}; allowed: LORA")
    rank, alpha = facts.get("r"), facts.get("lora_alpha")
    lists = [facts.get("target_modules"), facts.get("target_parameters") or []]
    are_names = all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists)
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or not are_names or rank < 1:
        raise UserError(
            f"{path}: allowed: a whole r, a number lora_alpha, target_modules and target_parameters as lists of names"
        )
    plain = cast(Any, LoraConfig()).to_dict()
    for key, value in facts.items():
        allowed = [plain.get(key), *_PLAIN.get(key, [])]
        if key not in _FREE and value not in allowed and (value or plain.get(key)):
            raise UserError(f"{path}: {key}: {value!r}; allowed: an adapter of palu, which has {plain.get(key)!r}")
    return rank
