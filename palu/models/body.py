"""A model cut where the unlearning methods cut it: the body, up to the last hidden state, and the head after it."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from palu.errors import UserError, first_line
from palu.models.adapters import is_adapter
from palu.models.foreign import skeleton, text_name
from palu.models.storage import base_folder, torch_dtype, weight_files

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

# GPT-NeoX's files keep the name that the head had in older versions of the library
OLDER_HEAD_NAMES = ["embed_out.weight"]


class LaidOutRows(Protocol):
    """input_ids, position_ids: (B, T) int64, rows of tokens in lines; see `palu.tokens.Batch`.

    attention_mask: None; (B, T), 0 at padding; or (B, 1, T, T) bool, which tokens each token sees.
    """

    @property
    def input_ids(self) -> Tensor: ...
    @property
    def position_ids(self) -> Tensor: ...
    @property
    def attention_mask(self) -> Tensor | None: ...


def hidden_states(model: PreTrainedModel, batch: LaidOutRows) -> Tensor:
    """(B*T, D): the last hidden state after the final norm, in the model's dtype; no logits are computed.

    Without a mask and a cache the library reads from position_ids which tokens are one row: packed rows do not see
    each other, and with one row a line the attention takes its fastest path. Padding needs no mask: a causal model's
    real tokens never see what comes after them. The states at padding mean nothing.
    """
    return run_body(model, batch)[0]


def hidden_and_layer_states(model: PreTrainedModel, batch: LaidOutRows, layer: int) -> tuple[Tensor, Tensor]:
    """(B*T, D) twice: `hidden_states`, and the hidden state after block `layer`, 0 being the first.

    `palu.models.check_layer` raises for a block that there is not, and where the body reports another state.
    """
    last, every_layer = run_body(model, batch, output_hidden_states=True)
    # the first of them is the embedding
    state: Tensor = every_layer[layer + 1]
    return last, state.reshape(-1, state.shape[-1])


def run_body(model: PreTrainedModel, batch: LaidOutRows, **options: bool) -> tuple[Tensor, Any]:
    """(B*T, D): the last hidden state; and the states of every layer, where the options ask for them."""
    from torch import finfo

    mask = batch.attention_mask
    if mask is not None and mask.dim() == 4:
        # numbers to add, since not every form of attention takes a choice
        mask = (~mask).to(model.dtype) * finfo(model.dtype).min
    output = model.base_model(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        attention_mask=mask,
        use_cache=False,
        **options,
    )
    state: Tensor = output.last_hidden_state
    return state.reshape(-1, state.shape[-1]), output.hidden_states


def next_logits(
    model: PreTrainedModel,
    input_ids: Tensor,
    mask: Tensor,
    position_ids: Tensor,
    cache: Any = None,
    use_cache: bool = True,
) -> tuple[Tensor, Any]:
    """(B, V): the logits after the last of the (B, T) tokens given; and the cache to go on from with the next tokens.

    mask: (B, all tokens so far). The model makes a cache of its own kind in the first step; None comes back from one
    that has none, and without `use_cache`: then the whole sequence must be given at every step.
    """
    known = signature(model.forward).parameters
    reads_cache = use_cache and "past_key_values" in known
    options = {"position_ids": position_ids, "past_key_values": cache, "logits_to_keep": 1}
    output = cast(Any, model)(
        input_ids=input_ids,
        attention_mask=mask,
        use_cache=reads_cache,
        **{name: value for name, value in options.items() if name in known},
    )
    return output.logits[:, -1].float(), output.past_key_values if reads_cache else None


def head_weight(folder: Path, dtype: str = "float32") -> tuple[Tensor, Tensor | None]:
    """The head's weight (V, D) and bias (V,) or None, read from disk without the rest of the model.

    A tied head is read as the embedding that it shares, an adapter's as that of its base, which it leaves alone.
    What the model makes of their product is not on disk: `output_head` measures it. Raises UserError where
    `load_model` would, and for a model without an output matrix.
    """
    files = weight_files(folder)
    if is_adapter(folder):
        return head_weight(base_folder(folder), dtype)
    # A model without numbers tells the names of the head's parameters in any architecture
    bare = cast(Any, skeleton(folder))
    head = bare.get_output_embeddings()
    if head is None:
        raise UserError(f"{folder}: a model of type {bare.config.model_type!r} has no output matrix")
    named = list(bare.named_parameters(remove_duplicate=False))
    weight_names = [name for name, parameter in named if parameter is head.weight]
    bias = getattr(head, "bias", None)
    bias_names = [name for name, parameter in named if bias is not None and parameter is bias]
    prefix = bare.base_model_prefix + "."
    kind = torch_dtype(dtype)
    bare_names = [name.removeprefix(prefix) for name in weight_names]
    weight = _read_tensor(files, [*weight_names, *bare_names, *OLDER_HEAD_NAMES])
    return weight.to(kind), _read_tensor(files, bias_names).to(kind) if bias_names else None


def _read_tensor(files: list[Path], names: list[str]) -> Tensor:
    from safetensors import SafetensorError, safe_open

    for path in files:
        try:
            with safe_open(str(path), framework="pt") as tensors:
                held = {text_name(key): key for key in tensors.keys()}  # noqa: SIM118
                for name in names:
                    if name in held:
                        return cast("Tensor", tensors.get_tensor(held[name]))
        except SafetensorError as error:
            raise UserError(f"{path}: damaged weights: {first_line(error)}") from error
    raise UserError(f"{files[0].parent}: the weights lack {names[0]!r}")
