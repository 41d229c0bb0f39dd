"""UNDIAL: self-distillation from adjusted logits (Dong et al. 2024, 2402.10052).

    L = forget_weight * mean over the forget replies' tokens y of H(softmax(z_ref - beta * one-hot(y)), p_theta)
      + retain_weight * NLL(retain)

H(q, p) = -sum_v q log p is the cross-entropy; z_ref are the frozen reference's logits at the position that predicts
y. Means run over tokens, end tokens included.
OpenUnlearning averages the first term over all B * (T - 1) predicting positions of a padded batch, prompts and padding
too, and lowers there the logit of token V - 100, which its label -100 finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from palu.methods.base import ForgetAndRetain, Replies, ReplyPositions, ReplyStates, nll_sum
from palu.settings import NonNegativeNumber, PositiveNumber

if TYPE_CHECKING:
    from torch import Tensor

    from palu.heads import Head


class Settings(ForgetAndRetain):
    """The defaults are OpenUnlearning's. beta: by how much the logit of y is lowered."""

    beta: PositiveNumber = 10.0
    retain_weight: NonNegativeNumber = 0.0

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"states"})


def units(replies: Replies[ReplyPositions], settings: Settings) -> dict[str, int]:
    """Tokens of each term."""
    return {"forget": len(replies.forget.target_ids), "retain": len(replies.retain.target_ids)}


def loss(
    replies: Replies[ReplyStates], head: Head, settings: Settings, scale: Mapping[str, float]
) -> dict[str, Tensor]:
    """Sums over tokens of the forget replies' cross-entropy to the adjusted reference and the retain replies' NLL."""
    forget = replies.forget
    h, reference_h, ids = forget.hidden, forget.reference_hidden, forget.target_ids
    assert reference_h is not None, "the method's needs name states"
    return {
        "forget": head.cross_entropy_to_reference(h, reference_h, ids, settings.beta, scale["forget"]).sum(),
        "retain": nll_sum(replies.retain, head, scale["retain"]),
    }
