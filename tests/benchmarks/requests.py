"""What `palu benchmark --name custom` takes for many requests: CPU seconds and peak memory.

python tests/benchmarks/requests.py [ROWS WORDS]...          default: 10000 280 40000 280 100000 8
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path


def write_requests(path: Path, rows: int, words: int) -> None:
    """Questions with replies of so many invented words of six letters."""
    draw = random.Random(0)
    known = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(5000)]
    with path.open("w") as handle:
        for row in range(rows):
            reply = " ".join(draw.choices(known, k=words))
            handle.write(json.dumps({"prompt": f"Question {row}?", "reply": reply, "spans": [[0, 6]]}) + "\n")


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or [10_000, 280, 40_000, 280, 100_000, 8]
    for rows, words in zip(sizes[::2], sizes[1::2], strict=True):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            write_requests(folder / "forget.jsonl", rows, words)
            settings = json.dumps({"forget": str(folder / "forget.jsonl"), "retain": None})
            command = [sys.executable, "-m", "palu", "benchmark", "--name", "custom", "--settings", settings]
            out = ["--out", str(folder / "rows.parquet"), "--gold-out", str(folder / "gold.parquet")]
            process = subprocess.Popen([*command, *out], stdout=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            size = (folder / "forget.jsonl").stat().st_size
        assert status == 0
        seconds, peak = used.ru_utime + used.ru_stime, used.ru_maxrss // 1024
        print(f"{rows:7d} rows of {words:3d} words, {size / 1e6:5.1f} MB: {seconds:5.1f} CPU s, peak {peak} MB")


if __name__ == "__main__":
    main()
