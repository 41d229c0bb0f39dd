"""TPO: targeted preference optimisation (Zhou et al. 2025, 2506.03142, and its authors' code).

    L = forget_weight * L_forget + common_weight * L_common + retain_weight * NLL(retain)
    L_forget = mean over rows of -(2 / beta) log sigma(beta * d)
    d = mean over a row's unwanted tokens y of (z_ref[y] - z_theta[y])
    L_common = mean over rows of the summed NLL of a row's common tokens

z[y] is the raw logit of the token y at the position that predicts it; unwanted are the sensitive tokens of a forget
reply, common its other tokens and its end tokens. NLL(retain) is the mean over tokens. A row without an unwanted token
has no d: it is no unit of L_forget (the authors' code divides 0 by 0 there).
The authors' code puts the mean of d over the rows of a batch inside one sigma, which depends on how a step is cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from palu.methods.base import MethodSettings, Replies, ReplyPositions, ReplyStates, nll_sum
from palu.roles import COMMON, END, SENSITIVE
from palu.settings import NonNegativeNumber, PositiveNumber

if TYPE_CHECKING:
    from torch import Tensor

    from palu.heads import Head


class Settings(MethodSettings):
    """The defaults are those of the authors' code for TOFU forget01 and forget05; forget10: beta 0.23.

    beta: the inverse temperature; towards 0 the forget term becomes descent of the unwanted logits. retain_weight: the
    authors' plain TPO has no retain term, their variant with one weighs it 1.
    """

    localized: ClassVar[bool] = True

    beta: PositiveNumber = 0.32
    forget_weight: NonNegativeNumber = 1.0
    common_weight: NonNegativeNumber = 1.0
    retain_weight: NonNegativeNumber = 0.0

    @property
    def weights(self) -> dict[str, float]:
        return {"forget": self.forget_weight, "common": self.common_weight, "retain": self.retain_weight}

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"states"})


def units(replies: Replies[ReplyPositions], settings: Settings) -> dict[str, int]:
    """Rows of the forget and common terms, tokens of the retain term."""
    return {
        "forget": int((unwanted_count(replies.forget) > 0).sum()),
        "common": replies.forget.row_count,
        "retain": len(replies.retain.target_ids),
    }


def loss(
    replies: Replies[ReplyStates], head: Head, settings: Settings, scale: Mapping[str, float]
) -> dict[str, Tensor]:
    """The forget and common terms' sums over rows, and the sum over tokens of the retain replies' NLL."""
    from torch.nn.functional import logsigmoid

    drop = logit_drop(replies.forget, head)
    return {
        "forget": -(2 / settings.beta) * logsigmoid(settings.beta * drop).sum(),
        "common": common_nll_sum(replies.forget, head, scale["common"]),
        "retain": nll_sum(replies.retain, head, scale["retain"]),
    }


def logit_drop(forget: ReplyStates, head: Head) -> Tensor:
    """d of each row that has an unwanted token, in order, (U,)."""
    assert forget.reference_hidden is not None, "the method's needs name states"
    unwanted = forget.role == SENSITIVE
    ids = forget.target_ids[unwanted, None]
    z = head.logits_at(forget.hidden[unwanted], ids)
    token_drop = (head.reference_logits_at(forget.reference_hidden[unwanted], ids) - z)[:, 0]
    drop = token_drop.new_zeros(forget.row_count).index_add(0, forget.row[unwanted], token_drop)
    count = unwanted_count(forget)
    return drop[count > 0] / count[count > 0]


def unwanted_count(forget: ReplyPositions) -> Tensor:
    """How many unwanted tokens each row has, (R,)."""
    return forget.row[forget.role == SENSITIVE].bincount(minlength=forget.row_count)


def common_nll_sum(forget: ReplyStates, head: Head, scale: float) -> Tensor:
    """The NLL summed over the forget replies' common tokens; the loss takes it `scale` times."""
    common = (forget.role == COMMON) | (forget.role == END)
    return -head.log_prob(forget.hidden[common], forget.target_ids[common], -scale).sum()
