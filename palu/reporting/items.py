"""The rows that were to be forgotten, and the rows that ask for them: what the page shows of the data."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from palu.tables import EVALUATION_PARTS

# Of the evaluation's own rows those that ask for what a document says: its next words, and questions on it.
CONTINUED, QUESTIONED = "verbmem", "knowmem_forget"
PROMPT_CHARACTERS = 600

Spans = Mapping[str, list[tuple[int, int]]]


@dataclass(frozen=True)
class ForgetItem:
    """One prompt-reply row that was to be forgotten, with the display tagger's spans of its reply.

    A document has no prompt. A row of an evaluation part asks for a document: of a question the whole answer is the
    span, of a beginning none is. A neighbour, which was to be kept, has the spans that its answer has to contain.
    """

    example_id: str
    group: str
    prompt: str
    reply: str
    spans: tuple[tuple[int, int], ...]
    part: str = "forget"

    @property
    def shown_prompt(self) -> str:
        """The prompt as the page shows it: without examples before the question, and only the end of a long one."""
        if not self.prompt:
            return f"document of {len(self.reply):,} characters"
        text = self.prompt
        if self.part == QUESTIONED:
            text = re.sub(r"\s*\bAnswer:\s*$", "", text.rpartition("Question:")[2]).strip()
        return text if len(text) <= PROMPT_CHARACTERS else f"… {text[-PROMPT_CHARACTERS:]}"


def asked(examples: pa.Table, part: str, prompt_kind: str = "original") -> pa.Table:
    """The rows of a part with their original reply, to the original or a paraphrased prompt."""
    wanted = pc.and_(
        pc.equal(examples["part"], part),
        pc.and_(pc.equal(examples["reply_kind"], "original"), pc.equal(examples["prompt_kind"], prompt_kind)),
    )
    return examples.filter(wanted)


def items_of(examples: pa.Table, part: str, spans: Spans, prompt_kind: str = "original") -> Iterator[ForgetItem]:
    """The items of a part, in order of their ids. spans: example_id -> sensitive characters of the reply."""
    for row in sorted(asked(examples, part, prompt_kind).to_pylist(), key=lambda row: row["example_id"]):
        own = [(0, len(row["reply"]))] if part == QUESTIONED else sorted(spans.get(row["example_id"], []))
        yield ForgetItem(row["example_id"], row["group"], row["prompt"], row["reply"], tuple(own), part)


def questions(forget: Iterable[ForgetItem], examples: pa.Table) -> tuple[ForgetItem, ...]:
    """The rows whose answers tell what a model still knows: forget rows with a prompt, and those that ask for
    documents; the documents themselves where nothing asks for them."""
    forget = tuple(forget)
    found = [item for item in forget if item.prompt]
    for part in EVALUATION_PARTS:
        if part in (CONTINUED, QUESTIONED):
            found += items_of(examples, part, {})
    return tuple(found) or forget
