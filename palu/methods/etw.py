"""ETW: entropy-guided token weighting of gradient ascent (Koh et al. 2026, 2604.17785), with a retain term.

    L = retain_weight * NLL(retain) + forget_weight * mean over forget tokens of w_i log p(y_i)

w_i of `palu.methods.entropy` raises the tokens at which the model is undecided: those that inform, rather than those
that grammar dictates. The paper sums w_i log p(y_i) over a reply. We take the mean over all forget tokens, as GA and
GD do: w averages to 1 in a reply, so forget_weight, the paper's lambda, is on one scale with theirs, and with w = 1
this is GD. NLL is the mean over the tokens of the replies, end tokens included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from palu.methods.base import ForgetAndRetain, Replies, ReplyPositions, ReplyStates, nll_sum
from palu.methods.entropy import weighted_log_prob_sum
from palu.settings import PositiveNumber

if TYPE_CHECKING:
    from torch import Tensor

    from palu.heads import Head


class Settings(ForgetAndRetain):
    """temperature: T of the entropies; towards infinity all weights become 1. forget_weight: lambda."""

    temperature: PositiveNumber = 1.0


def units(replies: Replies[ReplyPositions], settings: Settings) -> dict[str, int]:
    """Tokens of each term."""
    return {"forget": len(replies.forget.target_ids), "retain": len(replies.retain.target_ids)}


def loss(
    replies: Replies[ReplyStates], head: Head, settings: Settings, scale: Mapping[str, float]
) -> dict[str, Tensor]:
    """Sums over tokens of the forget replies' weighted log-probability (to be lowered) and the retain replies' NLL."""
    return {
        "forget": weighted_log_prob_sum(replies.forget, head, settings.temperature, scale["forget"]),
        "retain": nll_sum(replies.retain, head, scale["retain"]),
    }
