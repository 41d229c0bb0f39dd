"""Arithmetic of a language-model head, f(W h + b), at chosen positions: (P, D) states in, one number per row out.

A loss asks for log-probabilities, divergences or a few logits, never for the (P, V) logits themselves: `Head` holds
only a few blocks of (chunk, V). A head is cheap: make one for each forward pass, from the weights of that moment. f is
the identity for most models, a scale or a soft cap for some (`LogitTransform`); `logits` means its result everywhere.

Results are float32 (float64 for float64 weights), whatever the dtype of states and weights.
"""

from palu.heads.chunked import Head
from palu.heads.transform import IDENTITY, HeadParameters, LogitTransform

__all__ = ["IDENTITY", "Head", "HeadParameters", "LogitTransform"]
