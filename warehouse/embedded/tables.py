"""The warehouse in a DuckDB file: the working copy, of which readers see snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

import duckdb
import polars as pl

from schemas.tables import load_tables
from schemas.vocabulary import Vocabulary
from warehouse.definitions import (
    create_warehouse,
    in_types,
    insert_files,
    insert_frame,
    read_frame,
    registered,
    single_value,
    sql_types,
    transaction,
)
from warehouse.digest import table_digests


class EmbeddedWarehouse:
    """A warehouse in a DuckDB file; see `warehouse.places.Warehouse`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Work on an open connection, whose session is in UTC."""
        self.connection = connection
        self.tables = load_tables()

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def create(self, vocabulary: Vocabulary) -> bool:
        """Create what is missing of schemas, tables, views and comments."""
        return create_warehouse(self.connection, vocabulary)

    def transaction(self) -> AbstractContextManager[None]:
        """Let readers see all of what is done inside, or nothing."""
        return transaction(self.connection)

    # Rows

    def replace_rows(self, name: str, paths: Sequence[Path]) -> None:
        """Put the rows of Parquet files into a table, in place of all that it holds."""
        self.connection.execute(f"TRUNCATE journey.{name}")
        self.insert_files(name, paths)

    def delete_keys(self, name: str, keys: pl.DataFrame) -> None:
        """Take rows out of a table by the columns of its key."""
        matches = " AND ".join(f'rows."{column}" = gone."{column}"' for column in keys.columns)
        with self.asking("gone", keys):
            if len(keys.columns) == 1:
                self.connection.execute(f"DELETE FROM journey.{name} AS rows USING gone WHERE {matches}")  # noqa: S608
                return
            listed = ", ".join(f'"{column}"' for column in keys.columns)
            first = _looked_for_first(keys)
            self.connection.execute(
                "WITH rows AS MATERIALIZED "  # noqa: S608
                f'(SELECT rowid AS place, {listed} FROM journey.{name} WHERE "{first}" IN (SELECT "{first}" FROM gone))'
                f" DELETE FROM journey.{name} WHERE rowid IN (SELECT place FROM rows JOIN gone ON {matches})"
            )

    def insert_files(self, name: str, paths: Sequence[Path]) -> None:
        """Add rows to a table from Parquet files."""
        insert_files(self.connection, f"journey.{name}", sql_types(self.tables[name]), paths)

    def rows_with(self, name: str, column: str, values: pl.Series) -> pl.DataFrame:
        """Read the rows of a table whose column has one of the values."""
        with self.asking("asked", pl.DataFrame({"value": values})):
            return read_frame(self.connection, self.tables[name], where=f"{column} IN (FROM asked)")

    def rows_on(self, name: str, days: pl.DataFrame) -> pl.DataFrame:
        """Read the rows of campaign-days."""
        return self._on(name, days, "rows.day", "rows.*")

    def touches_on(self, days: pl.DataFrame) -> pl.DataFrame:
        """Read the touches of campaign-days."""
        columns = "rows.event_id, rows.campaign_id, rows.occurred_at, rows.kind"
        return self._on("touchpoints", days, "rows.occurred_at::DATE", columns)

    def _on(self, name: str, days: pl.DataFrame, day: str, columns: str) -> pl.DataFrame:
        with self.asking("changed_days", days):
            return self.query(
                f"SELECT {columns} FROM journey.{name} AS rows JOIN changed_days AS days"  # noqa: S608
                f" ON rows.campaign_id = days.campaign_id AND {day} = days.day",
                self.tables[name].polars_schema,
            )

    def offers_beside(self, touches: pl.Series) -> pl.Series:
        """Give the ids of the offers of all subjects that the touches belong to."""
        with self.asking("changed_touches", pl.DataFrame({"event_id": touches})):
            offers: pl.DataFrame = self.connection.sql(
                "SELECT DISTINCT handover_id FROM journey.handovers AS offers JOIN journey.touchpoints AS offer"
                " ON offer.event_id = offers.handover_id SEMI JOIN (SELECT subject_type, subject_id FROM"
                " journey.touchpoints SEMI JOIN changed_touches USING (event_id)) AS touched"
                " ON offer.subject_type = touched.subject_type AND offer.subject_id = touched.subject_id"
                " WHERE offers.step = 'offered'"
            ).pl()
        return offers.get_column("handover_id")

    def column(self, name: str, column: str) -> pl.Series:
        """Read one column of a table."""
        query = f'SELECT "{column}" FROM journey.{name}'  # noqa: S608
        return self.query(query, self.tables[name].polars_schema).get_column(column)

    def query(
        self,
        query: str,
        types: Mapping[str, pl.DataType],
        *,
        whole: bool = False,  # noqa: ARG002 DuckDB finds out by itself
    ) -> pl.DataFrame:
        """Read what a query gives, its columns in these types."""
        return in_types(self.connection.sql(query).pl(), types)

    def asking(self, name: str, frame: pl.DataFrame) -> AbstractContextManager[None]:
        """Let queries read a frame under a name meanwhile."""
        return registered(self.connection, name, frame)

    def count(self, name: str) -> int:
        """Count the rows of a table."""
        return int(single_value(self.connection, f'SELECT count(*) FROM journey."{name}"'))  # noqa: S608

    def digests(self) -> dict[str, str]:
        """Give the digest of each table."""
        return table_digests(self.connection)

    # Publications and dead letters

    def sign(self, publication: pl.DataFrame, as_of: datetime) -> None:
        """Add the row of a publication, and set the present that views read."""
        insert_frame(self.connection, self.tables["publications"], publication)
        self.connection.execute("DELETE FROM journey.clock")
        self.connection.execute("INSERT INTO journey.clock VALUES (?)", [as_of.replace(tzinfo=None)])

    def set_fates(self, publication_id: str, fates: str) -> None:
        """Replace the fates of a publication."""
        self.connection.execute(
            "UPDATE journey.publications SET fates = ? WHERE publication_id = ?", [fates, publication_id]
        )

    def record_dead_letters(self, letters: pl.DataFrame) -> None:
        """Write dead letters that are not there yet."""
        with self.asking("letters", letters.select("dead_letter_id")):
            known: pl.DataFrame = self.connection.sql(
                "SELECT dead_letter_id FROM journey.dead_letters SEMI JOIN letters USING (dead_letter_id)"
            ).pl()
        new = letters.join(known, on="dead_letter_id", how="anti").unique("dead_letter_id")
        insert_frame(
            self.connection, self.tables["dead_letters"], new.with_columns(pl.lit("open").alias("status"))
        )

    def settle_dead_letters(self, standing: pl.Series) -> None:
        """Mark as replayed what a corrected mapping no longer rejects."""
        with self.asking("standing", pl.DataFrame({"dead_letter_id": standing})):
            self.connection.execute(
                "UPDATE journey.dead_letters SET status = 'replayed' WHERE status = 'open' "
                "AND step IN ('read', 'map', 'check') AND payload_ref NOT LIKE '%kafka:%' "
                "AND dead_letter_id NOT IN (SELECT dead_letter_id FROM standing)"
            )

    def open_dead_letters(self) -> dict[str, int]:
        """Count open dead letters by step."""
        return dict(
            self.connection.execute(
                "SELECT step, count(*) FROM journey.dead_letters WHERE status = 'open' GROUP BY step ORDER BY step"
            ).fetchall()
        )


def _looked_for_first(keys: pl.DataFrame) -> str:
    """Choose the column by which rows are looked for first, so that the others are read of few rows only.

    That is a time, else the first column that tells rows apart nearly as well as any.
    """
    ordered = sorted(keys.columns, key=lambda column: not keys.schema[column].is_temporal())
    distinct = {column: keys.get_column(column).n_unique() for column in ordered}
    return next(column for column in ordered if 2 * distinct[column] >= max(distinct.values()))
