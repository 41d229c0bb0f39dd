"""A word classifier over prompt and reply: fitting it to annotated replies, and what it says of others.

The labels of a word are those of spans: outside, the first word of one, a later word of one. A word is in a span when
at least half of its characters are. The model is a chain (learned.py) over the features of features.py and, with an
encoder, one over the states of word_states.py along their principal axes; it answers with probabilities, and a word
counts as sensitive from a threshold on. That threshold is below one half where annotations are inconsistent: then the
best F1 is had by marking words that are less likely than not.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from palu.spans import Span
from palu.tagging.features import UNKNOWN, Reply, features
from palu.tagging.learned import BEGINS, CONTINUES, OUTSIDE, Floats, Learned, Projection, Sources, States, fit_chain
from palu.tagging.word_grammar import WordGrammar
from palu.tagging.word_states import WordStates, principal_axes
from palu.tagging.words import Word, words

if TYPE_CHECKING:
    from pycrfsuite import ItemSequence

Integers = npt.NDArray[np.int64]
# Piece -> per chain, the copies that it is fitted to
_Copies = dict[int, list[list["ItemSequence"]]]

# Words per sequence: a book is cut into pieces
LONGEST = 400
INNER_FOLDS = 3
THRESHOLDS = np.linspace(0.2, 0.7, 11)
# Thresholds whose F1 is so near to the best do as well; the highest of them is taken, which marks least
_AS_GOOD = 0.002
# How many times the penalty of the words' chain that of the states' chain is
STATES_PENALTY = 4.0
# Features that a model's states lack: what the reply repeats, quotes and begins
_NEXT_TO_STATES = ("k=", "c=", "q=", "quoted=", "repeated=", "starts=", "shape=")


@dataclass(frozen=True)
class Fitting:
    """penalty: of the squared weights. iterations: at most, of L-BFGS. hidden_words: the share of content words whose
    spelling is hidden in the second copy of each reply; 0: no second copy. seed: of what is hidden."""

    penalty: float
    iterations: int
    hidden_words: float
    seed: int


@dataclass(frozen=True)
class Piece:
    """A reply, or a part of one, as one sequence. states: (W, D) of its words, where there is an encoder.
    grammar: more features of each word, where there is a pipeline."""

    reply: Reply
    states: States | None = None
    grammar: Sequence[Sequence[str]] | None = None


def views(piece: Piece, spelled: Sequence[str], projection: Projection | None) -> list[ItemSequence]:
    """What each chain sees of every word: all its features, each of value 1; and its projected states with a few.

    spelled: the reply's words, or UNKNOWN in their place.
    """
    import pycrfsuite

    named = features(piece.reply, spelled.__getitem__)
    if piece.grammar is not None:
        named = [[*own, *more] for own, more in zip(named, piece.grammar, strict=True)]
    found = [pycrfsuite.ItemSequence(named)]
    if projection is not None and piece.states is not None:
        projected = []
        for own, values in zip(named, projection(piece.states).tolist(), strict=True):
            few = dict.fromkeys([feature for feature in own if feature.startswith(_NEXT_TO_STATES)], 1.0)
            projected.append(few | {f"axis{number}": value for number, value in enumerate(values)})
        found.append(pycrfsuite.ItemSequence(projected))
    return found


def probabilities(model: Learned, piece: Piece) -> Floats:
    """(words, labels); spellings that the model does not know are hidden."""
    spelled = [word if word in model.known_words else UNKNOWN for word in piece.reply.lower]
    return model.probabilities(views(piece, spelled, model.projection))


def pieces(prompt: str, reply: str, reader: Reader | None = None) -> list[Piece]:
    """A prompt and reply as sequences of at most LONGEST words, cut after the last mark before that."""
    asked, answered = words(prompt), words(reply)
    found: list[list[Word]] = []
    while len(answered) > LONGEST:
        cut = next((place for place in range(LONGEST, LONGEST // 2, -1) if answered[place - 1].is_mark), LONGEST)
        found.append(answered[:cut])
        answered = answered[cut:]
    return [
        reader.read(prompt, asked, own, reply) if reader and own else Piece(Reply(asked, own))
        for own in [*found, answered]
    ]


class Reader:
    """What reads texts for features beyond their words. Raises UserError for sources that cannot be had."""

    def __init__(self, sources: Sources) -> None:
        self._states = WordStates(sources.encoder, sources.encoder_revision) if sources.encoder else None
        self._grammar = WordGrammar(sources.pipeline) if sources.pipeline else None

    def read(self, prompt: str, asked: Sequence[Word], own: Sequence[Word], reply: str) -> Piece:
        """The words `own` of a reply, one at least, as a piece; only their part of the reply is read."""
        start = own[0].start
        moved = [word._replace(start=word.start - start, end=word.end - start) for word in own]
        text = reply[start : own[-1].end]
        states = self._states(prompt, moved, text) if self._states else None
        grammar = self._grammar(prompt, moved, text) if self._grammar else None
        return Piece(Reply(asked, own), states, grammar)


def sensitive(reply: Sequence[Word], probabilities: Floats, threshold: float) -> list[tuple[int, int, float]]:
    """(char_start, char_end, score) of the runs of words whose probability of being in a span reaches `threshold`.

    A run is cut where a word rather begins a span than continues one. score: the mean probability of its words.
    """
    outside, begins, continues = probabilities.T
    inside = 1 - outside
    runs: list[list[int]] = []
    for index in np.flatnonzero(inside >= threshold).tolist():
        follows = bool(runs) and runs[-1][-1] == index - 1
        if follows and continues[index] >= begins[index]:
            runs[-1].append(index)
        else:
            runs.append([index])
    return [(reply[run[0]].start, reply[run[-1]].end, float(inside[run].mean())) for run in runs]


def folds_of(groups: Iterable[str], count: int, seed: int) -> dict[str, int]:
    """Group -> fold in 0..count-1, sizes as even as can be: a function of the names and the seed alone."""
    ordered = sorted(set(groups), key=lambda group: hashlib.sha256(f"{seed}/{group}".encode()).digest())
    return {group: place % count for place, group in enumerate(ordered)}


class Corpus:
    """Annotated replies, cut into sequences once for all the models that are fitted to some of them.

    examples: with prompt, reply and group. spans: of each, in order and apart.
    """

    def __init__(
        self,
        examples: Sequence[Mapping[str, Any]],
        spans: Sequence[Sequence[Span]],
        fitting: Fitting,
        reader: Reader | None = None,
    ) -> None:
        self.fitting = fitting
        self.groups: list[str] = []
        self.pieces: list[Piece] = []
        self._labels: list[list[str]] = []
        self._marked: list[Integers] = []  # characters of each word that are in a span
        for example, own in zip(examples, spans, strict=True):
            for piece in pieces(example["prompt"], example["reply"], reader):
                if piece.reply.words:
                    self.groups.append(example["group"])
                    self.pieces.append(piece)
                    labels, marked = _labels(piece.reply.words, own)
                    self._labels.append(labels)
                    self._marked.append(marked)

    def _hide(self, reply: Reply) -> list[str]:
        # of its own text alone, so that the order of the replies changes nothing
        draw = random.Random(f"{self.fitting.seed}/{' '.join(reply.lower)}")
        content = dict.fromkeys(
            word for word, is_content in zip(reply.lower, reply.is_content, strict=True) if is_content
        )
        hidden = {word for word in content if draw.random() < self.fitting.hidden_words}
        return [UNKNOWN if word in hidden else word for word in reply.lower]

    def fit(self, chosen: Sequence[int], threshold: float | None) -> Learned:
        """The model of the pieces at `chosen`; threshold: None: the best of models that saw some of their groups."""
        states = [own for index in chosen if (own := self.pieces[index].states) is not None]
        projection = principal_axes(np.concatenate(states)) if states else None
        copies: _Copies = {}
        for index in chosen:
            piece = self.pieces[index]
            copies[index] = [[items] for items in views(piece, piece.reply.lower, projection)]
            if self.fitting.hidden_words:
                copies[index][0] += views(piece, self._hide(piece.reply), None)
        if threshold is None:
            threshold = self._best_threshold(copies, projection)
        return self._fit(chosen, copies, threshold, projection)

    def _fit(self, chosen: Sequence[int], copies: _Copies, threshold: float, projection: Projection | None) -> Learned:
        chains = []
        for number, penalty in enumerate((1.0, STATES_PENALTY) if projection else (1.0,)):
            fitted = [(copy, self._labels[index]) for index in chosen for copy in copies[index][number]]
            chains.append(fit_chain(fitted, penalty * self.fitting.penalty, self.fitting.iterations))
        known_words = frozenset(word for index in chosen for word in self.pieces[index].reply.lower)
        return Learned(known_words, threshold, tuple(chains), projection)

    def _best_threshold(self, copies: _Copies, projection: Projection | None) -> float:
        """Of THRESHOLDS, by the character F1 of models on groups (on replies, of one group) that they did not see."""
        names = {index: self.groups[index] for index in copies}
        if len(set(names.values())) == 1:
            names = {index: f"{name}/{place}" for place, (index, name) in enumerate(names.items())}
        if len(names) == 1:
            return 0.5
        folds = folds_of(names.values(), INNER_FOLDS, self.fitting.seed)
        inside: list[Floats] = []
        tried: list[int] = []
        for fold in sorted(set(folds.values())):
            seen = [index for index, name in names.items() if folds[name] != fold]
            unseen = [index for index, name in names.items() if folds[name] == fold]
            model = self._fit(seen, copies, 0.5, projection)
            inside += [1 - probabilities(model, self.pieces[index])[:, 0] for index in unseen]
            tried += unseen
        marked = np.concatenate([self._marked[index] for index in tried])
        lengths = np.array([len(word.text) for index in tried for word in self.pieces[index].reply.words])
        taken = np.concatenate(inside)[:, None] >= THRESHOLDS
        f1 = 2 * (marked @ taken) / np.maximum(marked.sum() + lengths @ taken, 1)
        return float(THRESHOLDS[np.flatnonzero(f1 >= f1.max() - _AS_GOOD)[-1]])


def _labels(reply: Sequence[Word], spans: Sequence[Span]) -> tuple[list[str], Integers]:
    """The label of each word, and (words,) how many characters of each are in a span."""
    labels = [OUTSIDE] * len(reply)
    marked = np.zeros(len(reply), dtype=np.int64)
    last, place = -1, 0
    for index, word in enumerate(reply):
        while place < len(spans) and spans[place][1] <= word.start:
            place += 1
        for number in range(place, len(spans)):
            start, end = spans[number]
            if start >= word.end:
                break
            common = min(end, word.end) - max(start, word.start)
            marked[index] += common
            if 2 * common >= word.end - word.start and labels[index] == OUTSIDE:
                labels[index] = CONTINUES if number == last and labels[index - 1] != OUTSIDE else BEGINS
                last = number
    return labels, marked
