"""RMU: representation misdirection (Li et al. 2024, WMDP, 2403.03218, and its code in OpenUnlearning).

    L = forget_weight * mean over forget tokens of |h - c u|^2 / D
      + retain_weight * mean over retain tokens of |h - h_ref|^2 / D

h is the hidden state (D numbers) after one block, of the current model, h_ref the frozen reference's, at the positions
that predict the tokens of the replies, end tokens included. u is a fixed direction of length 1: D numbers drawn
uniformly from [0, 1), divided by their length.

Where we leave the others: the authors take every token of a text, as their texts have no prompt, and train the three
blocks up to the layer; the peer takes the states at the reply tokens' own places and averages within rows first; here
positions are those of every other method, means run over tokens, and all parameters are trained, as the peer does.
Blocks after the layer, and the head, get no gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from palu.methods.base import ForgetAndRetain, Replies, ReplyPositions, ReplyStates
from palu.settings import Count, PositiveNumber

if TYPE_CHECKING:
    from torch import Tensor

    from palu.heads import Head


class Settings(ForgetAndRetain):
    """The defaults are the peer's.

    layer: the block, 0 = the first, after which h is read. steering_coefficient: c. direction_seed: draws u.
    """

    layer: Count = 7
    steering_coefficient: PositiveNumber = 2.0
    direction_seed: Count = 0

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"retain_layer_states"})

    @property
    def reads_layer(self) -> int:
        return self.layer


def units(replies: Replies[ReplyPositions], settings: Settings) -> dict[str, int]:
    """Tokens of each term."""
    return {"forget": len(replies.forget.target_ids), "retain": len(replies.retain.target_ids)}


def loss(
    replies: Replies[ReplyStates], head: Head, settings: Settings, scale: Mapping[str, float]
) -> dict[str, Tensor]:
    """Sums over tokens of the mean squared distances to the direction and to the reference."""
    h, retain_h = replies.forget.layer_hidden, replies.retain.layer_hidden
    reference_h = replies.retain.reference_layer_hidden
    assert h is not None, "the settings name a layer"
    assert retain_h is not None, "the settings name a layer"
    assert reference_h is not None, "the method's needs name retain_layer_states"
    target = settings.steering_coefficient * direction(h.shape[-1], settings.direction_seed)
    return {"forget": squared_error_sum(h, target), "retain": squared_error_sum(retain_h, reference_h)}


def direction(size: int, seed: int) -> Tensor:
    """u, (size,) float64, drawn on the CPU: the same for every device and dtype."""
    import torch
    from torch.nn.functional import normalize

    drawn = torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return normalize(drawn, dim=0)


def squared_error_sum(h: Tensor, target: Tensor) -> Tensor:
    """(P, D), (P, D) or (D,) -> (): the mean over D of the squared difference, summed over P, in float32 at least."""
    import torch

    wide = h.to(torch.promote_types(h.dtype, torch.float32))
    return (wide - target.to(wide)).square().mean(-1).sum()
