"""The logits f(W h + b) in blocks of positions, and the one buffer that takes the gradient of W and b."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from palu.heads.transform import IDENTITY, LogitTransform

# The gradient that an operation's values will receive, of each row or of all, where it is known
Weight = float | Tensor | None

# A block of (chunk, V) float32 logits fills BLOCK_BYTES, but has at least BLOCK_ROWS positions: each block reads and
# writes the whole (V, D) gradient, and on a CPU the products of 64 rows took 1.4 times as long as those of 170, for
# (V, D) = (49152, 576) and (128256, 2048); from there to 512 rows they were within a tenth. An operation holds up to
# three blocks at a time.
BLOCK_BYTES = 32 * 2**20
BLOCK_ROWS = 192
# By calculation, not measured: on a card of 3.35 TB/s and 60 TFLOP/s in float32 that traffic is 37% of the product of
# 192 rows with (V, D) = (128256, 4096), and 7% of that of the 1046 rows that these bytes hold.
GPU_BLOCK_BYTES = 512 * 2**20


def block_rows(device_type: str, vocabulary: int) -> int:
    """Positions in a block of logits on a device of this type (`cpu`, `cuda`...)."""
    size = BLOCK_BYTES if device_type == "cpu" else GPU_BLOCK_BYTES
    return max(BLOCK_ROWS, size // (4 * vocabulary))


def result_dtype(weight: Tensor) -> torch.dtype:
    """The dtype of every logit, result and sum."""
    return torch.float64 if weight.dtype == torch.float64 else torch.float32


class Projection:
    """W (V, D) and b (V,) as plain numbers outside autograd; `palu.heads.autograd` passes gradients through it.

    Every operation adds its gradient of W and b to this object's buffer, in float32, and the last node of a backward
    pass takes it. An operation whose rows' weights are known beforehand adds already in its forward pass: it calls
    `begin` there and `arrive` in backward. transform: f. chunk_rows: positions per block.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        transform: LogitTransform = IDENTITY,
        chunk_rows: int | None = None,
    ) -> None:
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()
        self.transform = transform
        self.chunk_rows = chunk_rows or block_rows(weight.device.type, len(weight))
        self._weight_gradient: Tensor | None = None
        self._bias_gradient: Tensor | None = None
        self._pass_id = -1
        self._first_pass: int | None = None
        self._begun = self._arrived = 0

    def begin(self) -> None:
        """An operation starts to add to the buffer in its forward pass."""
        self._begun += 1

    def arrive(self) -> bool:
        """A backward pass reached such an operation; whether the sums that it began with belong to this pass."""
        self._arrived += self._enter() == self._first_pass
        return self._pass_id == self._first_pass

    def blocks(self, h: Tensor) -> Iterator[slice]:
        """Cut P positions into blocks of `chunk_rows`."""
        return (slice(start, start + self.chunk_rows) for start in range(0, len(h), self.chunk_rows))

    def gather_blocks(self, ids: Tensor) -> Iterator[slice]:
        """Cut P positions so that the rows of W that one block's ids (c, K) gather, (c, K, D), fill BLOCK_BYTES."""
        rows = max(1, BLOCK_BYTES // (4 * ids.shape[1] * self.weight.shape[1]))
        return (slice(start, start + rows) for start in range(0, len(ids), rows))

    def logits(self, h: Tensor) -> Tensor:
        """(c, D) -> (c, V); the product runs in the weight's dtype."""
        with torch.no_grad(), torch.autocast(h.device.type, enabled=False):
            z = (h.to(self.weight.dtype) @ self.weight.T).to(result_dtype(self.weight))
            return self.transform.apply_(z if self.bias is None else z.add_(self.bias))

    def chosen_logits(self, h: Tensor, ids: Tensor) -> Tensor:
        """(c, D), (c, K) -> (c, K), by gathering K rows of W for each position."""
        with torch.no_grad(), torch.autocast(h.device.type, enabled=False):
            z = torch.einsum("ckd,cd->ck", self.weight[ids], h.to(self.weight.dtype)).to(result_dtype(self.weight))
            return self.transform.apply_(z if self.bias is None else z.add_(self.bias[ids]))

    @torch.no_grad()
    def argmax(self, h: Tensor) -> Tensor:
        """(P, D) -> (P,) int64: where the largest logit is."""
        best = torch.empty(len(h), dtype=torch.int64, device=h.device)
        for block in self.blocks(h):
            best[block] = self.logits(h[block]).argmax(-1)
        return best

    def add_block(self, z_gradient: Tensor, h: Tensor) -> None:
        """Add what all logits of a block give: z_gradient (c, V), h (c, D)."""
        weight_gradient, bias_gradient = self._gradients()
        weight_gradient.addmm_(z_gradient.T, h.to(weight_gradient.dtype))
        if bias_gradient is not None:
            bias_gradient.add_(z_gradient.sum(0))

    def add_rows(self, ids: Tensor, z_gradient: Tensor, h: Tensor) -> None:
        """Add what chosen logits give: ids and z_gradient (c, K), h (c, D)."""
        weight_gradient, bias_gradient = self._gradients()
        outer = z_gradient[:, :, None] * h[:, None, :].to(weight_gradient.dtype)
        weight_gradient.index_add_(0, ids.flatten(), outer.flatten(0, 1))
        if bias_gradient is not None:
            bias_gradient.index_add_(0, ids.flatten(), z_gradient.flatten())

    def add_to_every_row(self, mean_weight_gradient: Tensor, mean_bias_gradient: Tensor) -> None:
        """Add what the means over the vocabulary give: (D,), ()."""
        weight_gradient, bias_gradient = self._gradients()
        weight_gradient.add_(mean_weight_gradient / len(weight_gradient))
        if bias_gradient is not None:
            bias_gradient.add_(mean_bias_gradient / len(bias_gradient))

    def take_gradients(self) -> tuple[Tensor, Tensor | None]:
        """Hand the sums over, in the parameters' dtypes, and forget them.

        Raises RuntimeError when the backward pass left out an operation that had added its sums beforehand.
        """
        if self._enter() == self._first_pass and self._arrived < self._begun:
            raise RuntimeError(
                f"a backward pass reached {self._arrived} of the {self._begun} sums of this head whose weights were "
                "given; allowed: all of them in one pass"
            )
        weight_gradient, bias_gradient = self._gradients()
        self._weight_gradient = self._bias_gradient = None
        dtype = self.weight.dtype
        return weight_gradient.to(dtype), None if bias_gradient is None else bias_gradient.to(dtype)

    def _gradients(self) -> tuple[Tensor, Tensor | None]:
        self._enter()
        if self._weight_gradient is None:
            dtype = result_dtype(self.weight)
            self._weight_gradient = torch.zeros_like(self.weight, dtype=dtype)
            self._bias_gradient = None if self.bias is None else torch.zeros_like(self.bias, dtype=dtype)
        return self._weight_gradient, self._bias_gradient

    def _enter(self) -> int:
        """The running backward pass, -1 in a forward pass.

        The first backward pass goes on with what the forward pass left. A later one starts from nothing: what an
        earlier one left, because it wanted no gradient of W, must not enter it.
        """
        pass_id: int = torch._C._current_graph_task_id()
        if pass_id not in (-1, self._pass_id):
            if self._first_pass is None:
                self._first_pass = pass_id
            else:
                self._weight_gradient = self._bias_gradient = None
            self._pass_id = pass_id
        return pass_id
