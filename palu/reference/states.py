"""One frozen forward pass: the reference's last hidden state at every position that predicts a reply token.

A state, 8 KB at D = 4096 in bfloat16, and one frozen copy of the head give the reference's whole distribution over
128k words (256 KB a token). States do not depend on the tagger: all reply tokens and the end token are stored.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from tqdm import tqdm

from palu import models, tables, tokens
from palu.errors import UserError
from palu.heads import ChunkedHead
from palu.reference import reference_provenance

# Padded tokens of one forward pass; the result does not depend on it beyond float32 rounding
TOKENS_PER_BATCH = 4096


def write_states(
    model_folder: Path,
    examples_path: Path,
    out: Path,
    settings: models.ModelSettings,
    parts: Sequence[str] = ("forget",),
    device: str | None = None,
    tokens_per_batch: int = TOKENS_PER_BATCH,
) -> None:
    """Write the states table of the training rows of `parts`, streamed: one batch of states is in memory at a time.

    model_folder: weights and tokenizer of the frozen reference. settings: its template, length limit and dtype.
    device: none = a GPU where there is one.
    Raises UserError when the examples have no training row of these parts, and what loading and encoding raise.
    """
    model = models.load_model(model_folder, settings.dtype)
    place = models.chosen_device(device)
    model.to(place)  # type: ignore[arg-type]
    tokenizer = models.load_tokenizer(model_folder)
    head = ChunkedHead(*models.output_head(model))
    rows = tokens.encode(training_rows(examples_path, parts), tokenizer, settings, settings.max_length)
    width = int(model.config.hidden_size)
    schema = tables.states_schema(width, settings.dtype)
    facts = reference_provenance(model_folder, settings)
    facts |= {"width": str(width), "parts": ",".join(parts), "examples": tables.content_digest(examples_path)}
    buckets = tokens.length_buckets(rows, tokens_per_batch)
    with (
        tables.writer(out, "states", facts, schema) as parquet,
        torch.inference_mode(),
        tqdm(total=len(rows), desc="reference states", unit="row") as progress,
    ):
        for bucket in buckets:
            batch = tokens.collate([rows[i] for i in bucket], tokenizer.pad_token_id).to(place)
            hidden = models.hidden_states(model, batch)[batch.predict_index]
            log_prob = head.log_prob(hidden, batch.target_ids)
            parquet.write_batch(_record_batch(batch, hidden, log_prob, parquet.schema))
            progress.update(len(bucket))


def training_rows(examples_path: Path, parts: Collection[str]) -> list[dict[str, Any]]:
    """The rows of the examples table that are trained on: each fact's own question and own reply.

    Raises UserError when there are none.
    """
    rows = [
        row for row in tables.rows(examples_path, "examples") if row["part"] in parts and tables.is_training_row(row)
    ]
    if not rows:
        raise UserError(f"{examples_path}: no original prompt-reply row in part {' or '.join(sorted(parts))}")
    return rows


def _record_batch(batch: tokens.Batch, hidden: Tensor, log_prob: Tensor, schema: pa.Schema) -> pa.RecordBatch:
    width = hidden.shape[1]
    columns = [
        pa.DictionaryArray.from_arrays(_numpy(batch.row, np.int32), batch.example_ids).cast(pa.string()),
        pa.array(_numpy(batch.position, np.int32)),
        pa.array(_numpy(batch.target_ids, np.int32)),
        pa.array(_numpy(log_prob, np.float32)),
        pa.FixedSizeListArray.from_arrays(pa.array(to_storage(hidden).reshape(-1)), width),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _numpy(tensor: Tensor, dtype: type[np.generic]) -> np.ndarray[Any, Any]:
    return tensor.cpu().numpy().astype(dtype)


def to_storage(hidden: Tensor) -> np.ndarray[Any, Any]:
    """float32 as it is; bfloat16 and float16 as their bit patterns, uint16 (Arrow and numpy have no bfloat16)."""
    hidden = hidden.cpu().contiguous()
    return hidden.numpy() if hidden.dtype == torch.float32 else hidden.view(torch.int16).numpy().view(np.uint16)


def from_storage(stored: np.ndarray[Any, Any], dtype: str) -> Tensor:
    """The inverse of `to_storage`, bit for bit. dtype: float32, bfloat16 or float16."""
    if dtype == "float32":
        return torch.from_numpy(stored)
    return torch.from_numpy(stored.view(np.int16)).view(getattr(torch, dtype))
