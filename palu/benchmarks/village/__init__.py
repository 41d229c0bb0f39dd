"""The village benchmark: a seeded world of fictitious people, made here, with gold spans of every fact.

Each person is asked the sixteen questions of sentences.py. Some people are to be forgotten, some of those only to tell
when to stop (part `validation`), the rest are retained, and held-out people are never trained. Every item has its
reply, a paraphrase in another sentence, wrong replies that are the paraphrase with other values of the same kind, and
a paraphrased question. True facts about the world, which all models learn, have wrong replies only.
"""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from palu.benchmarks.base import GOLD, BenchmarkSettings, Example, Span, item_rows
from palu.benchmarks.village.facts import world_facts
from palu.benchmarks.village.people import MOST_PEOPLE, WRONG_VALUES, Person, Sentence, fill, person, wrong_values
from palu.benchmarks.village.sentences import ATTRIBUTES, Attribute
from palu.benchmarks.village.words import shuffled
from palu.files import text_digest
from palu.settings import Count, PositiveCount


class Settings(BenchmarkSettings):
    """people: how many are trained, numbered from 0. held_out_people: how many more are never trained.
    forget_from, forget_people: the first person to forget and how many; another forget_from is another study on the
    same original model, such as the one in which settings are chosen. validation_people: how many after those are to
    be forgotten too, but not reported: `training.stop` watches them."""

    seed: Count = 0
    people: Annotated[int, Field(ge=8, le=MOST_PEOPLE // 2)] = 40
    held_out_people: Annotated[int, Field(ge=0, le=MOST_PEOPLE // 2)] = 8
    forget_from: Count = 0
    forget_people: PositiveCount = 8
    validation_people: Count = 0

    @field_validator("forget_people")
    @classmethod
    def _leaves_someone(cls, value: int, info: ValidationInfo) -> int:
        first, people = info.data.get("forget_from"), info.data.get("people")
        if first is None or people is None:  # they have an error of their own
            return value
        if first + value > people or value == people:
            raise ValueError(
                f"people from person {first} on are too many of {people} people, one of whom at least is retained; "
                f"allowed: forget_from + forget_people <= {people} and forget_people < {people}"
            )
        return value

    @field_validator("validation_people")
    @classmethod
    def _still_leaves_someone(cls, value: int, info: ValidationInfo) -> int:
        first, people, forgotten = (info.data.get(key) for key in ("forget_from", "people", "forget_people"))
        if first is None or people is None or forgotten is None:
            return value
        if first + forgotten + value > people or forgotten + value == people:
            raise ValueError(
                f"people after the {forgotten} from person {first} on are too many of {people} people, one of whom at "
                f"least is retained; allowed: forget_from + forget_people + validation_people <= {people} and "
                f"forget_people + validation_people < {people}"
            )
        return value

    @property
    def validation_hint(self) -> str | None:
        return None if self.validation_people else "validation_people above 0"

    @property
    def split_name(self) -> str:
        return f"people{self.forget_from}-{self.forget_from + self.forget_people - 1}"

    def part(self, number: int) -> str:
        """The part that a person belongs to."""
        if number >= self.people:
            return "holdout"
        nth = number - self.forget_from
        if 0 <= nth < self.forget_people:
            return "forget"
        return "validation" if 0 <= nth - self.forget_people < self.validation_people else "retain"


def examples(settings: Settings) -> list[Example]:
    """All rows with their gold spans, a function of the settings alone."""
    rows: list[Example] = []
    for number in range(settings.people + settings.held_out_people):
        someone = person(settings.seed, number)
        for index, attribute in enumerate(ATTRIBUTES):
            rows += _item(settings, someone, attribute, number * len(ATTRIBUTES) + index)
    rows += _fact_rows()
    # The revision names the text, not who of the people is to forget.
    revision = text_digest("\n".join(f"{row['item_id']}\t{row['prompt']}\t{row['reply']}" for row in rows), digits=16)
    for example in rows:
        example["source_revision"] = revision
    return rows


def _item(settings: Settings, someone: Person, attribute: Attribute, row: int) -> list[Example]:
    key = f"{settings.seed}/{row}"
    part = settings.part(someone.number)
    templates = attribute.replies + (attribute.held_out_replies if part == "holdout" else ())
    reply_template, other_template = shuffled(templates, f"{key}/reply")[:2]
    question, other_question = shuffled(attribute.questions, f"{key}/question")[:2]
    true = {field: someone.facts[field] for field in attribute.fields}
    others = {field: wrong_values(settings.seed, someone, field) for field in attribute.fields}
    reply, paraphrase = fill(reply_template, someone, true), fill(other_template, someone, true)
    wrong = [{field: others[field][index] for field in attribute.fields} for index in range(WRONG_VALUES)]
    rows = item_rows(
        part,
        row,
        item_id=f"people/{row}",
        group=someone.name,
        source_revision="",
        prompt=fill(question, someone, {}).text,
        reply=reply.text,
        paraphrases=[paraphrase.text],
        wrong_replies=[fill(other_template, someone, values).text for values in wrong],
        paraphrased_prompt=fill(other_question, someone, {}).text,
    )
    by_reply = {"original": reply, "paraphrase": paraphrase}
    for example in rows:
        if example["reply_kind"] in by_reply:
            example[GOLD] = list(_gold(by_reply[example["reply_kind"]]))
    return rows


def _gold(sentence: Sentence) -> Iterator[Span]:
    for char_start, char_end, field in sentence.spans:
        yield {"char_start": char_start, "char_end": char_end, "label": field}


def _fact_rows() -> Iterator[Example]:
    for row, fact in enumerate(world_facts()):
        yield from item_rows(
            "world_facts",
            row,
            item_id=f"world_facts/{row}",
            group="world_facts",
            source_revision="",
            prompt=fact.prompt,
            reply=fact.reply,
            wrong_replies=fact.wrong_replies,
        )
