"""SimNPO: NPO without a reference, on replies' mean token probability (Fan et al. 2024, 2410.07163), with a retain
term.

    L = forget_weight * L_forget + retain_weight * NLL(retain)
    L_forget = mean over rows of -(2 / beta) log sigma(beta * (NLL(y) - delta))

NLL(y) is the mean over the tokens of one forget reply y, its end token included; NLL(retain) is the mean over the
tokens of all retain replies. The paper writes log sigma(-(beta / |y|) log p(y) - gamma); like its authors' code and
OpenUnlearning's, we take the margin in nats per token, delta = gamma / beta.
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
    """The defaults are the authors' for TOFU forget10, and OpenUnlearning's.

    beta: the inverse temperature. delta: the mean token NLL, in nats, around which a row counts as forgotten.
    """

    beta: PositiveNumber = 4.5
    delta: NonNegativeNumber = 0.0
    forget_weight: NonNegativeNumber = 0.125


def units(replies: Replies[ReplyPositions], settings: Settings) -> dict[str, int]:
    """Rows of the forget term, tokens of the retain term."""
    return {"forget": replies.forget.row_count, "retain": len(replies.retain.target_ids)}


def loss(
    replies: Replies[ReplyStates], head: Head, settings: Settings, scale: Mapping[str, float]
) -> dict[str, Tensor]:
    """The forget term's sum over rows, and the sum over tokens of the retain replies' NLL."""
    from torch.nn.functional import logsigmoid

    forget = replies.forget
    log_prob = head.log_prob(forget.hidden, forget.target_ids)
    row_log_prob = log_prob.new_zeros(forget.row_count).index_add(0, forget.row, log_prob)
    row_nll = -row_log_prob / forget.row.bincount(minlength=forget.row_count)
    return {
        "forget": -(2 / settings.beta) * logsigmoid(settings.beta * (row_nll - settings.delta)).sum(),
        "retain": nll_sum(replies.retain, head, scale["retain"]),
    }
