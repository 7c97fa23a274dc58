"""The warehouse's tables in DuckDB: made from `tables.yaml`, with a comment on every table and column.

Timestamps are `TIMESTAMP` and hold UTC. `TIMESTAMP WITH TIME ZONE` would let the time zone of whoever reads decide
where a day, a month or a quarter begins, so that two readers of one view would see two figures; and it needs
DuckDB's ICU extension, which not every BI tool loads.

There are no primary keys and no indexes: they double the cost of writing. That keys are unique is audited.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import duckdb
import polars as pl

from schemas.tables import Table, load_tables
from schemas.vocabulary import Vocabulary, load_vocabulary
from warehouse.files import remove_stillborn
from warehouse.views import view_statements

#: The version of the warehouse's shape. A change to it comes with a migration.
WAREHOUSE_VERSION = 1
WORKING_COPY = "journeys.duckdb"
SCHEMAS = ("journey", "marketing", "sales", "shared")

DUCKDB_TYPES = {
    "text": "VARCHAR",
    "integer": "BIGINT",
    "boolean": "BOOLEAN",
    "timestamp": "TIMESTAMP",
    "date": "DATE",
    "credit": "DECIMAL(18,12)",
    "credits": "DECIMAL(38,12)",
    "texts": "VARCHAR[]",
}


#: For connections that write much: rows need no order, and what does not fit goes to the disk.
BULK_SETTINGS = ("SET preserve_insertion_order = false", "SET memory_limit = '1500MB'")


class WarehouseVersionError(RuntimeError):
    """A warehouse file has another version than this Milepost writes."""


def quote(text: str) -> str:
    """Give the text as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def create_table_sql(table: Table, schema: str = "journey", name: str | None = None) -> str:
    """Give the statement that creates a base table, under another name where one is given."""
    columns = ", ".join(f'"{column}" {kind}' for column, kind in sql_types(table).items())
    return f'CREATE TABLE IF NOT EXISTS "{schema}"."{name or table.name}" ({columns})'


def comment_sql(table: Table, schema: str = "journey") -> list[str]:
    """Give the statements that document a base table and its columns."""
    target = f'"{schema}"."{table.name}"'
    columns = [
        f'COMMENT ON COLUMN {target}."{column.name}" IS {quote(column.doc)}' for column in table.columns
    ]
    return [f"COMMENT ON TABLE {target} IS {quote(table.doc)}", *columns]


def definition_statements(vocabulary: Vocabulary | None = None) -> list[str]:
    """Give every statement that makes an empty warehouse: schemas, tables, views, comments."""
    statements = [f'CREATE SCHEMA IF NOT EXISTS "{schema}"' for schema in SCHEMAS]
    for table in load_tables().values():
        statements += [create_table_sql(table), *comment_sql(table)]
    return statements + view_statements(vocabulary or load_vocabulary())


def create_warehouse(connection: duckdb.DuckDBPyConnection, vocabulary: Vocabulary | None = None) -> bool:
    """Create what is missing of the schemas, base tables, comments and views, and say whether anything was.

    It is repeatable, keeps rows, and costs next to nothing where the same definitions were created before;
    run it inside a transaction where it should be atomic.
    Raises `WarehouseVersionError` where the file is of a newer version.
    """
    check_version(connection)
    statements = definition_statements(vocabulary)
    definitions = hashlib.sha256(";\n".join(statements).encode()).hexdigest()
    if _stored_definitions(connection) == definitions:
        return False
    connection.execute(";\n".join(statements))
    connection.execute(
        "CREATE OR REPLACE TABLE journey.warehouse_version AS SELECT ?::BIGINT AS version, ? AS definitions",
        [WAREHOUSE_VERSION, definitions],
    )
    connection.execute(
        "COMMENT ON TABLE journey.warehouse_version IS "
        "'The version of the tables'' shape, and a hash of the statements that made tables and views.'"
    )
    return True


