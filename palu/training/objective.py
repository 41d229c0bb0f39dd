"""What a step minimises, as one module: its forward is the model's body and the loss, so that the hooks of
distributed training see both.

An objective gives each term's sum over its units. The loop divides by the units of the whole optimiser step:

    loss = sum over terms t of weight_t * (sum over micro-batches of total_t) / (sum over micro-batches of units_t)

so cutting a step into micro-batches, or over processes, changes nothing but rounding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from palu import models
from palu.heads import ChunkedHead
from palu.methods.base import Method, MethodSettings, ReplyPositions, ReplyStates
from palu.tokens import Batch, TokenRow, collate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from palu.reference.cache import ReferenceCache


@dataclass(frozen=True)
class MicroBatch:
    """Rows that go through the model together: items (forget rows) first, then partners (retain rows).

    item_rows, item_positions: how many of the batch's rows, and of its predicting positions, are the items'.
    """

    tokens: Batch
    item_rows: int
    item_positions: int

    def to(self, device: torch.device) -> MicroBatch:
        return MicroBatch(self.tokens.to(device), self.item_rows, self.item_positions)

    def item_tokens(self) -> Batch:
        """The items' part of the batch."""
        tokens, rows, positions = self.tokens, self.item_rows, self.item_positions
        return replace(
            tokens,
            input_ids=tokens.input_ids[:rows],
            attention_mask=tokens.attention_mask[:rows],
            position_ids=tokens.position_ids[:rows],
            predict_index=tokens.predict_index[:positions],
            position=tokens.position[:positions],
            target_ids=tokens.target_ids[:positions],
            role=tokens.role[:positions],
            span_offset=tokens.span_offset[:positions],
            row=tokens.row[:positions],
            row_count=rows,
            example_ids=tokens.example_ids[:rows],
        )

    def forget(self) -> ReplyPositions:
        return self._part(slice(0, self.item_positions), 0, self.item_rows)

    def retain(self) -> ReplyPositions:
        rows = self.tokens.row_count - self.item_rows
        return self._part(slice(self.item_positions, None), self.item_rows, rows)

    def _part(self, chosen: slice, first_row: int, row_count: int) -> ReplyPositions:
        tokens = self.tokens
        return ReplyPositions(
            target_ids=tokens.target_ids[chosen],
            role=tokens.role[chosen],
            span_offset=tokens.span_offset[chosen],
            row=tokens.row[chosen] - first_row,
            row_count=row_count,
        )


def micro_batch(items: Sequence[TokenRow], partners: Sequence[TokenRow], pad_id: int) -> MicroBatch:
    """Collate rows on the CPU. At least one row is needed."""
    positions = sum(len(row) - row.first_target for row in items)
    return MicroBatch(collate([*items, *partners], pad_id), len(items), positions)


class Objective(nn.Module, ABC):
    """A model with a loss on it. Dropout is off: a result must not depend on how a step was cut."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.eval()

    @property
    @abstractmethod
    def weights(self) -> dict[str, float]:
        """The weight of each term in the loss."""

    @abstractmethod
    def units(self, batch: MicroBatch) -> dict[str, int]:
        """How many tokens or rows each term sums over."""

    @abstractmethod
    def forward(self, batch: MicroBatch) -> dict[str, Tensor]:
        """Each term's sum over its units, float32 scalars with gradient. `batch` is on the CPU."""

    def _states(self, batch: MicroBatch) -> Tensor:
        """(P, D): the last hidden states at the predicting positions of `batch`, which is on the model's device."""
        return models.hidden_states(self.model, batch.tokens).index_select(0, batch.tokens.predict_index)

    @property
    def _device(self) -> torch.device:
        device: torch.device = next(self.model.parameters()).device
        return device


class LikelihoodObjective(Objective):
    """Finetuning: L = mean over reply and end tokens of -log p(y_t | x, y_<t). All rows are items."""

    @property
    def weights(self) -> dict[str, float]:
        return {"nll": 1.0}

    def units(self, batch: MicroBatch) -> dict[str, int]:
        return {"nll": len(batch.tokens.target_ids)}

    def forward(self, batch: MicroBatch) -> dict[str, Tensor]:
        batch = batch.to(self._device)
        head = ChunkedHead(*models.output_head(self.model))
        return {"nll": -head.log_prob(self._states(batch), batch.tokens.target_ids).sum()}


class UnlearnObjective(Objective):
    """A method of `palu.methods` on forget rows (items) and retain rows (partners).

    reference: cached facts of the frozen reference at the forget rows' positions, for a method that needs any. No
    second model is held: its distribution comes from the cached states and a frozen copy of the head, which is made
    here, before training changes the head, and only where the method needs states.
    """

    method: Method
    reference_weight: Tensor | None
    reference_bias: Tensor | None

    def __init__(
        self,
        model: PreTrainedModel,
        method: Method,
        settings: MethodSettings,
        reference: ReferenceCache | None = None,
    ) -> None:
        super().__init__(model)
        self.method, self.settings, self.reference = method, settings, reference
        weight, bias = models.output_head(model)
        needs_head = "states" in settings.needs
        frozen = [tensor.detach().clone() if needs_head and tensor is not None else None for tensor in (weight, bias)]
        # buffers that no state dict holds: they follow the model to its device, a checkpoint does not repeat them
        self.register_buffer("reference_weight", frozen[0], persistent=False)
        self.register_buffer("reference_bias", frozen[1], persistent=False)

    @property
    def weights(self) -> dict[str, float]:
        return self.settings.weights

    def units(self, batch: MicroBatch) -> dict[str, int]:
        return self.method.units(batch.forget(), batch.retain(), self.settings)

    def forward(self, batch: MicroBatch) -> dict[str, Tensor]:
        hidden, log_prob, top_k = self._reference_facts(batch)
        batch = batch.to(self._device)
        states = self._states(batch)
        forget = ReplyStates(
            **vars(batch.forget()),
            hidden=states[: batch.item_positions],
            reference_hidden=hidden,
            reference_log_prob=log_prob,
            reference_top_k=top_k,
        )
        retain = ReplyStates(**vars(batch.retain()), hidden=states[batch.item_positions :])
        head = ChunkedHead(*models.output_head(self.model), self.reference_weight, self.reference_bias)
        return self.method.loss(forget, retain, head, self.settings)

    def _reference_facts(self, batch: MicroBatch) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The reference's states, log-probabilities and top-K tokens at the items' positions, on the device."""
        if self.reference is None:
            return None, None, None
        found = self.reference.lookup(batch.item_tokens())
        device = self._device
        hidden, log_prob, top_k = (
            None if fact is None else fact.to(device) for fact in (found.hidden, found.log_prob, found.top_k)
        )
        return hidden, log_prob, top_k
