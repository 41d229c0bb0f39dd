"""Every Arrow schema, and the only way in and out of a Parquet file: checked on read, atomic on write.

A table carries its provenance in the file's metadata: the schema's name and version, and what the writer adds (model
hash, tokenizer hash, benchmark, tagger). A reader states what it expects and gets an error instead of wrong numbers.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from palu.errors import UserError
from palu.files import atomic, file_digest
from palu.parquet import damage_told, open_checked, stated

# Raise a table's version whenever its columns or their meaning change.
SCHEMA_VERSIONS = {
    "examples": 1,
    "spans": 1,
    "states": 2,
    "topk": 2,
    "steps": 1,
    "generations": 1,
    "logprobs": 3,
    "scores": 1,
}


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


# One prompt-reply row. `item_id` names the fact, shared by a reply, its paraphrase and its wrong answers;
# reply_kind: original | paraphrase | perturbed; prompt_kind: original | paraphrase (the same fact asked otherwise).
EXAMPLES = pa.schema(
    [
        _required("example_id", pa.string()),
        _required("item_id", pa.string()),
        _required("reply_kind", pa.string()),
        _required("reply_index", pa.int32()),
        _required("prompt_kind", pa.string()),
        _required("part", pa.string()),
        _required("prompt", pa.string()),
        _required("reply", pa.string()),
        _required("group", pa.string()),
        _required("source_revision", pa.string()),
    ]
)

# A sensitive stretch of a reply, half-open, in code points of the reply.
SPANS = pa.schema(
    [
        _required("example_id", pa.string()),
        _required("char_start", pa.int32()),
        _required("char_end", pa.int32()),
        _required("label", pa.string()),
        pa.field("score", pa.float32()),
        _required("tagger", pa.string()),
    ]
)

# One optimiser step of one run, long form: term `loss` is the weighted sum, the others are unweighted means.
STEPS = pa.schema(
    [
        _required("step", pa.int32()),
        _required("epoch", pa.float64()),
        _required("term", pa.string()),
        _required("value", pa.float64()),
        _required("unit_count", pa.int64()),
        _required("learning_rate", pa.float64()),
        _required("grad_norm", pa.float64()),
        _required("seconds", pa.float64()),
    ]
)

GENERATIONS = pa.schema(
    [
        _required("example_id", pa.string()),
        _required("generation", pa.string()),
        _required("token_count", pa.int32()),
    ]
)

# Teacher-forced facts of one row, one value per predicted token: the reply's tokens and, last, the `end_count` tokens
# of its end. char_start/char_end: each token's characters in the reply (0, 0 for those of the end).
# expected_log_probs, log_prob_variances: mean and variance of the log-probability of a word drawn from the model's
# own distribution there; only of rows that an attack reads.
LOGPROBS = pa.schema(
    [
        _required("example_id", pa.string()),
        _required("token_ids", pa.list_(pa.int32())),
        _required("log_probs", pa.list_(pa.float32())),
        _required("argmax_hits", pa.list_(pa.bool_())),
        _required("char_starts", pa.list_(pa.int32())),
        _required("char_ends", pa.list_(pa.int32())),
        _required("end_count", pa.int32()),
        pa.field("expected_log_probs", pa.list_(pa.float32())),
        pa.field("log_prob_variances", pa.list_(pa.float32())),
    ]
)

# Exactly one of value and reason is null.
SCORES = pa.schema(
    [
        _required("run", pa.string()),
        _required("example_id", pa.string()),
        _required("metric", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("reason", pa.string()),
    ]
)


# What a states table says of itself under `layer` when it holds the last hidden states, after the final norm.
LAST_LAYER = "last"

# Wide columns are written plain, the rows of a group in one page: `palu.parquet.row_places` finds each row's numbers
# in the file, so that processes map them into memory and share one copy.
WIDE_LAYOUT: dict[str, Any] = {
    "compression": "none",
    "use_dictionary": ["example_id"],
    "data_page_size": 2**31 - 1,
    "max_rows_per_page": 2**31 - 1,
    "write_statistics": False,
}


def states_schema(width: int | None, dtype: str) -> pa.Schema:
    """The frozen model's hidden state at each predicting position of a reply: the last one, or that after a block.

    width: D; None leaves the states out. dtype: `float32`, or `bfloat16` or `float16`, of which two take the place of
    a uint32, as in memory: Arrow has no bfloat16, and Parquet gives a number of 16 bits four bytes.
    token_id is the token that the position predicts, log_prob the frozen model's log-probability of it.
    """
    if dtype not in {"float32", "bfloat16", "float16"}:
        raise ValueError(f"dtype {dtype!r}; allowed: float32, bfloat16, float16")
    element = pa.float32() if dtype == "float32" else pa.uint32()
    if width is not None and dtype != "float32":
        if width % 2:
            raise ValueError(f"width {width} of {dtype} states; allowed: an even number")
        width //= 2
    columns = [
        _required("example_id", pa.string()),
        _required("position", pa.int32()),
        _required("token_id", pa.int32()),
        _required("log_prob", pa.float32()),
    ]
    return pa.schema(columns if width is None else [*columns, _required("hidden", pa.list_(element, width))])


def topk_schema(k: int) -> pa.Schema:
    """Vocabulary indices of the frozen model's k largest logits, best first, at sensitive positions: those that
    predict one of the first `first_n` tokens of a run, as the provenance says (`all`: every token).

    Ties are in order of token id, so that the first k' of a row are the top-k' for every k' <= k.
    """
    return pa.schema(
        [
            _required("example_id", pa.string()),
            _required("position", pa.int32()),
            _required("token_ids", pa.list_(pa.int32(), k)),
        ]
    )


FIXED_SCHEMAS = {
    "examples": EXAMPLES,
    "spans": SPANS,
    "steps": STEPS,
    "generations": GENERATIONS,
    "logprobs": LOGPROBS,
    "scores": SCORES,
}


@contextmanager
def writer(
    path: Path, name: str, provenance: Mapping[str, str], schema: pa.Schema | None = None
) -> Iterator[pq.ParquetWriter]:
    """A streaming, atomic Parquet writer for table `name`; nothing appears at `path` unless the block succeeds.

    `schema` is needed for states and topk only, whose columns depend on the model. Call `write_table` or
    `write_batch` on what it yields; every batch must have exactly the table's schema.
    """
    schema = schema if schema is not None else FIXED_SCHEMAS[name]
    facts = {"palu.table": name, "palu.version": str(SCHEMA_VERSIONS[name])}
    facts |= metadata(provenance)
    is_wide = any(pa.types.is_fixed_size_list(field.type) for field in schema)
    layout = {"write_page_checksum": True} | (WIDE_LAYOUT if is_wide else {"compression": "zstd"})
    with atomic(path) as temporary, pq.ParquetWriter(temporary, schema.with_metadata(facts), **layout) as parquet:
        yield parquet


def metadata(provenance: Mapping[str, str]) -> dict[str, str]:
    """Provenance as a file's metadata has it. A writer may add to it until it is closed."""
    return {f"palu.{key}": value for key, value in provenance.items()}


