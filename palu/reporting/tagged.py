"""What each tagger marked, and what became of the replies in which it found nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palu.errors import UserError
from palu.files import read_json
from palu.reporting.collect import Study

# What a tagger's setting `fallback` does with a reply without any span
POLICIES = {
    "skip": "nothing of them is trained",
    "whole_reply": "the whole reply counts as sensitive",
    "first_clause": "their first clause counts as sensitive",
}
COUNTS = ("rows", "rows_without_span", "fallback_rows", "spans", "marked_characters", "characters")


@dataclass(frozen=True)
class Tagged:
    """One tagger's coverage. policy: what its setting makes of replies without a span, in words. warning: what the
    stage warned of, if anything."""

    tagger: str
    rows: int
    rows_without_span: int
    fallback_rows: int
    spans: int
    share: float
    policy: str
    warning: str | None = None


def tagged(study: Study) -> list[Tagged]:
    """The coverage of every tagger, read beside its spans table; one without that file is left out.

    Raises UserError for a file that holds other things.
    """
    return list(_tagged(study))


def _tagged(study: Study) -> Iterator[Tagged]:
    for label, spans in study.index.spans.items():
        path = Path(spans).with_suffix(".json")
        if not path.exists():
            continue
        facts = read_json(path)
        if not isinstance(facts, dict) or not all(isinstance(facts.get(name), int) for name in COUNTS):
            raise UserError(f"{path}: not a tagger's coverage; allowed: whole numbers under {', '.join(COUNTS)}")
        settings: dict[str, Any] = study.index.taggers.get(label, {})
        yield Tagged(
            tagger=label,
            rows=facts["rows"],
            rows_without_span=facts["rows_without_span"],
            fallback_rows=facts["fallback_rows"],
            spans=facts["spans"],
            share=facts["marked_characters"] / max(facts["characters"], 1),
            policy=POLICIES.get(str(settings.get("fallback", "skip")), ""),
            warning=facts.get("warning"),
        )
