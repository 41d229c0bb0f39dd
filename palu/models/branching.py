"""Whether rows that begin alike may share what they begin with, measured as in `palu.models.selfcheck`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from palu.errors import first_line
from palu.models.body import hidden_states
from palu.models.probe import SAME_SUMS, ProbeLines, differs, kept, without_dropout

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

# Tokens that the two rows of the probe share, and how many more the first of them has
SHARED, SHORTER = 5, 3


@dataclass(frozen=True, eq=False)
class Branches:
    """Two rows that share their first tokens, in one line; see `palu.models.body.LaidOutRows`."""

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor


def branching_fault(model: PreTrainedModel, width: int) -> str | None:
    """Why rows of up to `width` tokens must not share their first ones in this model; None where they may."""
    return kept(model, f"branching {width}", lambda: _branching_fault(model, width))


def _branching_fault(model: PreTrainedModel, width: int) -> str | None:
    """Short rows first: there each token weighs much, and a whole width of a large model takes seconds."""
    width = min(width, getattr(model.config.get_text_config(), "max_position_embeddings", None) or width)
    try:
        return _fault_of(model, 2 * SHARED, is_moved=True) or _fault_of(model, width, is_moved=False)
    except Exception as error:
        # any family may fail in a way of its own
        return f"it cannot run rows that share their first tokens: {first_line(error)}"


def _fault_of(model: PreTrainedModel, width: int, is_moved: bool) -> str | None:
    """Run a short row and one of `width` tokens, which share their beginning, in a line and by themselves.

    is_moved: also run the line with the short row's own tokens changed, of which the other must see nothing.
    """
    import torch

    vocabulary = cast(Any, model).get_input_embeddings().weight.shape[0]
    draw = torch.Generator().manual_seed(0)
    ids, other = (torch.randint(vocabulary, (width + SHORTER,), generator=draw) for _ in range(2))
    end = SHARED + SHORTER
    short, long = torch.arange(end), torch.cat([torch.arange(SHARED), torch.arange(end, width + SHORTER)])
    positions = torch.cat([short, torch.arange(SHARED, width)])
    sees = torch.zeros(width + SHORTER, width + SHORTER, dtype=torch.bool)
    for row in (short, long):
        sees[row[:, None], row] = torch.ones(len(row), len(row)).tril().bool()

    def together(tokens: Tensor) -> Tensor:
        line = (each[None].to(model.device) for each in (tokens, positions, sees[None]))
        return hidden_states(model, Branches(*line))

    def alone(tokens: Tensor) -> Tensor:
        ids, places = (each[None].to(model.device) for each in (tokens, torch.arange(len(tokens))))
        return hidden_states(model, ProbeLines(ids, places, []))

    with torch.no_grad(), without_dropout(model):
        found = together(ids)
        if is_moved:
            moved = together(torch.cat([ids[:SHARED], other[SHARED:end], ids[end:]]))
            if differs(moved[long], found[long], SAME_SUMS):
                return "rows that share their first tokens see each other"
        if any(differs(found[row], alone(ids[row])) for row in (short, long)):
            return "a row that shares its first tokens has other states than alone"
    return None
