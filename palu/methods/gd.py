"""GradDiff: gradient ascent on the forget replies, and a term that holds the retain replies (Liu et al. 2022,
2203.12817; TOFU, 2401.06121, section 3).

    L = -forget_weight * NLL(forget) + retain_weight * L_retain
    L_retain = NLL(retain), or mean over retain tokens of KL(p_ref(.|t) || p_theta(.|t))

NLL is the mean over the tokens of the replies, end tokens included. The second form is TOFU's KL minimization, which
OpenUnlearning takes at every position of its padded retain batch, prompt and padding too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from palu.methods.base import ForgetAndRetain, Replies, ReplyPositions, ReplyStates, nll_sum

if TYPE_CHECKING:
    from torch import Tensor

    from palu.heads import Head


class Settings(ForgetAndRetain):
    """retain_loss: which L_retain. forget_weight, retain_weight: OpenUnlearning's gamma and alpha."""

    retain_loss: Literal["nll", "kl"] = "nll"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"retain_states"} if self.retain_loss == "kl" else ())


def units(replies: Replies[ReplyPositions], settings: Settings) -> dict[str, int]:
    """Tokens of each term."""
    return {"forget": len(replies.forget.target_ids), "retain": len(replies.retain.target_ids)}


def loss(
    replies: Replies[ReplyStates], head: Head, settings: Settings, scale: Mapping[str, float]
) -> dict[str, Tensor]:
    """Sums over tokens of the forget replies' log-probability (to be lowered) and of L_retain."""
    retain = replies.retain
    terms = {"forget": -nll_sum(replies.forget, head, -scale["forget"])}
    if settings.retain_loss == "kl":
        assert retain.reference_hidden is not None, "the method's needs name retain_states"
        kl = head.kl(retain.hidden, retain.reference_hidden, "reference_policy", scale["retain"])
        return {**terms, "retain": kl.sum()}
    return {**terms, "retain": nll_sum(retain, head, scale["retain"])}
