"""What a step minimises, as one module: its forward is the model's body and the loss, so that the hooks of
distributed training see both.

An objective gives each term's sum over its units. The loop divides by the units of the whole optimiser step:

    loss = sum over terms t of scale_t * (sum over micro-batches of total_t)
    scale_t = weight_t / (sum over micro-batches of units_t)

so cutting a step into micro-batches, or over processes, changes nothing but rounding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from palu import models, tokens
from palu.heads import Head, HeadParameters
from palu.methods.base import Method, MethodSettings, Replies, ReplyPositions, ReplyStates
from palu.reference.cache import References
from palu.tokens import Batch, collate
from palu.training.plan import RowGroup

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class MicroBatch:
    """Rows that go through the model together: items (forget rows), then partners (retain rows), then alternates.

    item_rows, partner_rows: how many of the batch's rows are items and partners.
    """

    tokens: Batch
    item_rows: int
    partner_rows: int

    def to(self, device: torch.device) -> MicroBatch:
        return replace(self, tokens=self.tokens.to(device))

    def parts(self) -> Parts:
        """The positions of each kind of row."""
        borders = (0, self.item_rows, self.item_rows + self.partner_rows, self.tokens.row_count)
        return Parts(*(self.tokens.part(slice(*ends)) for ends in pairwise(borders)))

    def positions(self) -> Replies[ReplyPositions]:
        """What a method counts its units by."""
        forget, retain, alternate = (ReplyPositions(**_shared_fields(part)) for part in self.parts())
        return Replies(forget, retain, alternate)


class Parts(NamedTuple):
    """The positions of each kind of row in a micro-batch."""

    forget: tokens.Replies
    retain: tokens.Replies
    alternate: tokens.Replies


def micro_batch(group: RowGroup, pad_id: int, packed: bool) -> MicroBatch:
    """Lay rows out, on the CPU. At least one row is needed."""
    return MicroBatch(collate(group.rows, pad_id, packed), len(group.items), len(group.partners))


def _shared_fields(part: tokens.Replies) -> dict[str, Any]:
    """What a method sees of the positions: no names, no places in a text."""
    return {field.name: getattr(part, field.name) for field in fields(ReplyPositions)}


class Objective(nn.Module, ABC):
    """A model with a loss on it. Dropout is off: a result must not depend on how a step was cut."""

    # Whether the head's gradient may go past autograd, straight to `grad`: not in distributed training
    adds_to_grad = False

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.eval()

    @property
    @abstractmethod
    def weights(self) -> dict[str, float]:
        """The weight of each term in the loss."""

    def next_weights(
        self,
        weights: Mapping[str, float],
        means: Mapping[str, float],  # noqa: ARG002
        epoch: float,  # noqa: ARG002
    ) -> dict[str, float]:
        """The weights of the next step, from this one's and its mean of each term; epoch: done so far."""
        return dict(weights)

    @abstractmethod
    def units(self, batch: MicroBatch) -> dict[str, int]:
        """How many tokens or rows each term sums over."""

    @abstractmethod
    def forward(self, batch: MicroBatch, scale: Mapping[str, float]) -> dict[str, Tensor]:
        """Each term's sum over its units, float32 scalars with gradient. `batch` is on the CPU.

        scale: what each sum is multiplied by in the loss, 0 where it does not enter.
        """

    @property
    def uses_all_parameters(self) -> bool:
        """Whether the loss reaches every parameter that is trained."""
        return True

    def row_log_probs(self, batch: Batch) -> Tensor:
        """(R,): the mean log-probability of each row's tokens. `batch` is on the CPU."""
        found = batch.to(self._device)
        states = models.hidden_states(self.model, found).index_select(0, found.predict_index)
        weight, bias, transform = models.output_head(self.model)
        log_prob = Head(weight, bias, transform=transform).log_prob(states, found.target_ids)
        total = log_prob.new_zeros(found.row_count).index_add(0, found.row, log_prob)
        return total / found.row.bincount(minlength=found.row_count)

    @property
    def _no_split_modules(self) -> Collection[str]:
        """The classes of the model's blocks, as the library names them: each is a unit of sharded training."""
        names: Collection[str] = self.model._no_split_modules or ()
        return names

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

    def forward(self, batch: MicroBatch, scale: Mapping[str, float]) -> dict[str, Tensor]:
        found = batch.to(self._device).tokens
        states = models.hidden_states(self.model, found).index_select(0, found.predict_index)
        weight, bias, transform = models.output_head(self.model)
        head = Head(weight, bias, adds_to_grad=self.adds_to_grad, transform=transform)
        return {"nll": -head.log_prob(states, found.target_ids, -scale["nll"]).sum()}


