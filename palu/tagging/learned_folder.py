"""The folder of a trained tagger: `tagger.json`, and for each model its text as JSON and its numbers as safetensors.

    tagger.json         format, labels, group -> fold, threshold of each model; the first is of all groups
    model{n}.json       features, in the order of the rows of the weights; known_words
    model{n}.safetensors    weights (F, L), transitions (L, L), starts (L,): float32

Nothing in it is code, and whatever does not fit the rest is refused with the file and the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from palu.errors import UserError
from palu.files import atomic, read_json, write_json
from palu.tagging.crf import Chain, Floats
from palu.tagging.learning import LABELS, Learned

FORMAT = "palu trained tagger 1"
LABEL_NAMES = ["outside", "begins", "continues"]


def save(folder: Path, whole: Learned, by_fold: Sequence[Learned], folds: Mapping[str, int]) -> None:
    """Write `folder` whole or not at all. by_fold[k] saw no group of fold k."""
    from safetensors.numpy import save_file

    models = [whole, *by_fold]
    with atomic(folder) as temporary:
        temporary.mkdir()
        description = {
            "format": FORMAT,
            "labels": LABEL_NAMES,
            "folds": dict(folds),
            "thresholds": [model.threshold for model in models],
        }
        write_json(temporary / "tagger.json", description)
        for number, model in enumerate(models):
            text = {"features": list(model.vocabulary), "known_words": sorted(model.known_words)}
            write_json(temporary / f"model{number}.json", text)
            chain = {"weights": model.chain.weights, "transitions": model.chain.transitions}
            tensors = {name: values.astype(np.float32) for name, values in chain.items()}
            tensors["starts"] = model.chain.starts.astype(np.float32)
            save_file(tensors, temporary / f"model{number}.safetensors")


def load(folder: Path) -> tuple[Learned, list[Learned], dict[str, int]]:
    """The model of all groups, that of each fold, and group -> fold.

    Raises UserError, in one line that names the file, for a folder that is not there, damaged or of another format.
    """
    path = folder / "tagger.json"
    description = _mapping(path)
    if description.get("format") != FORMAT:
        raise UserError(f"{path}: format: {description.get('format')!r}; allowed: {FORMAT!r}: train the tagger anew")
    if description.get("labels") != LABEL_NAMES:
        raise UserError(f"{path}: labels: {description.get('labels')!r}; allowed: {LABEL_NAMES}")
    thresholds, folds = description.get("thresholds"), description.get("folds")
    if not isinstance(thresholds, list) or not thresholds or not all(map(_is_probability, thresholds)):
        raise UserError(f"{path}: thresholds: {thresholds!r} is not a list of numbers between 0 and 1")
    fold_count = len(thresholds) - 1
    if not isinstance(folds, dict):
        raise UserError(f"{path}: folds: {folds!r} is not a mapping of groups to numbers")
    for group, fold in folds.items():
        if not isinstance(fold, int) or isinstance(fold, bool) or not 0 <= fold < fold_count:
            raise UserError(f"{path}: folds: {fold!r} of group {group!r} is none of the {fold_count} folds")
    models = [_model(folder, number, float(threshold)) for number, threshold in enumerate(thresholds)]
    return models[0], models[1:], folds


def _model(folder: Path, number: int, threshold: float) -> Learned:
    path = folder / f"model{number}.json"
    text = _mapping(path)
    features, known_words = (_texts(path, text, key) for key in ("features", "known_words"))
    vocabulary = {feature: row for row, feature in enumerate(features)}
    if len(vocabulary) != len(features):
        raise UserError(f"{path}: features: one of the {len(features)} stands there twice")
    labels = len(LABELS)
    shapes = {"weights": (len(features), labels), "transitions": (labels, labels), "starts": (labels,)}
    return Learned(vocabulary, frozenset(known_words), Chain(**_tensors(path, shapes)), threshold)


def _tensors(text_path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Floats]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = text_path.with_suffix(".safetensors")
    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UserError(f"{path}: not a readable safetensors file: {' '.join(str(error).split())}") from None
    if set(tensors) != set(shapes):
        raise UserError(f"{path}: holds {', '.join(sorted(tensors)) or 'nothing'}; allowed: {', '.join(shapes)}")
    for name, shape in shapes.items():
        values = tensors[name]
        if values.shape != shape or values.dtype != np.float32 or not np.isfinite(values).all():
            raise UserError(
                f"{path}: {name}: {values.dtype} of shape {values.shape}; allowed: finite float32 of shape {shape}"
            )
    return {name: tensors[name].astype(np.float64) for name in shapes}


def _mapping(path: Path) -> dict[str, Any]:
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder; to make a trained tagger: palu train-tagger")
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: is not an object with keys")
    return values


def _texts(path: Path, values: Mapping[str, Any], key: str) -> list[str]:
    found = values.get(key)
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise UserError(f"{path}: {key}: is not a list of texts")
    return found


def _is_probability(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1
