"""What is looked at in a model folder before a library reads it: the folder may be anybody's.

A configuration of a few bytes can ask for more memory than a machine has, and an index of weights can name any file.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from palu.errors import UserError, first_line
from palu.files import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# Numbers that a model may have beside its weights, such as tables of positions, and the share of numbers that it may
# have more than its files: tied weights are stored once.
SPARE_NUMBERS, SPARE_SHARE = 2**24, 2
# Labels, experts and the like: each costs memory before there is any weight of it.
MOST_COUNTED = 2**16
# The keys whose number is one of blocks, each with a tensor at least. Other keys on layers name one of them or count
# some of them (max_window_layers, num_kv_shared_layers, global_attn_every_n_layers), and small models keep the
# library's default there: they may reach MOST_LAYERS, the most that `Architecture` allows.
BLOCK_COUNTS = re.compile(r"(n_)?layers?|(\w+_)?num(_hidden)?_layers?|(\w+_)?(en|de)coder_layers")
MOST_LAYERS = 1000
# How a multimodal model's file names the weights of its text model -> how the text model alone names them
TEXT_NAMES = {r"^language_model\.": "", r"^model\.(?:language_model|text_model)\.": "model."}


def check_folder(folder: Path) -> None:
    """Raise UserError for an entry that is neither a file nor a folder, for weights that config.json calls quantised,
    and for an index of weights that names anything but a safetensors file of the folder.

    Links are followed: the hub's cache is made of them.
    """
    for path in sorted(folder.iterdir()):
        if not path.is_file() and not path.is_dir():
            raise UserError(f"{path}: is no file; allowed: files, and links to them")
    _check_precision(folder / "config.json")
    for path in sorted(folder.glob("*.index.json")):
        index = read_json(path)
        names = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(names, dict):
            raise UserError(f"{path}: has no object under the key 'weight_map'")
        for name in names.values():
            if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
                raise UserError(f"{path}: weight_map: {name!r}; allowed: a safetensors file of this folder")


def _check_precision(path: Path) -> None:
    """Raise UserError for a model whose weights are no plain floating-point numbers (bitsandbytes, AWQ, GPTQ, fp8)."""
    # a folder of an adapter of peft has none
    facts = read_json(path) if path.is_file() else None
    for part in (facts, *facts.values()) if isinstance(facts, dict) else ():
        found = part.get("quantization_config") if isinstance(part, dict) else None
        if found:
            method = found.get("quant_method") if isinstance(found, dict) else None
            raise UserError(
                f"{path}: quantization_config: the weights are quantised ({method or 'quant_method is not given'}); "
                "allowed: float32, bfloat16 or float16 weights. Take the unquantised checkpoint, or write one with "
                "transformers: model.dequantize(), then save_pretrained"
            )


def skeleton(folder: Path, loader: str = "AutoModelForCausalLM") -> PreTrainedModel:
    """The model of a folder's config.json without its numbers, on the device `meta`.

    loader: the class of transformers; of a multimodal model the causal one is its text model alone.
    Raises UserError for a configuration that the library refuses, for one that asks for more numbers than the
    folder's weights have, and for a multimodal model without a text model that can be had alone.
    """
    from transformers import AutoConfig

    config_path = folder / "config.json"
    stored = stored_shapes(folder)
    check_counts(read_json(config_path), config_path, len(stored))
    try:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except Exception as error:
        # whatever the library makes of a configuration that fits no model
        raise UserError(f"{config_path}: describes no model that can be had: {first_line(error)}") from error
    return skeleton_of(config, stored, config_path, loader)


def skeleton_of(
    config: PreTrainedConfig, stored: dict[str, tuple[int, ...]], path: Path, loader: str = "AutoModelForCausalLM"
) -> PreTrainedModel:
    """The same of a configuration. stored: the shapes of the weights. path: what the configuration is from."""
    import torch
    import transformers

    try:
        if loader == "AutoModelForCausalLM":
            config = _of_text(config, path, stored)
        with torch.device("meta"):
            model = getattr(transformers, loader).from_config(config, trust_remote_code=False)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: describes no model that can be had: {first_line(error)}") from error
    asked = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    held = sum(prod(shape) for shape in stored.values())
    if asked > SPARE_SHARE * held + SPARE_NUMBERS:
        raise UserError(f"{path}: asks for {asked} numbers; allowed: what the weights hold, {held}")
    return cast("PreTrainedModel", model)


def _of_text(config: PreTrainedConfig, path: Path, stored: Iterable[str]) -> PreTrainedConfig:
    """The configuration of the text model inside a multimodal model; that of any other model as it is."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    text = config.get_text_config()
    if text is config:
        return config
    if type(text) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(
            f"{path}: model_type: {config.model_type!r} is a multimodal model, and transformers has no language model "
            f"for its text part {text.model_type!r} alone; allowed: a text model, or one with such a text part"
        )
    # the two configurations may disagree on this, and the file has the last word
    text.tie_word_embeddings = not any(name.endswith("lm_head.weight") for name in stored)
    return text


