"""What every unlearning method is given and what it must offer. No tensor library is loaded by importing this."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from palu.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ReplyPositions:
    """The predicting positions of some replies, flattened over sequences: P positions of R sequences.

    target_ids: (P,) int64, the token that each position predicts.
    role: (P,) int8, that token's role: COMMON, SENSITIVE or END of `palu.roles`.
    span_offset: (P,) int16, 0, 1, 2... inside a run of sensitive tokens, -1 outside.
    row: (P,) int64, which sequence, 0..R-1, in order.
    row_count: R.
    """

    target_ids: Tensor
    role: Tensor
    span_offset: Tensor
    row: Tensor
    row_count: int


@dataclass(frozen=True)
class ReplyStates(ReplyPositions):
    """ReplyPositions with the states at them; what is None was not asked for by the method's `needs`.

    hidden: (P, D), the current model's last hidden state, with gradient.
    reference_hidden: (P, D), the frozen reference's.
    reference_log_prob: (P,) float32, the reference's log-probability of target_ids.
    reference_top_k: (S, K) int64, the reference's K best tokens, best first, at the S positions with role SENSITIVE.
    """

    hidden: Tensor
    reference_hidden: Tensor | None = None
    reference_log_prob: Tensor | None = None
    reference_top_k: Tensor | None = None


class Head(Protocol):
    """The arithmetic of a language-model head at P positions: float32 results, differentiable in h and the weight."""

    @property
    def vocabulary_size(self) -> int: ...
    def log_prob(self, h: Tensor, target_ids: Tensor) -> Tensor:
        """(P, D), (P,) -> (P,): log softmax(z)[target]."""

    def logits_at(self, h: Tensor, ids: Tensor) -> Tensor:
        """(P, D), (P, K) -> (P, K): the chosen logits."""

    def mean_logit(self, h: Tensor) -> Tensor:
        """(P, D) -> (P,): the mean of z over the whole vocabulary."""

    def log_normalizer(self, h: Tensor) -> Tensor:
        """(P, D) -> (P,): logsumexp(z)."""

    def entropy(self, h: Tensor) -> Tensor:
        """(P, D) -> (P,): entropy of softmax(z) in nats."""

    def max_logit(self, h: Tensor) -> Tensor:
        """(P, D) -> (P,): the largest logit."""

    def kl(self, h: Tensor, reference_h: Tensor, direction: str) -> Tensor:
        """(P, D), (P, D) -> (P,): KL(p_theta || p_ref) for `policy_reference`, KL(p_ref || p_theta) for
        `reference_policy`; the reference's distribution comes from the frozen copy of the head."""

    def reference_argmax(self, reference_h: Tensor) -> Tensor:
        """(P, D) -> (P,) int64: the token that the frozen reference finds most probable."""


class MethodSettings(Settings):
    """Settings of one method. A subclass adds its own fields and states what the method reads and weighs.

    localized: whether the loss tells sensitive tokens from others, so that a tagger must name them.
    """

    localized: ClassVar[bool] = False

    @property
    @abstractmethod
    def weights(self) -> dict[str, float]:
        """The weight of each loss term: loss = sum over terms of weight * (total of the term / its unit count)."""

    @property
    def needs(self) -> frozenset[str]:
        """The cached facts of the reference that the method reads: any of `states`, `log_probs`, `top_k`."""
        return frozenset()


class Method(Protocol):
    """The surface of a module in `palu.methods`."""

    Settings: type[MethodSettings]

    def units(self, forget: ReplyPositions, retain: ReplyPositions, settings: MethodSettings) -> dict[str, int]:
        """How many tokens or rows each term sums over. The training loop adds them up over a whole optimiser step,
        so that a mean does not depend on how the step is cut into micro-batches."""

    def loss(
        self, forget: ReplyStates, retain: ReplyStates, head: Head, settings: MethodSettings
    ) -> dict[str, Tensor]:
        """Each term's sum over its units, float32 scalars with gradient."""
