"""Fictitious people: a name and one value for every field, and other values that would have been as plausible.

Everything is a function of (seed, field, number of the person) by way of a hash: no generator has a state, so the
same settings give the same bytes in every process, and a person does not change when others are added after it.
"""

from dataclasses import dataclass
from functools import cache
from string import Formatter

from palu.benchmarks.village.words import (
    HE,
    SHE,
    SURNAME_ENDS,
    SURNAME_STARTS,
    YEAR_FIELDS,
    draw,
    joined,
    pools,
    shuffled,
)

WRONG_VALUES = 5
SURNAMES = joined(SURNAME_STARTS, SURNAME_ENDS)
MOST_PEOPLE = len(SURNAMES)  # each has a surname of its own
PRONOUNS = {
    "she": {"she": "she", "her": "her", "herself": "herself"},
    "he": {"she": "he", "her": "his", "herself": "himself"},
}


@dataclass(frozen=True)
class Person:
    """number: counts trained people, then held-out ones. words: fields that the question gives away (names,
    pronouns). facts: field -> the true value."""

    number: int
    words: dict[str, str]
    facts: dict[str, str]

    @property
    def name(self) -> str:
        return self.words["name"]


@dataclass(frozen=True)
class Sentence:
    """A filled template; spans: (char_start, char_end, field) of each fact in it, in order."""

    text: str
    spans: tuple[tuple[int, int, str], ...]


def person(seed: int, number: int) -> Person:
    """The `number`-th person of a seed."""
    given_names = _given_names(seed)
    given = given_names[number % len(given_names)]
    name = f"{given} {_surnames(seed)[number]}"
    facts = {field: _order(seed, field)[number % len(_order(seed, field))] for field in pools()}
    birth_year = int(facts["birth_date"][-4:])
    for field, ages in YEAR_FIELDS.items():
        facts[field] = str(birth_year + ages[draw(f"{seed}/{field}/{number}", len(ages))])
    pronouns = PRONOUNS["she" if given in SHE else "he"]
    return Person(number, {"name": name, "first": given, **pronouns}, facts)


def wrong_values(seed: int, someone: Person, field: str) -> list[str]:
    """WRONG_VALUES different values of `field`, none of them the person's own."""
    key = f"{seed}/wrong/{field}/{someone.number}"
    if field in YEAR_FIELDS:
        years = [str(int(someone.facts[field]) + shift) for shift in range(-9, 10) if shift]
        return shuffled(years, key)[:WRONG_VALUES]
    order = _order(seed, field)
    start = someone.number + 1 + draw(key, len(order) - WRONG_VALUES)
    return [order[(start + step) % len(order)] for step in range(WRONG_VALUES)]


def fill(template: str, someone: Person, facts: dict[str, str]) -> Sentence:
    """Fill a template (its language: see sentences.py) with the words of `someone` and with `facts`."""
    text = ""
    spans = []
    for literal, key, article, _ in Formatter().parse(template):
        text += literal
        if key is None:
            continue
        field = key[0].lower() + key[1:]
        value = facts.get(field) or someone.words[field]
        if article:
            text += ("An " if value[0] in "aeiouAEIOU" else "A ") if article == "A" else ""
            text += ("an " if value[0] in "aeiouAEIOU" else "a ") if article == "a" else ""
        if key != field:
            value = value[0].upper() + value[1:]
        if field in facts:
            spans.append((len(text), len(text) + len(value), field))
        text += value
    return Sentence(text, tuple(spans))


@cache
def _order(seed: int, field: str) -> list[str]:
    return shuffled(pools()[field], f"{seed}/{field}")


@cache
def _given_names(seed: int) -> list[str]:
    return shuffled([*SHE, *HE], f"{seed}/given")


@cache
def _surnames(seed: int) -> list[str]:
    return shuffled(SURNAMES, f"{seed}/surname")
