"""Gradient ascent on the forget replies, with nothing that holds the rest (Jang et al. 2022, 2210.01504; TOFU,
2401.06121, section 3).

    L = -NLL(forget)

NLL is the mean over the tokens of the replies, end tokens included. With `entropy_weighting` each token's
log-probability is multiplied by its weight of `palu.methods.entropy` before the mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from palu.methods.base import Replies, ReplyPositions, ReplyStates, nll_sum
from palu.methods.entropy import EntropyWeighting, weighted_log_prob_sum

if TYPE_CHECKING:
    from torch import Tensor

    from palu.heads import Head


class Settings(EntropyWeighting):
    """The weighting of the tokens; there is no second term to weigh this one against."""

    @property
    def weights(self) -> dict[str, float]:
        return {"forget": 1.0}


def units(replies: Replies[ReplyPositions], settings: Settings) -> dict[str, int]:
    """Forget tokens."""
    return {"forget": len(replies.forget.target_ids)}


def loss(
    replies: Replies[ReplyStates], head: Head, settings: Settings, scale: Mapping[str, float]
) -> dict[str, Tensor]:
    """The sum over tokens of the forget replies' log-probability, which is to be lowered."""
    if settings.entropy_weighting:
        return {"forget": weighted_log_prob_sum(replies.forget, head, settings.entropy_temperature, scale["forget"])}
    return {"forget": -nll_sum(replies.forget, head, -scale["forget"])}
