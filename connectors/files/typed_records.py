"""Parquet and Avro as raw records: columns keep their types."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.errors import UnreadableFileError
from connectors.files.batch import BATCH_RECORDS, RawBatch, check_names, opened, row_numbers
from connectors.mapping.statement import ROW


def read_parquet(path: Path) -> Iterator[RawBatch]:
    """Read a Parquet file in batches.

    Raises:
        UnreadableFileError: the file can't be read to its end; what came before has been yielded.
    """
    row = 0
    try:
        with opened(path) as stream, pq.ParquetFile(stream) as file:
            check_names(file.schema_arrow.names)
            for batch in file.iter_batches(BATCH_RECORDS):
                batch.validate(full=True)
                yield RawBatch(_numbered(pa.Table.from_batches([batch]), row))
                row += batch.num_rows
            if row == 0:
                yield RawBatch(_numbered(file.schema_arrow.empty_table(), 0))
    except (pa.ArrowException, ValueError) as error:
        raise UnreadableFileError(
            "truncated_file", f"not a whole Parquet file ({_first_line(error)}); deliver it again"
        ) from error


def read_avro(path: Path) -> Iterator[RawBatch]:
    """Read an Avro object container file in batches.

    Raises:
        UnreadableFileError: the file can't be read to its end; what came before has been yielded.
    """
    row = 0
    records: list[Any] = []
    try:
        with opened(path) as stream:
            reader = fastavro.reader(stream)
            schema = _arrow_schema(reader.writer_schema)
            for record in reader:
                records.append(record)
                if len(records) == BATCH_RECORDS:
                    yield RawBatch(_numbered(_table(records, schema), row))
                    row += len(records)
                    records = []
            yield RawBatch(_numbered(_table(records, schema), row))
    except UnreadableFileError:
        if records:
            yield RawBatch(_numbered(_table(records, schema), row))
        raise
    except Exception as error:  # fastavro raises whatever the bytes lead it to
        if records:
            yield RawBatch(_numbered(_table(records, schema), row))
        raise UnreadableFileError(
            "truncated_file", f"not a whole Avro file ({_first_line(error)}); deliver it again"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _numbered(table: pa.Table, before: int) -> pa.Table:
    return table.add_column(0, ROW, row_numbers(range(before + 1, before + 1 + table.num_rows)))


def _table(records: list[Any], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(records, schema=schema)


_PRIMITIVES = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
}
_LOGICAL = {
    "date": pa.date32(),
    "timestamp-millis": pa.timestamp("ms", "UTC"),
    "timestamp-micros": pa.timestamp("us", "UTC"),
    "local-timestamp-millis": pa.timestamp("ms"),
    "local-timestamp-micros": pa.timestamp("us"),
    "time-millis": pa.time32("ms"),
    "time-micros": pa.time64("us"),
}


def _arrow_schema(schema: Any) -> pa.Schema:
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise UnreadableFileError("bad_schema", "its records are no Avro records; write records with fields")
    check_names([field["name"] for field in schema["fields"]])
    named: dict[str, Any] = {}
    return pa.schema([(field["name"], _arrow_type(field["type"], named)) for field in schema["fields"]])


def _arrow_type(avro: Any, named: dict[str, Any]) -> pa.DataType:
    if isinstance(avro, list):
        branches = [branch for branch in avro if branch != "null"]
        if len(branches) != 1:
            raise UnreadableFileError(
                "bad_schema", "a union of several types; write one type, or null and one"
            )
        avro = branches[0]
    if isinstance(avro, str):
        return _PRIMITIVES[avro] if avro in _PRIMITIVES else _arrow_type(named[avro], named)
    if isinstance(avro, list):
        return _arrow_type(avro, named)
    return _arrow_complex(avro, named)


def _arrow_complex(avro: dict[str, Any], named: dict[str, Any]) -> pa.DataType:
    kind = avro["type"]
    if avro.get("logicalType") == "decimal":
        return pa.decimal128(avro["precision"], avro.get("scale", 0))
    if avro.get("logicalType") in _LOGICAL:
        return _LOGICAL[avro["logicalType"]]
    if kind in ("record", "enum", "fixed"):
        named[avro["name"]] = avro
    nested = {
        "array": lambda: pa.list_(_arrow_type(avro["items"], named)),
        "map": lambda: pa.map_(pa.string(), _arrow_type(avro["values"], named)),
        "record": lambda: pa.struct(
            [(field["name"], _arrow_type(field["type"], named)) for field in avro["fields"]]
        ),
        "enum": pa.string,
        "fixed": pa.binary,
    }
    return nested[kind]() if kind in nested else _arrow_type(kind, named)
