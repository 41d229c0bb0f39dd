"""Arithmetic of a language-model head, z = W h + b, at chosen positions: (P, D) states in, one number per row out.

A loss asks for log-probabilities, divergences or a few logits, never for the (P, V) logits themselves. `DenseHead`
writes each of them down over dense logits and is the oracle of the tests; `ChunkedHead` gives the same numbers and
gradients while holding only a few blocks of (chunk, V). Both are `palu.methods.base.Head`. A head is cheap: make one
for each forward pass, from the weights of that moment.

Results are float32 (float64 for float64 weights), whatever the dtype of states and weights.
"""

from palu.heads.chunked import ChunkedHead
from palu.heads.dense import DenseHead

__all__ = ["ChunkedHead", "DenseHead"]
