"""GradDiff: gradient ascent on the forget replies, descent on the retain replies (Liu et al. 2022, 2203.12817; TOFU,
2401.06121, section 3).

    L = -forget_weight * NLL(forget) + retain_weight * NLL(retain)

NLL is the mean over the tokens of the replies, end tokens included. Gradient ascent alone is retain_weight = 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from palu.methods.base import Head, MethodSettings, Replies, ReplyPositions, ReplyStates, nll_sum
from palu.settings import NonNegativeNumber

if TYPE_CHECKING:
    from torch import Tensor


class Settings(MethodSettings):
    """The weights of the two terms."""

    forget_weight: NonNegativeNumber = 1.0
    retain_weight: NonNegativeNumber = 1.0

    @property
    def weights(self) -> dict[str, float]:
        return {"forget": self.forget_weight, "retain": self.retain_weight}


def units(replies: Replies[ReplyPositions], settings: Settings) -> dict[str, int]:
    """Tokens of each term."""
    return {"forget": len(replies.forget.target_ids), "retain": len(replies.retain.target_ids)}


def loss(
    replies: Replies[ReplyStates], head: Head, settings: Settings, scale: Mapping[str, float]
) -> dict[str, Tensor]:
    """Sums over tokens of the forget replies' log-probability (to be lowered) and the retain replies' NLL."""
    return {
        "forget": -nll_sum(replies.forget, head, -scale["forget"]),
        "retain": nll_sum(replies.retain, head, scale["retain"]),
    }
