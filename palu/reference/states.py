"""One frozen forward pass: the reference's hidden state at every position that predicts a reply token.

A state, 8 KB at D = 4096 in bfloat16, and one frozen copy of the head give the reference's whole distribution over
128k words (256 KB a token). States do not depend on the tagger: all tokens of reply and end are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from palu import models, stored, tables, tokens
from palu.errors import UserError
from palu.files import canonical_json
from palu.heads import Head
from palu.progress import in_proportion, progress_bar
from palu.reference import reference_provenance
from palu.stretches import windows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Padded tokens of one forward pass; the result does not depend on it beyond float32 rounding
TOKENS_PER_BATCH = 4096


@dataclass(frozen=True)
class Kept:
    """What of each position is kept besides the log-probability of its token.

    layer: None = the last hidden state, 0, 1... = that after a block. hidden: False keeps no state.
    """

    layer: int | None = None
    hidden: bool = True


def write_states(
    model_folder: Path,
    examples_path: Path,
    out: Path,
    settings: models.ModelSettings,
    parts: Sequence[str] = tables.FORGET_PARTS,
    kept: Kept = Kept(),
    device: str | None = None,
    mixed_precision: str = "no",
) -> None:
    """Write the states table of the training rows of `parts`, streamed: one batch of states is in memory at a time.

    model_folder: weights and tokenizer of the frozen reference. settings: its template, length limit and dtype.
    device: none = a GPU where there is one. mixed_precision: of the trainings that read the states; bf16 computes in
    bfloat16 on float32 weights, as accelerate does there.
    Raises UserError when the examples have no training row of these parts, and what loading and encoding raise.
    """
    tokenizer = models.load_tokenizer(model_folder)
    rows = training_rows(examples_path, parts)
    facts = reference_provenance(model_folder, settings, mixed_precision)
    facts |= {"parts": ",".join(parts), "examples": tables.content_digest(examples_path)}
    model = models.load_model(model_folder, facts["dtype"])
    model.to(models.chosen_device(device))  # type: ignore[arg-type]

    def batches(advance: Callable[[int], object]) -> Iterator[tokens.Batch]:
        for window in windows(rows):
            pieces = tokens.encode(window, tokenizer, settings, settings.max_length)
            told = in_proportion(advance, len(pieces), len(window))
            for bucket in tokens.length_buckets(([len(piece)] for piece in pieces), TOKENS_PER_BATCH):
                yield tokens.collate([pieces[i] for i in bucket], tokenizer.pad_token_id)
                told(len(bucket))

    with progress_bar("reference states", len(rows), "row") as bar:
        write_states_of(model, batches(bar.update), out, facts, kept)


def write_states_of(
    model: PreTrainedModel, batches: Iterable[tokens.Batch], out: Path, facts: Mapping[str, str], kept: Kept
) -> None:
    """Write the states table of these rows. facts: its provenance, with the states' `dtype`.

    Raises UserError for a layer that the model does not have.
    """
    weight, bias, transform = models.output_head(model)
    head = Head(weight, bias, transform=transform)
    if kept.layer is not None:
        models.check_layer(model, kept.layer)
    width = weight.shape[1] if kept.layer is None else model.config.get_text_config().hidden_size
    layer = tables.LAST_LAYER if kept.layer is None else str(kept.layer)
    facts = {**facts, "width": str(width), "layer": layer if kept.hidden else "none"}
    if not transform.is_identity:
        facts["logit_transform"] = canonical_json(asdict(transform))
    schema = tables.states_schema(width if kept.hidden else None, facts["dtype"])
    autocast = torch.autocast(model.device.type, torch.bfloat16, enabled=facts.get("mixed_precision") == "bf16")
    with tables.writer(out, "states", facts, schema) as parquet, torch.inference_mode(), autocast:
        for unplaced in batches:
            batch = unplaced.to(model.device)
            if kept.layer is None:
                hidden = stored = models.hidden_states(model, batch)[batch.predict_index]
            else:
                both = models.hidden_and_layer_states(model, batch, kept.layer)
                hidden, stored = (state[batch.predict_index] for state in both)
            log_prob = head.log_prob(hidden, batch.target_ids)
            # under autocast a model's last layer may leave bfloat16
            kept_states = stored.to(getattr(torch, facts["dtype"])) if kept.hidden else None
            parquet.write_batch(_record_batch(batch, kept_states, log_prob, parquet.schema))


def training_rows(examples_path: Path, parts: Collection[str]) -> Sequence[dict[str, Any]]:
    """The rows of the examples table that are trained on: each fact's own question and own reply.

    They are read as they are asked for. Raises UserError when there are none.
    """
    rows = stored.training_rows(examples_path, parts)
    if not rows:
        raise UserError(f"{examples_path}: no original prompt-reply row in part {' or '.join(sorted(parts))}")
    return rows


def _record_batch(batch: tokens.Batch, hidden: Tensor | None, log_prob: Tensor, schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        pa.DictionaryArray.from_arrays(_numpy(batch.row, np.int32), batch.example_ids).cast(pa.string()),
        pa.array(_numpy(batch.position, np.int32)),
        pa.array(_numpy(batch.target_ids, np.int32)),
        pa.array(_numpy(log_prob, np.float32)),
    ]
    if hidden is not None:
        stored = to_storage(hidden)
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(stored.reshape(-1)), stored.shape[1]))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _numpy(tensor: Tensor, dtype: type[np.generic]) -> np.ndarray[Any, Any]:
    return tensor.cpu().numpy().astype(dtype)


def to_storage(hidden: Tensor) -> np.ndarray[Any, Any]:
    """(P, D) -> (P, D) float32 as it is; bfloat16 and float16 -> (P, D / 2) uint32, the bits of two in each."""
    hidden = hidden.cpu().contiguous()
    return hidden.numpy() if hidden.dtype == torch.float32 else hidden.view(torch.int16).numpy().view(np.uint32)


def from_storage(stored: np.ndarray[Any, Any], dtype: str) -> Tensor:
    """The inverse of `to_storage`, bit for bit. dtype: float32, bfloat16 or float16."""
    if dtype == "float32":
        return torch.from_numpy(stored)
    return torch.from_numpy(stored.view(np.int16)).view(getattr(torch, dtype))