def single_value(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    """Give the first value of a query's first row; None where it has none.

    It reads the result to its end: DuckDB refuses other work on a connection with an unfinished result.
    """
    rows = connection.execute(query).fetchall()
    return rows[0][0] if rows else None


def _stored_definitions(connection: duckdb.DuckDBPyConnection) -> str | None:
    if read_version(connection) is None:
        return None
    found: str | None = single_value(connection, "SELECT max(definitions) FROM journey.warehouse_version")
    return found


def read_version(connection: duckdb.DuckDBPyConnection) -> int | None:
    """Give the version that the warehouse has; None where there is no warehouse in it yet."""
    exists = single_value(
        connection,
        "SELECT count(*) FROM duckdb_tables() WHERE database_name = current_database()"
        " AND schema_name = 'journey' AND table_name = 'warehouse_version'",
    )
    if not exists:
        return None
    found: int | None = single_value(connection, "SELECT max(version) FROM journey.warehouse_version")
    return found


def check_version(connection: duckdb.DuckDBPyConnection, path: Path | None = None) -> None:
    """Refuse a warehouse of a newer version; raises `WarehouseVersionError` with the remedy."""
    found = read_version(connection)
    if found is not None and found > WAREHOUSE_VERSION:
        raise WarehouseVersionError(
            f"The warehouse{f' {path}' if path else ''} is of version {found}; this Milepost knows versions up to "
            f"{WAREHOUSE_VERSION}. Install the newer Milepost that wrote it, or point MILEPOST_HOME at another "
            "folder. Nothing was changed."
        )


def open_warehouse(path: Path, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """Open a warehouse file with the session in UTC.

    Raises `WarehouseVersionError` where a newer Milepost wrote it, `duckdb.IOException` where the file can't be
    opened: another process writes to it, or it is damaged.
    """
    if not read_only:
        remove_stillborn(path)
    try:
        connection = duckdb.connect(str(path), read_only=read_only)
    except duckdb.SerializationException as error:
        raise WarehouseVersionError(
            f"The file {path} was written by a newer DuckDB than {duckdb.__version__}: {error}. "
            "Install the Milepost that wrote it. Nothing was changed."
        ) from error
    try:
        connection.execute("SET TimeZone = 'UTC'")
        check_version(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Make what is done inside happen whole, or not at all."""
    connection.execute("BEGIN TRANSACTION")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def registered(connection: duckdb.DuckDBPyConnection, name: str, frame: pl.DataFrame) -> Iterator[None]:
    """Let queries read a frame under a name meanwhile."""
    connection.register(name, without_time_zones(frame).to_arrow())
    try:
        yield
    finally:
        connection.unregister(name)


def without_time_zones(frame: pl.DataFrame) -> pl.DataFrame:
    """Give the frame with timestamps as plain UTC, as the tables hold them.

    A cast by DuckDB would go through the session's time zone.
    """
    zoned = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime) and kind.time_zone]
    return frame.with_columns(
        pl.col(name).dt.convert_time_zone("UTC").dt.replace_time_zone(None) for name in zoned
    )


def insert_frame(
    connection: duckdb.DuckDBPyConnection, table: Table, frame: pl.DataFrame, schema: str = "journey"
) -> int:
    """Append a frame with the table's columns (in any order) to the table, and give the number of rows.

    Raises `polars.exceptions.ColumnNotFoundError` where a column is missing.
    """
    if frame.is_empty():
        return 0
    names = [column.name for column in table.columns]
    with registered(connection, "milepost_frame", frame.select(names)):
        columns = ", ".join(f'"{name}"' for name in names)
        connection.execute(
            f'INSERT INTO "{schema}"."{table.name}" ({columns}) SELECT {columns} FROM milepost_frame'  # noqa: S608
        )
    return frame.height


def insert_files(
    connection: duckdb.DuckDBPyConnection, table: str, columns: Mapping[str, str], paths: Sequence[Path]
) -> None:
    """Append the rows of Parquet files to a table; a column that no file has is NULL.

    DuckDB reads the files by itself, a piece at a time: rows that came through frames would all stay in memory until
    the transaction ends. Its session is in UTC, so that zoned timestamps keep their time.

    Args:
        connection: with the session in UTC.
        table: its name, with that of its schema.
        columns: the SQL type of each column of the table, in the table's order.
        paths: files with some of these columns.
    """
    if not paths:
        return
    rows = connection.read_parquet([glob.escape(str(path)) for path in paths], union_by_name=True)
    found = set(rows.columns)
    rows.project(
        ", ".join(
            f'"{name}"' if name in found else f'CAST(NULL AS {kind}) AS "{name}"'
            for name, kind in columns.items()
        )
    ).insert_into(table)


def sql_types(table: Table) -> dict[str, str]:
    """Give the SQL type of each column of a base table, in their order."""
    return {column.name: DUCKDB_TYPES[column.type] for column in table.columns}


def read_frame(
    connection: duckdb.DuckDBPyConnection, table: Table, schema: str = "journey", where: str = "TRUE"
) -> pl.DataFrame:
    """Read a base table, or the rows that an SQL condition selects, as a frame of the table's types."""
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    query = f'SELECT {names} FROM "{schema}"."{table.name}" WHERE {where}'  # noqa: S608
    return in_types(connection.sql(query).pl(), table.polars_schema)


def in_types(rows: pl.DataFrame, types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Give rows the types that frames have; plain timestamps are UTC."""
    plain = [
        pl.col(name).dt.replace_time_zone("UTC")
        for name, kind in rows.schema.items()
        if isinstance(kind, pl.Datetime) and kind.time_zone is None
    ]
    return rows.with_columns(plain).cast({name: types[name] for name in rows.columns})


Change = Literal["append", "replace"]


def write_frames(
    connection: duckdb.DuckDBPyConnection, frames: dict[str, pl.DataFrame], change: Change = "append"
) -> dict[str, int]:
    """Append frames to the base tables of the same names, or replace the tables' rows; give rows per table.

    Run it inside a transaction: it commits nothing by itself. Raises `KeyError` for an unknown table.
    """
    tables = load_tables()
    written = {}
    for name, frame in frames.items():
        table = tables[name]
        if change == "replace":
            connection.execute(f'DELETE FROM journey."{name}"')  # noqa: S608
        written[name] = insert_frame(connection, table, frame)
    return written
