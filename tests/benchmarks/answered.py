"""Which questions of one's own request a model answers right: the shares that data/README.md gives.

    python tests/benchmarks/answered.py --model DIR [--all] FILE...

FILE: rows for the benchmark `custom`, each with spans. An answer is right where it contains the words of every span of
the reply, as `span_leak` compares them (case and punctuation aside). Questions are asked in the model's own chat
template, answers are greedy, of at most 40 tokens. A line for each file, one more for its paraphrased questions, and
each question that was not answered right with its answer; with --all the others too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from palu.benchmarks import custom
from palu.benchmarks.base import GOLD, Example
from palu.evaluation.generate import generate
from palu.evaluation.items import Item
from palu.evaluation.span_leak import span_words
from palu.evaluation.words import contains, words_of
from palu.models import TemplateSettings
from palu.models.storage import load_model, load_tokenizer

TOKENS = 40


def questions(file: Path) -> dict[str, list[Example]]:
    """The rows to ask, by their `prompt_kind`. Raises UserError as `custom` does."""
    settings = custom.Settings.parse({"forget": str(file), "retain": None}, str(file))
    asked: dict[str, list[Example]] = {}
    for row in custom.examples(settings):
        if row["reply_kind"] == "original":
            asked.setdefault(row["prompt_kind"], []).append(row)
    return asked


def is_right(row: Example, answer: str) -> bool:
    """Whether the answer contains each span of the row's reply, word by word."""
    spans = {row["example_id"]: [(span["char_start"], span["char_end"]) for span in row[GOLD]]}
    wanted = span_words(Item(row, None, (), None), spans)
    return bool(wanted) and all(contains(words_of(answer), words) for words in wanted)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="DIR")
    parser.add_argument("--all", action="store_true", help="show right answers as well")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    model, tokenizer = load_model(options.model), load_tokenizer(options.model)
    for file in options.files:
        for kind, rows in questions(file).items():
            answers = generate(model, tokenizer, rows, TemplateSettings(template="chat"), 512, TOKENS)
            right = [is_right(row, answer.text) for row, answer in zip(rows, answers, strict=True)]
            print(f"{file}{', paraphrased' if kind == 'paraphrase' else ''}: {sum(right)} of {len(rows)} right")
            for row, answer, is_good in zip(rows, answers, right, strict=True):
                if options.all or not is_good:
                    print(f"  {'right' if is_good else 'wrong'}: {row['prompt']} -> {' '.join(answer.text.split())}")


if __name__ == "__main__":
    main()
