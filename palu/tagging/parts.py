"""The taggers of a study: their settings, what they combine, and what names them in a path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from palu import tagging
from palu.errors import UserError
from palu.files import canonical_json, text_digest
from palu.settings import check_known, unknown
from palu.tagging.base import MODEL_NEEDS, TaggerSettings
from palu.tagging.combining import CombinationSettings


@dataclass(frozen=True)
class TaggerPart:
    """A tagger under the name that the study gives it. of: those whose spans it combines."""

    label: str
    name: str
    settings: TaggerSettings
    of: tuple[TaggerPart, ...] = ()

    @cached_property
    def values(self) -> dict[str, Any]:
        """The settings as plain values, without the study's names of other taggers."""
        return self.settings.model_dump(mode="json", exclude={"of"})

    @property
    def chosen(self) -> dict[str, Any]:
        """Those of `values` that are not the tagger's defaults."""
        return self.settings.model_dump(mode="json", exclude={"of"}, exclude_defaults=True)

    def description(self) -> dict[str, Any]:
        """What a report says of the tagger, its fallback among it."""
        combined = {"of": [part.label for part in self.of]} if self.of else {}
        return {"name": self.name, **combined, **self.values}

    @cached_property
    def key(self) -> str:
        """Tells it apart in a path from the same name with other settings, or of other taggers."""
        combined = [[part.key for part in self.of]] if self.of else []
        return f"{self.name}-{text_digest(canonical_json([self.name, self.values, *combined]))}"

    @cached_property
    def needs_model(self) -> bool:
        """Whether its spans depend on the study's model, itself or through what it combines."""
        return bool(self.settings.needs & MODEL_NEEDS) or any(part.needs_model for part in self.of)

    @property
    def against(self) -> str | None:
        """The checkpoint that it compares the original with; None: the study's retain model, or it compares none."""
        found: str | None = getattr(self.settings, "against", None)
        return found

    @property
    def reads_retain_model(self) -> bool:
        """Whether it compares the original with the study's retain model."""
        return "other_states" in self.settings.needs and self.against is None


def parse_taggers(raw: Mapping[str, Mapping[str, Any]], place: str) -> dict[str, TaggerPart]:
    """Label -> tagger, from a study's section, combinations after what they combine but in the section's order.

    Raises UserError in one line for an unknown tagger, setting or label, and for a tagger that combines itself.
    """
    parsed: dict[str, TaggerPart] = {}

    def resolve(label: str, above: tuple[str, ...]) -> TaggerPart:
        where = f"{place}.{label}"
        if label in above:
            circle = " of ".join([*above[above.index(label) :], label])
            raise UserError(f"{where}.of: combines itself: {circle}; allowed: other taggers")
        if label not in parsed:
            values = dict(raw[label])
            name = values.pop("name", label)
            settings = tagging.load(name, f"{where}.name").Settings.parse(values, where)
            parts = tuple(resolve(other, (*above, label)) for other in _combined(label, settings, raw, where))
            parsed[label] = TaggerPart(label, name, settings, parts)
        return parsed[label]

    return {label: resolve(label, ()) for label in raw}


def _combined(label: str, settings: TaggerSettings, raw: Mapping[str, Any], where: str) -> list[str]:
    if not isinstance(settings, CombinationSettings):
        return []
    others = [other for other in raw if other != label]
    for other in settings.of:
        if other not in raw:
            raise unknown("tagger", other, f"{where}.of", others)
    if len(set(settings.of)) < 2 or len(set(settings.of)) < len(settings.of):
        allowed = ", ".join(others)
        raise UserError(f"{where}.of: {settings.of} is not two or more names; allowed: each once, of {allowed}")
    return settings.of


def check_models(taggers: Mapping[str, TaggerPart], has_retain_model: bool, place: str) -> None:
    """Raise UserError for a tagger that compares the original with a retain model where there is none."""
    for part in taggers.values():
        if part.reads_retain_model and not has_retain_model:
            raise UserError(
                f"{place}.{part.label}.against: is not set, and the study has no retain model; "
                "allowed: a checkpoint that does not know the facts, or model.retain_checkpoint"
            )


def choose_tagger(reads_spans: bool, label: Any, taggers: Mapping[str, TaggerPart], where: str) -> TaggerPart | None:
    """The tagger of a run whose method reads spans: the one named `label`, or the only one; None where it reads none.

    Raises UserError naming the place for a label without use, a missing and an unknown one.
    """
    if not reads_spans:
        if label is not None:
            raise UserError(f"{where}.tagger: {label!r} is given, but the method reads no spans; allowed: no tagger")
        return None
    if label is None and len(taggers) == 1:
        return next(iter(taggers.values()))
    if label is None:
        raise UserError(f"{where}.tagger: is missing; allowed: {', '.join(taggers) or 'none, taggers is empty'}")
    check_known("tagger", label, f"{where}.tagger", taggers)
    return taggers[label]
