"""A few random short rows to try a model on, and how what it says of them is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

Found = TypeVar("Found")

# Tokens of the random rows: enough for a convolution of four tokens and two recurrent steps
LENGTHS = (7, 4, 6, 3)
# Largest difference that rounding explains, as a share of the largest number compared
ROUNDING = {"float32": 1e-4, "bfloat16": 5e-2}
# The same for what only a change elsewhere in the batch may move: the sums are the same ones, and differ only where a
# kernel takes them in another order
SAME_SUMS = {"float32": 1e-5, "bfloat16": 5e-3}


@dataclass(frozen=True, eq=False)
class ProbeLines:
    """Rows laid out in lines: (B, T) int64 each, no mask; see `palu.models.body.LaidOutRows`.

    place: where each row's tokens are among the B*T.
    """

    input_ids: Tensor
    position_ids: Tensor
    place: list[slice]
    attention_mask: None = None


def lines_of(rows: Sequence[Tensor], rows_per_line: int, pad_id: int, device: torch.device) -> ProbeLines:
    """Lay rows out, `rows_per_line` behind one another in each line, with `pad_id` after the last."""
    import torch

    lines = [rows[i : i + rows_per_line] for i in range(0, len(rows), rows_per_line)]
    # one place more than the longest line needs, so that each line has padding
    width = 1 + max(sum(map(len, line)) for line in lines)
    ids, positions = torch.full((len(lines), width), pad_id), torch.arange(width).repeat(len(lines), 1)
    place: list[slice] = []
    for i, line in enumerate(lines):
        start = 0
        for row in line:
            ids[i, start : start + len(row)] = row
            positions[i, start : start + len(row)] = torch.arange(len(row))
            place.append(slice(i * width + start, i * width + start + len(row)))
            start += len(row)
    return ProbeLines(ids.to(device), positions.to(device), place)


def random_rows(model: PreTrainedModel, seed: int = 0) -> list[Tensor]:
    """Rows of LENGTHS tokens, none of them the padding token of the model's configuration."""
    import torch

    vocabulary = cast(Any, model).get_input_embeddings().weight.shape[0]
    pad_id = getattr(model.config.get_text_config(), "pad_token_id", None)
    allowed = [i for i in range(vocabulary) if i != pad_id]
    draw = torch.Generator().manual_seed(seed)
    return [torch.tensor(allowed)[torch.randint(len(allowed), (n,), generator=draw)] for n in LENGTHS]


def kept(model: PreTrainedModel, name: str, find: Callable[[], Found]) -> Found:
    """What was found about the model before, or finds it now, in the precision of its weights."""
    import torch

    notes: dict[str, Any] = model.__dict__.setdefault("palu_notes", {})
    if name not in notes:
        with torch.autocast(model.device.type, enabled=False):
            notes[name] = find()
    return cast(Found, notes[name])


def differs(found: Tensor, expected: Tensor, shares: dict[str, float] = ROUNDING) -> bool:
    """Whether two tensors differ by more than the share, for the dtype of `expected`, of the largest number."""
    limit = shares.get(str(expected.dtype).removeprefix("torch."), shares["bfloat16"])
    largest = expected.abs().max().clamp_min(1e-30)
    return not bool((found.float() - expected.float()).abs().max() <= limit * largest)


@contextmanager
def without_dropout(model: PreTrainedModel) -> Iterator[None]:
    """The model in evaluation mode, and afterwards as it was."""
    was_training = model.training
    cast(Any, model).eval()
    try:
        yield
    finally:
        model.train(was_training)
