"""Hidden states of a causal language model as features of words.

Every text is read twice in a row, so that a word's state in the second reading has seen what follows it too (echo
embeddings: Springer et al. 2024, 2402.15449). A word's state is that of its last token, after LAYERS of the blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from palu.errors import UserError
from palu.tagging.learned import Projection, States
from palu.tagging.words import Word

# The share of the blocks after which a state is taken: later ones turn to the next token
LAYERS = 0.6
AXES = 96
# The standard deviation along the first axis: against the penalty of the weights
SCALE = 3.0


class WordStates:
    """A loaded encoder. Computes on the CPU, so that a tagger's spans are the same wherever it runs."""

    def __init__(self, name: str, revision: str | None = None) -> None:
        """Raises UserError for a checkpoint that cannot be had or is no causal model."""
        from palu import models
        from palu.models.gguf import find_gguf, is_gguf, load_gguf

        self._tokenizer = models.load_tokenizer(name, revision)
        self._model: Any = (
            load_gguf(find_gguf(name, revision).path) if is_gguf(name) else models.load_model(name, revision=revision)
        )
        self._name = name

    def __call__(self, prompt: str, words: Sequence[Word], reply: str) -> States:
        """(W, D), float32, of the words of a reply. Raises UserError for a text that the model is too short for."""
        import torch

        from palu import models

        before = f"Question: {prompt}\nAnswer: " if prompt.strip() else ""
        text = before + reply
        encoded = self._tokenizer(f"{text}\n\n{text}", return_offsets_mapping=True, verbose=False)
        ids, offsets = encoded["input_ids"], np.array(encoded["offset_mapping"])
        positions = self._tokenizer.palu_capacity.positions
        if positions is not None and len(ids) > positions:
            raise UserError(
                f"trained: encoder: {self._name} takes {positions} tokens, and a text twice has {len(ids)}; "
                "allowed: an encoder of more positions"
            )
        models.check_tokens(self._tokenizer, ids, text[:40])
        with torch.inference_mode():
            output = self._model.base_model(torch.tensor([ids]), use_cache=False, output_hidden_states=True)
        states = output.hidden_states[round(LAYERS * (len(output.hidden_states) - 1))][0].float().numpy()
        start = len(text) + 2 + len(before)
        last = np.searchsorted(offsets[:, 0], [start + word.end for word in words], "left") - 1
        found: States = states[last.astype(np.int64)]
        return found


def principal_axes(states: States) -> Projection:
    """The axes along which standardised states (N, D) vary most, at most AXES of them."""
    spread = states.std(axis=0) + 1e-6
    standard = ((states - states.mean(axis=0)) / spread).astype(np.float64)
    values, vectors = np.linalg.eigh(standard.T @ standard / len(standard))
    axes = vectors[:, ::-1][:, :AXES] * SCALE / np.sqrt(max(values[-1], 1e-12))
    return Projection(states.mean(axis=0), (axes / spread[:, None]).astype(np.float32))
