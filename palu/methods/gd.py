"""GradDiff: gradient ascent on the forget replies, and a term that holds the retain replies (Liu et al. 2022,
2203.12817; TOFU, 2401.06121, section 3).

    L = -forget_weight * NLL(forget) + retain_weight * L_retain
    L_retain = NLL(retain), or mean over retain tokens of KL(p_ref(.|t) || p_theta(.|t))

NLL is the mean over the tokens of the replies, end tokens included. The second form is TOFU's KL minimization.
OpenUnlearning's code takes that KL at every position of its padded retain batch, prompt and padding too, and divides
by their number: `peer` does the same, to reproduce its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from palu.methods.base import ForgetAndRetain, Head, Replies, ReplyPositions, ReplyStates, in_reply, nll_sum

if TYPE_CHECKING:
    from torch import Tensor


class Settings(ForgetAndRetain):
    """retain_loss: which L_retain. peer: the positions of the KL are the peer's; `nll` is the same with and without.

    forget_weight, retain_weight: the peer's gamma and alpha.
    """

    retain_loss: Literal["nll", "kl"] = "nll"
    peer: bool = False

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"retain_states"} if self.retain_loss == "kl" else ())

    @property
    def for_parity_only(self) -> bool:
        return self.peer


def units(replies: Replies[ReplyPositions], settings: Settings) -> dict[str, int]:
    """Tokens of each term; with `peer`, the KL's are all positions of the retain rows."""
    retain = replies.retain
    return {
        "forget": int(in_reply(replies.forget).sum()),
        "retain": len(retain.target_ids) if settings.retain_loss == "kl" else int(in_reply(retain).sum()),
    }


def loss(
    replies: Replies[ReplyStates], head: Head, settings: Settings, scale: Mapping[str, float]
) -> dict[str, Tensor]:
    """Sums over tokens of the forget replies' log-probability (to be lowered) and of L_retain."""
    forget, retain = replies.forget, replies.retain
    if settings.peer:
        forget = reply_tokens(forget)
    terms = {"forget": -nll_sum(forget, head, -scale["forget"])}
    if settings.retain_loss == "kl":
        assert retain.reference_hidden is not None, "the method's needs name retain_states"
        kl = head.kl(retain.hidden, retain.reference_hidden, "reference_policy", scale["retain"])
        return {**terms, "retain": kl.sum()}
    if settings.peer:
        retain = reply_tokens(retain)
    return {**terms, "retain": nll_sum(retain, head, scale["retain"])}


def reply_tokens(states: ReplyStates) -> ReplyStates:
    """The positions `in_reply`, with the current model's states alone."""
    chosen = in_reply(states)
    return ReplyStates(
        target_ids=states.target_ids[chosen],
        role=states.role[chosen],
        span_offset=states.span_offset[chosen],
        row=states.row[chosen],
        row_count=states.row_count,
        hidden=states.hidden[chosen],
    )
