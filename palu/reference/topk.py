"""The K tokens that the frozen reference finds most probable, at sensitive positions, best first.

From a float32 product of the cached states with the frozen head, in order of descending logit, then token id:
bfloat16 logits tie heavily, and `torch.topk` breaks ties as it likes, so that its top 50 are no prefix of its top
500. Here a smaller K is a prefix of a larger one, and a sweep over K makes nothing again. Only the
first tokens of each run of sensitive tokens are indexed, as many as a method of the study reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from palu import models, tables, tokens
from palu.errors import UserError
from palu.heads.projection import Projection
from palu.progress import followed
from palu.reference import reference_provenance
from palu.reference.states import from_storage, training_rows
from palu.roles import SENSITIVE
from palu.stretches import windows


def write_topk(
    states_path: Path,
    spans_path: Path,
    examples_path: Path,
    model_folder: Path,
    k: int,
    out: Path,
    settings: models.ModelSettings,
    device: str | None = None,
    first_n: int | None = None,
    mixed_precision: str = "no",
) -> None:
    """Write the topk table of all replies in the states table, streamed; k is clipped to the vocabulary.

    first_n: how many tokens of each run of sensitive tokens are indexed (None: all). mixed_precision: what the states
    were made with.
    Raises UserError when the states were made by another model or with other settings, or of other examples, and
    when no sensitive token is among them.
    """
    reference = reference_provenance(model_folder, settings, mixed_precision) | {"layer": tables.LAST_LAYER}
    parts = tables.check(states_path, "states", reference)["parts"]
    rows = training_rows(examples_path, parts.split(","))
    tokenizer, spans = models.load_tokenizer(model_folder), tokens.read_spans(spans_path)

    def token_rows() -> Iterator[list[tokens.TokenRow]]:
        aimed, cut = False, 0
        for window in windows(rows):
            found = list(tokens.encode_whole(window, tokenizer, settings, settings.max_length, spans))
            aimed = aimed or any((row.role == SENSITIVE).any() for row in found)
            cut += sum(row.truncated_spans for row in found)
            yield found
        if not aimed and cut:
            raise UserError(
                f"{spans_path}: the only spans, {cut} in {len(rows)} replies, come after max_length "
                f"{settings.max_length}, where the rows are cut; allowed: a larger model.max_length, or shorter rows"
            )
        if not aimed:
            raise UserError(f"{spans_path}: no span covers a token of the {len(rows)} replies in {states_path}")

    weight, bias = models.head_weight(model_folder, "float32")
    place = models.chosen_device(device)
    head = Projection(weight.to(place), None if bias is None else bias.to(place))
    facts = reference | {"spans": tables.content_digest(spans_path)}
    write_topk_of(token_rows(), states_path, head, k, out, facts, first_n)


def write_topk_of(
    rows: Iterable[Sequence[tokens.TokenRow]],
    states_path: Path,
    head: Projection,
    k: int,
    out: Path,
    facts: Mapping[str, str],
    first_n: int | None = None,
) -> None:
    """Write the topk table of `rows`, which are whole: positions are those of documents.

    rows: group after group, in the order in which the states tell of the groups; one is held at a time. facts: its
    provenance, with the states' `dtype`.
    """
    k = min(k, len(head.weight))
    row_of = _Following(rows)
    indexed = "all" if first_n is None else str(first_n)
    facts = {**facts, "k": str(k), "vocabulary": str(len(head.weight)), "first_n": indexed}
    with tables.writer(out, "topk", facts, tables.topk_schema(k)) as parquet, torch.inference_mode():
        for batch in followed(tables.iterate(states_path, "states"), "reference top k", None, "batch"):
            chosen = np.flatnonzero(_initiating(batch, row_of, states_path, first_n))
            if len(chosen):
                ids = _best_of(batch.take(pa.array(chosen)), head, k, facts["dtype"])
                parquet.write_batch(_record_batch(batch, chosen, ids, parquet.schema))
        row_of.finish()


class _Following:
    """The rows of the group that the states are at."""

    def __init__(self, groups: Iterable[Sequence[tokens.TokenRow]]) -> None:
        self._groups = iter(groups)
        self._held: dict[str, tokens.TokenRow] = {}

    def get(self, example_id: str) -> tokens.TokenRow | None:
        """The row of an example of this group or a later one, at which the states are from now on."""
        while example_id not in self._held:
            group = next(self._groups, None)
            if group is None:
                return None
            self._held = {row.example_id: row for row in group}
        return self._held[example_id]

    def finish(self) -> None:
        """Go through what is left, for the checks at its end."""
        for _ in self._groups:
            pass


def stable_top_k(z: Tensor, k: int) -> Tensor:
    """(c, V) -> (c, k) int64: indices of the k largest of each row, by descending value, then ascending index.

    Equals `(-z).sort(stable=True).indices[:, :k]` without sorting V numbers.
    """
    smallest_kept = z.topk(k).values[:, -1:]
    above, tied = z > smallest_kept, z == smallest_kept
    # of those that tie for the last places, the first ones
    kept = above | (tied & (tied.cumsum(-1) <= k - above.sum(-1, keepdim=True)))
    ids = kept.nonzero()[:, 1].view(len(z), k)
    return ids.gather(-1, z.gather(-1, ids).sort(descending=True, stable=True).indices)


def _initiating(
    batch: pa.RecordBatch, row_of: _Following, states_path: Path, first_n: int | None
) -> npt.NDArray[np.bool_]:
    """(rows of the batch,): whether each one predicts one of the first tokens of a run of sensitive tokens; the tokens
    are checked on the way."""
    limit = np.inf if first_n is None else first_n
    initiating = np.zeros(len(batch), dtype=bool)
    for example_id, members in _by_example(batch):
        row = row_of.get(example_id)
        targets = batch.column("position").to_numpy()[members] + 1
        stored = batch.column("token_id").to_numpy()[members]
        if row is None or targets.max() >= len(row) or not np.array_equal(row.input_ids[targets], stored):
            raise UserError(f"{states_path}: example {example_id!r} is not the one in the examples: make it again")
        initiating[members] = (row.role[targets] == SENSITIVE) & (row.span_offset[targets] < limit)
    return initiating


def _by_example(batch: pa.RecordBatch) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
    names = batch.column("example_id").dictionary_encode()
    codes = names.indices.to_numpy()
    for code, example_id in enumerate(names.dictionary.to_pylist()):
        yield example_id, np.flatnonzero(codes == code)


def _best_of(states: pa.RecordBatch, head: Projection, k: int, dtype: str) -> Tensor:
    hidden = states.column("hidden")
    stored = hidden.flatten().to_numpy().reshape(len(states), -1)
    h = from_storage(np.array(stored), dtype).to(head.weight.device)
    return torch.cat([stable_top_k(head.logits(h[block]), k) for block in head.blocks(h)])


def _record_batch(
    batch: pa.RecordBatch, chosen: npt.NDArray[np.int64], ids: Tensor, schema: pa.Schema
) -> pa.RecordBatch:
    token_ids: npt.NDArray[Any] = ids.to(torch.int32).cpu().numpy()
    keys = [batch.column(name).take(pa.array(chosen)) for name in ("example_id", "position")]
    values = pa.FixedSizeListArray.from_arrays(pa.array(token_ids.reshape(-1)), ids.shape[1])
    return pa.RecordBatch.from_arrays([*keys, values], schema=schema)
