"""Token weights from the model's own uncertainty (ETW: Koh et al. 2026, 2604.17785), for the methods that offer them.

    w_i = n H_i / sum over j of H_j,        i and j among the n weighted tokens of one reply

H_i is the entropy of softmax(z_i / T), the current model's distribution at the position that predicts token i. No
gradient flows through w. Inside a reply w averages to 1, so that a weighted term keeps the size, the units and the
weight in the loss that it has without. Where all entropies of a reply are 0 its weights are 1.

The entropies cost one more product with the head at the weighted positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from palu.methods.base import MethodSettings, ReplyStates
from palu.settings import PositiveNumber

if TYPE_CHECKING:
    from torch import Tensor

    from palu.heads import Head


class EntropyWeighting(MethodSettings):
    """What a method that offers the weights adds to its settings.

    entropy_weighting: whether its forget term weighs tokens. entropy_temperature: T.
    """

    entropy_weighting: bool = False
    entropy_temperature: PositiveNumber = 1.0


def token_weights(head: Head, h: Tensor, row: Tensor, row_count: int, temperature: float) -> Tensor:
    """w of each token, (P,), from the state that predicts it, h (P, D), and its reply, row (P,) of 0..row_count-1."""
    import torch

    with torch.no_grad():
        entropy = head.entropy(h, temperature)
        total = entropy.new_zeros(row_count).index_add(0, row, entropy)
        mean = (total / row.bincount(minlength=row_count))[row]
        # numbers below `tiny` have lost their digits; a NaN, from a temperature near 0, is not above it either
        return torch.where(mean > torch.finfo(mean.dtype).tiny, entropy / mean, 1)


def weighted_log_prob_sum(states: ReplyStates, head: Head, temperature: float, scale: float) -> Tensor:
    """w_i log p(y_i) summed over the tokens of all replies; the loss takes the sum `scale` times."""
    weights = token_weights(head, states.hidden, states.row, states.row_count, temperature)
    # a term that does not enter the loss must not announce gradients to the head
    log_prob = head.log_prob(states.hidden, states.target_ids, scale * weights if scale else None)
    return (weights * log_prob).sum()
