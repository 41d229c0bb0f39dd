"""What is asked of the logits: the value per row of each operation, and its gradient, on one block of logits.

An operation takes z (c, V) and the same rows of its other arguments; it returns its values (c,) and a function that
computes d value / d z (c, V). To save memory that function is called once at most: it may overwrite what the values
were computed from, and the caller may overwrite what it returns.
p = softmax(z), q = softmax(reference_z); everything in z's dtype, float32 or float64.
"""

from __future__ import annotations

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


def entropy(z: Tensor) -> tuple[Tensor, Gradient]:
    """H = -sum p log p; gradient: -p (log p + H)."""
    log_p = z.log_softmax(-1)
    p = log_p.exp()
    value = -(p * log_p).sum(-1)
    return value, lambda: log_p.add_(value[:, None]).mul_(p).neg_()


def kl_policy_reference(z: Tensor, reference_z: Tensor) -> tuple[Tensor, Gradient]:
    """KL = sum p (log p - log q); gradient: p (log p - log q - KL)."""
    log_p, log_q = z.log_softmax(-1), reference_z.log_softmax(-1)
    log_ratio = log_q.neg_().add_(log_p)
    p = log_p.exp_()
    value = (p * log_ratio).sum(-1)
    return value, lambda: log_ratio.sub_(value[:, None]).mul_(p)


def kl_reference_policy(z: Tensor, reference_z: Tensor) -> tuple[Tensor, Gradient]:
    """KL = sum q (log q - log p); gradient: p - q."""
    log_p, log_q = z.log_softmax(-1), reference_z.log_softmax(-1)
    q = log_q.exp()
    value = (q * log_q.sub_(log_p)).sum(-1)
    return value, lambda: log_p.exp_().sub_(q)


KL = {"policy_reference": kl_policy_reference, "reference_policy": kl_reference_policy}
