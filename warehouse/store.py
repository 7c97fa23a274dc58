"""The store: the facts that stand, the unit of work of each, and what has been stitched so far.

Nobody reads it but the pipeline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import polars as pl

from milepost.attribution import NO_PATHS
from milepost.facts import working_schema
from schemas.contracts import FACT_TYPES
from warehouse.definitions import BULK_SETTINGS, insert_files, single_value, without_time_zones
from warehouse.files import remove_stillborn

UInt64Array = npt.NDArray[np.uint64]

#: Raised with every change of the store's own tables.
STORE_VERSION = 1

#: What a touched fact table has beside the columns of its contract.
MARKS = {"unit": pl.UInt64(), "key": pl.UInt64()}

_SQL_TYPES = {
    pl.String(): "VARCHAR",
    pl.Int64(): "BIGINT",
    pl.Boolean(): "BOOLEAN",
    pl.Date(): "DATE",
    pl.UInt64(): "UBIGINT",
    pl.Datetime("us", "UTC"): "TIMESTAMP",
    pl.List(pl.String()): "VARCHAR[]",
}

#: Counts of paths over all subjects, as `milepost.attribution.count_paths` gives them.
PATH_COUNTS = dict(NO_PATHS.schema)


class StoreVersionError(RuntimeError):
    """The store was written by a newer Milepost."""


def fact_columns(name: str) -> dict[str, pl.DataType]:
    """Give the columns of a table of facts in the store; what a fact was made from stays on the bus."""
    return {**working_schema(name), **MARKS}


def _sql_types(columns: Mapping[str, pl.DataType]) -> dict[str, str]:
    return {column: _SQL_TYPES[kind] for column, kind in columns.items()}


def _create_table(name: str, columns: Mapping[str, pl.DataType]) -> str:
    listed = ", ".join(f'"{column}" {kind}' for column, kind in _sql_types(columns).items())
    return f"CREATE TABLE IF NOT EXISTS {name} ({listed})"


_STATEMENTS = (
    "CREATE SCHEMA IF NOT EXISTS facts",
    "CREATE SCHEMA IF NOT EXISTS work",
    *(_create_table(f"facts.{name}", fact_columns(name)) for name in FACT_TYPES),
    "CREATE TABLE IF NOT EXISTS work.nodes (node UBIGINT, unit UBIGINT)",
    _create_table("work.path_counts", PATH_COUNTS),
    "CREATE TABLE IF NOT EXISTS work.stitched (file VARCHAR)",
    "CREATE TABLE IF NOT EXISTS work.state (name VARCHAR PRIMARY KEY, value VARCHAR)",
)


class Store:
    """A store in a DuckDB file. Changes are made inside `transaction`."""

    def __init__(self, path: Path) -> None:
        """Open the store, creating it where there is none.

        Raises `StoreVersionError` where a newer Milepost wrote it.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stillborn(path)
        try:
            self.connection = duckdb.connect(str(path))
        except duckdb.SerializationException as error:
            raise StoreVersionError(
                f"The store {path} was written by a newer DuckDB than {duckdb.__version__}: {error}. "
                "Install the Milepost that wrote it. Nothing was changed."
            ) from error
        self.connection.execute("SET TimeZone = 'UTC'")
        for setting in BULK_SETTINGS:
            self.connection.execute(setting)
        for statement in _STATEMENTS:
            self.connection.execute(statement)
        version = int(self.state("version") or STORE_VERSION)
        if version > STORE_VERSION:
            self.close()
            raise StoreVersionError(
                f"The store {path} is of version {version}; this Milepost knows versions up to {STORE_VERSION}. "
                "Install the newer Milepost that wrote it, or point MILEPOST_HOME at another folder. "
                "Nothing was changed."
            )
        self.set_state("version", str(STORE_VERSION))

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what is done inside happen whole, or not at all."""
        self.connection.execute("BEGIN TRANSACTION")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    # What was done so far

    def state(self, name: str) -> str | None:
        """Give a value that a run left."""
        rows = self.connection.execute("SELECT value FROM work.state WHERE name = ?", [name]).fetchall()
        return rows[0][0] if rows else None

    def set_state(self, name: str, value: str | None) -> None:
        """Leave a value for later runs; None takes it away."""
        self.connection.execute("DELETE FROM work.state WHERE name = ?", [name])
        if value is not None:
            self.connection.execute("INSERT INTO work.state VALUES (?, ?)", [name, value])

    def stitched_files(self) -> set[str]:
        """Name the bus files whose facts are in the store."""
        return {name for (name,) in self.connection.execute("SELECT file FROM work.stitched").fetchall()}

    def add_stitched_files(self, names: Sequence[str]) -> None:
        """Remember bus files as stitched."""
        self._insert("work.stitched", pl.DataFrame({"file": list(names)}, schema={"file": pl.String}))

    def fact_count(self) -> int:
        """Count the facts that stand."""
        total = " + ".join(f"(SELECT count(*) FROM facts.{name})" for name in FACT_TYPES)  # noqa: S608
        return int(single_value(self.connection, f"SELECT {total}"))

    # Facts and units

    def units_of(self, nodes: UInt64Array) -> pl.DataFrame:
        """Look nodes up, those of facts by their keys too: `node`, `unit` (UInt64) of those that are known."""
        asked = pl.DataFrame({"node": nodes}).unique()
        with self._frame("asked", asked):
            known = " UNION ALL ".join(
                f"SELECT key AS node, unit FROM facts.{name} SEMI JOIN asked ON key = asked.node"  # noqa: S608
                for name in FACT_TYPES
            )
            found: pl.DataFrame = self.connection.sql(
                f"SELECT node, unit FROM work.nodes SEMI JOIN asked USING (node) UNION ALL {known}"  # noqa: S608
            ).pl()
            return found

    def load_facts(self, units: UInt64Array) -> dict[str, pl.DataFrame]:
        """Load the facts of units, by type, with `unit` and `key`."""
        with self._frame("wanted", pl.DataFrame({"unit": units}).unique()):
            return {name: self._read(name, "SEMI JOIN wanted USING (unit)") for name in FACT_TYPES}

    def _read(self, name: str, condition: str) -> pl.DataFrame:
        columns = fact_columns(name)
        listed = ", ".join(f'"{column}"' for column in columns)
        frame: pl.DataFrame = self.connection.sql(f"SELECT {listed} FROM facts.{name} {condition}").pl()  # noqa: S608
        return frame.with_columns(
            pl.col(column).dt.replace_time_zone("UTC")
            for column, kind in columns.items()
            if isinstance(kind, pl.Datetime)
        )

    def insert_facts(self, name: str, paths: Sequence[Path]) -> None:
        """Add facts with `unit` and `key` from Parquet files."""
        insert_files(self.connection, f"facts.{name}", _sql_types(fact_columns(name)), paths)

    def delete_facts(self, name: str, event_ids: pl.Series) -> None:
        """Take facts out by event_id."""
        if len(event_ids):
            with self._frame("gone", pl.DataFrame({"event_id": event_ids})):
                self.connection.execute(
                    f"DELETE FROM facts.{name} WHERE event_id IN (SELECT event_id FROM gone)"  # noqa: S608
                )

    def relabel(self, old: UInt64Array, new: UInt64Array) -> None:
        """Merge units: what was of unit old[i] becomes of unit new[i]."""
        if not len(old):
            return
        with self._frame("merged", pl.DataFrame({"old": old, "new": new})):
            for table in ("work.nodes", *(f"facts.{name}" for name in FACT_TYPES)):
                self.connection.execute(
                    f"UPDATE {table} SET unit = merged.new FROM merged WHERE unit = merged.old"  # noqa: S608
                )

    def insert_nodes(self, nodes: UInt64Array, units: UInt64Array) -> None:
        """Add nodes with their units."""
        self._insert("work.nodes", pl.DataFrame({"node": nodes, "unit": units}))

    def clear(self) -> None:
        """Take everything out that a rebuild makes anew."""
        for table in ("work.nodes", "work.path_counts", "work.stitched", *(f"facts.{n}" for n in FACT_TYPES)):
            self.connection.execute(f"TRUNCATE {table}")

    # Path counts

    def path_counts(self) -> pl.DataFrame:
        """Give the counts of paths over all subjects, as `milepost.attribution.count_paths` gives them."""
        counts: pl.DataFrame = self.connection.sql("SELECT * FROM work.path_counts").pl()
        return counts.cast(pl.Schema(PATH_COUNTS))

    def set_path_counts(self, counts: pl.DataFrame) -> None:
        """Replace the counts of paths."""
        self.connection.execute("TRUNCATE work.path_counts")
        self._insert("work.path_counts", counts.select(list(PATH_COUNTS)))

    @contextmanager
    def _frame(self, name: str, frame: pl.DataFrame) -> Iterator[None]:
        self.connection.register(name, frame.to_arrow())
        try:
            yield
        finally:
            self.connection.unregister(name)

    def _insert(self, table: str, frame: pl.DataFrame) -> None:
        if frame.height:
            listed = ", ".join(f'"{column}"' for column in frame.columns)
            with self._frame("added", without_time_zones(frame)):
                self.connection.execute(f"INSERT INTO {table} ({listed}) SELECT {listed} FROM added")  # noqa: S608
