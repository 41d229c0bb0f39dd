"""PDU: primal-dual unlearning (Entesari et al. 2025, 2506.05314, and its code in OpenUnlearning).

    minimise L_forget such that NLL(retain) <= epsilon
    L = forget_weight * L_forget + lambda * NLL(retain)
    L_forget = mean over the forget replies' tokens of (max_v z - mean_v z)^2
    lambda <- max(0, lambda + eta * (NLL(retain) - epsilon)) after each optimiser step, once warm-up is over

z are the logits of the position that predicts the token, end tokens included; NLL is the mean over tokens. A flat z
is a uniform distribution, reached without a softmax. lambda is the dual variable of the constraint. Its part
lambda * -epsilon of the Lagrangian has no gradient and stands in no loss of ours.

Where we leave the peer's code: it takes the logits at the reply tokens' own places, which predict the tokens after
them, and so leaves out the one that predicts the first; and it moves lambda with every micro-batch.
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
    """The defaults are the authors' for TOFU.

    retain_weight: lambda at the start. retain_limit: epsilon, somewhat above the NLL of the retain replies before
    unlearning. dual_step_size: eta. dual_warmup_epochs: how long lambda stays as it is: the first step after so many
    epochs is the first to move it.
    """

    retain_weight: NonNegativeNumber = 100.0
    retain_limit: NonNegativeNumber = 0.3
    dual_step_size: NonNegativeNumber = 5.0
    dual_warmup_epochs: NonNegativeNumber = 5.0

    def next_weights(self, weights: Mapping[str, float], means: Mapping[str, float], epoch: float) -> dict[str, float]:
        """lambda moved by this step's violation of the constraint, unless it warms up or saw no retain token."""
        if epoch <= self.dual_warmup_epochs or "retain" not in means:
            return dict(weights)
        violation = means["retain"] - self.retain_limit
        return {**weights, "retain": max(0.0, weights["retain"] + self.dual_step_size * violation)}


def units(replies: Replies[ReplyPositions], settings: Settings) -> dict[str, int]:
    """Tokens of each term."""
    return {"forget": len(replies.forget.target_ids), "retain": len(replies.retain.target_ids)}


def loss(
    replies: Replies[ReplyStates], head: Head, settings: Settings, scale: Mapping[str, float]
) -> dict[str, Tensor]:
    """Sums over tokens of the forget replies' squared margin and the retain replies' NLL."""
    h = replies.forget.hidden
    return {
        "forget": (head.max_logit(h) - head.mean_logit(h)).square().sum(),
        "retain": nll_sum(replies.retain, head, scale["retain"]),
    }