def text_name(name: str) -> str:
    """The name that a stored weight has in the text model alone."""
    for pattern, replacement in TEXT_NAMES.items():
        name = re.sub(pattern, replacement, name)
    return name


def stored_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor in the folder's safetensors, from their headers."""
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as stored:
                shapes |= {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: damaged weights: {first_line(error)}") from None
    return shapes


@contextmanager
def errors_only() -> Iterator[None]:
    """Silence the library's multi-line report of gaps in the weights, which our one-line error says again."""
    from transformers.utils.logging import get_verbosity, set_verbosity

    before = get_verbosity()
    set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        set_verbosity(before)


def check_numbers(model: PreTrainedModel, place: str) -> None:
    """Raise UserError for a weight that is not a number, or infinite: it would make every result so, far from here."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # both ends are NaN where any number is; `isfinite` of all would take a second tensor, and far longer
            if parameter.numel() and not all(torch.isfinite(end) for end in parameter.aminmax()):
                raise UserError(f"{place}: the weights {name!r} hold NaN or infinity; allowed: numbers")


def check_counts(facts: Any, path: Path, tensors: int) -> None:
    """Raise UserError for blocks that have no tensor, and for other things without number."""
    if not isinstance(facts, dict):
        raise UserError(f"{path}: is not an object with keys")
    for key, value in _numbers(facts):
        limit = max(tensors, MOST_LAYERS) if "layer" in key else MOST_COUNTED
        if BLOCK_COUNTS.fullmatch(key):
            limit = tensors
        if value > limit:
            raise UserError(f"{path}: {key}: {value}; allowed: up to {limit}")


def _numbers(facts: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """The keys that count something, with their numbers, however deep."""
    pending: list[Any] = [facts]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            for key, part in value.items():
                if isinstance(part, dict | list):
                    pending.append(part)
                elif isinstance(part, int) and ("num_" in key or key.endswith(("layers", "layer", "experts"))):
                    yield key, part
        elif isinstance(value, list):
            pending += value


def load_causal(folder: Path, place: Path, **options: Any) -> tuple[PreTrainedModel, list[str]]:
    """A causal language model in evaluation mode, and the names of the weights that its files lack or hold in another
    shape: transformers fills these with random numbers, and only warns.

    options: further ones of `from_pretrained`. Raises UserError naming `place` for what cannot be loaded.
    """
    from transformers import AutoModelForCausalLM

    try:
        with errors_only():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                str(folder), trust_remote_code=False, local_files_only=True, output_loading_info=True, **options
            )
    except Exception as error:
        # the files may be anybody's, and the library has no one kind of error for what it does not expect
        raise UserError(f"{place}: cannot be loaded as a causal language model: {first_line(error)}") from error
    model, report = loaded
    gaps = sorted((*report["missing_keys"], *(name for name, *_shapes in report["mismatched_keys"])))
    return cast("PreTrainedModel", model.eval()), gaps
