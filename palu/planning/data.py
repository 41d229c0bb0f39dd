"""What the rows of a study are: counts, characters and tokens of each part, and what their own spans cover."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palu import benchmarks, tables
from palu.benchmarks.parts import BenchmarkPart
from palu.errors import UserError, first_line
from palu.models.gguf import gguf_tokenizer, is_gguf

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Where no tokenizer is at hand: about what English text has.
CHARACTERS_PER_TOKEN = 4
BATCH_ROWS = 256

Row = dict[str, Any]
Spans = list[dict[str, Any]]


@dataclass
class PartFacts:
    """The training rows, or the neighbours, of one part. tokens: those that are predicted, each reply's and its end;
    longest: the most that a whole row has; span_rows, span_characters: rows with a span of the benchmark's own, and
    what all of these cover; wrong_rows: rows with wrong replies."""

    rows: int = 0
    documents: int = 0
    characters: int = 0
    tokens: int = 0
    longest: int = 0
    span_rows: int = 0
    span_characters: int = 0
    wrong_rows: int = 0


@dataclass
class Rows:
    """All rows of a benchmark. source: where they were read from. first, longest: of each part the first row and the
    one with the longest prompt, with their spans."""

    source: str
    parts: dict[str, PartFacts] = field(default_factory=dict)
    first: dict[str, tuple[Row, Spans]] = field(default_factory=dict)
    longest: dict[str, tuple[Row, Spans]] = field(default_factory=dict)

    @property
    def samples(self) -> list[tuple[Row, Spans]]:
        """The rows that stand for all of them where a model is tried, each once."""
        chosen = (*self.first.values(), *self.longest.values())
        return list({row["example_id"]: (row, spans) for row, spans in chosen}.values())

    @property
    def forget(self) -> list[PartFacts]:
        return [facts for part, facts in self.parts.items() if part in tables.FORGET_PARTS]

    def tokens(self, part: str) -> int:
        return self.parts[part].tokens if part in self.parts else 0


def tokenizer_of(folder: Path | None) -> Tokenizer | None:
    """The tokenizer of a local model folder, where it has one that can be read without its library, or of a GGUF
    file."""
    from tokenizers import Tokenizer

    if folder is not None and is_gguf(folder):
        return gguf_tokenizer(folder)[0].backend_tokenizer
    path = folder / "tokenizer.json" if folder else None
    if path is None or not path.is_file():
        return None
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:
        # Rust raises a bare Exception
        raise UserError(f"{path}: a damaged tokenizer: {first_line(error)}") from None


def problems(benchmark: BenchmarkPart) -> list[str]:
    """Every mistake in the files of the user's own benchmark; none of one that has no such files."""
    listed = getattr(benchmarks.load(benchmark.name), "problems", None)
    return [str(error) for error in listed(benchmark.settings)] if listed else []


def read(
    benchmark: BenchmarkPart, tokenizer: Tokenizer | None, max_length: int, template: str = "plain"
) -> Rows | str:
    """The rows, of files or made here, or of the table that the workflow has made of the hub's; or why not.

    Raises UserError where `palu.benchmarks.checked` does.
    """
    table = Path(f"data/{benchmark.name}/{benchmark.key}.parquet")
    if benchmark.settings.is_here:
        found = Rows(", ".join(benchmark.settings.files) or "as the benchmark makes or reads them")
        pairs: Iterable[tuple[Row, Spans]] = benchmarks.checked(benchmark.name, benchmark.settings)
    elif table.is_file():
        found, pairs = Rows(str(table)), _stored(table)
    else:
        return "not read: on the hub"
    pending = iter(pairs)
    while batch := list(islice(pending, BATCH_ROWS)):
        for row, spans in batch:
            found.first.setdefault(row["part"], (row, spans))
            longest, _ = found.longest.setdefault(row["part"], (row, spans))
            if len(row["prompt"]) > len(longest["prompt"]):
                found.longest[row["part"]] = row, spans
            if row["reply_kind"] == "perturbed" and row["reply_index"] == 0:
                found.parts.setdefault(row["part"], PartFacts()).wrong_rows += 1
        counted = [
            (row, spans)
            for row, spans in batch
            if tables.is_training_row(row) or row["part"] in tables.NEIGHBOUR_PARTS
        ]
        _count(counted, found, tokenizer, max_length, int(template != "raw"))
    return found


def _stored(table: Path) -> Iterator[tuple[Row, Spans]]:
    gold = table.with_suffix(".gold.parquet")
    spans: dict[str, Spans] = {}
    for span in tables.rows(gold, "spans") if gold.is_file() else ():
        spans.setdefault(span["example_id"], []).append(span)
    for batch in tables.iterate(table, "examples"):
        for row in batch.to_pylist():
            yield row, spans.get(row["example_id"], [])


def _count(
    pairs: list[tuple[Row, Spans]], found: Rows, tokenizer: Tokenizer | None, max_length: int, prompted_end: int
) -> None:
    """Add rows to the facts of their part. prompted_end: tokens of a reply's end; a document has none."""
    prompts = _lengths([row["prompt"] for row, _ in pairs], tokenizer)
    replies = _lengths([row["reply"] for row, _ in pairs], tokenizer)
    for (row, spans), prompt, reply in zip(pairs, prompts, replies, strict=True):
        facts = found.parts.setdefault(row["part"], PartFacts())
        facts.rows += 1
        facts.characters += len(row["reply"])
        facts.documents += row["prompt"] == ""
        # a document is cut into pieces, a row with a prompt is cut short; bos comes before either
        reply += prompted_end if row["prompt"] else 0
        facts.tokens += min(reply, max(0, max_length - 1 - prompt)) if row["prompt"] else reply
        facts.longest = max(facts.longest, min(max_length, 1 + prompt + reply))
        facts.span_rows += bool(spans)
        facts.span_characters += len({place for s in spans for place in range(s["char_start"], s["char_end"])})


def _lengths(texts: list[str], tokenizer: Tokenizer | None) -> list[int]:
    if tokenizer is None:
        return [-(-len(text) // CHARACTERS_PER_TOKEN) for text in texts]
    return [len(encoded) for encoded in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
