"""How probable a model finds given replies: one teacher-forced pass over each distinct row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor
from transformers import PreTrainedModel

from palu.heads.projection import Projection
from palu.models import hidden_states, output_head
from palu.tables import LOGPROBS
from palu.tokens import TokenRow, collate, length_buckets

# Padded tokens that go through the model at once, and positions whose logits exist at once. A GPU wants large
# matrices; a CPU is quickest with what stays in its cache (measured at V = 2048, 0.35 M parameters). Passing the
# prompt that a right and six wrong replies share once, and its keys and values on to each, was no quicker there.
TOKENS_PER_BATCH = {"cuda": 65536, "cpu": 4096}
POSITIONS_PER_BLOCK = {"cuda": 2048, "cpu": 256}


@dataclass(frozen=True, eq=False)
class Judged:
    """What a model makes of the P predicted tokens of one row: log_probs (P,) float32, argmax_hits (P,) bool."""

    log_probs: npt.NDArray[np.float32]
    argmax_hits: npt.NDArray[np.bool_]


@torch.inference_mode()
def judge(
    model: PreTrainedModel,
    rows: Sequence[TokenRow],
    pad_id: int,
    advance: Callable[[int], object] = lambda _rows: None,
) -> list[Judged]:
    """The log-probability of every reply token, and of the end token, given all tokens before it.

    The naive program is `model(input_ids).logits.log_softmax(-1)`, row by row; here rows of like length share a
    batch, rows with the same tokens are judged once, and logits exist for a block of reply positions at a time.
    advance: told how many rows each batch has finished.
    """
    distinct: dict[tuple[int, bytes], list[int]] = {}
    for i, row in enumerate(rows):
        distinct.setdefault((row.first_target, row.input_ids.tobytes()), []).append(i)
    twins = list(distinct.values())
    firsts = [rows[same[0]] for same in twins]
    weight, bias = output_head(model)
    kind = "cuda" if model.device.type == "cuda" else "cpu"
    projection = Projection(weight, bias, POSITIONS_PER_BLOCK[kind])
    judged: list[Judged | None] = [None] * len(rows)
    for bucket in length_buckets(([len(row)] for row in firsts), TOKENS_PER_BATCH[kind]):
        batch = collate([firsts[i] for i in bucket], pad_id).to(model.device)
        states = hidden_states(model, batch)[batch.predict_index]
        log_probs, hits = predict(projection, states, batch.target_ids)
        ends = np.cumsum([len(firsts[i]) - firsts[i].first_target for i in bucket])[:-1]
        pieces = zip(np.split(log_probs.cpu().numpy(), ends), np.split(hits.cpu().numpy(), ends), strict=True)
        for i, (row_log_probs, row_hits) in zip(bucket, pieces, strict=True):
            for twin in twins[i]:
                judged[twin] = Judged(row_log_probs, row_hits)
        advance(sum(len(twins[i]) for i in bucket))
    return [found for found in judged if found is not None]


def predict(projection: Projection, states: Tensor, target_ids: Tensor) -> tuple[Tensor, Tensor]:
    """(P, D), (P,) -> the target's log-probability (P,) float32, and whether it is the first choice (P,) bool."""
    log_probs = torch.empty(len(states), dtype=torch.float32, device=states.device)
    hits = torch.empty(len(states), dtype=torch.bool, device=states.device)
    for block in projection.blocks(states):
        logits = projection.logits(states[block])
        target = target_ids[block, None]
        log_probs[block] = logits.log_softmax(-1).gather(-1, target)[:, 0]
        # The maximum is ten times cheaper than its place, which only a target that equals it needs
        hit = (logits.gather(-1, target) == logits.amax(-1, keepdim=True))[:, 0]
        hit[hit.clone()] = logits[hit].argmax(-1) == target[hit, 0]
        hits[block] = hit
    return log_probs, hits


def to_table(rows: Sequence[TokenRow], judged: Sequence[Judged]) -> pa.Table:
    """The `logprobs` table of judged rows."""
    targets = [slice(row.first_target, None) for row in rows]
    offsets = np.cumsum([0, *(len(found.log_probs) for found in judged)], dtype=np.int32)

    def lists(pieces: Sequence[npt.NDArray[np.generic]]) -> pa.Array:
        return pa.ListArray.from_arrays(offsets, np.concatenate(pieces) if pieces else np.empty(0))

    columns = {
        "example_id": pa.array([row.example_id for row in rows], pa.string()),
        "token_ids": lists([row.input_ids[target] for row, target in zip(rows, targets, strict=True)]),
        "log_probs": lists([found.log_probs for found in judged]),
        "argmax_hits": lists([found.argmax_hits for found in judged]),
        "char_starts": lists([row.char_start[target] for row, target in zip(rows, targets, strict=True)]),
        "char_ends": lists([row.char_end[target] for row, target in zip(rows, targets, strict=True)]),
        "has_end": pa.array([row.has_end for row in rows], pa.bool_()),
    }
    return pa.table(columns).cast(LOGPROBS)
