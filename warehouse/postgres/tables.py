"""The warehouse in the database: schema `journey`, which readers see change from publication to publication."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path

import polars as pl
import pyarrow as pa

from schemas.tables import Table, load_tables
from schemas.vocabulary import Vocabulary
from warehouse.definitions import WAREHOUSE_VERSION, WarehouseVersionError
from warehouse.digest import streamed_digests
from warehouse.postgres.session import Session, comments, create_table

#: The column that leads to the rows of a key of several: an index of one short column is a tenth in size, and rows that
#: are folded together are found, and put, in one place of it. Two or more names that senders choose must not stand in
#: one index: an entry has room for 2,704 bytes.
_FOUND_BY = {
    "credits": "conversion_id",
    "stage_entries": "customer_id",
    "money": "subject_id",
    "identity_links": "a",
    "profiles": "subject_id",
}

#: What rows are looked up by beside their keys.
_LOOKUPS = {
    "touchpoints": ("campaign_id, occurred_at",),
    "spend": ("campaign_id, day",),
    "spend_shares": ("campaign_id, day", "touch_id"),
    "handovers": ("customer_id", "account_id"),
}

#: Rows that an index leaves out.
_LEFT_OUT = {"touchpoints_campaign_id_occurred_at": "campaign_id IS NULL"}


def _create_indexes(table: Table) -> dict[str, str]:
    """Give the statements that create a table's indexes, by the names of the indexes."""
    key = _FOUND_BY.get(table.name) or ", ".join(f'"{column}"' for column in table.key)
    statements = {}
    for columns in (key, *_LOOKUPS.get(table.name, ())):
        name = "_".join([table.name, *columns.replace('"', "").split(", ")])
        rows = f" WHERE NOT ({_LEFT_OUT[name]})" if name in _LEFT_OUT else ""
        statements[name] = f"CREATE INDEX IF NOT EXISTS {name} ON journey.{table.name} ({columns}){rows}"
    return statements


def _drop_former_index(table: Table) -> list[str]:
    """Give the statement that drops the index of a whole key, which earlier versions made."""
    former = "_".join([table.name, *table.key])
    return [f"DROP INDEX IF EXISTS journey.{former}"] if table.name in _FOUND_BY else []


def _definitions() -> list[str]:
    statements = [
        "CREATE SCHEMA IF NOT EXISTS journey",
        "COMMENT ON SCHEMA journey IS 'Journeys of customers and accounts, as the last publication left them.'",
    ]
    for name, table in load_tables().items():
        described = [(column.name, column.doc) for column in table.columns]
        statements += [
            create_table(f"journey.{name}", table.polars_schema),
            *comments(f"journey.{name}", table.doc, described),
            *_drop_former_index(table),
            *(_create_indexes(table).values() if table.key else ()),
        ]
    return [
        *statements,
        "CREATE TABLE IF NOT EXISTS journey.warehouse_version (version bigint, definitions text)",
        *comments(
            "journey.warehouse_version",
            "The version of the tables' shape, and a hash of the statements that made them.",
            [("version", "The version."), ("definitions", "The hash.")],
        ),
    ]


