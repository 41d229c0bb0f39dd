"""Spans of personal data, as the library Presidio finds it: phone numbers, e-mail addresses, card numbers, names.

Patterns and checksums need no weights; names, places and dates in words come from a spaCy pipeline, where one is
named. An optional extra of the package: `presidio`. Presidio would download a pipeline that is not installed, and a
list of internet domains to check e-mail addresses; here both stay as they are installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from palu.errors import UserError
from palu.settings import Number, unknown
from palu.tagging.base import TaggerSettings

if TYPE_CHECKING:
    from spacy.language import Language

    from palu.tagging.base import Resources

PACKAGE = "presidio_analyzer"


class Settings(TaggerSettings):
    """pipeline: name or folder of an installed spaCy pipeline for names and places; none = patterns alone. language:
    its code, by which Presidio chooses patterns. labels: kinds of personal data that count, such as PHONE_NUMBER;
    none = all. min_score: Presidio's confidence below which a span is left out."""

    pipeline: str | None = Field(default=None, min_length=1)
    language: str = Field(default="en", min_length=2)
    labels: list[str] | None = Field(default=None, min_length=1)
    min_score: Annotated[Number, Field(ge=0, le=1)] = 0.0


def spans(examples: Sequence[Mapping[str, Any]], settings: Settings, resources: Resources) -> Iterator[dict[str, Any]]:  # noqa: ARG001
    """The personal data that Presidio finds in the replies of `examples`.

    Raises UserError where Presidio or the pipeline is not installed, for a language that it has no patterns of, and
    for a label that it does not know.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise UserError(
            "presidio: the library is not installed; to install it: python -m pip install 'palu[presidio]'"
        )
    analyzer = _analyzer(settings, max(len(example["reply"]) for example in examples))
    known = analyzer.get_supported_entities(settings.language)
    for label in settings.labels or ():
        if label not in known:
            raise unknown("label", label, f"presidio: language {settings.language!r}", known)
    for example in examples:
        found = analyzer.analyze(
            text=example["reply"],
            language=settings.language,
            entities=settings.labels,
            score_threshold=settings.min_score,
        )
        for result in found:
            yield {
                "example_id": example["example_id"],
                "char_start": result.start,
                "char_end": result.end,
                "label": result.entity_type,
                "score": float(result.score),
            }


def _analyzer(settings: Settings, longest: int) -> Any:
    """The library's analyzer for replies of at most `longest` characters."""
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    _keep_offline()
    engine = SpacyNlpEngine(models=[{"lang_code": settings.language, "model_name": settings.pipeline or "blank"}])
    # a loaded pipeline in the place of `load`, which would download what is missing
    nlp = _pipeline(settings)
    # spaCy refuses longer texts by default; a document without a prompt may be a whole book
    nlp.max_length = max(nlp.max_length, longest + 1)
    engine.nlp = {settings.language: nlp}
    registry = RecognizerRegistry(supported_languages=[settings.language])
    registry.load_predefined_recognizers(languages=[settings.language], nlp_engine=engine)
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=[settings.language])


def _pipeline(settings: Settings) -> Language:
    import spacy

    if settings.pipeline is None:
        try:
            return spacy.blank(settings.language)
        except ImportError as error:
            raise UserError(
                f"presidio: spaCy knows no language {settings.language!r}; allowed: en, de, ..."
            ) from error
    if not Path(settings.pipeline).is_dir() and not spacy.util.is_package(settings.pipeline):
        raise UserError(
            f"presidio: pipeline {settings.pipeline!r} is neither installed nor a folder; "
            f"to install it: python -m spacy download {settings.pipeline}"
        )
    try:
        return spacy.load(settings.pipeline)
    except (OSError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"presidio: pipeline {settings.pipeline!r} cannot be loaded: {reason}") from error


def _keep_offline() -> None:
    """E-mail addresses are checked with the list of domains that the library brings, not one that it downloads."""
    import tldextract

    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())
