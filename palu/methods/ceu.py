"""CE-U: cross-entropy unlearning (Yang 2025, 2503.01224).

    L = forget_weight * mean over forget tokens y of H(softmax(z with z_y = -inf), softmax(z))
      + retain_weight * NLL(retain)

H(q, p) = -sum_v q log p is the cross-entropy; its target q, the current distribution without y, is held constant.
Forget tokens are those of the forget replies, end tokens included, but the first `ignore_first_n` of each reply. NLL
is the mean over tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from palu.methods.base import ForgetAndRetain, Replies, ReplyPositions, ReplyStates, nll_sum
from palu.settings import Count, NonNegativeNumber

if TYPE_CHECKING:
    from torch import Tensor

    from palu.heads import Head


class Settings(ForgetAndRetain):
    """The defaults are OpenUnlearning's, which uses no retain set.

    ignore_first_n: how many tokens at the start of each forget reply get no loss.
    """

    ignore_first_n: Count = 1
    retain_weight: NonNegativeNumber = 0.0


def units(replies: Replies[ReplyPositions], settings: Settings) -> dict[str, int]:
    """Tokens of each term."""
    forgotten = after_first(replies.forget, settings.ignore_first_n)
    return {"forget": int(forgotten.sum()), "retain": len(replies.retain.target_ids)}


def loss(
    replies: Replies[ReplyStates], head: Head, settings: Settings, scale: Mapping[str, float]
) -> dict[str, Tensor]:
    """Sums over tokens of the forget replies' cross-entropy and the retain replies' NLL."""
    forget = replies.forget
    chosen = after_first(forget, settings.ignore_first_n)
    h, ids = forget.hidden[chosen], forget.target_ids[chosen]
    return {
        "forget": head.cross_entropy_without(h, ids, scale["forget"]).sum(),
        "retain": nll_sum(replies.retain, head, scale["retain"]),
    }


def after_first(replies: ReplyPositions, first_n: int) -> Tensor:
    """(P,) bool: the position predicts a token of its reply after the first N."""
    import torch

    row = replies.row.contiguous()
    place = torch.arange(len(row), device=row.device) - torch.searchsorted(row, row)
    return place >= first_n
