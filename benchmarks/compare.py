"""Are five tables of two contestants the same? One digest a table, whatever the order of its rows.

`python -m benchmarks.compare PATH` prints the digests of a DuckDB file or of a folder of Parquet files as JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import duckdb

from schemas.tables import Column, load_tables

#: The tables that all contestants write.
TABLES = ("touchpoints", "journeys", "stage_entries", "conversions", "credits")

#: The attribution models that all contestants compute.
MODELS = ("first_touch", "last_touch", "last_non_direct", "linear", "position_based")


def _value(column: Column) -> str:
    name = f'"{column.name}"'
    if column.type == "timestamp":
        return f"epoch_us({name})"
    return f"CAST({name} AS VARCHAR)" if column.type == "credit" else name


def _digest(connection: duckdb.DuckDBPyConnection, name: str, source: str) -> str:
    """Give the number of rows and the sum of their 128-bit hashes, which no order changes."""
    fields = ", ".join(f"'{column.name}': {_value(column)}" for column in load_tables()[name].columns)
    row = f"CAST(to_json({{{fields}}}) AS VARCHAR)"
    low = f"(md5_number({row}) & 18446744073709551615::UHUGEINT)::UBIGINT"
    high = f"(md5_number({row}) >> 64)::UBIGINT"
    rows = connection.execute(f"SELECT count(*), sum({low}), sum({high}) FROM {source}").fetchall()
    return ":".join(str(value) for value in rows[0])


def database_digests(database: Path, schema: str = "journey") -> dict[str, str]:
    """Give the digest of each table of a DuckDB file, by table."""
    with duckdb.connect(database, read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return {name: _digest(connection, name, f"{schema}.{name}") for name in TABLES}


def parquet_digests(folder: Path) -> dict[str, str]:
    """Give the digest of each table of a folder of `TABLE-….parquet` files, by table."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return {
            name: _digest(connection, name, f"read_parquet('{folder / name}-*.parquet')") for name in TABLES
        }


def differing_tables(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Name the tables whose digests differ."""
    return [name for name in TABLES if one.get(name) != other.get(name)]


def main() -> None:
    """Print the digests of what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    path = parser.parse_args().path
    print(json.dumps(parquet_digests(path) if path.is_dir() else database_digests(path)))


if __name__ == "__main__":
    main()
