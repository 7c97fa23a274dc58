"""The digest of the warehouse: one hash that two warehouses share if, and only if, their rows are the same.

A row is canonical JSON: columns sorted, timestamps as UTC microseconds, dates in ISO form, credits with twelve
decimals, NULL explicit. A table's digest is SHA-256 over its rows, sorted as bytes, a line feed after each. The
warehouse's is SHA-256 over a line `name digest` for each table, sorted by name. `received_at` is left out.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa

from schemas.tables import Column, Table, load_tables
from warehouse.definitions import DUCKDB_TYPES

#: Columns that say when something came, not what it says.
LEFT_OUT = frozenset({"received_at"})

_ROWS_PER_BATCH = 65_536

#: Control characters that DuckDB escapes with upper-case hexadecimal digits and Polars with lower-case ones.
_UPPER_CASE_ESCAPES = [f"{code:04X}" for code in (11, 14, 15, *range(26, 32))]


def digest_tables() -> dict[str, Table]:
    """Give the tables that the digest covers, by name."""
    return {name: table for name, table in sorted(load_tables().items()) if table.digest}


def _columns(table: Table) -> list[Column]:
    return sorted(
        (column for column in table.columns if column.name not in LEFT_OUT), key=lambda column: column.name
    )


def combine_digests(digests: Mapping[str, str]) -> str:
    """Give the digest of the warehouse from those of its tables."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


# ---------------------------------------------------------------------------------------------- DuckDB


def _sql_value(column: Column) -> str:
    name = f'"{column.name}"'
    if column.type == "timestamp":
        return f"epoch_us({name})"
    if column.type in ("date", "credit", "credits"):
        return f"CAST({name} AS VARCHAR)"
    return name


def _sql_row(table: Table) -> str:
    fields = ", ".join(f"'{column.name}': {_sql_value(column)}" for column in _columns(table))
    return f"CAST(to_json({{{fields}}}) AS VARCHAR)"


def _sql_lower_escapes(text: str) -> str:
    """Give SQL that writes the escapes of control characters in lower case.

    Escaped backslashes step aside as a raw control character, which JSON text never holds, so that a text that
    merely looks like an escape stays as it is.
    """
    lowered = rf"replace({text}, '\\', chr(1))"
    for digits in _UPPER_CASE_ESCAPES:
        lowered = rf"replace({lowered}, '\u{digits}', '\u{digits.lower()}')"
    return rf"CASE WHEN contains({text}, '\u00') THEN replace({lowered}, chr(1), '\\') ELSE {text} END"


def _sql_lines(table: Table, rows: str) -> str:
    return (
        f"SELECT {_sql_lower_escapes('line')} || chr(10) AS line "  # noqa: S608
        f"FROM (SELECT {_sql_row(table)} AS line FROM {rows}) ORDER BY 1"
    )


def table_digests(connection: duckdb.DuckDBPyConnection, schema: str = "journey") -> dict[str, str]:
    """Give the digest of each table of a warehouse.

    Rows stream: memory stays within DuckDB's own limit, which spills the sort to disk.
    """
    return {
        name: _hash_batches(connection.sql(_sql_lines(table, f'"{schema}"."{name}"')))
        for name, table in digest_tables().items()
    }


def streamed_digests(rows_of: Callable[[Table, list[str]], pa.RecordBatchReader]) -> dict[str, str]:
    """Give the digest of each table of a warehouse elsewhere, whose rows come batch by batch.

    DuckDB writes and sorts the lines, and spills to the disk what is too much for its memory.

    Args:
        rows_of: gives the rows of a table with these columns; timestamps plain, numbers with decimals as texts.
    """
    digests = {}
    with tempfile.TemporaryDirectory(prefix="milepost-digest-") as folder:
        settings: dict[str, Any] = {"memory_limit": "1GB", "temp_directory": folder}
        for name, table in digest_tables().items():
            columns = {column.name: DUCKDB_TYPES[column.type] for column in _columns(table)}
            with duckdb.connect(config=settings) as connection:
                connection.register("arriving", rows_of(table, list(columns)))
                typed = ", ".join(
                    f'CAST("{column}" AS {kind}) AS "{column}"' for column, kind in columns.items()
                )
                lines = _sql_lines(table, f"(SELECT {typed} FROM arriving)")  # noqa: S608
                digests[name] = _hash_batches(connection.sql(lines))
    return digests


def warehouse_digest(connection: duckdb.DuckDBPyConnection, schema: str = "journey") -> str:
    """Give the digest of a warehouse."""
    return combine_digests(table_digests(connection, schema))


def _hash_batches(result: Any) -> str:
    digest = hashlib.sha256()
    for batch in result.to_arrow_reader(_ROWS_PER_BATCH):
        digest.update(_text_bytes(batch.column(0)))
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------- frames


def _frame_value(column: Column) -> pl.Expr:
    value = pl.col(column.name)
    if column.type == "timestamp":
        return value.dt.epoch("us").alias(column.name)
    if column.type in ("date", "credit", "credits"):
        return value.cast(pl.String)
    return value


def frame_digest(table: Table, frame: pl.DataFrame) -> str:
    """Give the digest of one table's rows."""
    rows = frame.select(column.name for column in _columns(table)).cast(
        {column.name: table.polars_schema[column.name] for column in _columns(table)}
    )
    lines = rows.select(
        line=pl.struct(_frame_value(column) for column in _columns(table)).struct.json_encode() + "\n"
    )["line"].sort()
    digest = hashlib.sha256()
    for chunk in _arrow_chunks(lines):
        digest.update(_text_bytes(chunk))
    return digest.hexdigest()


def frame_digests(frames: Mapping[str, pl.DataFrame]) -> dict[str, str]:
    """Give the digest of each table from frames by table name.

    Tables that the digest leaves out are passed over. Raises `ValueError` where a table is missing.
    """
    tables = digest_tables()
    missing = sorted(tables.keys() - frames.keys())
    if missing:
        raise ValueError(f"The digest needs every base table; there is no frame for: {', '.join(missing)}.")
    return {name: frame_digest(table, frames[name]) for name, table in tables.items()}


def frames_digest(frames: Mapping[str, pl.DataFrame]) -> str:
    """Give the digest of a warehouse that is still frames; equal to `warehouse_digest` of the same rows."""
    return combine_digests(frame_digests(frames))


def _arrow_chunks(lines: pl.Series) -> Iterator[pa.Array]:
    array = lines.to_arrow(compat_level=pl.CompatLevel.oldest())
    yield from (array.chunks if isinstance(array, pa.ChunkedArray) else [array])


def _text_bytes(array: pa.Array) -> memoryview:
    """Give the bytes of an array of texts without nulls, one text after the other, without a copy."""
    array = array.cast(pa.large_string())
    if len(array) == 0:
        return memoryview(b"")
    offsets = pa.Array.from_buffers(
        pa.int64(), len(array) + 1, [None, array.buffers()[1]], offset=array.offset
    )
    return memoryview(array.buffers()[2])[offsets[0].as_py() : offsets[len(array)].as_py()]
