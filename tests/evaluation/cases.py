"""Small evaluations made by hand."""

import math
from typing import get_args

import numpy as np

from palu.evaluation.base import NO_RETAIN, Scope
from palu.evaluation.evidence import NOT_GIVEN, Evidence, Reading
from palu.evaluation.items import Items
from palu.evaluation.settings import PartName


def row(example_id, prompt="Who?", reply="Ann lives in Oslo."):
    """A row of the examples table; `forget/0/perturbed/1` says all but the texts."""
    part, number, kind, index = example_id.split("/")
    return {
        "example_id": example_id,
        "item_id": f"table/{number}",
        "reply_kind": "original" if kind == "question" else kind,
        "reply_index": int(index),
        "prompt_kind": "paraphrase" if kind == "question" else "original",
        "part": part,
        "prompt": prompt,
        "reply": reply,
        "group": "nobody",
        "source_revision": "1",
    }


def reading(probabilities, hits=None, end_count=1, characters=None):
    """What a model makes of a row whose tokens have these probabilities, the last `end_count` of them its end."""
    count = len(probabilities)
    characters = characters or [(0, 0)] * count
    return Reading(
        log_probs=np.array([math.log(p) if 0 < p < math.inf else p for p in probabilities], dtype=np.float64),
        hits=np.array([True] * count if hits is None else [bool(hit) for hit in hits]),
        char_starts=np.array([start for start, _ in characters], dtype=np.int32),
        char_ends=np.array([end for _, end in characters], dtype=np.int32),
        end_count=end_count,
    )


def evidence(
    rows,
    readings=None,
    generations=None,
    spans=None,
    first_n=3,
    retain=NO_RETAIN,
    continuation_tokens=128,
    answer_losses=NOT_GIVEN["original"],
    gold=None,
):
    """Evidence over `rows`; readings, generations and answer_losses by example_id."""
    kinds = frozenset((example["part"], example["reply_kind"]) for example in rows)
    return Evidence(
        scope=Scope("made-up", kinds, retain),
        items={part: Items(rows).of(part) for part in get_args(PartName)},
        readings=readings or {},
        generations=generations or {},
        spans=spans,
        first_n=first_n,
        continuation_tokens=continuation_tokens,
        answer_losses=answer_losses,
        gold=gold,
    )
