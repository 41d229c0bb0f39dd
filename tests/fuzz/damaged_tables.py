"""Reads damaged copies of real Parquet files, in a process of its own: Arrow's readers may end it.

    python -m tests.fuzz.damaged_tables FOLDER SEED COUNT

FOLDER holds a file for each table, NAME.parquet. Prints how many copies were read, how many were refused, and each
outcome that is neither; the copy that is read lies in FOLDER/damaged.
"""

import random
import resource
import sys
from collections import Counter
from pathlib import Path

from palu import tables
from palu.reference.cache import ReferenceCache
from palu.span_tables import read_spans
from tests.fuzz.outcomes import damaged, refusal

# A damaged length must not take the machine's memory.
MEMORY = 6 * 2**30


def read_all(path: Path, name: str) -> None:
    """Read a table in every way that the stages do."""
    tables.check(path, name)
    tables.rows(path, name)
    for batch in tables.iterate(path, name, batch_rows=7):
        batch.to_pylist()
    if name == "spans":
        read_spans(path)
    if name == "states":
        ReferenceCache({"states"}, path, None, {})
    if name == "topk":
        ReferenceCache({"top_k"}, None, path, {})


def main(folder: Path, seed: int, count: int) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    chance = random.Random(seed)
    sources = {path.stem: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}
    copy = folder / "damaged"
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        name = chance.choice(list(sources))
        copy.write_bytes(damaged(sources[name], chance))
        try:
            told = refusal(lambda name=name: read_all(copy, name))
            assert told is None or str(copy) in told, told
            outcomes["read" if told is None else "refused"] += 1
        except Exception as error:
            outcomes[f"{name}: {type(error).__name__}: {error}"[:300]] += 1
    for outcome, times in outcomes.most_common():
        print(times, outcome)
    return int(bool(set(outcomes) - {"read", "refused"}))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
