"""What is saved where tokens that rows begin with alike are computed once, and what bfloat16 changes.

    python tests/benchmarks/logprobs.py --model DIR --data path/to/tofu [--items 20] [--threads 1] [--turns 2] [--bf16]

Reads the given number of items of each part of TOFU, with all their wrong answers. Prints in turns, in one process:
every row by itself, rows that share what they begin with, and with --bf16 the latter in mixed precision. Of each:
tokens that went through the model, seconds on the clock and of the processor, and the largest difference of a
log-probability, and of a row's mean one, from the first.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from palu import benchmarks
from palu.evaluation import logprobs
from palu.evaluation.items import PARTS, Items, read_rows
from palu.evaluation.settings import EvaluationSettings
from palu.models import TemplateSettings, branching_fault, computing_in, load_model, load_tokenizer, output_head
from palu.stored import StoredRows
from palu.tokens import TokenRow, encode, shared_lines


def rows_of(model: Path, data: str, items: int, template: str) -> list[TokenRow]:
    """The rows of some items of each part."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "examples.parquet"
        settings = benchmarks.load("tofu").Settings.parse({"source": data, "split": "forget05"}, "tofu")
        benchmarks.prepare("tofu", settings, path, Path(scratch) / "gold.parquet")
        found = Items(StoredRows(path, "examples"))
        chosen = [item for part in PARTS for item in list(found.of(part))[:items]]
        examples = list(read_rows(chosen, EvaluationSettings()))
    return encode(examples, load_tokenizer(model), TemplateSettings(template=template), 512)


def main() -> None:
    """Time every way in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", required=True, help="a folder in TOFU's layout")
    parser.add_argument("--template", default="chat")
    parser.add_argument("--items", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows, model = rows_of(options.model, options.data, options.items, options.template), load_model(options.model)
    shared = logprobs.LINE_TOKENS
    start = time.process_time()
    output_head(model)
    fault = branching_fault(model, shared)
    print(f"self-check: {time.process_time() - start:.2f} s of the processor, {fault or 'rows may share'}")
    ways = [("row by row", 0, "no"), ("shared", shared, "no"), *([("bf16", shared, "bf16")] if options.bf16 else [])]
    first: list[logprobs.Judged] = []
    print(f"{'way':12}{'rows':>6}{'tokens':>9}{'s':>9}{'cpu s':>9}{'rows/s':>8}{'off':>10}{'mean off':>10}")
    for name, width, precision in ways * options.turns:
        logprobs.LINE_TOKENS = width
        tokens = sum(line.tokens for line in shared_lines(rows, width))
        with computing_in(model, precision):
            start, used = time.perf_counter(), time.process_time()
            found = logprobs.judge(model, rows, pad_id=0)
            seconds, used = time.perf_counter() - start, time.process_time() - used
        first = first or found
        pairs = [(one.log_probs, other.log_probs) for one, other in zip(first, found, strict=True)]
        off = max(float(np.abs(one - other).max()) for one, other in pairs)
        mean_off = max(abs(float(one.mean() - other.mean())) for one, other in pairs)
        print(
            f"{name:12}{len(rows):6}{tokens:9}{seconds:9.2f}{used:9.2f}{len(rows) / seconds:8.2f}{off:10.1e}"
            f"{mean_off:10.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