class PostgresWarehouse:
    """A warehouse in a PostgreSQL database; see `warehouse.places.Warehouse`."""

    def __init__(self, session: Session) -> None:
        """Use the warehouse of a session's database.

        Raises `WarehouseVersionError` where a newer Milepost wrote it.
        """
        self.session = session
        self.tables = load_tables()
        self._created = False
        self._read_version()

    def close(self) -> None:
        """Let go of the database."""
        self.session.close()

    def _read_version(self) -> str | None:
        """Give the hash of the statements that made the tables."""
        if self.session.rows("SELECT to_regclass('journey.warehouse_version')::text")[0][0] is None:
            return None
        ((version, definitions),) = self.session.rows(
            "SELECT max(version), max(definitions) FROM journey.warehouse_version"
        )
        if version is not None and version > WAREHOUSE_VERSION:
            raise WarehouseVersionError(
                f"The warehouse in {self.session.name} is of version {version}; this Milepost knows versions up to "
                f"{WAREHOUSE_VERSION}. Install the newer Milepost that wrote it, or use another database. "
                "Nothing was changed."
            )
        found: str | None = definitions
        return found

    def create(self, vocabulary: Vocabulary) -> bool:  # noqa: ARG002 the tables have no words of their own
        """Create what is missing of schema, tables, indexes and comments."""
        if self._created:
            return False
        statements = _definitions()
        definitions = hashlib.sha256(";\n".join(statements).encode()).hexdigest()
        with self.transaction():
            changed = self._read_version() != definitions
            if changed:
                for statement in statements:
                    self.session.execute(statement)
                self.session.execute("DELETE FROM journey.warehouse_version")
                self.session.execute(
                    "INSERT INTO journey.warehouse_version VALUES ($1, $2)", WAREHOUSE_VERSION, definitions
                )
        # What was changed in a transaction that others have opened may yet be undone.
        self._created = not changed
        return changed

    def transaction(self) -> AbstractContextManager[None]:
        """Let readers see all of what is done inside, or nothing."""
        return self.session.transaction()

    # Rows

    def replace_rows(self, name: str, paths: Sequence[Path]) -> None:
        """Put the rows of Parquet files into a table, in place of all that it holds.

        Rows are deleted one by one: emptying the table at a stroke would show readers of the publication before an
        empty table. Before the first publication, when there is nothing to read, indexes are made at the end, which is
        several times quicker and lets no reader in meanwhile.
        """
        ((published,),) = self.session.rows("SELECT EXISTS (SELECT FROM journey.publications)")
        if published:
            self.session.execute(f"DELETE FROM journey.{name}")  # noqa: S608
            self.insert_files(name, paths)
            return
        indexes = _create_indexes(self.tables[name])
        for index in indexes:
            self.session.execute(f"DROP INDEX IF EXISTS journey.{index}")
        self.insert_files(name, paths)
        for statement in (*indexes.values(), f"ANALYZE journey.{name}"):
            self.session.execute(statement)

    def delete_keys(self, name: str, keys: pl.DataFrame) -> None:
        """Take rows out of a table by the columns of its key."""
        key = self.tables[name].key
        matches = " AND ".join(f'kept."{column}" = gone."{column}"' for column in key)
        with self.asking(f"gone_{name}", keys.select(key)):
            found = f"journey.{name} AS kept"
            first = _FOUND_BY.get(name)
            if first is None:
                self.session.execute(f"DELETE FROM {found} USING gone_{name} AS gone WHERE {matches}")  # noqa: S608
                return
            listed = ", ".join(f'kept."{column}"' for column in key)
            # Nobody else writes, so that a row stays where it was found.
            with self.session.joining("hash"):
                self.session.execute(
                    f"WITH kept AS MATERIALIZED (SELECT kept.ctid AS place, {listed} FROM {found} "  # noqa: S608
                    f"JOIN (SELECT DISTINCT {first} FROM gone_{name}) AS asked USING ({first})) "
                    f"DELETE FROM journey.{name} AS rows USING kept JOIN gone_{name} AS gone ON {matches} "
                    "WHERE rows.ctid = kept.place"
                )

    def insert_files(self, name: str, paths: Sequence[Path]) -> None:
        """Add rows to a table from Parquet files."""
        for path in paths:
            self._insert(name, pl.read_parquet(path, glob=False, hive_partitioning=False))

    def _insert(self, name: str, rows: pl.DataFrame) -> None:
        columns = [column for column in self.tables[name].polars_schema if column in rows.columns]
        self.session.insert("journey", name, rows.select(columns))

    def rows_with(self, name: str, column: str, values: pl.Series) -> pl.DataFrame:
        """Read the rows of a table whose column has one of the values."""
        with self.asking("asked_values", pl.DataFrame({"value": values.cast(pl.String)}).unique()):
            return self._read(name, f'asked_values JOIN journey.{name} AS kept ON kept."{column}" = value')

    def rows_on(self, name: str, days: pl.DataFrame) -> pl.DataFrame:
        """Read the rows of campaign-days."""
        with self._asking_days(days):
            return self._read(name, f"asked_days JOIN journey.{name} AS kept USING (campaign_id, day)")

    def touches_on(self, days: pl.DataFrame) -> pl.DataFrame:
        """Read the touches of campaign-days."""
        with self._asking_days(days):
            return self.query(
                "SELECT event_id, campaign_id, occurred_at, kind FROM asked_days JOIN journey.touchpoints "
                "USING (campaign_id) WHERE occurred_at >= day AND occurred_at < day + 1",
                self.tables["touchpoints"].polars_schema,
            )

    def _asking_days(self, days: pl.DataFrame) -> AbstractContextManager[None]:
        return self.asking("asked_days", days.select("campaign_id", "day").unique())

    def offers_beside(self, touches: pl.Series) -> pl.Series:
        """Give the ids of the offers of all subjects that the touches belong to."""
        offers = " UNION ".join(
            "SELECT offer.handover_id FROM asked_values JOIN journey.touchpoints AS touch "  # noqa: S608
            f"ON touch.event_id = value JOIN journey.handovers AS offer ON offer.{owner} = touch.subject_id "
            f"WHERE offer.step = 'offered' AND touch.subject_type = '{subject}'"
            for subject, owner in (("customer", "customer_id"), ("account", "account_id"))
        )
        with self.asking("asked_values", pl.DataFrame({"value": touches}).unique()):
            return self.query(offers, self.tables["handovers"].polars_schema).get_column("handover_id")

    def _read(self, name: str, source: str) -> pl.DataFrame:
        listed = ", ".join(f'kept."{column.name}"' for column in self.tables[name].columns)
        return self.query(f"SELECT {listed} FROM {source}", self.tables[name].polars_schema)  # noqa: S608

    def column(self, name: str, column: str) -> pl.Series:
        """Read one column of a table."""
        query = f'SELECT "{column}" FROM journey.{name}'  # noqa: S608
        return self.query(query, self.tables[name].polars_schema).get_column(column)

    def query(self, query: str, types: Mapping[str, pl.DataType], *, whole: bool = False) -> pl.DataFrame:
        """Read what a query gives, its columns in these types."""
        with self.session.joining("hash", "merge") if whole else nullcontext():
            return self.session.frame(query, types)

    def asking(self, name: str, frame: pl.DataFrame) -> AbstractContextManager[None]:
        """Let queries read a frame under a name meanwhile."""
        return self.session.asking(name, frame)

    def count(self, name: str) -> int:
        """Count the rows of a table."""
        return int(self.session.rows(f"SELECT count(*) FROM journey.{name}")[0][0])  # noqa: S608

    def digests(self) -> dict[str, str]:
        """Give the digest of each table, all as one transaction sees them."""
        with self.session.transaction():
            self.session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return streamed_digests(self._stream)

    def _stream(self, table: Table, columns: list[str]) -> pa.RecordBatchReader:
        listed = ", ".join(
            f'"{column.name}"::text' if column.type.startswith("credit") else f'"{column.name}"'
            for column in table.columns
            if column.name in columns
        )
        return self.session.batches(f"SELECT {listed} FROM journey.{table.name}")  # noqa: S608

    # Publications and dead letters

    def sign(self, publication: pl.DataFrame, as_of: datetime) -> None:
        """Add the row of a publication, and set the present that views read."""
        self._insert("publications", publication)
        self.session.execute("DELETE FROM journey.clock")
        self._insert("clock", pl.DataFrame({"as_of": [as_of]}, schema=self.tables["clock"].polars_schema))

    def set_fates(self, publication_id: str, fates: str) -> None:
        """Replace the fates of a publication."""
        self.session.execute(
            "UPDATE journey.publications SET fates = $1 WHERE publication_id = $2", fates, publication_id
        )

    def record_dead_letters(self, letters: pl.DataFrame) -> None:
        """Write dead letters that are not there yet."""
        with self.asking("asked_values", letters.select(value="dead_letter_id").unique()):
            known = self._read(
                "dead_letters", "asked_values JOIN journey.dead_letters AS kept ON dead_letter_id = value"
            )
            new = letters.join(known, on="dead_letter_id", how="anti").unique("dead_letter_id")
            self._insert("dead_letters", new.with_columns(pl.lit("open").alias("status")))

    def settle_dead_letters(self, standing: pl.Series) -> None:
        """Mark as replayed what a corrected mapping no longer rejects."""
        with self.asking("standing_letters", pl.DataFrame({"standing_id": standing}).unique()):
            self.session.execute(
                "UPDATE journey.dead_letters SET status = 'replayed' WHERE status = 'open' "
                "AND step IN ('read', 'map', 'check') AND payload_ref NOT LIKE '%kafka:%' "
                "AND dead_letter_id NOT IN (SELECT standing_id FROM standing_letters)"
            )

    def open_dead_letters(self) -> dict[str, int]:
        """Count open dead letters by step."""
        return dict(
            self.session.rows(
                "SELECT step, count(*) FROM journey.dead_letters WHERE status = 'open' GROUP BY step ORDER BY step"
            )
        )
