"""MUSE: texts that a model was trained on, and what it should forget of them (Shi et al. 2024, arXiv 2407.06460).

What is forgotten and retained are *passages*: documents without a prompt. Three further sets only an evaluation
reads: starts of passages with what follows (`verbmem`), questions about them (`knowmem_forget`, `knowmem_retain`),
and texts between which membership is told (`privleak_forget`, `privleak_holdout`). They repeat text of the passages.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field

from palu.benchmarks.base import BenchmarkSettings, Example, item_rows
from palu.benchmarks.source import Record, Rows, Source
from palu.errors import UserError
from palu.settings import Count, PositiveCount

# Where rows of verbmem and privleak are made of chosen passages: how many at most, which is what the benchmark has,
# and how many words of a passage stand after those of the prompt (about 128 tokens, which is what the metric reads)
MADE_ROWS = 100
CONTINUATION_WORDS = 100

Fold = Literal["raw", "scal_1", "scal_2", "scal_3", "scal_4", "sust_1", "sust_2", "sust_3", "sust_4"]


class Settings(BenchmarkSettings):
    """source: a dataset id on the hub (muse-bench/MUSE-News, muse-bench/MUSE-Books), or a local folder in the hub's
    layout or in that of the benchmark's repository: `raw/forget.json` and so on, lists of texts, or `.txt`, one text.
    revision: a commit, tag or branch of the hub's dataset.
    forget: what is to be forgotten: `raw` is the paper's forget set, scal_1 to scal_4 are ever larger ones
    (scalability), sust_1 to sust_4 one request after the other (sustainability).
    retain: the tables of retained passages, one after the other; the paper's methods train on retain1. `privleak`
    takes privleak/retain, for copies of the benchmark without raw/retain1.
    passages: [start, stop) of the passages to forget, for small studies; retain_passages: the same of those retained;
    passage_words: how many words of each of them are kept, from its start; null = the whole passage.
    joined: whether the passages of a table are one document, an empty line between each two, which training then cuts
    into rows of `model.max_length` tokens, as the benchmark's own code does; otherwise each passage is a row.
    icl_examples: questions with their answers that stand before each question of knowmem; null = all that there are.
    train_questions: whether the models are trained on the questions of knowmem too, as rows of the parts forget and
    retain with the same prompts. It is for small models that start from nothing: one that has read a text in a
    minute answers no question about it. The space before an answer then belongs to the answer, as in training, and so
    does the empty line after it: the template `raw` has no end token, and an empty line is what ends an answer.
    verbmem_words: words of the prompts of verbmem, where they are made.

    The benchmark's own rows of verbmem and privleak_forget are about the passages of `raw`. With `passages`,
    `passage_words` or another `forget`, they are made of the chosen passages instead, up to 100 of each, evenly
    spread. verbmem: the prompt is a passage's first `verbmem_words` words, the reply the next 100 at most.
    privleak_forget: the passages; privleak_holdout: texts of privleak/holdout, each cut to as many words as a passage
    has. Questions stay all that the benchmark has."""

    prompt_template: ClassVar[str | None] = "raw"
    max_length: ClassVar[int] = 2048
    split_key: ClassVar[str] = "forget"

    source: Annotated[str, Field(min_length=1)] = "muse-bench/MUSE-News"
    revision: str | None = None
    forget: Fold = "raw"
    retain: list[Literal["retain1", "retain2", "privleak"]] = Field(default=["retain1"], min_length=1)
    passages: Rows | None = None
    retain_passages: Rows | None = None
    passage_words: PositiveCount | None = None
    # left out of what names the rows where it is the default, so that older studies keep their folders
    joined: bool = Field(default=False, exclude_if=lambda value: not value)
    icl_examples: Count | None = None
    train_questions: bool = False
    verbmem_words: PositiveCount = 100

    @property
    def split_name(self) -> str:
        return self.forget if self.passages is None else "{}{}-{}".format(self.forget, *self.passages)

    @property
    def makes_rows(self) -> bool:
        """Whether verbmem and privleak are made of the chosen passages."""
        return self.passages is not None or self.passage_words is not None or self.forget != "raw"


class Passage(NamedTuple):
    """A text and where it stands: `row` of `table`, such as raw/forget."""

    table: str
    row: int
    text: str


def examples(settings: Settings) -> Iterator[Example]:
    """The rows of every part; MUSE ships no spans. Empty passages, and all but the first of equal ones, are left out
    and told in one line. Raises UserError in one line where a table is missing or wrong.
    """
    with tempfile.TemporaryDirectory() as scratch:
        source = _Source(settings.source, settings.revision, "benchmark muse", "MUSE", Path(scratch))
        rows = list(_rows(settings, source))
        revision = source.revision()
    yield from (row | {"source_revision": revision} for row in rows)


def _rows(settings: Settings, source: _Source) -> Iterator[Example]:
    forget, retain = _trained_passages(settings, source)
    for part, chosen in (("forget", forget), ("retain", retain)):
        yield from (_row(part, passage) for passage in (_joined(chosen) if settings.joined else chosen))
    yield from _verbmem(settings, source, forget)
    for side in ("forget", "retain"):
        for passage, prompt in _questions(settings, source, side):
            yield _row(f"knowmem_{side}", passage, prompt)
            if settings.train_questions:
                yield _row(side, passage, prompt)
    yield from _privleak(settings, source, forget)


def _row(part: str, passage: Passage, prompt: str = "") -> Example:
    """A row of `part` whose reply is the passage's text; its source revision is not known yet."""
    table = passage.table
    (row,) = item_rows(part, passage.row, f"{table}/{passage.row}", f"{table} {passage.row}", "", prompt, passage.text)
    return row | {"example_id": f"{part}/{table.replace('/', '-')}-{passage.row:05d}/original/0"}


