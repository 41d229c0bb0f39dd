"""Spans from a spaCy pipeline: the entities that an installed one finds, or rules on a blank one.

The rules need no trained weights. They mark what a reply tells beyond its prompt: names, dates, numbers and other
words that the prompt does not contain; words echoed from the prompt are known to whoever asks, so not sensitive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from palu.errors import UserError
from palu.progress import followed
from palu.settings import PositiveCount, unknown
from palu.tagging.base import TaggerSettings

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Token

    from palu.tagging.base import Resources

NAME, DATE, NUMBER, TERM = RULE_LABELS = ("NAME", "DATE", "NUMBER", "TERM")

# fmt: off
# Months that are no other word stand for a date on their own
_CLEAR_MONTHS = ["January", "February", "April", "June", "July", "August", "September", "October", "November",
                 "December"]
_SHORT_MONTHS = ["Jan", "Feb", "Mar", "Apr", "Jun", "Jul", "Aug", "Sep", "Sept", "Oct", "Nov", "Dec"]
_MONTHS = [*_CLEAR_MONTHS, "March", "May", *_SHORT_MONTHS, *(f"{month}." for month in _SHORT_MONTHS)]
# Small words that stand inside a name without ending it
_CONNECTORS = ["of", "the", "de", "da", "del", "der", "den", "di", "du", "la", "le", "les", "van", "von", "bin",
               "ibn", "al", "el", "-", "–", "'s", "’s", "&"]
# fmt: on

# Patterns of spaCy's token matcher; no two of them can claim the same tokens, so the longest match is the only one
_CAPITALISED = {"SHAPE": {"REGEX": "^X"}, "IS_STOP": False, "TEXT": {"NOT_IN": _MONTHS}}
_MONTH = {"TEXT": {"IN": _MONTHS}}
_DAY = {"TEXT": {"REGEX": r"^[0-3]?\d(st|nd|rd|th)?$"}}
_YEAR = {"TEXT": {"REGEX": r"^[12]\d{3}s?$"}}
_COMMA = {"TEXT": ",", "OP": "?"}
_PATTERNS: dict[str, list[list[dict[str, Any]]]] = {
    NAME: [
        [_CAPITALISED],
        [
            _CAPITALISED,
            # without a limit a list of a thousand names has half a million matches; a longer name is several in a row
            {"TEXT": {"REGEX": "^(" + "|".join(_CONNECTORS) + r"|[^\W\d_a-z].*)$"}, "OP": "{0,10}"},
            _CAPITALISED,
        ],
        # A short quotation that opens with a capital is a title, small words and all
        [
            {"IS_QUOTE": True},
            {"SHAPE": {"REGEX": "^X"}},
            {"IS_QUOTE": False, "OP": "{0,11}"},
            {"IS_QUOTE": True},
        ],
    ],
    DATE: [
        [_MONTH, _DAY, _COMMA, _YEAR],
        [_MONTH, _DAY],
        [_DAY, {"LOWER": "of", "OP": "?"}, _MONTH, _COMMA, _YEAR],
        [_DAY, {"LOWER": "of", "OP": "?"}, _MONTH],
        [_MONTH, _COMMA, _YEAR],
        [{"TEXT": {"IN": _CLEAR_MONTHS}}],
        [_YEAR],
        [{"TEXT": {"REGEX": r"^\d{1,4}[/.]\d{1,2}[/.]\d{1,4}$"}}],
        [{"TEXT": {"REGEX": r"^\d{1,4}$"}}, {"TEXT": "-"}, _DAY, {"TEXT": "-"}, {"TEXT": {"REGEX": r"^\d{1,4}$"}}],
    ],
    # "one" is mostly a pronoun
    NUMBER: [[{"LIKE_NUM": True, "LOWER": {"NOT_IN": ["one"]}, "TEXT": {"REGEX": r"^(?![12]\d{3}s?$)(?![A-Z])"}}]],
}


# Characters of all replies of a batch: documents are parsed together as long as memory stays small
CHARACTERS_PER_BATCH = 2**21


class Settings(TaggerSettings):
    """pipeline: name or folder of an installed spaCy pipeline; none = the rules. labels: entity labels that count;
    none = all that the pipeline has. batch_size: replies per batch, fewer where they are long."""

    pipeline: str | None = Field(default=None, min_length=1)
    labels: list[str] | None = Field(default=None, min_length=1)
    batch_size: PositiveCount = 256


def spans(examples: Sequence[Mapping[str, Any]], settings: Settings, resources: Resources) -> Iterator[dict[str, Any]]:
    """The spans that the pipeline finds in the replies of `examples`.

    Raises UserError for a pipeline that is not installed, finds no entities or lacks a label.
    """
    nlp = rule_pipeline() if settings.pipeline is None else _installed(settings.pipeline)
    labels = _chosen_labels(nlp, settings)
    # spaCy refuses longer texts by default; a document without a prompt may be a whole book
    longest = max(len(example["reply"]) for example in examples)
    nlp.max_length = max(nlp.max_length, longest + 1)
    batch_size = max(min(settings.batch_size, CHARACTERS_PER_BATCH // max(longest, 1)), 1)
    replies = (example["reply"] for example in examples)
    docs = nlp.pipe(replies, batch_size=batch_size, n_process=resources.processes)
    for example, doc in zip(followed(examples, "tagging", len(examples), "reply"), docs, strict=True):
        if settings.pipeline is None:
            found = _beyond_prompt(doc, nlp.make_doc(example["prompt"]))
        else:
            found = ((entity.start_char, entity.end_char, entity.label_) for entity in doc.ents)
        for char_start, char_end, label in found:
            if label in labels:
                yield {
                    "example_id": example["example_id"],
                    "char_start": char_start,
                    "char_end": char_end,
                    "label": label,
                }


def _installed(pipeline: str) -> Language:
    import spacy

    is_folder = Path(pipeline).is_dir()
    if not is_folder and not spacy.util.is_package(pipeline):
        raise UserError(
            f"spacy: pipeline {pipeline!r} is neither installed nor a folder; "
            f"to install it: python -m spacy download {pipeline}"
        )
    try:
        return spacy.load(pipeline)
    except (OSError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"spacy: pipeline {pipeline!r} cannot be loaded: {reason}") from error


def _chosen_labels(nlp: Language, settings: Settings) -> frozenset[str]:
    if settings.pipeline is None:
        known = set(RULE_LABELS)
    else:
        finders = [name for name in nlp.pipe_names if "doc.ents" in nlp.get_pipe_meta(name).assigns]
        if not finders:
            parts = ", ".join(nlp.pipe_names) or "none"
            raise UserError(f"spacy: pipeline {settings.pipeline!r} finds no entities (its components: {parts})")
        known = {label for name in finders for label in nlp.pipe_labels[name]}
    for label in settings.labels or ():
        if label not in known:
            raise unknown("label", label, f"spacy: pipeline {settings.pipeline or 'of rules'}", known)
    return frozenset(settings.labels or known)


def rule_pipeline() -> Language:
    """A blank English pipeline whose entities are names, dates and numbers, wherever they stand."""
    import spacy

    nlp = spacy.blank("en")
    ruler: Any = nlp.add_pipe("entity_ruler")
    ruler.add_patterns(
        [{"label": label, "pattern": pattern} for label, patterns in _PATTERNS.items() for pattern in patterns]
    )
    return nlp


def _beyond_prompt(reply: Doc, prompt: Doc) -> Iterator[tuple[int, int, str]]:
    """(char_start, char_end, label) of the reply's entities and other words, less what the prompt has."""
    known = {token.lower_ for token in prompt}
    for label, tokens in _stretches(reply):
        piece: list[Token] = []
        for token in tokens:
            tells = _tells(token, label)
            if tells and token.lower_ in known:
                yield from _trimmed(piece, label)
                piece = []
            elif piece or tells:
                piece.append(token)
        yield from _trimmed(piece, label)


def _stretches(reply: Doc) -> Iterator[tuple[str, list[Token]]]:
    """The reply cut into its entities and, between them, runs of words that no stop word or punctuation breaks."""
    run: list[Token] = []
    for token in reply:
        joins = bool(run) and (token.is_space or token.text == "-")
        if not token.ent_type_ and (joins or _tells(token, TERM)):
            run.append(token)
        elif run:
            yield TERM, run
            run = []
    if run:
        yield TERM, run
    for entity in reply.ents:
        yield entity.label_, list(entity)


def _tells(token: Token, label: str) -> bool:
    """Whether a token carries meaning of its own; the small words of a date ("May") and of numbers ("two") do."""
    return any(map(str.isalnum, token.text)) and (not token.is_stop or label in {DATE, NUMBER})


def _trimmed(piece: list[Token], label: str) -> Iterator[tuple[int, int, str]]:
    """The piece as one span that ends with its last telling token; nothing for an empty piece."""
    while piece and not _tells(piece[-1], label):
        piece = piece[:-1]
    if piece:
        yield piece[0].idx, piece[-1].idx + len(piece[-1]), label
