"""Sound rows of every table, for tests that damage them."""

import pyarrow as pa

from palu import tables


def value_of(kind):
    """Some value of an Arrow type."""
    if pa.types.is_list(kind):
        return [value_of(kind.value_type)] * 3
    if pa.types.is_string(kind):
        return "Ada é"
    return True if pa.types.is_boolean(kind) else 1 if pa.types.is_integer(kind) else 0.5


def rows_of(name, count=20):
    """Sound rows of a table whose columns are always the same."""
    made = [{field.name: value_of(field.type) for field in tables.FIXED_SCHEMAS[name]} for _ in range(count)]
    for number, row in enumerate(made):
        row.update({"example_id": f"forget/{number}"} if "example_id" in row else {})
        row.update({"char_start": 0, "char_end": 3} if name == "spans" else {})
    return made
