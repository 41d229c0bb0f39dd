"""How probable a model finds given replies: one teacher-forced pass over each distinct row."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor
from transformers import PreTrainedModel

from palu.heads.projection import Projection
from palu.models import branching_fault, hidden_states, output_head
from palu.tables import LOGPROBS
from palu.tokens import SharedLine, SharedRows, TokenRow, grouped, lay_out, length_buckets, shared_lines
from palu.tokens.prefixes import Places

_log = logging.getLogger(__name__)

# Padded tokens that go through the model at once, and positions whose logits exist at once. A GPU wants large
# matrices; a CPU is quickest with what stays in its cache (measured at V = 2048, 0.35 M parameters).
TOKENS_PER_BATCH = {"cuda": 65536, "cpu": 4096}
POSITIONS_PER_BLOCK = {"cuda": 2048, "cpu": 256}
# Distinct tokens of rows that share a line: attention costs the square of it
LINE_TOKENS = 256

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Judged:
    """What a model makes of the P predicted tokens of one row, or one piece of a document.

    log_probs: (P,) float32. argmax_hits: (P,) bool. expected, variance: (P,) float32, mean and variance of log p of a
    word drawn from p itself; None where nobody asked.
    """

    log_probs: Floats
    argmax_hits: npt.NDArray[np.bool_]
    expected: Floats | None = None
    variance: Floats | None = None


@torch.inference_mode()
def judge(
    model: PreTrainedModel,
    rows: Sequence[TokenRow],
    pad_id: int,
    advance: Callable[[int], object] = lambda _rows: None,
    with_moments: Collection[str] = frozenset(),
) -> list[Judged]:
    """The log-probability of every token of reply and end, given all tokens before it.

    The naive program is `model(input_ids).logits.log_softmax(-1)`, row by row; here tokens that rows begin with alike
    (a prompt and its right and wrong replies) go through the model once, where the model can do that, and logits exist
    for a block of reply positions at a time.
    advance: called with the rows that each batch has finished. with_moments: ids of the rows whose `expected` and
    `variance` are wanted.
    """
    kind = "cuda" if model.device.type == "cuda" else "cpu"
    projection = Projection(*output_head(model), POSITIONS_PER_BLOCK[kind])
    judged: list[Judged | None] = [None] * len(rows)
    for lines in _batches(model, rows, TOKENS_PER_BATCH[kind]):
        laid_out = lay_out(lines, rows, pad_id)
        indices = [i for line in lines for i in line.rows]
        targets = [path[rows[i].first_target :] for i, path in zip(indices, laid_out.places, strict=True)]
        wanted = [rows[i].example_id in with_moments for i in indices]
        for i, found in zip(indices, _judged(model, projection, laid_out, targets, wanted), strict=True):
            judged[i] = found
        advance(len(indices))
    return [found for found in judged if found is not None]


def _batches(model: PreTrainedModel, rows: Sequence[TokenRow], limit: int) -> Iterator[list[SharedLine]]:
    """All rows in lines, those that branch apart from the others, whose attention is quicker without a mask."""
    lines = shared_lines(rows, LINE_TOKENS)
    if any(line.branches for line in lines) and (fault := branching_fault(model, LINE_TOKENS)):
        _log.warning("the tokens that rows begin with alike are computed for each row: %s", fault)
        lines = shared_lines(rows, 0)
    for branches in (True, False):
        alike = [line for line in lines if line.branches == branches]
        for bucket in length_buckets(([line.tokens] for line in alike), limit):
            yield [alike[i] for i in bucket]


def _judged(
    model: PreTrainedModel,
    projection: Projection,
    lines: SharedRows,
    targets: Sequence[Places],
    wanted: Sequence[bool],
) -> Iterator[Judged]:
    """What the model makes of each row. targets: where a row's predicted tokens are among the B*T of the lines."""
    is_target, is_asked = (np.zeros(lines.input_ids.numel(), dtype=bool) for _ in range(2))
    for place, moments in zip(targets, wanted, strict=True):
        is_target[place] = True
        is_asked[place] |= moments
    order = np.cumsum(is_target) - 1
    chosen = torch.from_numpy(np.flatnonzero(is_target))
    lines = lines.to(model.device)
    states = hidden_states(model, lines)[lines.before[chosen]]
    asked = torch.from_numpy(is_asked)[chosen].to(model.device)
    found = predict(projection, states, lines.input_ids.flatten()[chosen], asked)
    columns = [column.cpu().numpy() for column in found]
    for place, moments in zip(targets, wanted, strict=True):
        log_probs, hits, expected, variance = (column[order[place]] for column in columns)
        yield Judged(log_probs, hits, *((expected, variance) if moments else (None, None)))


