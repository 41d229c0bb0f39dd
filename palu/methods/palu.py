"""PALU: prefix-aware localized unlearning (paper 2601.03190, section 3, and its authors' code).

    L = gamma * mean over I_init of L_local + common_weight * mean over common of L_common + retain_weight * L_retain

    L_local(t)  = (1/K) sum over k in topK_ref(t) of (z_t[k] - c_t)^2
    L_common(t) = KL(p_theta(.|t) || p_ref(.|t))
    L_retain    = mean negative log-likelihood of the retain replies' tokens

I_init holds the first N tokens of every run of sensitive reply tokens: once they are flat, the rest of the fact is
not reached. Common are the reply tokens outside every run, and the end token. Sensitive tokens past N get no loss.
c_t is the mean of the current z_t over the whole vocabulary, with gradient. Paper and code differ in the direction of
the KL; the default is the code's. The paper's alpha weighs both L_common and L_retain: here each has a weight, and
`alpha` sets both.

With `entropy_weighting`, which is not in the paper, each L_local(t) is multiplied by its weight of
`palu.methods.entropy`, the n weighted tokens of a reply being those whose positions are in I_init.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from palu.methods.base import Replies, ReplyPositions, ReplyStates, nll_sum
from palu.methods.entropy import EntropyWeighting, token_weights
from palu.roles import COMMON, END, SENSITIVE
from palu.settings import NonNegativeNumber, PositiveCount

if TYPE_CHECKING:
    from torch import Tensor

    from palu.heads import Head


class Settings(EntropyWeighting):
    """The switches of PALU; the defaults are the authors' code.

    first_n: N, null = the whole run. top_k: K, clipped to the vocabulary. target: what the K logits are drawn to:
    the mean of all logits, the mean of these K, the logit that a uniform distribution of the same normalizer has, or
    0. detach_target: whether c_t is held constant. kl_direction: policy_reference = KL(p_theta || p_ref).
    common_constraint: what holds the common tokens; nll = cross-entropy to the reference's most probable token.
    local_weight: gamma. alpha: common_weight and retain_weight at once; a run is named by these two, whichever way
    they were given.
    """

    localized: ClassVar[bool] = True

    alpha: NonNegativeNumber | None = Field(default=None, exclude=True)
    first_n: PositiveCount | None = 3
    top_k: PositiveCount = 5000
    target: Literal["global_mean", "topk_mean", "uniform", "zero"] = "global_mean"
    detach_target: bool = False
    kl_direction: Literal["policy_reference", "reference_policy"] = "policy_reference"
    common_constraint: Literal["kl", "nll", "none"] = "kl"
    local_weight: NonNegativeNumber = 1.0
    common_weight: NonNegativeNumber = 1.0
    retain_weight: NonNegativeNumber = 1.0

    @model_validator(mode="before")
    @classmethod
    def _alpha_sets_both(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("alpha") is None:
            return values
        own = [key for key in ("common_weight", "retain_weight") if key in values]
        if own:
            raise ValueError(f"has both alpha and {own[0]}; allowed: alpha alone, or common_weight and retain_weight")
        return {**values, "common_weight": values["alpha"], "retain_weight": values["alpha"]}

    @property
    def weights(self) -> dict[str, float]:
        common = {} if self.common_constraint == "none" else {"common": self.common_weight}
        return {"local": self.local_weight, **common, "retain": self.retain_weight}

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"top_k"} if self.common_constraint == "none" else {"top_k", "states"})


def units(replies: Replies[ReplyPositions], settings: Settings) -> dict[str, int]:
    """Tokens of each term."""
    counts = {
        "local": int(initiating(replies.forget, settings.first_n).sum()),
        "common": int(common(replies.forget).sum()),
        "retain": len(replies.retain.target_ids),
    }
    return {term: counts[term] for term in settings.weights}


def loss(
    replies: Replies[ReplyStates], head: Head, settings: Settings, scale: Mapping[str, float]
) -> dict[str, Tensor]:
    """Sums over tokens of L_local, L_common (unless the constraint is `none`) and the retain replies' NLL."""
    terms = {"local": local_loss(replies.forget, head, settings).sum()}
    if settings.common_constraint != "none":
        terms["common"] = common_loss(replies.forget, head, settings, scale["common"]).sum()
    terms["retain"] = nll_sum(replies.retain, head, scale["retain"])
    return terms


def initiating(replies: ReplyPositions, first_n: int | None) -> Tensor:
    """(P,) bool: the position predicts one of the first N tokens of a run of sensitive tokens."""
    sensitive = (replies.role == SENSITIVE) & (replies.span_offset >= 0)
    return sensitive if first_n is None else sensitive & (replies.span_offset < first_n)


def common(replies: ReplyPositions) -> Tensor:
    """(P,) bool: the position predicts a reply token outside every run, or the end token."""
    return (replies.role == COMMON) | (replies.role == END)


def local_loss(forget: ReplyStates, head: Head, settings: Settings) -> Tensor:
    """L_local of each initiating position, weighted where the settings say so, (I,)."""
    assert forget.reference_top_k is not None, "the method's needs name top_k"
    chosen = initiating(forget, settings.first_n)
    h = forget.hidden[chosen]
    ids = forget.reference_top_k[:, : settings.top_k]
    z = head.logits_at(h, ids)
    target = target_logit(h, z, head, settings.target)
    if settings.detach_target:
        target = target.detach()
    distance = (z - target[:, None]).square().mean(-1)
    if settings.entropy_weighting:
        row, temperature = forget.row[chosen], settings.entropy_temperature
        distance = distance * token_weights(head, h, row, forget.row_count, temperature)
    return distance


def target_logit(h: Tensor, z: Tensor, head: Head, target: str) -> Tensor:
    """c_t of each position, (I,), from its state h (I, D) and its K logits z (I, K)."""
    if target == "global_mean":
        return head.mean_logit(h)
    if target == "topk_mean":
        return z.mean(-1)
    if target == "uniform":
        return head.log_normalizer(h) - math.log(head.vocabulary_size)
    return z.new_zeros(len(z))


def common_loss(forget: ReplyStates, head: Head, settings: Settings, scale: float) -> Tensor:
    """L_common of each common position, (C,); the loss takes each `scale` times."""
    assert forget.reference_hidden is not None, "the method's needs name states"
    chosen = common(forget)
    h, reference_h = forget.hidden[chosen], forget.reference_hidden[chosen]
    if settings.common_constraint == "kl":
        return head.kl(h, reference_h, settings.kl_direction, scale)
    return -head.log_prob(h, head.reference_argmax(reference_h), -scale)
