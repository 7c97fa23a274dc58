"""Where a pipeline keeps what it knows: the store, and the warehouse that is published.

`open_places` opens both, in files of the home or in a PostgreSQL database; who uses them need not know which.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Protocol

import polars as pl

from schemas.vocabulary import Vocabulary
from warehouse.store import Store


class Warehouse(Protocol):
    """The tables that are published. Frames have the columns and types of `schemas.tables`."""

    def close(self) -> None:
        """Let go of it."""

    def create(self, vocabulary: Vocabulary) -> bool:
        """Create what is missing of it, and say whether anything was."""

    def transaction(self) -> AbstractContextManager[None]:
        """Let readers see all of what is done inside, or nothing."""

    # Rows

    def replace_rows(self, name: str, paths: Sequence[Path]) -> None:
        """Put the rows of Parquet files into a table, in place of all that it holds."""

    def delete_keys(self, name: str, keys: pl.DataFrame) -> None:
        """Take rows out of a table by the columns of its key; others that rows have too may help to find them."""

    def insert_files(self, name: str, paths: Sequence[Path]) -> None:
        """Add rows to a table from Parquet files; a column that no file has is NULL."""

    def rows_with(self, name: str, column: str, values: pl.Series) -> pl.DataFrame:
        """Read the rows of a table whose column has one of the values."""

    def rows_on(self, name: str, days: pl.DataFrame) -> pl.DataFrame:
        """Read the rows of `spend` or `spend_shares` of campaign-days: `campaign_id`, `day`."""

    def touches_on(self, days: pl.DataFrame) -> pl.DataFrame:
        """Read the touches of campaign-days: `event_id`, `campaign_id`, `occurred_at`, `kind`."""

    def offers_beside(self, touches: pl.Series) -> pl.Series:
        """Give the ids of the offers of all subjects that the touches, by event_id, belong to."""

    def column(self, name: str, column: str) -> pl.Series:
        """Read one column of a table."""

    def query(self, query: str, types: Mapping[str, pl.DataType], *, whole: bool = False) -> pl.DataFrame:
        """Read what a query gives that every kind of warehouse understands, its columns in these types.

        `whole` says that it reads whole tables rather than a few rows of them.
        """

    def asking(self, name: str, frame: pl.DataFrame) -> AbstractContextManager[None]:
        """Let queries read a frame under a name meanwhile; a name always stands for the same columns."""

    def count(self, name: str) -> int:
        """Count the rows of a table."""

    def digests(self) -> dict[str, str]:
        """Give the digest of each table, see `warehouse.digest`."""

    # Publications and dead letters

    def sign(self, publication: pl.DataFrame, as_of: datetime) -> None:
        """Add the row of a publication, and set the present that views read."""

    def set_fates(self, publication_id: str, fates: str) -> None:
        """Replace the fates of a publication, as JSON."""

    def record_dead_letters(self, letters: pl.DataFrame) -> None:
        """Write dead letters outside of any publication, so that they show even where an audit withholds one.

        `letters` have the columns of `dead_letter.avsc`; one that is there already keeps its status.
        """

    def settle_dead_letters(self, standing: pl.Series) -> None:
        """Mark as replayed what a corrected mapping no longer rejects.

        These are the open letters of the steps before the stitch whose ids are not among those that still stand;
        what came by stream (`connectors.dead_letters.STREAMED`) is read once, and stays.
        """

    def open_dead_letters(self) -> dict[str, int]:
        """Count open dead letters by step."""


class Places(Protocol):
    """Store and warehouse, open for writing by nobody else."""

    @property
    def store(self) -> Store:
        """The facts that stand."""

    @property
    def warehouse(self) -> Warehouse:
        """The tables that are published."""

    def close(self) -> None:
        """Let go of both."""

    def lent(self) -> AbstractContextManager[None]:
        """Let workers of this run open them for reading meanwhile; nothing may be under way."""

    def checkpoint(self) -> None:
        """Bring the warehouse's file up to date, for a snapshot to be copied from; a database needs none."""


def open_places(
    home: Path, store_url: str | None = None, *, purpose: str = "run", reading: bool = False
) -> Places:
    """Open store and warehouse, creating what is missing.

    Args:
        home: the folder that holds both, unless a URL names another place.
        store_url: `postgresql://…`; None for the files of the home.
        purpose: what for, as others are told that find a database busy.
        reading: a worker of a run reads what the run holds; it must not write.

    Raises:
        StoreVersionError, WarehouseVersionError: a newer Milepost wrote them.
        StoreBusyError: another process writes to the database.
        StoreUrlError, DatabaseError: the database can't be used.
    """
    if store_url is None:
        from warehouse.embedded.places import EmbeddedPlaces

        return EmbeddedPlaces(home)
    try:
        from warehouse.postgres.places import PostgresPlaces
    except ModuleNotFoundError as error:
        from warehouse.postgres.url import StoreUrlError

        raise StoreUrlError(
            f"A store in PostgreSQL needs the package {error.name}. Install milepost[postgresql]."
        ) from error
    return PostgresPlaces(store_url, purpose, reading=reading)


@contextmanager
def places_of(
    home: Path, store_url: str | None = None, *, purpose: str = "run", reading: bool = False
) -> Iterator[Places]:
    """Open store and warehouse, and close them at the end; see `open_places`."""
    places = open_places(home, store_url, purpose=purpose, reading=reading)
    try:
        yield places
    finally:
        places.close()
