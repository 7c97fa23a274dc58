"""The store in a DuckDB file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import polars as pl

from schemas.contracts import FACT_TYPES
from warehouse.definitions import (
    BULK_SETTINGS,
    insert_files,
    registered,
    single_value,
    transaction,
    without_time_zones,
)
from warehouse.files import remove_stillborn
from warehouse.store import (
    OUTBOX,
    PATH_COUNTS,
    STORE_VERSION,
    Offsets,
    StoreVersionError,
    UInt64Array,
    fact_columns,
    newer_store,
)

_SQL_TYPES = {
    pl.String(): "VARCHAR",
    pl.Int64(): "BIGINT",
    pl.Boolean(): "BOOLEAN",
    pl.Date(): "DATE",
    pl.UInt64(): "UBIGINT",
    pl.Datetime("us", "UTC"): "TIMESTAMP",
    pl.List(pl.String()): "VARCHAR[]",
}


def _sql_types(columns: Mapping[str, pl.DataType]) -> dict[str, str]:
    return {column: _SQL_TYPES[kind] for column, kind in columns.items()}


def _create_table(name: str, columns: Mapping[str, pl.DataType]) -> str:
    listed = ", ".join(f'"{column}" {kind}' for column, kind in _sql_types(columns).items())
    return f"CREATE TABLE IF NOT EXISTS {name} ({listed})"


_STATE = "CREATE TABLE IF NOT EXISTS work.state (name VARCHAR PRIMARY KEY, value VARCHAR)"
_STATEMENTS = (
    "CREATE SCHEMA IF NOT EXISTS facts",
    "CREATE SCHEMA IF NOT EXISTS work",
    *(_create_table(f"facts.{name}", fact_columns(name)) for name in FACT_TYPES),
    "CREATE TABLE IF NOT EXISTS work.nodes (node UBIGINT, unit UBIGINT)",
    _create_table("work.path_counts", PATH_COUNTS),
    "CREATE TABLE IF NOT EXISTS work.stitched (file VARCHAR)",
    _STATE,
    "CREATE TABLE IF NOT EXISTS work.offsets (topic VARCHAR, partition BIGINT, next_offset BIGINT)",
    "CREATE SEQUENCE IF NOT EXISTS work.outbox_sequence",
    "CREATE TABLE IF NOT EXISTS work.outbox "
    "(sequence BIGINT DEFAULT nextval('work.outbox_sequence'), customer_id VARCHAR, publication_id VARCHAR)",
)

#: Of each version, what makes the next one of it.
_MIGRATIONS = {
    1: [f"ALTER TABLE facts.{name} ADD COLUMN mapping_version VARCHAR" for name in FACT_TYPES],
}


class EmbeddedStore:
    """A store in a DuckDB file; see `warehouse.store.Store`."""

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
        try:
            # It holds the hashed links of erased people, and stays closed where the home is opened to readers.
            path.chmod(0o600)
            self.connection.execute("SET TimeZone = 'UTC'")
            for setting in BULK_SETTINGS:
                self.connection.execute(setting)
            self._bring_up_to_date()
        except BaseException:
            self.close()
            raise

    def _bring_up_to_date(self) -> None:
        with self.transaction():
            self.connection.execute("CREATE SCHEMA IF NOT EXISTS work")
            self.connection.execute(_STATE)
            version = int(self.state("version") or 0)
            if version > STORE_VERSION:
                raise newer_store(str(self.path), version, "point MILEPOST_HOME at another folder")
            if version == STORE_VERSION:
                return
            for before in range(version or STORE_VERSION, STORE_VERSION):
                for statement in _MIGRATIONS[before]:
                    self.connection.execute(statement)
            for statement in _STATEMENTS:
                self.connection.execute(statement)
            self.set_state("version", str(STORE_VERSION))

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what is done inside happen whole, or not at all."""
        with transaction(self.connection):
            yield

    # What was done so far

    def state(self, name: str) -> str | None:
        """Give a value that a run left."""
        rows = self.connection.execute("SELECT value FROM work.state WHERE name = ?", [name]).fetchall()
        return rows[0][0] if rows else None

    def set_state(self, name: str, value: str | None) -> None:
        """Leave a value for later runs; None takes it away."""
        # One statement, for there may be no transaction: a process that dies must leave the old value or the new one.
        if value is None:
            self.connection.execute("DELETE FROM work.state WHERE name = ?", [name])
        else:
            self.connection.execute("INSERT OR REPLACE INTO work.state VALUES (?, ?)", [name, value])

    def note_publication(self, publication_id: str) -> None:
        """Note that a publication is under way: the warehouse is a file of its own."""
        self.set_state("publishing", publication_id)

    def forget_publication(self) -> None:
        """Take the note away."""
        self.set_state("publishing", None)

    def is_torn(self) -> bool:
        """Say whether the note of a publication was left."""
        return self.state("publishing") is not None

    def stitched_files(self) -> set[str]:
        """Name the bus files whose facts are in the store."""
        return {name for (name,) in self.connection.execute("SELECT file FROM work.stitched").fetchall()}

    def add_stitched_files(self, names: Sequence[str]) -> None:
        """Remember bus files as stitched."""
        self._insert("work.stitched", pl.DataFrame({"file": list(names)}, schema={"file": pl.String}))

    def offsets(self) -> dict[tuple[str, int], int]:
        """Give the offset of the next message by topic and partition."""
        rows = self.connection.execute("SELECT topic, partition, next_offset FROM work.offsets").fetchall()
        return {(topic, partition): offset for topic, partition, offset in rows}

    def set_offsets(self, offsets: Offsets) -> None:
        """Replace the offsets of these topics and partitions."""
        for (topic, partition), offset in offsets.items():
            self.connection.execute(
                "DELETE FROM work.offsets WHERE topic = ? AND partition = ?", [topic, partition]
            )
            self.connection.execute("INSERT INTO work.offsets VALUES (?, ?, ?)", [topic, partition, offset])

    def fact_count(self) -> int:
        """Count the facts that stand."""
        total = " + ".join(f"(SELECT count(*) FROM facts.{name})" for name in FACT_TYPES)  # noqa: S608
        return int(single_value(self.connection, f"SELECT {total}"))

    # Customers whose journeys changed

    def add_to_outbox(self, publication_id: str, customer_ids: pl.Series) -> None:
        """Add customers whose journeys a publication changes, or takes away."""
        customers = pl.DataFrame({"customer_id": customer_ids}).unique().sort("customer_id")
        self._insert("work.outbox", customers.with_columns(publication_id=pl.lit(publication_id)))

    def outbox(self, limit: int) -> pl.DataFrame:
        """Give the oldest entries."""
        query = "SELECT sequence, customer_id, publication_id FROM work.outbox ORDER BY sequence LIMIT ?"
        rows: pl.DataFrame = self.connection.sql(query, params=[limit]).pl()
        return rows.cast(OUTBOX)

    def clear_outbox(self, up_to: int) -> None:
        """Take out the entries up to a sequence number."""
        self.connection.execute("DELETE FROM work.outbox WHERE sequence <= ?", [up_to])

    # Facts and units

    def units_of(self, nodes: UInt64Array | None) -> pl.DataFrame:
        """Look nodes up, or give all, those of facts by their keys too."""
        if nodes is None:
            keys = " UNION ALL ".join(f"SELECT key, unit FROM facts.{name}" for name in FACT_TYPES)  # noqa: S608
            every: pl.DataFrame = self.connection.sql(
                f"SELECT node, unit FROM work.nodes UNION ALL {keys}"  # noqa: S608
            ).pl()
            return every
        asked = pl.DataFrame({"node": nodes}).unique()
        with registered(self.connection, "asked", asked):
            known = " UNION ALL ".join(
                f"SELECT key AS node, unit FROM facts.{name} SEMI JOIN asked ON key = asked.node"  # noqa: S608
                for name in FACT_TYPES
            )
            found: pl.DataFrame = self.connection.sql(
                f"SELECT node, unit FROM work.nodes SEMI JOIN asked USING (node) UNION ALL {known}"  # noqa: S608
            ).pl()
            return found

    def load_facts(self, units: UInt64Array | None) -> dict[str, pl.DataFrame]:
        """Load the facts of units, or all, by type."""
        if units is None:
            return {name: self._read(name, "") for name in FACT_TYPES}
        with registered(self.connection, "wanted", pl.DataFrame({"unit": units}).unique()):
            return {name: self._read(name, "SEMI JOIN wanted USING (unit)") for name in FACT_TYPES}

    def streamed_facts(self, name: str) -> pl.DataFrame:
        """Load the facts of a type that came by stream."""
        return self._read(name, "WHERE mapping_version IS NOT NULL")

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
        """Add facts from Parquet files."""
        insert_files(self.connection, f"facts.{name}", _sql_types(fact_columns(name)), paths)

    def delete_facts(self, name: str, event_ids: pl.Series) -> None:
        """Take facts out by event_id."""
        if len(event_ids):
            with registered(self.connection, "gone", pl.DataFrame({"event_id": event_ids})):
                self.connection.execute(
                    f"DELETE FROM facts.{name} WHERE event_id IN (SELECT event_id FROM gone)"  # noqa: S608
                )

    def relabel(self, old: UInt64Array, new: UInt64Array) -> None:
        """Merge units."""
        if not len(old):
            return
        with registered(self.connection, "merged", pl.DataFrame({"old": old, "new": new})):
            for table in ("work.nodes", *(f"facts.{name}" for name in FACT_TYPES)):
                self.connection.execute(
                    f"UPDATE {table} SET unit = merged.new FROM merged WHERE unit = merged.old"  # noqa: S608
                )

    def insert_nodes(self, nodes: UInt64Array, units: UInt64Array) -> None:
        """Add nodes with their units."""
        self._insert("work.nodes", pl.DataFrame({"node": nodes, "unit": units}))

    @contextmanager
    def emptied(self) -> Iterator[None]:
        """Take everything out that a rebuild makes anew."""
        for table in ("work.nodes", "work.path_counts", "work.stitched", *(f"facts.{n}" for n in FACT_TYPES)):
            self.connection.execute(f"TRUNCATE {table}")
        yield

    # Path counts

    def path_counts(self) -> pl.DataFrame:
        """Give the counts of paths over all subjects."""
        counts: pl.DataFrame = self.connection.sql("SELECT * FROM work.path_counts").pl()
        return counts.cast(pl.Schema(PATH_COUNTS))

    def set_path_counts(self, counts: pl.DataFrame) -> None:
        """Replace the counts of paths."""
        self.connection.execute("TRUNCATE work.path_counts")
        self._insert("work.path_counts", counts.select(list(PATH_COUNTS)))

    def _insert(self, table: str, frame: pl.DataFrame) -> None:
        if frame.height:
            listed = ", ".join(f'"{column}"' for column in frame.columns)
            with registered(self.connection, "added", without_time_zones(frame)):
                self.connection.execute(f"INSERT INTO {table} ({listed}) SELECT {listed} FROM added")  # noqa: S608
