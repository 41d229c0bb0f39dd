"""SatImp: reweighting by saturation and importance (Yang et al. 2025, 2505.11953), with a retain term.

    L = forget_weight * mean over the forget replies' tokens of p^beta1 (1 - p)^beta2 log p
      + retain_weight * NLL(retain)

p is the current probability of the token; the weights are held constant. p^beta1 spares tokens that are forgotten
already, (1 - p)^beta2 those that are certain. NLL is the mean over tokens, end tokens included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from palu.methods.base import ForgetAndRetain, Replies, ReplyPositions, ReplyStates, nll_sum
from palu.settings import NonNegativeNumber

if TYPE_CHECKING:
    from torch import Tensor

    from palu.heads import Head


class Settings(ForgetAndRetain):
    """beta1: how fast the weight falls towards p = 0; beta2: towards p = 1. The defaults are OpenUnlearning's."""

    beta1: NonNegativeNumber = 5.0
    beta2: NonNegativeNumber = 1.0
    forget_weight: NonNegativeNumber = 0.1


def units(replies: Replies[ReplyPositions], settings: Settings) -> dict[str, int]:
    """Tokens of each term."""
    return {"forget": len(replies.forget.target_ids), "retain": len(replies.retain.target_ids)}


def loss(
    replies: Replies[ReplyStates], head: Head, settings: Settings, scale: Mapping[str, float]
) -> dict[str, Tensor]:
    """Sums over tokens of the forget replies' weighted log-probability and the retain replies' NLL."""
    log_p = head.log_prob(replies.forget.hidden, replies.forget.target_ids)
    constant = log_p.detach()
    # -expm1(log p) is 1 - p without the rounding of p to 1
    token_weight = (settings.beta1 * constant).exp() * (-constant.expm1()) ** settings.beta2
    return {
        "forget": (token_weight * log_p).sum(),
        "retain": nll_sum(replies.retain, head, scale["retain"]),
    }
