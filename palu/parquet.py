"""Parquet files opened so that damage is noticed: every page's checksum is compared, and an error is one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from palu.errors import UserError, damage


def open_checked(path: Path) -> pq.ParquetFile:
    """The file, whose pages are compared with their checksums as they are read (those written without any are not).

    The footer, which has no checksum, is compared with itself. Raises UserError for a file that is not there or is
    no Parquet file.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file")
    with damage_told(path, "not a readable Parquet file (truncated?)"):
        # read ahead, a table that is streamed would be in memory as a whole before its end
        parquet = pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True)
        facts = parquet.metadata
        if sum(facts.row_group(i).num_rows for i in range(facts.num_row_groups)) != facts.num_rows:
            raise ValueError("its parts have more or fewer rows than it says")
        # here every name is decoded
        stated(parquet), parquet.schema_arrow
    return parquet


@contextmanager
def damage_told(path: Path, what: str = "a damaged Parquet file") -> Iterator[None]:
    """Turn what Arrow raises over a damaged file into one line that names the file and what mends it."""
    try:
        yield
    except (ValueError, pa.ArrowNotImplementedError, OSError) as error:
        raise UserError(f"{path}: {what}: {damage(error)}") from None


def stated(parquet: pq.ParquetFile) -> dict[str, str]:
    """What the file's writer stated about it under keys that begin with `palu.`, which they lose here."""
    # not the schema's own, which lack what a writer added before it was closed
    facts = parquet.metadata.metadata or {}
    return {
        key.decode().removeprefix("palu."): value.decode() for key, value in facts.items() if key.startswith(b"palu.")
    }
