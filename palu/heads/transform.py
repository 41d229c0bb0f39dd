"""What a model does to the product of its head before the softmax: nothing, a scale, a soft cap, or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True)
class LogitTransform:
    """f(z) = cap tanh(scale z / cap), or scale z without a cap; z = W h + b. scale > 0, so f keeps the order of z.

    Gemma 2 caps (2408.00118, section 2), Cohere and Granite scale.
    """

    scale: float = 1.0
    cap: float | None = None

    @property
    def is_identity(self) -> bool:
        return self.scale == 1 and self.cap is None

    def __call__(self, z: Tensor) -> Tensor:
        """f(z), of any shape, as a new tensor that autograd differentiates."""
        if self.is_identity:
            return z
        scaled = z * self.scale
        return scaled if self.cap is None else self.cap * (scaled / self.cap).tanh()

    def apply_(self, z: Tensor) -> Tensor:
        """f(z), written over z."""
        if self.scale != 1:
            z.mul_(self.scale)
        return z if self.cap is None else z.div_(self.cap).tanh_().mul_(self.cap)

    def slope(self, transformed: Tensor) -> Tensor | float:
        """f'(z), from f(z): scale (1 - (f / cap)^2)."""
        if self.cap is None:
            return self.scale
        return transformed.div(self.cap).square_().neg_().add_(1).mul_(self.scale)


IDENTITY = LogitTransform()


class HeadParameters(NamedTuple):
    """A language-model head: weight (V, D), bias (V,) or None, and what follows their product."""

    weight: Tensor
    bias: Tensor | None = None
    transform: LogitTransform = IDENTITY
