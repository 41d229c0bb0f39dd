"""From characters to token roles, and from rows of tokens to batches. The only room that knows both."""

from palu.span_tables import read_spans
from palu.tokens.batches import Batch, Bins, Replies, collate, length_buckets
from palu.tokens.pieces import cut, grouped
from palu.tokens.prefixes import SharedLine, SharedRows, lay_out, shared_lines
from palu.tokens.row import TokenRow
from palu.tokens.rows import SpanCounts, count_spans, encode, encode_whole

__all__ = [
    "Batch",
    "Bins",
    "Replies",
    "SharedLine",
    "SharedRows",
    "SpanCounts",
    "TokenRow",
    "collate",
    "count_spans",
    "cut",
    "encode",
    "encode_whole",
    "grouped",
    "lay_out",
    "length_buckets",
    "read_spans",
    "shared_lines",
]
