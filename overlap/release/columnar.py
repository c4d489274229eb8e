"""The same rows as Parquet: an id of digits only stays text there, whatever reads it.

landmark_id becomes an int64, images a list of texts, every other column text. Parquet holds no time; the same rows give
the same bytes with the same version of pyarrow, whose name stands in the file.
"""

from collections.abc import Iterable, Iterator
from itertools import islice, zip_longest
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from overlap.base.errors import DataError
from overlap.base.sheets import read_header, split_records
from overlap.base.tables import REMOVALS, checked

_ROWS = 1 << 16
_BLOCK_BYTES = 16 << 20

# A row of removals.csv: why the landmark went, beside what REMOVALS says.
REASONED = pa.schema(
    [
        *(column for column in REMOVALS if column.name != "evidence"),
        pa.field("reason", pa.string(), nullable=False),
        REMOVALS.field("evidence"),
    ]
)


def parquet_name(name: str) -> str:
    """Return the name of a CSV file's Parquet twin."""
    return f"{name.removesuffix('.csv')}.parquet"


def write_parquet(source: Path, target: Path) -> int:
    """Write a CSV file that has a column landmark_id as Parquet and return the number of rows.

    Raises:
        DataError: it breaks a rule of `overlap.base.sheets`.
    """
    n_rows = 0
    schema = _schema(source)
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for table in _slices(_read_csv(source, schema)):
            writer.write_table(table, row_group_size=_ROWS)
            n_rows += table.num_rows
    return n_rows


def write_removals(removals: pa.Table, target: Path) -> None:
    """Write a table of the schema REASONED."""
    pq.write_table(checked(removals, REASONED), target, compression="zstd")


def difference(expected: Path | pa.Table, found: Path) -> str | None:
    """Return where a Parquet file first differs from its CSV twin, or from a table; None where it doesn't.

    Args:
        expected: the CSV file, sound, or a table.
        found: the Parquet file, untrusted.
    """
    schema = expected.schema if isinstance(expected, pa.Table) else _schema(expected)
    tables = [expected] if isinstance(expected, pa.Table) else _read_csv(expected, schema)
    try:
        with pq.ParquetFile(found) as file:
            if not file.schema_arrow.equals(schema):
                return f"{found.name} has the columns {_columns(file.schema_arrow)}, expected {_columns(schema)}"
            batches = (pa.Table.from_batches([batch]) for batch in file.iter_batches(batch_size=_ROWS))
            return _first_difference(found.name, _slices(tables), _slices(batches))
    except (OSError, ValueError, pa.ArrowException) as error:
        return f"{found.name} can't be read: {error}"


def _first_difference(name: str, expected: Iterable[pa.Table], found: Iterable[pa.Table]) -> str | None:
    for number, (left, right) in enumerate(zip_longest(expected, found)):
        if left is not None and right is not None and left.equals(right):
            continue
        ours, theirs = ([] if table is None else table.to_pylist() for table in (left, right))
        for row, (one, other) in enumerate(zip_longest(ours, theirs)):
            if one != other:
                return f"{name} row {number * _ROWS + row} differs: expected {_shown(one)}, found {_shown(other)}"
    return None


def _shown(row: dict[str, object] | None) -> str:
    text = "no more rows" if row is None else str(row)
    return text if len(text) <= 160 else f"{text[:160]}..."


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)


def _schema(path: Path) -> pa.Schema:
    _, names = read_header(path)
    kinds = {"landmark_id": pa.int64(), "images": pa.list_(pa.string())}
    return pa.schema([pa.field(name, kinds.get(name, pa.string()), nullable=False) for name in names])


def _read_csv(path: Path, schema: pa.Schema) -> Iterator[pa.Table]:
    options = (
        pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
        pyarrow.csv.ParseOptions(newlines_in_values=True),
        pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(schema.names, pa.string())),
    )
    try:
        with pyarrow.csv.open_csv(path, *options) as reader:
            for batch in reader:
                columns = [_column(column, field) for column, field in zip(batch.columns, schema, strict=True)]
                yield pa.Table.from_arrays(columns, schema=schema)
    except pa.ArrowInvalid as error:
        records = (line for line, _, cells in split_records(path) if cells)
        if next(islice(records, 1, None), None) is not None:  # a header alone need not end with a line end
            raise DataError(f"{path} can't become Parquet: {error}; save it as CSV UTF-8") from None


def _column(cells: pa.Array, field: pa.Field) -> pa.Array:
    if pa.types.is_list(field.type):
        return pa.array([cell.split() for cell in cells.to_pylist()], field.type)
    if pa.types.is_int64(field.type):
        return pc.utf8_trim(cells, " ").cast(field.type)
    return cells


def _slices(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Cut a stream of tables anew, into tables of _ROWS rows and one of what is left."""
    held: pa.Table | None = None
    for table in tables:
        held = table if held is None else pa.concat_tables([held, table])
        while held.num_rows >= _ROWS:
            yield held.slice(0, _ROWS).combine_chunks()
            held = held.slice(_ROWS)
    if held is not None and held.num_rows:
        yield held.combine_chunks()
