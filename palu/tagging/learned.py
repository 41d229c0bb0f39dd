"""A word classifier that was fitted to annotated replies, and the folder that it is kept in.

The classifier is one chain, or two whose probabilities are averaged: of the words' features and, with an encoder, of
its hidden states. A chain is a conditional random field (Lafferty, McCallum and Pereira 2001), fitted by CRFsuite:

    p(y | x) = exp(sum over t of (x_t W)[y_t] + sum over t > 1 of A[y_t-1, y_t]) / Z(x)

x_t: the numbers of word t by name, see `learning.views`. y_t: one of `LABELS`. Fitting minimises the negative
log-likelihood of the labels plus penalty / 2 times the sum of the squared weights.

    tagger.json             format, sources, group -> fold, and of each model threshold, known words, SHA-256
    model{n}.words          the chain of the words; the first is of all groups, model{n} saw no group of fold n - 1
    model{n}.states         with an encoder: the chain of its states
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


class Sources(Settings):
    """What words get features from. encoder: the causal model whose hidden states they are: a folder, a GGUF file or
    a hub id, with its revision there. pipeline: the spaCy pipeline whose grammar they are."""

    encoder: str | None = None
    encoder_revision: str | None = None
    pipeline: str | None = None


@dataclass(frozen=True)
class Projection:
    """The principal axes of the encoder's states: mean (D,) and axes (D, K), float32."""

    mean: States
    axes: States

    def __call__(self, states: States) -> States:
        """(W, D) -> (W, K)."""
        return np.asarray((states - self.mean) @ self.axes, dtype=np.float32)


@dataclass(frozen=True)
class Learned:
    """known_words: those whose spelling means something. threshold: a word is sensitive when its probability of being
    in a span is at least this. chains: the bytes of CRFsuite's models. projection: none without an encoder."""

    known_words: frozenset[str]
    threshold: float
    chains: tuple[bytes, ...]
    projection: Projection | None = None

    @cached_property
    def _taggers(self) -> list[Any]:
        import pycrfsuite

        taggers = [pycrfsuite.Tagger() for _ in self.chains]
        for tagger, chain in zip(taggers, self.chains, strict=True):
            tagger.open_inmemory(chain)
        return taggers

    def probabilities(self, views: Sequence[ItemSequence]) -> Floats:
        """(words, labels): p(y_t | x) of each word of one reply. views: what each chain sees of it."""
        count = len(views[0])
        found = np.zeros((count, len(LABELS)))
        for tagger, items in zip(self._taggers, views, strict=True):
            if count:
                tagger.set(items)
                # a label that no training reply has is none of the chain's
                for label in tagger.labels():
                    found[:, LABELS.index(label)] += [tagger.marginal(label, t) for t in range(count)]
        return found / len(self.chains)


def fit_chain(sequences: Sequence[tuple[ItemSequence, Sequence[str]]], penalty: float, iterations: int) -> bytes:
    """CRFsuite's model of sequences with their labels, by at most so many steps of L-BFGS."""
    import pycrfsuite

    options = {"c1": 0.0, "c2": penalty / 2, "max_iterations": iterations, "feature.possible_transitions": True}
    trainer = pycrfsuite.Trainer(algorithm="lbfgs", params=options, verbose=False)
    for items, labels in sequences:
        trainer.append(items, labels)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chain"
        trainer.train(str(path))
        return path.read_bytes()


class _Model(Settings):
    threshold: float = Field(gt=0, lt=1)
    known_words: list[str]
    sha256: list[str]


class _Description(Settings):
    format: str
    sources: Sources
    folds: dict[str, Count]
    models: list[_Model] = Field(min_length=1)


def save(folder: Path, models: Sequence[Learned], folds: Mapping[str, int], sources: Sources) -> None:
    """Write `folder` whole or not at all. models[1 + k] saw no group of fold k."""
    from safetensors.numpy import save

    with atomic(folder) as temporary:
        temporary.mkdir()
        described = []
        for number, model in enumerate(models):
            written = [*model.chains, *([save(asdict(model.projection))] if model.projection else [])]
            for path, content in zip(_paths(temporary, number, sources), written, strict=True):
                path.write_bytes(content)
            described.append(
                {
                    "threshold": model.threshold,
                    "known_words": sorted(model.known_words),
                    "sha256": [hashlib.sha256(content).hexdigest() for content in written],
                }
            )
        facts = {
            "format": FORMAT,
            "sources": sources.model_dump(),
            "folds": dict(folds),
            "models": described,
        }
        write_json(temporary / "tagger.json", facts)


def load(folder: Path) -> tuple[list[Learned], dict[str, int], Sources]:
    """The models (that of all groups, then that of each fold), group -> fold, and what words get features from.

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
    models = [_model(_paths(folder, number, facts.sources), one) for number, one in enumerate(facts.models)]
    return models, facts.folds, facts.sources


def _paths(folder: Path, number: int, sources: Sources) -> list[Path]:
    endings = ("words", "states", "safetensors") if sources.encoder else ("words",)
    return [folder / f"model{number}.{ending}" for ending in endings]


def _model(paths: Sequence[Path], facts: _Model) -> Learned:
    from safetensors.numpy import load

    contents = []
    for place, path in enumerate(paths):
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        contents.append(path.read_bytes())
        if facts.sha256[place : place + 1] != [hashlib.sha256(contents[-1]).hexdigest()]:
            raise UserError(
                f"{path}: not the file that tagger.json was written with; allowed: what palu train-tagger wrote"
            )
    projection = Projection(**load(contents.pop())) if len(contents) > 1 else None
    return Learned(frozenset(facts.known_words), facts.threshold, tuple(contents), projection)
