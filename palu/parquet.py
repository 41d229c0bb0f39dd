"""Parquet files that somebody else wrote: looked at before they are read, since a small one can fill the memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from palu.errors import UserError

# No text that people wrote is packed so well.
MOST_ROWS, MOST_BYTES, MOST_TIMES = 10**8, 2**30, 100


def check(path: Path) -> None:
    """Raise UserError for a file that is no Parquet, and for one that by its own footer has more than `MOST_ROWS`, or
    unpacks to more than `MOST_BYTES` and `MOST_TIMES` its size.

    A footer can be wrong, and a text that stands once in the file can be every row's: this keeps away what is honest
    about its size.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as parquet:
            facts = parquet.metadata
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file: {str(error).splitlines()[0]}") from None
    unpacked = sum(facts.row_group(index).total_byte_size for index in range(facts.num_row_groups))
    if facts.num_rows > MOST_ROWS or unpacked > max(MOST_BYTES, MOST_TIMES * path.stat().st_size):
        raise UserError(
            f"{path}: {facts.num_rows} rows that unpack to {unpacked} bytes; allowed: {MOST_ROWS} rows, and "
            f"{MOST_BYTES} bytes or {MOST_TIMES} times the file"
        )


def rows(path: Path) -> list[dict[str, Any]]:
    """All rows, once `check` has nothing against them. Raises UserError where they cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    check(path)
    try:
        found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file: {str(error).splitlines()[0]}") from None
    return found
