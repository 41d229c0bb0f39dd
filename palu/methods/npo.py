"""NPO: negative preference optimisation (Zhang et al. 2024, 2404.05868, equation 3), with a retain term.

    L = forget_weight * L_forget + retain_weight * NLL(retain)
    L_forget = mean over rows of -(2 / beta) log sigma(-beta log(p_theta(y) / p_ref(y)))

log p(y) is the sum over all tokens of a forget reply y, its end token included; NLL is the mean over tokens. With
`entropy_weighting` each token's log(p_theta / p_ref) is multiplied by its weight of `palu.methods.entropy` before the
sum over its reply.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from palu.methods.base import ForgetAndRetain, Replies, ReplyPositions, ReplyStates, nll_sum
from palu.methods.entropy import EntropyWeighting, token_weights
from palu.settings import PositiveNumber

if TYPE_CHECKING:
    from torch import Tensor

    from palu.heads import Head


class Settings(EntropyWeighting, ForgetAndRetain):
    """beta: the inverse temperature; towards 0 the forget term becomes gradient ascent."""

    beta: PositiveNumber = 0.1

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"log_probs"})


def units(replies: Replies[ReplyPositions], settings: Settings) -> dict[str, int]:
    """Rows of the forget term, tokens of the retain term."""
    return {"forget": replies.forget.row_count, "retain": len(replies.retain.target_ids)}


def loss(
    replies: Replies[ReplyStates], head: Head, settings: Settings, scale: Mapping[str, float]
) -> dict[str, Tensor]:
    """The forget term's sum over rows, and the sum over tokens of the retain replies' NLL."""
    from torch.nn.functional import logsigmoid

    forget = replies.forget
    assert forget.reference_log_prob is not None, "the method's needs name log_probs"
    log_ratio = head.log_prob(forget.hidden, forget.target_ids) - forget.reference_log_prob
    if settings.entropy_weighting:
        temperature = settings.entropy_temperature
        log_ratio = log_ratio * token_weights(head, forget.hidden, forget.row, forget.row_count, temperature)
    row_log_ratio = log_ratio.new_zeros(forget.row_count).index_add(0, forget.row, log_ratio)
    return {
        "forget": -(2 / settings.beta) * logsigmoid(-settings.beta * row_log_ratio).sum(),
        "retain": nll_sum(replies.retain, head, scale["retain"]),
    }
