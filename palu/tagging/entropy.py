"""Spans where the original model is undecided: the entropy of its next word, in nats, from its cached states.

    H_t = -sum_v p(v | x, y_<t) log p(v | x, y_<t),   p = softmax of the logits

Source: Koh et al. 2026 (2604.17785), who weight tokens by it (`palu.methods.entropy`): grammar leaves a model no
choice, and what informs is what it must choose. Here words above a threshold are sensitive instead, by the rules of
`palu.tagging.token_scores`. It needs no annotator, no second model and no particular language; what it cannot tell
is a fact from any other choice, such as that between two ways to say it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from palu.tagging.token_scores import Scores, ScoreSettings, encoded, read_scores, spans_of_scores

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from palu.tagging.base import Resources


class Settings(ScoreSettings):
    """Those of `ScoreSettings`."""

    @property
    def takes_gpu(self) -> bool:
        return True


def spans(examples: Sequence[Mapping[str, Any]], settings: Settings, resources: Resources) -> Iterator[dict[str, Any]]:
    """The words at which the original model is undecided. Raises what `encoded` and `read_scores` raise."""
    from palu import tables
    from palu.errors import UserError

    rows = encoded(examples, resources, "entropy")
    assert resources.model_path is not None
    assert resources.states_path is not None
    facts = tables.provenance(resources.states_path)
    if facts["layer"] != tables.LAST_LAYER:
        raise UserError(
            f"{resources.states_path}: holds the states of layer {facts['layer']!r}; allowed: {tables.LAST_LAYER!r}"
        )
    transform = json.loads(facts.get("logit_transform", "{}"))
    scores = read_scores(resources.states_path, rows, _Entropy(resources.model_path, facts["dtype"], transform))
    yield from spans_of_scores(examples, rows, scores, settings, "entropy")


class _Entropy:
    """The entropy of each row of a batch of the states table."""

    def __init__(self, model_path: Path, dtype: str, transform: Mapping[str, Any]) -> None:
        from palu import models
        from palu.heads import LogitTransform
        from palu.heads.projection import Projection

        weight, bias = models.head_weight(model_path)
        place = models.chosen_device()
        self._head = Projection(
            weight.to(place), None if bias is None else bias.to(place), LogitTransform(**transform)
        )
        self._dtype = dtype

    def __call__(self, batch: pa.RecordBatch) -> Scores:
        import torch

        from palu.heads.operations import entropy

        stored = np.array(batch.column("hidden").flatten()).reshape(len(batch), -1)
        # bfloat16 and float16 lie in the table as bit patterns
        h = torch.from_numpy(stored if self._dtype == "float32" else stored.view(np.int16))
        if self._dtype != "float32":
            h = h.view(getattr(torch, self._dtype))
        h = h.to(self._head.weight.device)
        with torch.inference_mode():
            values = torch.cat([entropy(self._head.logits(h[block]))[0] for block in self._head.blocks(h)])
        found: Scores = values.cpu().numpy().astype(np.float64)
        return found