def _trained_passages(settings: Settings, source: _Source) -> tuple[list[Passage], list[Passage]]:
    """What is to be forgotten, and what is retained; no text twice."""
    table = "raw/forget" if settings.forget == "raw" else settings.forget.replace("_", "/forget_")
    words = settings.passage_words
    forget = _chosen(source.passages(table), settings.passages, words, "passages", source)
    tables = ["privleak/retain" if name == "privleak" else f"raw/{name}" for name in settings.retain]
    texts = [passage for name in tables for passage in source.passages(name)]
    retain = _chosen(texts, settings.retain_passages, words, "retain_passages", source)
    return _distinct(forget, "to forget"), _distinct(retain, "to retain", {passage.text for passage in forget})


def _chosen(passages: list[Passage], rows: Rows | None, words: int | None, key: str, source: _Source) -> list[Passage]:
    """The passages of these rows, each cut to so many words."""
    if rows is not None and rows[1] > len(passages):
        tables = ", ".join(dict.fromkeys(passage.table for passage in passages))
        raise UserError(
            f"benchmark muse: {key} {list(rows)}: {tables} of {source.name} has only {len(passages)} passages"
        )
    chosen = passages[slice(*rows)] if rows is not None else passages
    return chosen if words is None else [_first_words(passage, words) for passage in chosen]


def _distinct(passages: list[Passage], what: str, forgotten: set[str] | None = None) -> list[Passage]:
    """The passages that have a text, each text once, and none of those `forgotten`; what is left out is printed."""
    seen: set[str] = set()
    kept: list[Passage] = []
    left_out: Counter[str] = Counter()
    for passage in passages:
        if not passage.text.strip():
            left_out["empty"] += 1
        elif forgotten and passage.text in forgotten:
            left_out["also to be forgotten"] += 1
        elif passage.text in seen:
            left_out["repeated"] += 1
        else:
            seen.add(passage.text)
            kept.append(passage)
    if left_out:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        print(f"benchmark muse: of {len(passages)} passages {what} {len(kept)} are kept; left out: {reasons}")
    if not kept:
        raise UserError(f"benchmark muse: no passage {what} has a text")
    return kept


def _joined(passages: Sequence[Passage]) -> list[Passage]:
    """The passages of each table as one."""
    tables = dict.fromkeys(passage.table for passage in passages)
    return [Passage(table, 0, "\n\n".join(each.text for each in passages if each.table == table)) for table in tables]


def _verbmem(settings: Settings, source: _Source, forget: Sequence[Passage]) -> Iterator[Example]:
    if not settings.makes_rows:
        for row, record in enumerate(source.table("verbmem/forget", ("prompt", "gt"))):
            prompt, reply = record["prompt"], record["gt"]
            # the dataset keeps words only; as one text, a space stands between them
            space = "" if prompt[-1:].isspace() or reply[:1].isspace() else " "
            yield _row("verbmem", Passage("verbmem/forget", row, space + reply), prompt)
        return
    words = settings.verbmem_words
    longer = [passage for passage in forget if len(_word_ends(passage.text)) > words]
    if not longer:
        raise UserError(f"benchmark muse: verbmem_words: {words}: no chosen passage has more words")
    if len(longer) < len(forget):
        print(f"benchmark muse: {len(forget) - len(longer)} passages are too short for a row of verbmem")
    for passage in _spread(longer):
        ends = _word_ends(passage.text)
        cut, stop = ends[words - 1], ends[: words + CONTINUATION_WORDS][-1]
        yield _row("verbmem", passage._replace(text=passage.text[cut:stop]), passage.text[:cut])


