"""One thing that the doctor found, and all of them as text or JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

_WIDTH = 22


@dataclass(frozen=True)
class Finding:
    """section: such as `machine`. name: of what was looked at. value: plain, for JSON. text: the same for a person.

    advice: what to do about it, if it is a problem. is_needed: whether the work cannot be done without it.
    """

    section: str
    name: str
    value: Any
    text: str
    advice: str = ""
    is_needed: bool = False


@dataclass(frozen=True)
class Report:
    """All findings, in the order in which they are shown."""

    findings: Sequence[Finding]

    @property
    def is_lacking(self) -> bool:
        """Whether something is lacking without which the work cannot be done."""
        return any(found.is_needed and found.advice for found in self.findings)

    def as_text(self) -> str:
        """For a person: a line for each finding, and under each problem what to do, marked with ! (or !! where the
        work cannot be done otherwise); the problems' number at the end."""
        lines: list[str] = []
        section = ""
        for found in self.findings:
            if found.section != section:
                section = found.section
                lines += ["", section]
            lines.append(f"  {found.name:<{_WIDTH}}{found.text}")
            if found.advice:
                lines.append(f"  {'!! ' if found.is_needed else '! '}{found.advice}")
        needed = sum(bool(found.advice and found.is_needed) for found in self.findings)
        others = sum(bool(found.advice and not found.is_needed) for found in self.findings)
        lines += ["", f"{needed} things are lacking (!!), {others} are worth a look (!)"]
        return "\n".join(lines).lstrip("\n")

    def as_json(self) -> str:
        """The findings as one JSON object: section -> name -> value, advice, needed."""
        sections: dict[str, dict[str, Any]] = {}
        for found in self.findings:
            facts = asdict(found)
            kept = {key: facts[key] for key in ("value", "text", "advice", "is_needed")}
            sections.setdefault(found.section, {})[found.name] = kept
        return json.dumps({"is_lacking": self.is_lacking, "sections": sections}, indent=1, ensure_ascii=False)


def first(findings: Iterable[Finding], name: str) -> Finding:
    """The finding of this name."""
    return next(found for found in findings if found.name == name)
