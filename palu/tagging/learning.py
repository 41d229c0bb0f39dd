"""A word classifier over prompt and reply: fitting it to annotated replies, and what it says of others.

The labels of a word are those of spans: outside, the first word of one, a later word of one. A word is in a span when
at least half of its characters are. The model is a chain (crf.py) over the features of features.py; it answers with
probabilities, and a word counts as sensitive from a threshold on. That threshold is below one half where annotations
are inconsistent: then the best F1 is had by marking words that are less likely than not.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from palu.spans import Span
from palu.tagging import crf
from palu.tagging.features import UNKNOWN, Reply, features
from palu.tagging.words import Word, words

LABELS = OUTSIDE, BEGINS, CONTINUES = range(3)
# Words per sequence: a book is cut into pieces
LONGEST = 400
INNER_FOLDS = 3
THRESHOLDS = np.linspace(0.2, 0.7, 11)
# Thresholds whose F1 is so near to the best do as well; the highest of them is taken, which marks least
_AS_GOOD = 0.002


@dataclass(frozen=True)
class Fitting:
    """penalty: of the squared weights. iterations: at most, of L-BFGS. hidden_words: the share of content words whose
    spelling is hidden in the second copy of each reply; 0: no second copy. seed: of what is hidden."""

    penalty: float
    iterations: int
    hidden_words: float
    seed: int


@dataclass(frozen=True)
class Learned:
    """vocabulary: feature -> row of the chain's weights. known_words: those whose spelling means something.
    threshold: a word is sensitive when its probability of being in a span is at least this."""

    vocabulary: Mapping[str, int]
    known_words: frozenset[str]
    chain: crf.Chain
    threshold: float

    def probabilities(self, replies: Sequence[Reply]) -> list[crf.Floats]:
        """Per reply, (words, labels)."""
        scores = [self._scores(reply) for reply in replies if reply.words]
        lengths = [len(own) for own in scores]
        empty = np.zeros((0, len(LABELS)))
        if not scores:
            return [empty for _ in replies]
        found = iter(np.split(crf.marginals(np.concatenate(scores), lengths, self.chain), np.cumsum(lengths)[:-1]))
        return [next(found) if reply.words else empty for reply in replies]

    def _scores(self, reply: Reply) -> crf.Floats:
        def spelling(index: int) -> str:
            word = reply.lower[index]
            return word if word in self.known_words else UNKNOWN

        known = self.vocabulary
        weights = self.chain.weights
        return np.stack(
            [
                weights[[known[feature] for feature in own if feature in known]].sum(axis=0)
                for own in features(reply, spelling)
            ]
        )


def pieces(prompt: str, reply: str) -> list[Reply]:
    """A prompt and reply as sequences of at most LONGEST words, cut after the last mark before that."""
    asked, answered = words(prompt), words(reply)
    found = []
    while len(answered) > LONGEST:
        cut = next((place for place in range(LONGEST, LONGEST // 2, -1) if answered[place - 1].is_mark), LONGEST)
        found.append(Reply(asked, answered[:cut]))
        answered = answered[cut:]
    return [*found, Reply(asked, answered)]


def sensitive(reply: Sequence[Word], probabilities: crf.Floats, threshold: float) -> list[tuple[int, int, float]]:
    """(char_start, char_end, score) of the runs of words whose probability of being in a span reaches `threshold`.

    A run is cut where a word rather begins a span than continues one. score: the mean probability of its words.
    """
    inside = 1 - probabilities[:, OUTSIDE]
    runs: list[list[int]] = []
    for index in np.flatnonzero(inside >= threshold).tolist():
        follows = bool(runs) and runs[-1][-1] == index - 1
        if follows and probabilities[index, CONTINUES] >= probabilities[index, BEGINS]:
            runs[-1].append(index)
        else:
            runs.append([index])
    return [(reply[run[0]].start, reply[run[-1]].end, float(inside[run].mean())) for run in runs]


def folds_of(groups: Iterable[str], count: int, seed: int) -> dict[str, int]:
    """Group -> fold in 0..count-1, sizes as even as can be: a function of the names and the seed alone."""
    ordered = sorted(set(groups), key=lambda group: hashlib.sha256(f"{seed}/{group}".encode()).digest())
    return {group: place % count for place, group in enumerate(ordered)}


@dataclass(frozen=True)
class _Copy:
    """A reply as numbers. features: those of all its words, one word after the other; counts: how many each has."""

    features: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]


class Corpus:
    """Annotated replies, made into numbers once for all the models that are fitted to some of them.

    examples: with prompt, reply and group. spans: of each, in order and apart.
    """

    def __init__(
        self, examples: Sequence[Mapping[str, Any]], spans: Sequence[Sequence[Span]], fitting: Fitting
    ) -> None:
        self.fitting = fitting
        self.groups: list[str] = []
        self.replies: list[Reply] = []
        self._labels: list[crf.Integers] = []
        self._marked: list[crf.Integers] = []  # characters of each word that are in a span
        for example, own in zip(examples, spans, strict=True):
            for reply in pieces(example["prompt"], example["reply"]):
                if reply.words:
                    self.groups.append(example["group"])
                    self.replies.append(reply)
                    labels, marked = _labels(reply.words, own)
                    self._labels.append(labels)
                    self._marked.append(marked)
        self._vocabulary: dict[str, int] = {}
        self._copies = [self._copy(reply, reply.lower) for reply in self.replies]
        self._hidden = [self._copy(reply, self._hide(reply)) for reply in self.replies] if fitting.hidden_words else []

    def _copy(self, reply: Reply, spelled: Sequence[str]) -> _Copy:
        found = features(reply, spelled.__getitem__)
        number = self._vocabulary
        ids = [number.setdefault(feature, len(number)) for own in found for feature in own]
        return _Copy(np.array(ids, dtype=np.int32), np.array([len(own) for own in found], dtype=np.int32))

    def _hide(self, reply: Reply) -> list[str]:
        # of its own text alone, so that the order of the replies changes nothing
        draw = random.Random(f"{self.fitting.seed}/{' '.join(reply.lower)}")
        content = dict.fromkeys(
            word for word, is_content in zip(reply.lower, reply.is_content, strict=True) if is_content
        )
        hidden = {word for word in content if draw.random() < self.fitting.hidden_words}
        return [UNKNOWN if word in hidden else word for word in reply.lower]

    def fit(self, chosen: Sequence[int], threshold: float | None) -> Learned:
        """The model of the replies at `chosen`; threshold: None: the best of models that saw some of their groups."""
        from scipy.sparse import csr_matrix

        copies = [copies[index] for copies in (self._copies, self._hidden) if copies for index in chosen]
        times = len(copies) // len(chosen)
        used, columns = np.unique(np.concatenate([copy.features for copy in copies]), return_inverse=True)
        ends = np.concatenate([[0], np.cumsum(np.concatenate([copy.counts for copy in copies]))])
        matrix = csr_matrix((np.ones(len(columns)), columns, ends), shape=(len(ends) - 1, len(used)))
        chain = crf.fit(
            matrix,
            np.concatenate([self._labels[index] for index in chosen] * times),
            [len(copy.counts) for copy in copies],
            len(LABELS),
            self.fitting.penalty,
            self.fitting.iterations,
        )
        names = list(self._vocabulary)
        return Learned(
            vocabulary={names[feature]: row for row, feature in enumerate(used.tolist())},
            known_words=frozenset(word for index in chosen for word in self.replies[index].lower),
            chain=chain,
            threshold=self._best_threshold(chosen) if threshold is None else threshold,
        )

    def _best_threshold(self, chosen: Sequence[int]) -> float:
        """Of THRESHOLDS, by the character F1 of models on groups (on replies, of one group) that they did not see."""
        names = [self.groups[index] for index in chosen]
        if len(set(names)) == 1:
            names = [f"{name}/{place}" for place, name in enumerate(names)]
        if len(names) == 1:
            return 0.5
        folds = folds_of(names, INNER_FOLDS, self.fitting.seed)
        inside: list[crf.Floats] = []
        tried: list[int] = []
        for fold in sorted(set(folds.values())):
            seen = [index for index, name in zip(chosen, names, strict=True) if folds[name] != fold]
            unseen = [index for index, name in zip(chosen, names, strict=True) if folds[name] == fold]
            found = self.fit(seen, threshold=0.5).probabilities([self.replies[index] for index in unseen])
            inside += [1 - own[:, OUTSIDE] for own in found]
            tried += unseen
        marked = np.concatenate([self._marked[index] for index in tried])
        lengths = np.array([len(word.text) for index in tried for word in self.replies[index].words])
        taken = np.concatenate(inside)[:, None] >= THRESHOLDS
        f1 = 2 * (marked @ taken) / np.maximum(marked.sum() + lengths @ taken, 1)
        return float(THRESHOLDS[np.flatnonzero(f1 >= f1.max() - _AS_GOOD)[-1]])


def _labels(reply: Sequence[Word], spans: Sequence[Span]) -> tuple[crf.Integers, crf.Integers]:
    """(words,) labels, and (words,) how many characters of each are in a span."""
    labels = np.full(len(reply), OUTSIDE)
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
