"""What is asked of the logits: the value per row of each operation, and its gradient, on one block of logits.

An operation takes z (c, V) and the same rows of its other arguments; it returns its values (c,) and a function that
computes d value / d z (c, V). It may overwrite z. To save memory its function is called once at most: that may
overwrite what the values were computed from, and the caller may overwrite what it returns.
p = softmax(z), q = another distribution; everything in z's dtype, float32 or float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Gradient = Callable[[], Tensor]
Operation = Callable[..., tuple[Tensor, Gradient]]


def log_prob(z: Tensor, target_ids: Tensor) -> tuple[Tensor, Gradient]:
    """log p[target]; gradient: one-hot(target) - p."""
    target = target_ids[:, None]
    log_p = z.log_softmax(-1)
    value = log_p.gather(-1, target)[:, 0]
    return value, lambda: log_p.exp_().neg_().scatter_add_(-1, target, torch.ones_like(value)[:, None])


def log_normalizer(z: Tensor) -> tuple[Tensor, Gradient]:
    """logsumexp(z); gradient: p."""
    value = z.logsumexp(-1)
    return value, lambda: z.softmax(-1)


def mean(z: Tensor) -> tuple[Tensor, Gradient]:
    """sum z / V; gradient: 1 / V."""
    value = z.mean(-1)
    return value, lambda: z.fill_(1 / z.shape[-1])


def entropy(z: Tensor, temperature: float = 1.0) -> tuple[Tensor, Gradient]:
    """H = -sum p log p of p = softmax(z / T); gradient: -p (log p + H) / T."""
    log_p = (z if temperature == 1 else z.div_(temperature)).log_softmax(-1)
    p = log_p.exp()
    value = -(p * log_p).sum(-1)
    return value, lambda: log_p.add_(value[:, None]).mul_(p).div_(-temperature)


def kl_policy_reference(z: Tensor, reference_z: Tensor) -> tuple[Tensor, Gradient]:
    """KL = sum p (log p - log q); gradient: p (log p - log q - KL)."""
    log_ratio = reference_z.log_softmax(-1)
    del reference_z
    log_p = z.log_softmax(-1)
    torch.sub(log_p, log_ratio, out=log_ratio)
    p = log_p.exp_()
    # an einsum adds the products up without writing them down
    value = torch.einsum("cv,cv->c", p, log_ratio)
    return value, lambda: log_ratio.sub_(value[:, None]).mul_(p)


def kl_reference_policy(z: Tensor, reference_z: Tensor) -> tuple[Tensor, Gradient]:
    """KL = sum q (log q - log p); gradient: p - q."""
    log_q = reference_z.log_softmax(-1)
    del reference_z
    log_p = z.log_softmax(-1)
    q = log_q.exp()
    value = torch.einsum("cv,cv->c", q, log_q.sub_(log_p))
    return value, lambda: log_p.exp_().sub_(q)


def cross_entropy_to_reference(
    z: Tensor, reference_z: Tensor, ids: Tensor, lowered_by: float
) -> tuple[Tensor, Gradient]:
    """-sum q log p for q = softmax(reference_z with `lowered_by` taken from the logit of ids); gradient: p - q."""
    lowering = torch.full_like(reference_z[:, :1], -lowered_by)
    q = reference_z.scatter_add_(-1, ids[:, None], lowering).softmax(-1)
    del reference_z
    return _cross_entropy(z, q)


def cross_entropy_without(z: Tensor, ids: Tensor) -> tuple[Tensor, Gradient]:
    """-sum q log p for q = p without the token of ids, held constant; gradient: p - q."""
    q = z.scatter(-1, ids[:, None], -math.inf).softmax(-1)
    return _cross_entropy(z, q)


def _cross_entropy(z: Tensor, q: Tensor) -> tuple[Tensor, Gradient]:
    log_p = z.log_softmax(-1)
    value = -torch.einsum("cv,cv->c", q, log_p)
    return value, lambda: log_p.exp_().sub_(q)


KL = {"policy_reference": kl_policy_reference, "reference_policy": kl_reference_policy}
