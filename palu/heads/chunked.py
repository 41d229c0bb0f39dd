"""The head that losses use: no (P, V) logits, neither forward nor backward."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from palu.heads import autograd, operations
from palu.heads.operations import KL, Gradient, Operation
from palu.heads.projection import Projection, Weight
from palu.heads.transform import IDENTITY, LogitTransform


class Head:
    """The head in blocks of (chunk, V): per-row results, differentiable in the states, the weight and the bias.

    weight: (V, D); bias: (V,). reference_weight, reference_bias: the frozen reference's; no gradient flows there.
    transform: what both models do to their products; `logits` means its result.
    chunk_rows: positions per block (default: see `palu.heads.projection`). adds_to_grad: where weight and bias are
    leaves that have a `grad`, `backward()` adds to it at once, which saves the (V, D) sum that autograd would make
    first; not for `torch.autograd.grad`, nor where hooks wait for the gradient.

    An operation's own `weight` is the gradient that its values will receive, one number or (P,). It changes no
    result: with it the gradients come with the values, without computing the logits anew in the backward pass.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        reference_weight: Tensor | None = None,
        reference_bias: Tensor | None = None,
        chunk_rows: int | None = None,
        adds_to_grad: bool = False,
        transform: LogitTransform = IDENTITY,
    ) -> None:
        self._projection = Projection(weight, bias, transform, chunk_rows)
        self._reference_projection = (
            None if reference_weight is None else Projection(reference_weight, reference_bias, transform, chunk_rows)
        )
        self._mean: tuple[Tensor, Tensor] | None = None
        with torch.enable_grad():
            self._token = autograd.parameters(weight, bias, self._projection, adds_to_grad)

    @property
    def vocabulary_size(self) -> int:
        """V."""
        return len(self._projection.weight)

    def log_prob(self, h: Tensor, target_ids: Tensor, weight: Weight = None) -> Tensor:
        """(P, D), (P,) -> (P,): log softmax(z)[target]."""
        return self._per_row(h, operations.log_prob, weight, target_ids)

    def log_normalizer(self, h: Tensor) -> Tensor:
        """(P, D) -> (P,): logsumexp(z)."""
        return self._per_row(h, operations.log_normalizer, None)

    def entropy(self, h: Tensor, temperature: float = 1.0) -> Tensor:
        """(P, D) -> (P,): entropy of softmax(z / temperature) in nats."""
        return self._per_row(h, partial(operations.entropy, temperature=temperature), None)

    def kl(self, h: Tensor, reference_h: Tensor, direction: str, weight: Weight = None) -> Tensor:
        """(P, D), (P, D) -> (P,): KL(p_theta || p_ref) or, for `reference_policy`, KL(p_ref || p_theta).

        Raises ValueError for another direction, or when the head was made without a reference weight.
        """
        if direction not in KL:
            raise ValueError(f"direction {direction!r}; allowed: {', '.join(KL)}")
        return self._per_row(h, self._beside_reference(KL[direction]), weight, reference_h)

    def cross_entropy_to_reference(
        self, h: Tensor, reference_h: Tensor, ids: Tensor, lowered_by: float, weight: Weight = None
    ) -> Tensor:
        """(P, D), (P, D), (P,) -> (P,): -sum q log p for q = softmax(z_ref - lowered_by one-hot(ids)).

        Raises ValueError when the head was made without a reference weight.
        """
        operation = self._beside_reference(partial(operations.cross_entropy_to_reference, lowered_by=lowered_by))
        return self._per_row(h, operation, weight, reference_h, ids)

    def cross_entropy_without(self, h: Tensor, ids: Tensor, weight: Weight = None) -> Tensor:
        """(P, D), (P,) -> (P,): -sum q log p, q being p without the token of ids, made to sum to 1, held constant."""
        return self._per_row(h, operations.cross_entropy_without, weight, ids)

    def logits_at(self, h: Tensor, ids: Tensor) -> Tensor:
        """(P, D), (P, K) -> (P, K): the chosen logits."""
        return autograd.logits_at(h, self._token, self._projection, ids)

    def max_logit(self, h: Tensor) -> Tensor:
        """(P, D) -> (P,): the largest logit."""
        return self.logits_at(h, self.argmax(h)[:, None])[:, 0]

    def mean_logit(self, h: Tensor) -> Tensor:
        """(P, D) -> (P,): mean of the logits over the vocabulary.

        scale ((mean of W's rows) . h + mean of b): D products a position. A cap is not linear, and costs all V.
        """
        if self._projection.transform.cap is not None:
            return self._per_row(h, operations.mean, None)
        if self._mean is None:
            with torch.enable_grad():
                self._mean = autograd.mean_row(self._token, self._projection)
        mean_weight, mean_bias = self._mean
        # not a matrix product: autocast would take that to bfloat16
        mean = (h.to(mean_weight.dtype) * mean_weight).sum(-1) + mean_bias
        return mean * self._projection.transform.scale

    def argmax(self, h: Tensor) -> Tensor:
        """(P, D) -> (P,) int64: the most probable token."""
        return self._projection.argmax(h)

    def reference_argmax(self, reference_h: Tensor) -> Tensor:
        """(P, D) -> (P,) int64: the token that the frozen reference finds most probable."""
        return self._reference.argmax(reference_h)

    @torch.no_grad()
    def reference_logits_at(self, reference_h: Tensor, ids: Tensor) -> Tensor:
        """(P, D), (P, K) -> (P, K): the frozen reference's chosen logits."""
        return autograd.logits_at(reference_h, self._token, self._reference, ids)

    def _per_row(self, h: Tensor, operation: Operation, weight: Weight, *rows: Tensor) -> Tensor:
        return autograd.per_row(h, self._token, self._projection, operation, weight, *rows)

    def _beside_reference(self, operation: Operation) -> Operation:
        """The operation with the reference's states in the place of its logits."""
        reference = self._reference

        def from_states(z: Tensor, reference_h: Tensor, *rows: Tensor) -> tuple[Tensor, Gradient]:
            return operation(z, reference.logits(reference_h), *rows)

        return from_states

    @property
    def _reference(self) -> Projection:
        if self._reference_projection is None:
            raise ValueError("this head was made without a reference weight")
        return self._reference_projection
