"""UNDIAL: self-distillation from adjusted logits (Dong et al. 2024, 2402.10052).

    L = forget_weight * mean over the forget replies' tokens y of H(softmax(z_ref - beta * one-hot(y)), p_theta)
      + retain_weight * NLL(retain)

H(q, p) = -sum_v q log p is the cross-entropy; z_ref are the frozen reference's logits at the position that predicts
y. Means run over tokens, end tokens included.

`peer`: OpenUnlearning averages the first term over all B * (T - 1) predicting positions of a padded batch, prompts and
padding too. Where its label is -100 it lowers the logit that this index finds, that of token V - 100.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from palu.methods.base import ForgetAndRetain, Head, Replies, ReplyPositions, ReplyStates, in_reply, nll_sum
from palu.settings import NonNegativeNumber, PositiveNumber

if TYPE_CHECKING:
    from torch import Tensor

# the peer's label of a token that is not to be predicted, which it uses as an index
_NO_LABEL = -100


class Settings(ForgetAndRetain):
    """The defaults are OpenUnlearning's.

    beta: by how much the logit of y is lowered. peer: see above, for parity only.
    """

    beta: PositiveNumber = 10.0
    retain_weight: NonNegativeNumber = 0.0
    peer: bool = False

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"states"})

    @property
    def for_parity_only(self) -> bool:
        return self.peer


def units(replies: Replies[ReplyPositions], settings: Settings) -> dict[str, int]:
    """Tokens of each term; with `peer` the forget term's are every line's tokens but the first."""
    if settings.peer:
        return {"forget": int(has_next(replies.forget).sum()), "retain": int(in_reply(replies.retain).sum())}
    return {"forget": len(replies.forget.target_ids), "retain": len(replies.retain.target_ids)}


def loss(
    replies: Replies[ReplyStates], head: Head, settings: Settings, scale: Mapping[str, float]
) -> dict[str, Tensor]:
    """Sums over tokens of the forget replies' cross-entropy to the adjusted reference and the retain replies' NLL."""
    forget, retain = replies.forget, replies.retain
    h, reference_h, ids = forget.hidden, forget.reference_hidden, forget.target_ids
    assert reference_h is not None, "the method's needs name states"
    if settings.peer:
        chosen = has_next(forget)
        ids = ids.where(in_reply(forget), head.vocabulary_size + _NO_LABEL)
        h, reference_h, ids = h[chosen], reference_h[chosen], ids[chosen]
        labelled = in_reply(retain)
        retain = replace(retain, hidden=retain.hidden[labelled], target_ids=retain.target_ids[labelled])
    return {
        "forget": head.cross_entropy_to_reference(h, reference_h, ids, settings.beta, scale["forget"]).sum(),
        "retain": nll_sum(retain, head, scale["retain"]),
    }


def has_next(replies: ReplyPositions) -> Tensor:
    """(P,) bool, of all positions of padded lines: the position is not the last of its line."""
    return replies.row.diff(append=replies.row[-1:] + 1) == 0
