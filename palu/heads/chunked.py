"""The head that losses use: no (P, V) logits, neither forward nor backward."""

from __future__ import annotations

import torch
from torch import Tensor

from palu.heads import autograd, operations
from palu.heads.operations import KL, Gradient
from palu.heads.projection import Projection


class ChunkedHead:
    """The head in blocks of (chunk, V): per-row results, differentiable in the states, the weight and the bias.

    weight: (V, D); bias: (V,). reference_weight, reference_bias: the frozen reference's, for `kl` and
    `reference_argmax`; no gradient flows there. chunk_rows: positions per block (default: `BLOCK_BYTES` of logits).
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        reference_weight: Tensor | None = None,
        reference_bias: Tensor | None = None,
        chunk_rows: int | None = None,
    ) -> None:
        self._projection = Projection(weight, bias, chunk_rows)
        self._reference_projection = (
            None if reference_weight is None else Projection(reference_weight, reference_bias, chunk_rows)
        )
        self._mean: tuple[Tensor, Tensor] | None = None
        with torch.enable_grad():
            self._token = autograd.parameters(weight, bias, self._projection)

    @property
    def vocabulary_size(self) -> int:
        """V."""
        return len(self._projection.weight)

    def log_prob(self, h: Tensor, target_ids: Tensor) -> Tensor:
        """(P, D), (P,) -> (P,): log softmax(z)[target]."""
        return autograd.per_row(h, self._token, self._projection, operations.log_prob, target_ids)

    def log_normalizer(self, h: Tensor) -> Tensor:
        """(P, D) -> (P,): logsumexp(z)."""
        return autograd.per_row(h, self._token, self._projection, operations.log_normalizer)

    def entropy(self, h: Tensor) -> Tensor:
        """(P, D) -> (P,): entropy of softmax(z) in nats."""
        return autograd.per_row(h, self._token, self._projection, operations.entropy)

    def kl(self, h: Tensor, reference_h: Tensor, direction: str) -> Tensor:
        """(P, D), (P, D) -> (P,): KL(p_theta || p_ref) or, for `reference_policy`, KL(p_ref || p_theta).

        Raises ValueError for another direction, or when the head was made without a reference weight.
        """
        if direction not in KL:
            raise ValueError(f"direction {direction!r}; allowed: {', '.join(KL)}")
        divergence, reference = KL[direction], self._reference

        def from_states(z: Tensor, reference_h: Tensor) -> tuple[Tensor, Gradient]:
            return divergence(z, reference.logits(reference_h))

        return autograd.per_row(h, self._token, self._projection, from_states, reference_h)

    def logits_at(self, h: Tensor, ids: Tensor) -> Tensor:
        """(P, D), (P, K) -> (P, K): the chosen logits."""
        return autograd.logits_at(h, self._token, self._projection, ids)

    def max_logit(self, h: Tensor) -> Tensor:
        """(P, D) -> (P,): the largest logit."""
        return self.logits_at(h, self.argmax(h)[:, None])[:, 0]

    def mean_logit(self, h: Tensor) -> Tensor:
        """(P, D) -> (P,): mean of z over the vocabulary: (mean of W's rows) . h + mean of b, D products a position."""
        if self._mean is None:
            with torch.enable_grad():
                self._mean = autograd.mean_row(self._token, self._projection)
        mean_weight, mean_bias = self._mean
        # not a matrix product: autocast would take that to bfloat16
        return (h.to(mean_weight.dtype) * mean_weight).sum(-1) + mean_bias

    def argmax(self, h: Tensor) -> Tensor:
        """(P, D) -> (P,) int64: the most probable token."""
        return self._projection.argmax(h)

    def reference_argmax(self, reference_h: Tensor) -> Tensor:
        """(P, D) -> (P,) int64: the token that the frozen reference finds most probable."""
        return self._reference.argmax(reference_h)

    @property
    def _reference(self) -> Projection:
        if self._reference_projection is None:
            raise ValueError("this head was made without a reference weight")
        return self._reference_projection
