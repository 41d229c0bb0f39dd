"""What a tagger offers and what it may use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from palu.models.settings import TemplateSettings
from palu.settings import Settings

if TYPE_CHECKING:
    from palu.spans import Span

# What a tagger may ask for in `needs`; each is a field of `Resources` with "_path", gold = the benchmark's own spans.
NEEDS = frozenset({"gold", "model", "states", "other_states", "trained"})
# The needs that tie a tagger's spans to one model.
MODEL_NEEDS = frozenset({"model", "states", "other_states"})
# The label of a span that stands in where a tagger found none.
FALLBACK = "fallback"

# Where a clause ends: a mark before white space or the end of the text, or one that no space follows in its script.
_CLAUSE_END = re.compile(r"[,;:.!?،؛؟।…](?=\s|$)|[、。，；：！？]|[\r\n]|\s[-–—]\s|—")


class TaggerSettings(Settings):
    """fallback: what is marked of a reply in which the tagger finds nothing: no character of it (skip), the whole
    reply, or its first clause.

    needs: of `NEEDS`, what the tagger reads besides the examples.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    fallback: Literal["skip", "whole_reply", "first_clause"] = "skip"

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the user's own files that the tagger reads or is trained on: inputs of its rule."""
        return ()

    @property
    def takes_gpu(self) -> bool:
        """Whether the tagger computes on a GPU that is chosen for it, where there is one."""
        return False


@dataclass(frozen=True)
class Resources:
    """What a tagger may use besides the examples.

    examples_digest: names the examples table, which a spans table states that it is of. gold_path: the benchmark's
    own spans table. processes: worker processes, which change nothing in the result. model_path: the folder of the
    frozen original model; states_path: its `states` table over the reply tokens of the rows to tag; other_states_path:
    the same of a model that does not know the facts, log-probabilities without states; template, max_length: how the
    two encoded the rows. trained_path: the folder that `palu train-tagger` wrote. inputs: the spans tables to combine.
    """

    examples_digest: str = ""
    gold_path: Path | None = None
    processes: int = 1
    model_path: Path | None = None
    states_path: Path | None = None
    other_states_path: Path | None = None
    trained_path: Path | None = None
    template: TemplateSettings | None = None
    max_length: int | None = None
    inputs: tuple[Path, ...] = ()


class Tagger(Protocol):
    """The surface of a module in `palu.tagging`."""

    Settings: type[TaggerSettings]

    def spans(
        self, examples: Sequence[Mapping[str, Any]], settings: Any, resources: Resources
    ) -> Iterable[dict[str, Any]]:
        """Spans of `examples`: dicts of example_id, char_start, char_end, label and, optionally, score."""


def fallback_span(reply: str, fallback: str) -> Span | None:
    """What stands in for the spans of a reply without any, trimmed of white space; None for nothing.

    The first clause ends before the first comma, semicolon, colon, dash, line break or end of a sentence; it is the
    whole reply where there is none of them after its first character.
    """
    if fallback == "skip" or not reply.strip():
        return None
    start, end = len(reply) - len(reply.lstrip()), len(reply.rstrip())
    if fallback == "first_clause":
        mark = _CLAUSE_END.search(reply, start + 1, end)
        end = mark.start() if mark else end
    return start, start + len(reply[start:end].rstrip())
