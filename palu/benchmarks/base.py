"""What a benchmark offers and the rows that it makes."""

from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Protocol

from palu.settings import Settings

Example = dict[str, Any]  # one row of the table `examples`; under the key `GOLD`, where it has any, its spans
Span = dict[str, Any]  # one row of the table `spans`; of a row's own spans, char_start, char_end and label
GOLD = "gold"


class BenchmarkSettings(Settings):
    """Settings of one benchmark; a subclass adds its own fields.

    prompt_template: the only template that its prompts are written for; none = any. max_length: tokens of a sequence
    where `palu evaluate` is told nothing else. split_key: the field that `--forget-split` sets.
    """

    prompt_template: ClassVar[str | None] = None
    max_length: ClassVar[int] = 512
    split_key: ClassVar[str] = "split"

    @property
    @abstractmethod
    def split_name(self) -> str:
        """What is forgotten, in one short word for the provenance; other settings may share it."""

    @property
    def validation_hint(self) -> str | None:
        """Which setting would give rows of part `validation`, where it is known that there are none; else None."""
        return None

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the user's own files that the rows are read from: inputs of the workflow's rule."""
        return ()

    @property
    def is_here(self) -> bool:
        """Whether the rows can be had without asking the hub: made here, or read from a folder or files."""
        source = getattr(self, "source", None)
        return source is None or Path(source).is_dir()

    @property
    def has_retain_rows(self) -> bool:
        """Whether any row has part `retain`, as far as the settings tell."""
        return True

    @property
    def notes(self) -> tuple[str, ...]:
        """What the settings mean for the results, for a terminal and a report: whole clauses."""
        return ()


class Benchmark(Protocol):
    """The surface of a module in `palu.benchmarks`."""

    Settings: type[BenchmarkSettings]

    def examples(self, settings: BenchmarkSettings) -> Iterable[Example]:
        """The benchmark's rows, each with the gold spans that it ships; `palu.benchmarks.checked` checks them."""


def item_rows(
    part: str,
    row: int,
    item_id: str,
    group: str,
    source_revision: str,
    prompt: str,
    reply: str,
    paraphrases: Iterable[str] = (),
    wrong_replies: Iterable[str] = (),
    paraphrased_prompt: str | None = None,
) -> list[Example]:
    """All rows of one fact: the training row, and those that only an evaluation reads.

    row: the fact's row in its source table, which makes example_id `{part}/{row:05d}/{reply_kind}/{reply_index}`
    (`{part}/{row:05d}/question/0` for the paraphrased prompt with the original reply).
    """
    kinds = [("original", "original", 0, prompt, reply)]
    kinds += [("paraphrase", "original", index, prompt, other) for index, other in enumerate(paraphrases)]
    kinds += [("perturbed", "original", index, prompt, wrong) for index, wrong in enumerate(wrong_replies)]
    if paraphrased_prompt is not None:
        kinds.append(("original", "paraphrase", 0, paraphrased_prompt, reply))
    return [
        {
            "example_id": f"{part}/{row:05d}/{'question' if prompt_kind == 'paraphrase' else reply_kind}/{index}",
            "item_id": item_id,
            "reply_kind": reply_kind,
            "reply_index": index,
            "prompt_kind": prompt_kind,
            "part": part,
            "prompt": asked,
            "reply": answered,
            "group": group,
            "source_revision": source_revision,
        }
        for reply_kind, prompt_kind, index, asked, answered in kinds
    ]
