"""WGA: weighted gradient ascent (Wang et al. 2025, 2502.19301), with a retain term.

    L = forget_weight * mean over the forget replies' tokens of p^beta log p + retain_weight * NLL(retain)

p is the current probability of the token; the weight p^beta is held constant, so that ascent slows down where the
token is improbable already. NLL is the mean over tokens, end tokens included. beta = 0 is plain gradient ascent.
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
    """beta: how fast the weight falls with the probability."""

    beta: NonNegativeNumber = 1.0


def units(replies: Replies[ReplyPositions], settings: Settings) -> dict[str, int]:
    """Tokens of each term."""
    return {"forget": len(replies.forget.target_ids), "retain": len(replies.retain.target_ids)}


def loss(
    replies: Replies[ReplyStates], head: Head, settings: Settings, scale: Mapping[str, float]
) -> dict[str, Tensor]:
    """Sums over tokens of the forget replies' weighted log-probability and the retain replies' NLL."""
    log_p = head.log_prob(replies.forget.hidden, replies.forget.target_ids)
    token_weight = (settings.beta * log_p.detach()).exp()
    return {
        "forget": (token_weight * log_p).sum(),
        "retain": nll_sum(replies.retain, head, scale["retain"]),
    }
