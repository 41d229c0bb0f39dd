"""What the self-check says of a checkpoint whose weights are not read: for `palu check`, before anything runs."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, cast

from palu.errors import UserError, first_line
from palu.models.selfcheck import left_padding_fault, output_head, packing_fault, place_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# A twin knows few words, its blocks are narrow between their two matrices where the family allows it, and it has at
# most this many numbers, 2.4 GB in float32
WORDS, INNER, MOST_NUMBERS = 320, 256, 6e8
INNER_WIDTHS = ("intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size", "ffn_dim", "n_inner")


def structure_notes(bare: PreTrainedModel) -> list[str]:
    """What a stage would do otherwise for this architecture than for others, a line each.

    bare: the model without its numbers, on the device `meta`. A twin of it, with random numbers, few words and as few
    blocks as show each kind, is put to the self-check. Raises UserError where the stages refuse the model.
    """
    place = place_of(bare)
    try:
        try:
            model = twin_of(bare, INNER)
        except Exception:
            # some families compute other sizes from that width
            model = twin_of(bare)
    except Exception as error:
        # not every configuration can be made small
        return [f"{place}: the self-check waits for the first stage: {first_line(error)}"]
    output_head(model)
    notes = []
    if fault := packing_fault(model):
        notes.append(f"{place}: machine.packed will be off: {fault}")
    if fault := left_padding_fault(model):
        notes.append(f"{place}: prompts will be answered one by one: {fault}")
    return notes


def twin_of(bare: PreTrainedModel, inner: int | None = None) -> PreTrainedModel:
    """A small model of the same architecture with random numbers. inner: at most so wide inside a block.

    Raises whatever the library does, and UserError for one that is not small.
    """
    import torch

    config: Any = deepcopy(bare.config)
    text = config.get_text_config()
    text.vocab_size = min(text.vocab_size, WORDS)
    for i, name in enumerate(("pad_token_id", "bos_token_id", "eos_token_id")):
        if getattr(text, name, None) is not None:
            setattr(text, name, i)
    for name in INNER_WIDTHS:
        if inner is not None and isinstance(width := getattr(text, name, None), int):
            setattr(text, name, min(width, inner))
    _cut_blocks(text)
    kind = cast(Any, type(bare))
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in kind(config).parameters())
    if count > MOST_NUMBERS:
        raise UserError(f"its blocks have {count} numbers; allowed: {MOST_NUMBERS:.0f}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() >= 2:
                    # the library's own start is so small that a leak would pass for rounding
                    parameter.normal_(0, parameter[0].numel() ** -0.5)
    return cast("PreTrainedModel", model)


def _cut_blocks(text: Any) -> None:
    """Leave the first blocks that show every kind there is, 2 at least, in each list that has an entry a block."""
    count = text.num_hidden_layers
    kinds = getattr(text, "layer_types", None)
    left = min(count, 2)
    if isinstance(kinds, list) and len(kinds) == count:
        left = max(left, 1 + max(kinds.index(kind) for kind in set(kinds)))
    for key, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == count:
            setattr(text, key, value[:left])
    text.num_hidden_layers = left
