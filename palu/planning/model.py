"""A model's parameters by name and shape, from a checkpoint's files or from an architecture: no weight is read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from palu.errors import UserError
from palu.files import read_json
from palu.models.foreign import stored_shapes
from palu.models.gguf import find_gguf, gguf_skeleton, is_gguf
from palu.models.settings import Architecture, LoraSettings, ModelSettings
from palu.models.storage import weight_files

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class ModelFacts:
    """The sizes that memory and disk follow from.

    shapes: of every stored parameter (tied ones once). hidden_size: D. layers: L. vocab_size: V. inner_size: I, the
    width inside a block's feed-forward part. key_value_size: what a block's keys have for a token, and its values.
    folder: the local checkpoint, a folder or a GGUF file; None for a model that starts from nothing, whose vocabulary
    may turn out smaller.
    """

    shapes: Shapes
    hidden_size: int
    layers: int
    vocab_size: int
    inner_size: int
    key_value_size: int
    folder: Path | None

    @cached_property
    def parameters(self) -> int:
        """How many numbers the weights have."""
        return sum(prod(shape) for shape in self.shapes.values())

    @property
    def embedding_parameters(self) -> int:
        """Those of the embedding: V D."""
        return self.vocab_size * self.hidden_size

    @property
    def block_parameters(self) -> int:
        """Those of the blocks' matrices."""
        return sum(prod(shape) for name, shape in self.shapes.items() if len(shape) == 2 and "layers." in name)

    def adapter_parameters(self, lora: LoraSettings) -> int:
        """rank (in + out) for every linear layer that the adapter changes: all of the blocks, or those named."""
        return sum(
            lora.rank * sum(shape)
            for name, shape in self.shapes.items()
            if len(shape) == 2 and "layers." in name and _is_target(name, lora.targets)
        )


def _is_target(name: str, targets: str | list[str]) -> bool:
    # `all-linear` leaves the experts of a mixture as they are
    return (isinstance(targets, str) and ".experts." not in name) or name.removesuffix(".weight").rpartition(".")[
        2
    ] in targets


def starting_model(settings: ModelSettings) -> ModelFacts | str:
    """The facts of the model that the study starts from, or why they are not known.

    Raises UserError for a local folder that is not there or is no model folder.
    """
    source = settings.checkpoint or settings.base_checkpoint
    if source is None:
        return of_architecture(settings.architecture or Architecture())
    if is_gguf(source):
        return of_gguf(find_gguf(source).path)
    folder = Path(source).expanduser()
    if folder.is_dir():
        return of_checkpoint(folder)
    if source.count("/") > 1 or source[0] in "./~":
        raise UserError(
            f"model: {source}: no such model folder; allowed: a local folder or a hub id such as owner/name"
        )
    return f"{source} is on the hub, and only a local folder is read here"


def of_architecture(sizes: Architecture) -> ModelFacts:
    """A Llama of these sizes: untied, V D (embedding) + L (2 D^2 + 2 D D_kv + 3 D I + 2 D) + D + V D (head)."""
    width, inner, key_value = sizes.hidden_size, sizes.intermediate_size, _key_value_size(vars(sizes))
    shapes: Shapes = {"model.embed_tokens.weight": (sizes.vocab_size, width), "model.norm.weight": (width,)}
    if not sizes.tie_embeddings:
        shapes["lm_head.weight"] = (sizes.vocab_size, width)
    block = {
        **{"self_attn.q_proj": (width, width), "self_attn.o_proj": (width, width)},
        **{"self_attn.k_proj": (key_value, width), "self_attn.v_proj": (key_value, width)},
        **{"mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width), "mlp.down_proj": (width, inner)},
        **{"input_layernorm": (width,), "post_attention_layernorm": (width,)},
    }
    for layer in range(sizes.layers):
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in block.items()}
    return ModelFacts(shapes, width, sizes.layers, sizes.vocab_size, inner, key_value, folder=None)


def _key_value_size(sizes: dict[str, Any]) -> int:
    return int(sizes["hidden_size"]) // int(sizes["heads"]) * int(sizes["kv_heads"])


def of_checkpoint(folder: Path) -> ModelFacts | str:
    """The facts in a folder's config.json and in the headers of its safetensors, or why they are not known.

    Raises UserError for a folder that holds no model, and for damaged files.
    """
    weight_files(folder)
    return _facts(stored_shapes(folder), read_json(folder / "config.json"), folder)


def of_gguf(path: Path) -> ModelFacts | str:
    """The facts of the model that is fetched from a GGUF file, from its header, or why they are not known.

    Raises UserError for a damaged file and for an architecture that transformers does not read.
    """
    model = gguf_skeleton(path)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    return _facts(shapes, model.config.to_dict(), path)


def _facts(shapes: Shapes, config: dict[str, Any], place: Path) -> ModelFacts | str:
    try:
        heads = int(config["num_attention_heads"])
        head_size = int(config.get("head_dim") or config["hidden_size"] // heads)
        return ModelFacts(
            shapes,
            hidden_size=int(config["hidden_size"]),
            layers=int(config["num_hidden_layers"]),
            vocab_size=int(config["vocab_size"]),
            inner_size=int(config["intermediate_size"]),
            key_value_size=head_size * int(config.get("num_key_value_heads") or heads),
            folder=place,
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        return f"{place} does not tell its sizes as a Llama does ({error})"
