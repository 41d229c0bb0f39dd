"""DPO with refusals, or IdkDPO: prefer a refusal to the reply that is to be forgotten (the loss: Rafailov et al. 2023,
2305.18290, equation 7; refusals to unlearn: TOFU, 2401.06121), with a retain term.

    L = forget_weight * L_forget + retain_weight * NLL(retain)
    L_forget = mean over rows of -(2 / beta) log sigma(beta * (r(y_alternate) - r(y_forget)))
    r(y) = log p_theta(y) - log p_ref(y)

log p(y) is the sum over all tokens of a reply y, its end token included; NLL is the mean over tokens. y_alternate is
another reply to the same prompt. Neither the equation nor TOFU's code has the factor 2 / beta, and TOFU's code has no
retain term: both are OpenUnlearning's, whose numbers we reproduce. The factor gives the term the scale of NPO's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from palu.methods.base import ForgetAndRetain, Replies, ReplyPositions, ReplyStates, nll_sum
from palu.settings import PositiveNumber

if TYPE_CHECKING:
    from torch import Tensor

    from palu.heads import Head


class Settings(ForgetAndRetain):
    """beta: how strongly the reference holds the model; the larger, the earlier a row counts as done."""

    beta: PositiveNumber = 0.1

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"log_probs", "alternates"})


def units(replies: Replies[ReplyPositions], settings: Settings) -> dict[str, int]:
    """Rows of the forget term, tokens of the retain term."""
    return {"forget": replies.forget.row_count, "retain": len(replies.retain.target_ids)}


def loss(
    replies: Replies[ReplyStates], head: Head, settings: Settings, scale: Mapping[str, float]
) -> dict[str, Tensor]:
    """The forget term's sum over rows, and the sum over tokens of the retain replies' NLL."""
    from torch.nn.functional import logsigmoid

    assert replies.alternate.row_count == replies.forget.row_count, "alternate row i answers forget row i's prompt"
    margin = row_log_ratio(replies.alternate, head) - row_log_ratio(replies.forget, head)
    return {
        "forget": -(2 / settings.beta) * logsigmoid(settings.beta * margin).sum(),
        "retain": nll_sum(replies.retain, head, scale["retain"]),
    }


def row_log_ratio(states: ReplyStates, head: Head) -> Tensor:
    """r of each reply, (R,)."""
    assert states.reference_log_prob is not None, "the method's needs name log_probs and alternates"
    log_ratio = head.log_prob(states.hidden, states.target_ids) - states.reference_log_prob
    return log_ratio.new_zeros(states.row_count).index_add(0, states.row, log_ratio)