class UnlearnObjective(Objective):
    """A method of `palu.methods` on forget rows (items), retain rows (partners) and other replies (alternates).

    reference: cached facts of the frozen reference at the rows' positions, for a method that needs any. No second
    model is held: its distribution comes from the cached states and a frozen copy of the head, which is made here,
    before training changes the head, and only where the method needs states. A head that is not trained is its own
    frozen copy. reference_head: weight and bias of the frozen head (default: the model's own).
    """

    method: Method
    reference_weight: Tensor | None
    reference_bias: Tensor | None

    def __init__(
        self,
        model: PreTrainedModel,
        method: Method,
        settings: MethodSettings,
        reference: References | None = None,
        reference_head: HeadParameters | None = None,
    ) -> None:
        super().__init__(model)
        self.method, self.settings, self.reference = method, settings, reference or References()
        self.layer = settings.reads_layer
        if self.layer is not None:
            models.check_layer(model, self.layer)
        weight, bias, _ = reference_head or models.output_head(model)
        needs_head = bool({"states", "retain_states"} & settings.needs)
        self.head_is_reference = needs_head and reference_head is None and not weight.requires_grad
        needs_head = needs_head and not self.head_is_reference
        frozen = [tensor.detach().clone() if needs_head and tensor is not None else None for tensor in (weight, bias)]
        # buffers that no state dict holds: they follow the model to its device, a checkpoint does not repeat them
        self.register_buffer("reference_weight", frozen[0], persistent=False)
        self.register_buffer("reference_bias", frozen[1], persistent=False)

    @property
    def weights(self) -> dict[str, float]:
        return self.settings.weights

    def next_weights(self, weights: Mapping[str, float], means: Mapping[str, float], epoch: float) -> dict[str, float]:
        return self.settings.next_weights(weights, means, epoch)

    @property
    def uses_all_parameters(self) -> bool:
        # a loss on the states after a block may leave out what comes after it
        return self.layer is None

    def units(self, batch: MicroBatch) -> dict[str, int]:
        return self.method.units(batch.positions(), self.settings)

    def forward(self, batch: MicroBatch, scale: Mapping[str, float]) -> dict[str, Tensor]:
        device = self._device
        facts = self.reference.lookup(batch.parts())
        batch = batch.to(device)
        found = batch.tokens
        if self.layer is None:
            hidden, layer_hidden = models.hidden_states(self.model, found), None
        else:
            hidden, layer_hidden = models.hidden_and_layer_states(self.model, found, self.layer)
            layer_hidden = layer_hidden.index_select(0, found.predict_index)
        hidden = hidden.index_select(0, found.predict_index)
        states, start = [], 0
        for part, part_facts in zip(batch.parts(), facts, strict=True):
            here = slice(start, start := start + len(part.target_ids))
            own: dict[str, Any] = {name: fact.to(device) for name, fact in part_facts.items()}
            if layer_hidden is not None:
                own["layer_hidden"] = layer_hidden[here]
            states.append(ReplyStates(**_shared_fields(part), hidden=hidden[here], **own))
        weight, bias, transform = models.output_head(self.model)
        reference = (weight, bias) if self.head_is_reference else (self.reference_weight, self.reference_bias)
        head = Head(weight, bias, *reference, adds_to_grad=self.adds_to_grad, transform=transform)
        return self.method.loss(Replies(*states), head, self.settings, scale)