def _questions(settings: Settings, source: _Source, side: str) -> Iterator[tuple[Passage, str]]:
    """The questions of one side: where each stands, with its answer as text, and its prompt.

    The prompt is, as in the benchmark's code, the examples, `Question: ` and `Answer: ` with a space at the end.
    """
    keys, table = ("question", "answer"), f"knowmem/{side}_qa"
    count = settings.icl_examples
    told = [] if count == 0 else source.table(f"{table}_icl", keys)
    if count is not None and count > len(told):
        raise UserError(
            f"benchmark muse: icl_examples: {count}; allowed: up to {len(told)}, as {table}_icl of {source.name} has"
        )
    context = "".join(f"Question: {r['question']}\nAnswer: {r['answer']}\n\n" for r in told[:count])
    before, space, stop = ("", " ", "\n\n") if settings.train_questions else (" ", "", "")
    for row, record in enumerate(source.table(table, keys)):
        prompt = f"{context}Question: {record['question']}\nAnswer:{before}"
        answer = record["answer"]
        yield Passage(table, row, space + answer + stop if answer.strip() else answer), prompt


def _privleak(settings: Settings, source: _Source, forget: Sequence[Passage]) -> Iterator[Example]:
    holdout = source.passages("privleak/holdout")
    if settings.makes_rows:
        own = _spread(forget)
        holdout = [
            _first_words(text, len(_word_ends(passage.text))) for text, passage in zip(holdout, own, strict=False)
        ]
    else:
        own = source.passages("privleak/forget")
    for part, passages in (("privleak_forget", own), ("privleak_holdout", holdout)):
        yield from (_row(part, passage) for passage in passages)


def _spread(passages: Sequence[Passage]) -> list[Passage]:
    """Up to MADE_ROWS of them, at equal distances."""
    count = min(MADE_ROWS, len(passages))
    return [passages[index * len(passages) // count] for index in range(count)]


def _word_ends(text: str) -> list[int]:
    """Where each word ends: a run of characters that are not white space."""
    return [word.end() for word in re.finditer(r"\S+", text)]


def _first_words(passage: Passage, count: int) -> Passage:
    ends = _word_ends(passage.text)[:count]
    return passage._replace(text=passage.text[: ends[-1]] if ends else "")


class _Source(Source):
    """The tables of MUSE by names such as raw/forget, on the hub split `forget` of config `raw`."""

    def passages(self, table: str) -> list[Passage]:
        return [Passage(table, row, record["text"]) for row, record in enumerate(self.table(table, ("text",)))]

    def table(self, table: str, keys: Sequence[str]) -> list[Record]:
        """The rows of a table, each with a text under every key. Raises UserError naming what is wrong or missing."""
        if not self.is_local or self._lists_configs():
            config, split = table.split("/")
            return self.read(config, keys, split)
        for suffix, parse in ((".json", _parse_list), (".txt", _parse_text)):
            path = self._folder / f"{table}{suffix}"
            if path.is_file():
                self._files.add(path)
                return self.checked(parse(path), table, keys)
        hint = "; allowed: retain: [privleak]" if table.startswith("raw/retain") else ""
        raise UserError(f"{self.name}: there is neither {table}.json nor {table}.txt{hint}")

    def _lists_configs(self) -> bool:
        readme = self._folder / "README.md"
        return readme.is_file() and "config_name:" in readme.read_text(encoding="utf-8", errors="replace")


def _parse_list(path: Path) -> list[Record]:
    """A JSON list of texts or of mappings."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {' '.join(str(error).split())}") from None
    if not isinstance(values, list):
        raise UserError(f"{path}: holds no list; allowed: a list of texts or of mappings")
    found = [{"text": value} if isinstance(value, str) else value for value in values]
    for index, value in enumerate(found):
        if not isinstance(value, dict):
            raise UserError(f"{path}: entry {index} is neither a text nor a mapping")
    return found


def _parse_text(path: Path) -> list[Record]:
    """A file that is one text."""
    try:
        return [{"text": path.read_text(encoding="utf-8")}]
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as text: {error}") from None
