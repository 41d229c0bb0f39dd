"""The licences of all that constraints.txt pins, as each package states its own: `python -m tests.security.licences`.

A package that is not installed here, such as one for another machine, stands there without a licence.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "licences.md"
UNKNOWN = "not stated"
MIT_WORDS = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software"
# Ask that a program which uses the package be given away under the same terms; LGPL and MPL ask it of it alone
COPYLEFT = re.compile(r"\bA?GPL|(?<!Lesser )\bGeneral Public License|\bEUPL|\bSSPL|\bOSL", re.IGNORECASE)

HEAD = """# Licences of the dependencies

palu is under the MIT licence. This is what each package that `constraints.txt` pins says of itself; `make licences`
writes the page anew. *Needed* are the package's own dependencies and theirs; the others are extras and tools of who
works on palu. Nothing of them is part of this repository: pip fetches them. Models, data sets and spaCy's pipelines
have licences of their own, which no program reads.

A test fails where a needed package asks that programs which use it be given away under its terms (GPL, AGPL and the
like). One package names the GPL beside other licences: docutils, for a mode of the editor Emacs that its wheel does
not hold and nothing here loads.

| package | version | licence | needed |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Package:
    """One pinned package. licence: as its metadata has it."""

    name: str
    version: str
    licence: str
    is_needed: bool


def pinned() -> dict[str, str]:
    """Name -> version of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    return {name: version for name, _, version in (line.partition("==") for line in lines)}


def needed() -> set[str]:
    """Canonical names of the package's dependencies and theirs, as far as they are installed; extras left out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting = [Requirement(text) for text in project["dependencies"]]
    found: set[str] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in found:
            continue
        try:
            theirs = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        found.add(name)
        extras = wanted.extras or {""}
        following = [Requirement(text) for text in theirs]
        waiting += [
            each for each in following if not each.marker or any(each.marker.evaluate({"extra": x}) for x in extras)
        ]
    return found


def licence(name: str) -> str:
    """What a package's metadata says: its expression, or its classifiers, or the first line of its text."""
    try:
        facts = distribution(name).metadata
    except PackageNotFoundError:
        return "not installed here"
    if expression := facts.get("License-Expression"):
        return expression
    classifiers = [each for each in facts.get_all("Classifier") or [] if each.startswith("License :: ")]
    told = [each.rpartition(" :: ")[2] for each in classifiers if not each.endswith("OSI Approved")]
    if told:
        return "; ".join(sorted(told))
    lines = (facts.get("License") or "").strip().splitlines()
    return lines[0].strip() if lines else _of_its_text(name)


def _of_its_text(name: str) -> str:
    """The licence that a package brings as a file and names nowhere: only the plainest is told by its words."""
    files = [path for path in distribution(name).files or [] if path.name.upper().startswith("LICEN")]
    texts = [" ".join(path.read_text().split()) for path in files]
    return "MIT, by its text" if any(MIT_WORDS in text for text in texts) else UNKNOWN


def packages() -> Iterator[Package]:
    """Every pinned package, by name."""
    hard = needed()
    for name, version in sorted(pinned().items(), key=lambda pair: pair[0].lower()):
        yield Package(name, version, licence(name), canonicalize_name(name) in hard)


def page() -> str:
    """docs/licences.md as it should be."""
    marks = {True: "yes", False: ""}
    rows = [f"| {each.name} | {each.version} | {each.licence} | {marks[each.is_needed]} |" for each in packages()]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