def write(
    path: Path,
    name: str,
    rows: Iterable[Mapping[str, Any]] | pa.Table,
    provenance: Mapping[str, str],
    schema: pa.Schema | None = None,
) -> None:
    """Write a whole table atomically. Raises pa.ArrowInvalid when a row does not fit the schema."""
    schema = schema if schema is not None else FIXED_SCHEMAS[name]
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    with writer(path, name, provenance, schema) as parquet:
        parquet.write_table(table.cast(parquet.schema))


def provenance(path: Path) -> dict[str, str]:
    """What the writer of a table stated about it: `table`, `version` and the writer's own keys."""
    return stated(open_checked(path))


def opened(path: Path, name: str, expected: Mapping[str, str]) -> pq.ParquetFile:
    """A table's file after the checks of `read`; its rows are not read."""
    parquet = open_checked(path)
    facts = stated(parquet)
    if facts.get("table") != name:
        raise UserError(f"{path}: holds {facts.get('table', 'no table of ours')!r}, expected the table {name!r}")
    version = str(SCHEMA_VERSIONS[name])
    if (own := facts.get("version")) != version:
        raise UserError(f"{path}: table {name!r} has schema version {own}, this program reads {version}")
    if name in FIXED_SCHEMAS and not parquet.schema_arrow.equals(FIXED_SCHEMAS[name]):
        raise UserError(f"{path}: the columns of table {name!r} are not those of schema version {version}")
    for key, value in expected.items():
        if facts.get(key) != value:
            raise UserError(f"{path}: made with {key} {facts.get(key)!r}, but {value!r} is in use: make it anew")
    return parquet


def check(path: Path, name: str, expected: Mapping[str, str] | None = None) -> dict[str, str]:
    """The provenance of a table, after the checks of `read`; its rows are not read."""
    return stated(opened(path, name, expected or {}))


def read(path: Path, name: str, expected: Mapping[str, str] | None = None) -> pa.Table:
    """Read a whole table after checking its name, schema version, columns and the `expected` provenance."""
    parquet = opened(path, name, expected or {})
    with damage_told(path):
        table = parquet.read()
        table.validate(full=True)
        return table


def iterate(
    path: Path, name: str, expected: Mapping[str, str] | None = None, batch_rows: int = 1024
) -> Iterator[pa.RecordBatch]:
    """Stream a table in record batches, with the checks of `read`."""
    parquet = opened(path, name, expected or {})
    with damage_told(path):
        for batch in parquet.iter_batches(batch_size=batch_rows):
            batch.validate(full=True)
            yield batch


def rows(path: Path, name: str, expected: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """A whole table as a list of dicts, for tables of text size."""
    return list(read(path, name, expected).to_pylist())


# The parts whose training rows are to be forgotten: those that are reported, and those on which a run is stopped.
VALIDATION = "validation"
FORGET_PARTS = ("forget", VALIDATION)
# Rows that only an evaluation reads, and no training. near, far: questions that must still be answered. verbmem: the
# start of a document, and how it goes on. knowmem_*: questions about it. privleak_*: texts for membership attacks.
NEIGHBOUR_PARTS = ("near", "far")
PROMPTED_PARTS = ("verbmem", "knowmem_forget", "knowmem_retain", *NEIGHBOUR_PARTS)
EVALUATION_PARTS = (*PROMPTED_PARTS, "privleak_forget", "privleak_holdout")


def is_training_row(row: Mapping[str, Any]) -> bool:
    """Whether a row of `examples` is one that models are trained on: an original prompt with its original reply."""
    return bool(row["reply_kind"] == row["prompt_kind"] == "original" and row["part"] not in EVALUATION_PARTS)


def alternate_id(example_id: str, index: int) -> str:
    """The name of the index-th other reply to an example's prompt."""
    return f"{example_id}~{index}"


def answered_id(alternate: str) -> str:
    """The example that an other reply answers: the inverse of `alternate_id`."""
    return alternate.rpartition("~")[0]


def content_digest(path: Path) -> str:
    """16 hexadecimal digits that change when the file does: what another table's provenance refers to.

    Raises UserError for a file that is not there.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    return file_digest(path)
