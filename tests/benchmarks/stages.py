"""What each stage of a finished study took: `python tests/benchmarks/stages.py logs/village results/village`.

Prints, for each stage with a benchmark file under the first folder, its number of jobs, their wall-clock and CPU
seconds, and the largest resident memory of one job; then the size on disk of the other folders.
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path


def stage_of(path: Path) -> str:
    """The stage that a benchmark file tells of: `finetune_original` and the like, or the method of an unlearning."""
    name = path.name.removesuffix(".benchmark.tsv")
    return name.split("-")[0] if name.startswith("infer") else name.rsplit("_", 2)[0] if "_seed" in name else name


def main(logs: Path, folders: list[Path]) -> None:
    """Print the table."""
    rows = defaultdict(list)
    for path in sorted(logs.rglob("*.benchmark.tsv")):
        with path.open(encoding="utf-8") as handle:
            rows[stage_of(path)] += list(csv.DictReader(handle, delimiter="\t"))
    print(f"{'stage':24}{'jobs':>6}{'wall s':>10}{'CPU s':>10}{'peak MB':>10}")
    for stage, jobs in rows.items():
        wall, cpu = (sum(float(job[key]) for job in jobs) for key in ("s", "cpu_time"))
        peak = max(float(job["max_rss"]) for job in jobs)
        print(f"{stage:24}{len(jobs):6}{wall:10.1f}{cpu:10.1f}{peak:10.0f}")
    for folder in folders:
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"{folder}: {size / 1e6:.1f} MB on disk")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])
