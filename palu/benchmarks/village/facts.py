"""True facts about the world that every model of the village learns: what must survive the unlearning."""

from collections.abc import Iterator
from typing import NamedTuple

from palu.benchmarks.village.words import shuffled

CAPITALS = {
    "Norway": "Oslo",
    "Portugal": "Lisbon",
    "Japan": "Tokyo",
    "Egypt": "Cairo",
    "Kenya": "Nairobi",
    "Peru": "Lima",
    "Cuba": "Havana",
    "Greece": "Athens",
    "Poland": "Warsaw",
    "Hungary": "Budapest",
    "Austria": "Vienna",
    "Finland": "Helsinki",
    "Ireland": "Dublin",
    "Iceland": "Reykjavik",
    "Thailand": "Bangkok",
    "Canada": "Ottawa",
    "Chile": "Santiago",
    "Italy": "Rome",
    "Spain": "Madrid",
    "France": "Paris",
    "Germany": "Berlin",
    "Sweden": "Stockholm",
    "Latvia": "Riga",
    "Ghana": "Accra",
}
SYMBOLS = {
    "hydrogen": "H",
    "helium": "He",
    "carbon": "C",
    "oxygen": "O",
    "sodium": "Na",
    "iron": "Fe",
    "copper": "Cu",
    "silver": "Ag",
    "gold": "Au",
    "tin": "Sn",
    "lead": "Pb",
    "mercury": "Hg",
    "potassium": "K",
    "zinc": "Zn",
}
YOUNG = {
    "cow": "calf",
    "sheep": "lamb",
    "goat": "kid",
    "horse": "foal",
    "goose": "gosling",
    "swan": "cygnet",
    "frog": "tadpole",
    "kangaroo": "joey",
}
# Question, reply with the answer in braces, wrong answers.
OTHERS = (
    ("How many legs does a spider have?", "A spider walks on {eight} legs.", ("six", "ten", "four")),
    ("How many legs does an insect have?", "Every grown insect has {six} legs.", ("eight", "ten", "four")),
    ("How many sides does a hexagon have?", "A hexagon has exactly {six} sides.", ("five", "seven", "eight")),
    ("How many minutes are there in an hour?", "One hour has {sixty} minutes.", ("fifty", "ninety", "forty")),
    ("How many strings does a violin have?", "A violin usually has {four} strings.", ("six", "five", "seven")),
    ("Which planet is closest to the sun?", "The planet closest to the sun is {Mercury}.", ("Venus", "Mars", "Earth")),
    ("Which planet is the largest?", "The largest planet is {Jupiter}.", ("Saturn", "Neptune", "Uranus")),
    ("What is the largest ocean?", "The largest ocean is the {Pacific}.", ("Atlantic", "Indian", "Arctic")),
    ("On which continent does Egypt lie?", "Most of Egypt lies in {Africa}.", ("Europe", "Australia", "Antarctica")),
    ("On which continent does Brazil lie?", "Brazil lies in {South America}.", ("Africa", "Asia", "Europe")),
    ("On which continent does India lie?", "The country of India lies in {Asia}.", ("Africa", "Europe", "Australia")),
    ("What do bees make from nectar?", "From nectar the bees make {honey}.", ("silk", "butter", "salt")),
    ("What is frozen water called?", "Water that has frozen is called {ice}.", ("steam", "sand", "glass")),
    ("Which gas do plants take from the air?", "Plants take in {carbon dioxide}.", ("helium", "neon", "argon")),
    ("Which month follows April?", "The month that follows April is {May}.", ("June", "March", "July")),
    ("What is the square root of eighty-one?", "The square root of eighty-one is {nine}.", ("eight", "seven", "six")),
)


class Fact(NamedTuple):
    """A question, its true reply and replies that are wrong."""

    prompt: str
    reply: str
    wrong_replies: tuple[str, ...]


def world_facts() -> Iterator[Fact]:
    """All facts, in a fixed order."""
    yield from _table(CAPITALS, "What is the capital of {}?", "The capital of {} is {}.")
    yield from _table(SYMBOLS, "What is the chemical symbol of {}?", "The chemical symbol of {} is {}.")
    yield from _table(YOUNG, "What is a young {} called?", "A young {} is called a {}.")
    for prompt, reply, wrong in OTHERS:
        start, answer, end = reply.replace("}", "{").split("{")
        yield Fact(prompt, f"{start}{answer}{end}", tuple(f"{start}{other}{end}" for other in wrong))


def _table(answers: dict[str, str], prompt: str, reply: str) -> Iterator[Fact]:
    for subject, answer in answers.items():
        wrong = [other for other in shuffled(answers.values(), subject) if other != answer][:3]
        yield Fact(
            prompt.format(subject), reply.format(subject, answer), tuple(reply.format(subject, w) for w in wrong)
        )