def predict(
    projection: Projection, states: Tensor, target_ids: Tensor, asked: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """States (P, D) and the targets (P,) that follow -> four columns (P,).

    The target's log-probability, float32; whether it is the first choice, bool; and where `asked`, (P,) bool, the
    mean and the variance of log p under p, float32, elsewhere 0.
    """
    log_probs, expected, variance = (
        torch.zeros(len(states), dtype=torch.float32, device=states.device) for _ in range(3)
    )
    hits = torch.empty(len(states), dtype=torch.bool, device=states.device)
    for block in projection.blocks(states):
        logits = projection.logits(states[block])
        target = target_ids[block, None]
        chosen = asked[block].nonzero()[:, 0]
        if len(chosen):
            expected[block][chosen], variance[block][chosen] = moments_of(logits[chosen].log_softmax(-1))
        # In place from here: a second block costs more to get from the system than the arithmetic
        logits.sub_(logits.amax(-1, keepdim=True))
        wanted = logits.gather(-1, target)
        # The maximum is ten times cheaper than its place, which only targets that share it with another word need
        hit = (wanted == 0)[:, 0]
        tied = hit & (logits.scatter_(-1, target, -torch.inf).amax(-1) == 0)
        logits.scatter_(-1, target, wanted)
        hit[tied] = logits[tied].argmax(-1) == target[tied, 0]
        hits[block] = hit
        log_probs[block] = wanted[:, 0] - logits.exp_().sum(-1).log_()
    return log_probs, hits, expected, variance


def moments_of(log_probs: Tensor) -> tuple[Tensor, Tensor]:
    """(P, V) log-probabilities -> their mean and variance under the distribution itself, (P,) each."""
    probs = log_probs.exp()
    mean = (probs * log_probs).sum(-1)
    return mean, (probs * (log_probs - mean[:, None]).square()).sum(-1)


def to_table(rows: Sequence[TokenRow], judged: Sequence[Judged]) -> pa.Table:
    """The `logprobs` table of judged rows in the order of `encode`; the pieces of a document are one row of it."""
    groups, waiting = grouped(rows), iter(judged)
    found = [_joined(list(islice(waiting, len(group)))) for group in groups]
    counts = np.array([len(whole.log_probs) for whole in found])

    def lists(pieces: Sequence[npt.NDArray[np.generic] | None]) -> pa.Array:
        had = [piece for piece in pieces if piece is not None]
        absent = np.array([piece is None for piece in pieces], dtype=bool)
        offsets = np.cumsum([0, *np.where(absent, 0, counts)], dtype=np.int32)
        values = np.concatenate(had) if had else np.empty(0)
        return pa.ListArray.from_arrays(offsets, values, mask=pa.array(absent))

    def of_targets(name: str) -> pa.Array:
        return lists([np.concatenate([getattr(row, name)[row.first_target :] for row in group]) for group in groups])

    columns = {
        "example_id": pa.array([group[0].example_id for group in groups], pa.string()),
        "token_ids": of_targets("input_ids"),
        "log_probs": lists([whole.log_probs for whole in found]),
        "argmax_hits": lists([whole.argmax_hits for whole in found]),
        "char_starts": of_targets("char_start"),
        "char_ends": of_targets("char_end"),
        "end_count": pa.array([group[-1].end_count for group in groups], pa.int32()),
        "expected_log_probs": lists([whole.expected for whole in found]),
        "log_prob_variances": lists([whole.variance for whole in found]),
    }
    return pa.table(columns).cast(LOGPROBS)


def _joined(pieces: Sequence[Judged]) -> Judged:
    """What is known of a document's tokens, piece after piece."""
    columns: dict[str, Any] = {}
    for name in ("log_probs", "argmax_hits", "expected", "variance"):
        parts = [getattr(piece, name) for piece in pieces]
        columns[name] = None if any(part is None for part in parts) else np.concatenate(parts)
    return Judged(**columns)
