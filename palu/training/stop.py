"""When an unlearning has gone far enough: the model finds the replies that it is watched on improbable.

    p = mean over the watched rows of p(reply | prompt)^(1 / T) = exp(mean over its tokens of log p(y_t | x, y_<t))

T counts the tokens of the reply and its end, as in `palu.evaluation.probability`; the pieces of a document count as
rows of their own. The watched rows (part
`validation`) are to be forgotten like the others, but no report shows them: those that it shows decide nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator

from palu.tokens import collate, length_buckets
from palu.training.objective import Objective
from palu.training.settings import MachineSettings

if TYPE_CHECKING:
    from palu.tokens import TokenRow


@dataclass(frozen=True)
class Stop:
    """Training ends after an epoch whose `mean_probability` of `rows` is at or below `probability`."""

    probability: float
    rows: Sequence[TokenRow]

    def is_reached(self, values: Sequence[float]) -> bool:
        """values: the mean probabilities after each epoch so far."""
        return any(value <= self.probability for value in values)

    @torch.no_grad()
    def mean_probability(
        self, accelerator: Accelerator, objective: Objective, pad_id: int, machine: MachineSettings
    ) -> float:
        """The mean over the watched rows with the model as it is now. All processes call this."""
        lengths = ([len(row)] for row in self.rows)
        buckets = length_buckets(lengths, machine.micro_batch_tokens, machine.packed)
        processes, mine = accelerator.num_processes, accelerator.process_index
        total = torch.zeros(1, dtype=torch.float64, device=accelerator.device)
        # as many passes in every process: sharded ones gather each other's weights in each
        for first in range(0, len(buckets), processes):
            own = first + mine
            bucket = buckets[own if own < len(buckets) else 0]
            batch = collate([self.rows[i] for i in bucket], pad_id, machine.packed)
            with accelerator.autocast():
                log_probs = objective.row_log_probs(batch)
            if own < len(buckets):
                total += log_probs.double().exp().sum()
        if processes > 1:
            total = accelerator.reduce(total, reduction="sum")
        return total.item() / len(self.rows)
