"""Parquet files opened so that damage is noticed: every page's checksum is compared, and an error is one line.

Those that somebody else wrote are looked at before they are read, since a small one can fill the memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from palu.errors import UserError, damage, first_line

# No text that people wrote is packed so well.
MOST_ROWS, MOST_BYTES, MOST_TIMES = 10**8, 2**30, 100

# What Arrow raises over a damaged file; a text that is not UTF-8 is a ValueError.
_DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError)


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
    except MemoryError:
        # Arrow's is one of its own errors too, and says nothing against the file
        raise
    except _DAMAGE as error:
        raise UserError(f"{path}: {what}: {damage(error)}") from None


def stated(parquet: pq.ParquetFile) -> dict[str, str]:
    """What the file's writer stated about it under keys that begin with `palu.`, which they lose here."""
    # not the schema's own, which lack what a writer added before it was closed
    facts = parquet.metadata.metadata or {}
    return {
        key.decode(errors="replace").removeprefix("palu."): value.decode(errors="replace")
        for key, value in facts.items()
        if key.startswith(b"palu.")
    }


def row_places(path: Path, parquet: pq.ParquetFile, name: str) -> tuple[pa.FixedSizeListType, npt.NDArray[np.int64]]:
    """The type of a column of fixed-size lists, and (rows,): the byte of the file at which each row's numbers begin.

    The numbers of a row group are the end of its one page, plain and uncompressed (`palu.tables.WIDE_LAYOUT`).
    Raises UserError for a column that is not there or laid out in another way.
    """
    place, places = parquet.schema_arrow.get_field_index(name), [np.zeros(0, np.int64)]
    with damage_told(path):
        kind = parquet.schema_arrow.field(place).type if place >= 0 else pa.null()
        if not pa.types.is_fixed_size_list(kind) or not pa.types.is_primitive(kind.value_type):
            raise ValueError(f"column {name!r} holds no lists of one size")
        row_bytes = kind.list_size * kind.value_type.bit_width // 8
        for group in (parquet.metadata.row_group(i) for i in range(parquet.num_row_groups)):
            if place >= group.num_columns:
                raise ValueError(f"a part without column {name!r}")
            # each column before it is a plain one
            column = group.column(place)
            end = column.data_page_offset + column.total_compressed_size
            start = end - group.num_rows * row_bytes
            is_plain = column.compression == "UNCOMPRESSED" and {*column.encodings} <= {"PLAIN", "RLE"}
            if not is_plain or start < column.data_page_offset or end > path.stat().st_size:
                raise ValueError(f"the numbers of column {name!r} are not plain in the file")
            places.append(start + row_bytes * np.arange(group.num_rows))
    return kind, np.concatenate(places)


def check_foreign(path: Path) -> None:
    """Raise UserError for a file that is no Parquet, and for one that by its own footer has more than `MOST_ROWS`, or
    unpacks to more than `MOST_BYTES` and `MOST_TIMES` its size.

    A footer can be wrong, and a text that stands once in the file can be every row's: this keeps away what is honest
    about its size.
    """
    with _foreign(path), pq.ParquetFile(path) as parquet:
        facts = parquet.metadata
    unpacked = sum(facts.row_group(index).total_byte_size for index in range(facts.num_row_groups))
    if facts.num_rows > MOST_ROWS or unpacked > max(MOST_BYTES, MOST_TIMES * path.stat().st_size):
        raise UserError(
            f"{path}: {facts.num_rows} rows that unpack to {unpacked} bytes; allowed: {MOST_ROWS} rows, and "
            f"{MOST_BYTES} bytes or {MOST_TIMES} times the file"
        )


def foreign_rows(path: Path) -> list[dict[str, Any]]:
    """All rows, once `check_foreign` has nothing against them. Raises UserError where they cannot be read."""
    check_foreign(path)
    with _foreign(path):
        found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found


@contextmanager
def _foreign(path: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except _DAMAGE as error:
        raise UserError(f"{path}: not a readable Parquet file: {first_line(error)}") from None
