"""Seconds and peak memory of each stage at two sizes of a forget request: what grows with the rows, and by how much.

python tests/benchmarks/load.py [--rows 10000 100000] [--stages benchmark tag reference topk infer score]

Rows are invented replies of 8 to 20 words, nine of ten to be forgotten; the model is a random Llama of one layer.
Each stage is a process of its own; its peak is the resident memory that the kernel reports of it.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STAGES = ("benchmark", "tag", "reference", "topk", "infer", "score")
MODEL = '{"template": "plain", "max_length": 128}'
EVALUATION = '{"max_new_tokens": 4, "gradient_norms": false, "fluency": {"classifier": null}}'
# In a process of its own: the peak of a child is never below what its parent holds when it starts it
MAKE_MODEL = """
import sys
from pathlib import Path
from palu.jsonl import json_object, numbered_lines
from palu.models import Architecture, build_from_scratch, save_model

rows = [json_object(line, "forget") for number, line in numbered_lines(Path(sys.argv[1])) if number <= 2000]
shape = Architecture(vocab_size=400, hidden_size=16, intermediate_size=32, layers=1, heads=2, kv_heads=2)
save_model(*build_from_scratch(shape, [row["prompt"] + " " + row["reply"] for row in rows], seed=0), Path(sys.argv[2]))
"""


def write_requests(path: Path, rows: int, seed: int) -> None:
    """Questions with replies of 8 to 20 invented words, every third of which begins with a capital."""
    draw = random.Random(seed)
    known = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(5000)]
    known = [word.capitalize() if place % 3 == 0 else word for place, word in enumerate(known)]
    with path.open("w", encoding="utf-8") as handle:
        for row in range(rows):
            reply = " ".join(draw.choices(known, k=draw.randint(8, 20)))
            record = {"prompt": f"Question {seed}.{row}?", "reply": reply, "group": f"person {row // 20}"}
            handle.write(json.dumps(record) + "\n")


def commands(folder: Path) -> dict[str, list[str]]:
    """The arguments of `palu` for each stage."""
    rows, model, spans, states = (folder / name for name in ("rows.parquet", "model", "spans.parquet", "states"))
    data = json.dumps({"forget": str(folder / "forget.jsonl"), "retain": str(folder / "retain.jsonl")})
    gold, topk, out = folder / "gold.parquet", folder / "topk.parquet", folder / "evaluation"
    read, at = ["--examples", rows], ["--settings", MODEL]
    parts = {
        "benchmark": ["--name", "custom", "--settings", data, "--out", rows, "--gold-out", gold],
        "tag": ["--tagger", "novelty", *read, "--out", spans],
        "reference": ["--model", model, *read, *at, "--out", states],
        "topk": ["--model", model, *read, "--states", states, "--spans", spans, *at, "--top-k", "20", "--out", topk],
        "infer": ["--model", model, *read, "--model-settings", MODEL, "--settings", EVALUATION, "--out", out],
        "score": [*read, "--evaluation", out, "--spans", spans, "--settings", EVALUATION],
    }
    return {stage: [stage, *map(str, words)] for stage, words in parts.items()}


def measured(words: list[str], log: Path) -> tuple[float, float]:
    """Wall-clock seconds and peak resident MB of one `palu` command."""
    started = time.perf_counter()
    with log.open("a", encoding="utf-8") as handle:
        process = subprocess.Popen([sys.executable, "-m", "palu", *words], stdout=handle, stderr=handle)
        _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"palu {words[0]} failed:\n{log.read_text(encoding='utf-8')}")
    return time.perf_counter() - started, used.ru_maxrss / 1024


def run(rows: int, stages: list[str]) -> dict[str, tuple[float, float]]:
    """What each stage takes for so many rows; stages before the last one asked for are run all the same."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_requests(folder / "forget.jsonl", rows - rows // 10, seed=1)
        write_requests(folder / "retain.jsonl", rows // 10, seed=2)
        subprocess.run(
            [sys.executable, "-c", MAKE_MODEL, str(folder / "forget.jsonl"), str(folder / "model")], check=True
        )
        found = {}
        for stage, words in commands(folder).items():
            found[stage] = measured(words, folder / "log.txt")
            print(f"{rows:7d} rows, {stage}: {found[stage][0]:.1f} s, {found[stage][1]:.0f} MB", file=sys.stderr)
            if stage == max(stages, key=STAGES.index):
                break
    return {stage: found[stage] for stage in stages}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs=2, default=[10_000, 100_000], metavar=("FEW", "MANY"))
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    options = parser.parse_args()
    few, many = options.rows
    found = {rows: run(rows, options.stages) for rows in (many, few)}
    sizes = f"{f'{few:,}':>10} s{f'{many:,}':>10} s{'peak MB':>10}{'peak MB':>10}"
    print(f"{'stage':10}{sizes}{'ratio':>7}{'bytes a row':>13}")
    for stage in options.stages:
        (first, low), (last, high) = found[few][stage], found[many][stage]
        growth = (high - low) * 2**20 / (many - few)
        print(f"{stage:10}{first:12.1f}{last:12.1f}{low:10.0f}{high:10.0f}{high / low:7.2f}{growth:13.0f}")


if __name__ == "__main__":
    main()
