"""The oracle of the tests: the head's arithmetic as anybody would write it."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import one_hot

from palu.heads.projection import Weight, result_dtype
from palu.heads.transform import IDENTITY, LogitTransform


class DenseHead:
    """The naive program: materialise the logits, (P, V), and write the formula down. For tests only.

    The operations' own `weight` is for `Head`: here it is not needed.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        reference_weight: Tensor | None = None,
        reference_bias: Tensor | None = None,
        transform: LogitTransform = IDENTITY,
    ) -> None:
        self.weight, self.bias, self.transform = weight, bias, transform
        self.reference_weight, self.reference_bias = reference_weight, reference_bias

    @property
    def vocabulary_size(self) -> int:
        return self.weight.shape[0]

    def logits(self, h: Tensor) -> Tensor:
        dtype = result_dtype(self.weight)
        z = h.to(dtype) @ self.weight.to(dtype).T
        return self.transform(z if self.bias is None else z + self.bias)

    def log_prob(self, h: Tensor, target_ids: Tensor, weight: Weight = None) -> Tensor:  # noqa: ARG002
        return self.logits(h).log_softmax(-1).gather(-1, target_ids[:, None])[:, 0]

    def logits_at(self, h: Tensor, ids: Tensor) -> Tensor:
        return self.logits(h).gather(-1, ids.long())

    def mean_logit(self, h: Tensor) -> Tensor:
        return self.logits(h).mean(-1)

    def log_normalizer(self, h: Tensor) -> Tensor:
        return self.logits(h).logsumexp(-1)

    def entropy(self, h: Tensor, temperature: float = 1.0) -> Tensor:
        log_p = (self.logits(h) / temperature).log_softmax(-1)
        return -(log_p.exp() * log_p).sum(-1)

    def max_logit(self, h: Tensor) -> Tensor:
        return self.logits(h).max(-1).values

    def argmax(self, h: Tensor) -> Tensor:
        return self.logits(h).argmax(-1)

    def kl(self, h: Tensor, reference_h: Tensor, direction: str, weight: Weight = None) -> Tensor:  # noqa: ARG002
        log_p, log_q = self.logits(h).log_softmax(-1), self._reference(reference_h).log_softmax(-1)
        if direction == "reference_policy":
            log_p, log_q = log_q, log_p
        return (log_p.exp() * (log_p - log_q)).sum(-1)

    def cross_entropy_to_reference(
        self,
        h: Tensor,
        reference_h: Tensor,
        ids: Tensor,
        lowered_by: float,
        weight: Weight = None,  # noqa: ARG002
    ) -> Tensor:
        reference_z = self._reference(reference_h)
        q = (reference_z - lowered_by * one_hot(ids, self.vocabulary_size)).softmax(-1)
        return -(q * self.logits(h).log_softmax(-1)).sum(-1)

    def cross_entropy_without(self, h: Tensor, ids: Tensor, weight: Weight = None) -> Tensor:  # noqa: ARG002
        z = self.logits(h)
        q = z.detach().masked_fill(one_hot(ids, self.vocabulary_size).bool(), -math.inf).softmax(-1)
        return -(q * z.log_softmax(-1)).sum(-1)

    def reference_logits_at(self, reference_h: Tensor, ids: Tensor) -> Tensor:
        return self._reference(reference_h).gather(-1, ids)

    def reference_argmax(self, reference_h: Tensor) -> Tensor:
        return self._reference(reference_h).argmax(-1)

    def _reference(self, reference_h: Tensor) -> Tensor:
        assert self.reference_weight is not None
        reference = DenseHead(self.reference_weight, self.reference_bias, transform=self.transform)
        return reference.logits(reference_h).detach()
