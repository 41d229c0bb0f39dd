"""Spans from a spaCy pipeline: the grammar and the entities that an installed one finds, or rules on a blank one.

Every mode marks what a reply says beyond its prompt: words echoed from the prompt are known to whoever asks, so not
sensitive. The rules need no trained weights. They mark names, dates, numbers and other words. The grammar of an
installed pipeline marks nouns, names, adjectives, numbers and entities, and titles in quotation marks. In English it
leaves out adjectives that judge ("captivating") and common words in the phrase of a sentence's subject ("her
father"). A document, a row without a prompt, has no question to subtract: there names, dates and numbers alone are
marked, unless `labels` says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from palu.errors import UserError
from palu.progress import followed
from palu.settings import PositiveCount, unknown
from palu.tagging.base import TaggerSettings
from palu.tagging.english import COMMON
from palu.tagging.words import quotations, runs, words

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


# Parts of speech that carry a fact, by the label of what they mark
_PARTS = {"PROPN": NAME, "NUM": NUMBER, "NOUN": TERM, "ADJ": TERM}
# Endings of English adjectives that judge or describe rather than say which: "famous", not "medical"
_DESCRIBING = ("able", "ible", "ous", "ful", "less", "ing", "ive", "ent", "ant", "ique")
# How a word depends on the head of its noun phrase
_INSIDE_PHRASE = frozenset(["amod", "compound", "nummod", "nmod", "poss"])
_SUBJECTS = frozenset(["nsubj", "nsubjpass"])
# A longer quotation is not a title
_LONGEST_TITLE = 20

# Characters of all replies of a batch: documents are parsed together as long as memory stays small
CHARACTERS_PER_BATCH = 2**21


class Settings(TaggerSettings):
    """pipeline: name or folder of an installed spaCy pipeline; none = the rules. mode: what counts with a pipeline:
    its grammar (parts of speech and entities), or its entities alone. labels: those that count; none = all, on
    documents all but TERM. batch_size: texts per batch, fewer where they are long."""

    pipeline: str | None = Field(default=None, min_length=1)
    mode: Literal["grammar", "entities"] = "grammar"
    labels: list[str] | None = Field(default=None, min_length=1)
    batch_size: PositiveCount = 256


def spans(examples: Sequence[Mapping[str, Any]], settings: Settings, resources: Resources) -> Iterator[dict[str, Any]]:
    """What the replies of `examples` say beyond their prompts, by the pipeline or the rules.

    Raises UserError for a pipeline that is not installed, finds nothing that the mode reads, or lacks a label.
    """
    nlp = rule_pipeline() if settings.pipeline is None else installed(settings.pipeline)
    labels = _chosen_labels(nlp, settings)
    # spaCy refuses longer texts by default; a document without a prompt may be a whole book
    longest = max(len(example[key]) for example in examples for key in ("prompt", "reply"))
    nlp.max_length = max(nlp.max_length, longest + 1)
    batch_size = max(min(settings.batch_size, CHARACTERS_PER_BATCH // max(longest, 1)), 1)
    texts = (example[key] for example in examples for key in ("prompt", "reply"))
    docs = nlp.pipe(texts, batch_size=batch_size, n_process=resources.processes)
    for example in followed(examples, "tagging", len(examples), "reply"):
        prompt, reply = next(docs), next(docs)
        is_document = not example["prompt"].strip()
        own = labels - {TERM} if is_document and settings.labels is None else labels
        if settings.pipeline is None:
            found = _beyond_prompt(reply, prompt)
        else:
            found = _grammar(reply, prompt, own, settings.mode == "grammar")
        for char_start, char_end, label in found:
            if label in own:
                yield {
                    "example_id": example["example_id"],
                    "char_start": char_start,
                    "char_end": char_end,
                    "label": label,
                }


def installed(pipeline: str) -> Language:
    """An installed pipeline, or that of a folder. Raises UserError for one that is neither, or cannot be loaded."""
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
        assigned = {name: nlp.get_pipe_meta(name).assigns for name in nlp.pipe_names}
        known = {label for name, own in assigned.items() if "doc.ents" in own for label in nlp.pipe_labels[name]}
        if settings.mode == "grammar" and any({"token.tag", "token.pos"} & set(own) for own in assigned.values()):
            known |= {NAME, NUMBER, TERM}
        if not known:
            what = "no entities" if settings.mode == "entities" else "neither parts of speech nor entities"
            parts = ", ".join(nlp.pipe_names) or "none"
            raise UserError(f"spacy: pipeline {settings.pipeline!r} finds {what} (its components: {parts})")
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


def _grammar(reply: Doc, prompt: Doc, labels: frozenset[str], by_parts: bool) -> Iterator[tuple[int, int, str]]:
    """(char_start, char_end, label) of runs of words that carry a fact, less what the prompt has.

    labels: those of the words that count. by_parts: whether parts of speech count, or entities alone.
    """
    known = {form for token in prompt for form in _forms(token)}
    is_new = [known.isdisjoint(_forms(token)) for token in reply]
    of_word = [token.ent_type_ or (_PARTS.get(token.pos_, "") if by_parts else "") for token in reply]
    marked = [
        is_new[token.i] and of_word[token.i] in labels and _carries(token) and not (by_parts and _is_aside(token))
        for token in reply
    ]
    # a question's reply quotes titles, a document quotes speech
    if by_parts and known and NAME in labels:
        for tokens in _quoted(reply):
            telling = [token.i for token in tokens if _carries(token)]
            if telling and 2 * sum(is_new[index] for index in telling) >= len(telling):
                for token in tokens:
                    marked[token.i], of_word[token.i] = True, NAME
    for entity in reply.ents:
        inside = [token.i for token in entity if marked[token.i]]
        if inside:
            marked[inside[0] : inside[-1] + 1] = [True] * (inside[-1] + 1 - inside[0])
    for index in range(1, len(reply) - 1):
        is_joint = reply[index].text in {"-", "–", "/"} and not (
            reply[index - 1].whitespace_ or reply[index].whitespace_
        )
        if is_joint and (marked[index - 1] or marked[index + 1]):
            marked[index - 1 : index + 2] = [True] * 3
    for start, end in runs(marked):
        own = [of_word[index] for index in range(start, end) if of_word[index] in labels]
        label = next((label for label in own if label != TERM), own[0])
        yield reply[start].idx, reply[end - 1].idx + len(reply[end - 1]), label


def _forms(token: Token) -> set[str]:
    """The word, and its lemma where the pipeline has one."""
    return {token.lower_, token.lemma_.lower() or token.lower_}


def _carries(token: Token) -> bool:
    return not (token.is_stop or token.is_punct or token.is_space)


def _is_aside(token: Token) -> bool:
    """Whether an English word in small letters judges, or names the subject in common words: neither is the fact."""
    is_name = token.ent_type_ or token.pos_ == "PROPN" or (token.is_title and not token.is_sent_start)
    if token.lang_ != "en" or is_name:
        return False
    head = token
    while head.dep_ in _INSIDE_PHRASE and head.head.pos_ in {"NOUN", "PROPN"}:
        head = head.head
    judges = token.pos_ == "ADJ" and token.lower_.endswith(_DESCRIBING)
    return judges or (head.dep_ in _SUBJECTS and head.lower_ in COMMON)


def _quoted(reply: Doc) -> Iterator[list[Token]]:
    """The tokens of each quotation that is short enough for a title."""
    found = words(reply.text)
    for start, end in quotations(found):
        if end - start <= _LONGEST_TITLE:
            first, last = found[start].start, found[end - 1].end
            yield [token for token in reply if token.idx >= first and token.idx + len(token) <= last]


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
