"""What is saved where tokens that rows begin with alike are computed once, and what bfloat16 changes.

    python tests/benchmarks/logprobs.py --model DIR --data path/to/tofu [--items 5 3 2 2] [--threads 1] [--turns 2]
        [--bf16]

Reads so many items of the parts forget, retain, real authors and world facts of TOFU, with all their wrong answers.
Prints in turns, in one process: each row alone with the logits of all its tokens, rows in batches, rows that share
what they begin with, and with --bf16 the latter in mixed precision. Of each: tokens that went through the model,
seconds on the clock and of the processor, how many times faster than the first by the processor's, and the largest
difference of a log-probability from the first, of a row's mean one, and of the mean over rows of exp(mean
log-probability).
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from palu import benchmarks
from palu.evaluation import logprobs
from palu.evaluation.items import PARTS, Items, read_rows
from palu.evaluation.settings import EvaluationSettings
from palu.models import TemplateSettings, branching_fault, computing_in, load_model, load_tokenizer, output_head
from palu.stored import StoredRows
from palu.tokens import TokenRow, encode, shared_lines


def rows_of(model: Path, data: str, items: list[int], template: str) -> list[TokenRow]:
    """The rows of some items of each part."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "examples.parquet"
        settings = benchmarks.load("tofu").Settings.parse({"source": data, "split": "forget05"}, "tofu")
        benchmarks.prepare("tofu", settings, path, Path(scratch) / "gold.parquet")
        found = Items(StoredRows(path, "examples"))
        chosen = [item for part, count in zip(PARTS, items, strict=True) for item in list(found.of(part))[:count]]
        examples = list(read_rows(chosen, EvaluationSettings()))
    return encode(examples, load_tokenizer(model), TemplateSettings(template=template), 512)


@torch.inference_mode()
def one_by_one(model: PreTrainedModel, rows: list[TokenRow]) -> list[np.ndarray]:
    """The log-probabilities of each row's reply by the naive program."""
    found = []
    for row in rows:
        ids = torch.from_numpy(row.input_ids).long()
        log_probs = model(ids[None]).logits.log_softmax(-1)[0, row.first_target - 1 : -1]
        found.append(log_probs.gather(-1, ids[row.first_target :, None])[:, 0].numpy())
    return found


def main() -> None:
    """Time every way in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", required=True, help="a folder in TOFU's layout")
    parser.add_argument("--template", default="plain")
    parser.add_argument("--items", type=int, nargs=4, default=[5, 3, 2, 2])
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
    ways = [("alone", 0, "no"), ("batches", 0, "no"), ("shared", shared, "no"), ("bf16", shared, "bf16")]
    first: list[np.ndarray] = []
    alone = 0.0
    print(f"{'way':8}{'rows':>6}{'tokens':>8}{'s':>9}{'cpu s':>8}{'times':>7}{'off':>9}{'row off':>9}{'p off':>9}")
    for name, width, precision in (ways if options.bf16 else ways[:3]) * options.turns:
        logprobs.LINE_TOKENS = width
        tokens = sum(map(len, rows) if name == "alone" else (line.tokens for line in shared_lines(rows, width)))
        with computing_in(model, precision):
            start, used = time.perf_counter(), time.process_time()
            if name == "alone":
                found = one_by_one(model, rows)
            else:
                found = [row.log_probs for row in logprobs.judge(model, rows, pad_id=0)]
            seconds, used = time.perf_counter() - start, time.process_time() - used
        first, alone = first or found, used if name == "alone" else alone
        off = max(float(np.abs(one - other).max()) for one, other in zip(first, found, strict=True))
        means, others = (np.array([row.mean() for row in each]) for each in (first, found))
        row_off, p_off = np.abs(means - others).max(), abs(np.exp(means).mean() - np.exp(others).mean())
        print(
            f"{name:8}{len(rows):6}{tokens:8}{seconds:9.2f}{used:8.2f}{alone / used:7.2f}{off:9.1e}{row_off:9.1e}"
            f"{p_off:9.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
