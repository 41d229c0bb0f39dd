"""Seconds, peak memory and size of a report of many runs or many rows.

python -m tests.benchmarks.report_load [RUNS ROWS]...          default: 5 400 500 400 5 20000

The runs are copies of one that is made up, with other numbers in their summaries; five runs differ in the seed alone.
"""

import json
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.load import measured
from tests.reporting.conftest import StudyBuilder

SEEDS = 5


def copies(index: dict[str, Any], runs: int) -> list[dict[str, Any]]:
    """The index's entries of so many copies of its only run."""
    (first,) = index["runs"]
    draw = random.Random(0)
    found = []
    for number in range(runs):
        setting, seed = divmod(number, SEEDS)
        folder = Path(f"results/copy/{setting}/seed{seed}")
        shutil.copytree(first["evaluation"], folder / "evaluation")
        for name in ("steps.parquet", "run.json"):
            shutil.copy(Path(first["folder"]) / name, folder)
        path = folder / "evaluation" / "summary.json"
        values = json.loads(path.read_text(encoding="utf-8"))
        rates = {"forget_rouge", "forget_probability", "forget_initiating_probability", "model_utility"}
        values |= {name: values[name] * draw.uniform(0.8, 1.2) for name in sorted(rates)}
        path.write_text(json.dumps(values), encoding="utf-8")
        own = {"folder": str(folder), "evaluation": str(folder / "evaluation"), "trajectory": [], "seed": seed}
        varied = {"top_k": 10 + setting}
        found.append(first | own | {"varied": varied, "settings": first["settings"] | varied})
    return found


def report(runs: int, rows: int) -> None:
    """Write a study of so many runs and rows, and tell what its report takes."""
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        builder = StudyBuilder(people=2)
        while len(builder.examples) < rows:
            number = len(builder.examples)
            town = f"Town{number}"
            builder.add_item(f"person {number // 20}", f"Where is {number}?", f"{number} lives in {town} now.", town)
        index = builder.index(seeds=1, rivals=())
        index["runs"] = copies(index, runs)
        Path("index.json").write_text(json.dumps(index), encoding="utf-8")
        words = ["report", "--index", "index.json", "--out", "out"]
        seconds, peak = measured(words, Path("log.txt"))
        sizes = ", ".join(f"{name} {Path('out', name).stat().st_size / 1e6:.2f} MB" for name in WRITTEN)
        os.chdir("/")
    print(f"{runs:4d} runs of {rows:6,d} rows: {seconds:6.1f} s, peak {peak:5.0f} MB; {sizes}", flush=True)


WRITTEN = ("report.html", "results.csv", "evidence.html", "evidence.csv", "figures/plane.svg")


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or [5, 400, 500, 400, 5, 20_000]
    for runs, rows in zip(sizes[::2], sizes[1::2], strict=True):
        report(runs, rows)


if __name__ == "__main__":
    main()
