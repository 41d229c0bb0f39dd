"""What a model takes: token ids that its embedding has a row for, and sequences as long as its positions.

A tokenizer may have more tokens than its model, and a study may ask for longer sequences. On a CPU the model would
end with an index error, on a GPU with a failed kernel. `load_tokenizer` keeps both limits with the tokenizer, and
whatever makes tokens compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from palu.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token")


@dataclass(frozen=True)
class Capacity:
    """place: the model, for errors. vocabulary: rows of its embedding. positions: the longest sequence that it takes,
    config.json's max_position_embeddings. None: not known, or without a limit."""

    place: str
    vocabulary: int | None = None
    positions: int | None = None


def capacity_of(folder: Path) -> Capacity:
    """The capacity that a model folder's config.json gives; of a multimodal model that of its text model."""
    from transformers import AutoConfig

    try:
        config: Any = AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
        text = config.get_text_config()
    except Exception:
        # a folder of a tokenizer alone; what is wrong with a model's configuration, loading the model says
        return Capacity(str(folder))
    sizes = (getattr(text, key, None) for key in ("vocab_size", "max_position_embeddings"))
    return Capacity(str(folder), *(size if isinstance(size, int) and size > 0 else None for size in sizes))


def keep_capacity(tokenizer: Any, capacity: Capacity) -> None:
    """Keep the capacity with the tokenizer. Raises UserError for a special token that the embedding has no row for."""
    tokenizer.palu_capacity = capacity
    for key in SPECIAL_TOKENS:
        token, token_id = getattr(tokenizer, key), getattr(tokenizer, f"{key}_id")
        if token_id is not None and capacity.vocabulary is not None and token_id >= capacity.vocabulary:
            raise UserError(
                f"{capacity.place}: the tokenizer's {key} {token!r} has the id {token_id}; allowed: ids below "
                f"vocab_size {capacity.vocabulary}, the rows of the model's embedding"
            )


def check_length(tokenizer: Any, max_length: int) -> None:
    """Raise UserError for sequences that may be longer than the tokenizer's model takes."""
    capacity: Capacity | None = getattr(tokenizer, "palu_capacity", None)
    if capacity and capacity.positions is not None and max_length > capacity.positions:
        raise UserError(
            f"model.max_length: {max_length} is more than the positions of {capacity.place}; allowed: up to "
            f"{capacity.positions} (max_position_embeddings in its config.json)"
        )


def check_tokens(tokenizer: Any, token_ids: Sequence[int] | npt.NDArray[np.integer[Any]], place: str) -> None:
    """Raise UserError for a token that the embedding of the tokenizer's model has no row for. place: the text."""
    capacity: Capacity | None = getattr(tokenizer, "palu_capacity", None)
    if not capacity or capacity.vocabulary is None or not len(token_ids):
        return
    largest = int(np.max(token_ids))
    if largest >= capacity.vocabulary:
        token = tokenizer.convert_ids_to_tokens(largest)
        raise UserError(
            f"{place}: the token {token!r} has the id {largest}; allowed: ids below vocab_size {capacity.vocabulary}, "
            f"the rows of the embedding of {capacity.place}"
        )
