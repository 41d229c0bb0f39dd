"""A word classifier that was fitted to annotated replies, and the folder that it is kept in.

The classifier is a linear-chain conditional random field (Lafferty, McCallum and Pereira 2001), fitted by CRFsuite:

    p(y | x) = exp(sum over t of (x_t W)[y_t] + sum over t > 1 of A[y_t-1, y_t]) / Z(x)

x_t: the numbers of word t by name, see `learning.attributes`. y_t: one of `LABELS`. Fitting minimises the negative
log-likelihood of the labels plus penalty / 2 times the sum of the squared weights.

    tagger.json             format, encoder, group -> fold, and of each model threshold, known words, SHA-256
    model{n}.crfsuite       the chain; the first is of all groups, model{n} saw no group of fold n - 1
    model{n}.safetensors    with an encoder: the projection of its states, mean (D,) and axes (D, K), float32

Nothing in it is code, and a file that is not the one that was written is refused.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from palu.errors import UserError
from palu.files import atomic, read_json, write_json
from palu.settings import Count, Settings

if TYPE_CHECKING:
    from pycrfsuite import ItemSequence

Floats = npt.NDArray[np.float64]
States = npt.NDArray[np.float32]

FORMAT = "palu trained tagger 2"
LABELS = OUTSIDE, BEGINS, CONTINUES = ("outside", "begins", "continues")


@dataclass(frozen=True)
class Encoder:
    """The causal model whose hidden states are features: a folder, a GGUF file or a hub id, and its revision there."""

    checkpoint: str
    revision: str | None = None


@dataclass(frozen=True)
class Projection:
    """The principal axes of the encoder's states: mean (D,) and axes (D, K), float32."""

    mean: States
    axes: States

    def __call__(self, states: States) -> States:
        """(W, D) -> (W, K)."""
        found: States = (states - self.mean) @ self.axes
        return found


@dataclass(frozen=True)
class Learned:
    """known_words: those whose spelling means something. threshold: a word is sensitive when its probability of being
    in a span is at least this. chain: the bytes of CRFsuite's model. projection: none without an encoder."""

    known_words: frozenset[str]
    threshold: float
    chain: bytes
    projection: Projection | None = None

    @cached_property
    def _tagger(self) -> Any:
        import pycrfsuite

        tagger = pycrfsuite.Tagger()
        tagger.open_inmemory(self.chain)
        return tagger

    def probabilities(self, items: ItemSequence) -> Floats:
        """(words, labels): p(y_t | x) of each word of one reply."""
        found = np.zeros((len(items), len(LABELS)))
        if len(items):
            self._tagger.set(items)
            # a label that no training reply has is none of the chain's
            for label in self._tagger.labels():
                found[:, LABELS.index(label)] = [self._tagger.marginal(label, t) for t in range(len(items))]
        return found


def fit_chain(
    items: Sequence[ItemSequence], labels: Sequence[Sequence[str]], penalty: float, iterations: int
) -> bytes:
    """CRFsuite's model of these sequences, by at most so many steps of L-BFGS: a function of its arguments alone."""
    import pycrfsuite

    options = {"c1": 0.0, "c2": penalty / 2, "max_iterations": iterations, "feature.possible_transitions": True}
    trainer = pycrfsuite.Trainer(algorithm="lbfgs", params=options, verbose=False)
    for own, true in zip(items, labels, strict=True):
        trainer.append(own, true)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chain"
        trainer.train(str(path))
        return path.read_bytes()


class _Model(Settings):
    threshold: float = Field(gt=0, lt=1)
    known_words: list[str]
    sha256: str


class _Description(Settings):
    format: str
    encoder: dict[str, str | None] | None
    folds: dict[str, Count]
    models: list[_Model] = Field(min_length=1)


def save(folder: Path, models: Sequence[Learned], folds: Mapping[str, int], encoder: Encoder | None) -> None:
    """Write `folder` whole or not at all. models[1 + k] saw no group of fold k."""
    from safetensors.numpy import save

    with atomic(folder) as temporary:
        temporary.mkdir()
        described = []
        for number, model in enumerate(models):
            tensors = b"" if model.projection is None else save(asdict(model.projection))
            (temporary / f"model{number}.crfsuite").write_bytes(model.chain)
            if tensors:
                (temporary / f"model{number}.safetensors").write_bytes(tensors)
            described.append(
                {
                    "threshold": model.threshold,
                    "known_words": sorted(model.known_words),
                    "sha256": hashlib.sha256(model.chain + tensors).hexdigest(),
                }
            )
        facts = {"format": FORMAT, "encoder": encoder and asdict(encoder), "folds": dict(folds), "models": described}
        write_json(temporary / "tagger.json", facts)


def load(folder: Path) -> tuple[list[Learned], dict[str, int], Encoder | None]:
    """The models (that of all groups, then that of each fold), group -> fold, and the encoder.

    Raises UserError, in one line that names the file, for a folder that is not there, damaged or of another format.
    """
    path = folder / "tagger.json"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; to make a trained tagger: palu train-tagger")
    values = read_json(path)
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise UserError(f"{path}: format: {found!r}; allowed: {FORMAT!r}: train the tagger again")
    facts = _Description.parse(values, str(path))
    for group, fold in facts.folds.items():
        if fold >= len(facts.models) - 1:
            raise UserError(f"{path}: folds: {fold} of group {group!r} is none of the {len(facts.models) - 1} folds")
    encoder = None if facts.encoder is None else Encoder(**facts.encoder)  # type: ignore[arg-type]
    models = [_model(folder, number, one, encoder is not None) for number, one in enumerate(facts.models)]
    return models, facts.folds, encoder


def _model(folder: Path, number: int, facts: _Model, has_projection: bool) -> Learned:
    from safetensors.numpy import load

    path = folder / f"model{number}.crfsuite"
    paths = [path, path.with_suffix(".safetensors")] if has_projection else [path]
    for one in paths:
        if not one.is_file():
            raise UserError(f"{one}: no such file")
    chain, *tensors = (one.read_bytes() for one in paths)
    if hashlib.sha256(chain + b"".join(tensors)).hexdigest() != facts.sha256:
        raise UserError(
            f"{path}: is not the file that was written with {folder / 'tagger.json'}: train the tagger again"
        )
    projection = Projection(**load(tensors[0])) if tensors else None
    return Learned(frozenset(facts.known_words), facts.threshold, chain, projection)
