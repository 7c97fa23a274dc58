"""Opens the published snapshot for reading, and says what helps where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import duckdb

from milepost.cli.errors import CommandError
from milepost.cli.exit_codes import ExitCode

SNAPSHOT = "warehouse.duckdb"
WORKING_COPY = "journeys.duckdb"

Row = dict[str, Any]


class Warehouse:
    """A published snapshot, read-only."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, file: Path) -> None:
        self._connection = connection
        self.file = file

    def rows(self, sql: str, *parameters: object) -> list[Row]:
        """Give the rows of a query as dictionaries: column → value."""
        result = self._connection.execute(sql, list(parameters))
        columns = [column[0] for column in result.description]
        return [dict(zip(columns, row, strict=True)) for row in result.fetchall()]


class DatabaseWarehouse(Warehouse):
    """What is published in a PostgreSQL database, read-only."""

    def __init__(self, connection: Any) -> None:
        self._database = connection

    def rows(self, sql: str, *parameters: object) -> list[Row]:
        """Give the rows of a query as dictionaries: column → value."""
        cursor = self._database.execute(sql.replace("?", "%s"), parameters)
        columns = [column.name for column in cursor.description]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


@contextmanager
def open_warehouse(home: Path, store_url: str | None = None) -> Iterator[Warehouse]:
    """Open what is published: the snapshot of a home, or the tables of a database.

    Raises:
        CommandError: nothing has been published there, or it cannot be opened.
    """
    if store_url is not None:
        with _open_database(store_url) as database:
            yield database
        return
    with _open(home / SNAPSHOT, f"there is no published warehouse in {home}") as warehouse:
        yield warehouse


@contextmanager
def open_working_copy(home: Path) -> Iterator[Warehouse]:
    """Open the working copy of a home read-only: what the last run left, published or not.

    Where a stitch that goes on holds it, the snapshot stands in, which follows within a minute.

    Raises:
        CommandError: there is none, or a run is going on.
    """
    with ExitStack() as held:
        try:
            copy = held.enter_context(_open(home / WORKING_COPY, f"there has been no run in {home}"))
        except CommandError as error:
            if error.code != ExitCode.BUSY or not (home / SNAPSHOT).exists():
                raise
            copy = held.enter_context(open_warehouse(home))
        yield copy


@contextmanager
def _open_database(store_url: str) -> Iterator[Warehouse]:
    import psycopg

    from warehouse.postgres.url import masked

    options = "-c default_transaction_read_only=on -c timezone=UTC"
    try:
        with psycopg.connect(store_url, options=options, connect_timeout=10) as connection:
            yield DatabaseWarehouse(connection)
    except psycopg.errors.UndefinedTable as error:
        raise CommandError(
            f"there is no published warehouse in {masked(store_url)}",
            remedy="`milepost run --store …` or `milepost up --store …` makes it",
        ) from error
    except psycopg.OperationalError as error:
        raise CommandError(
            f"{masked(store_url)} can't be read: {str(error).strip().splitlines()[0]}",
            remedy="is the server up, and are host, port and user right?",
        ) from error


@contextmanager
def _open(file: Path, missing: str) -> Iterator[Warehouse]:
    if not file.exists():
        raise CommandError(missing, remedy="`milepost run` makes it, or name another home with --home")
    try:
        connection = duckdb.connect(str(file), read_only=True)
    except duckdb.IOException as error:
        if "lock" in str(error).lower():
            raise CommandError(
                f"{file} is being written by a run", remedy="wait until it ends", code=ExitCode.BUSY
            ) from error
        raise CommandError(
            f"{file} cannot be opened: {error}", remedy="`milepost doctor` says more"
        ) from error
    except duckdb.Error as error:
        raise CommandError(
            f"{file} cannot be opened: {error}", remedy="`milepost doctor` says more"
        ) from error
    with connection:
        yield Warehouse(connection, file)
