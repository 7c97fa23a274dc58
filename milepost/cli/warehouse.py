"""Opens the published snapshot for reading, and says what helps where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from milepost.cli.errors import CommandError
from milepost.cli.exit_codes import ExitCode

SNAPSHOT = "warehouse.duckdb"

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


@contextmanager
def open_warehouse(home: Path) -> Iterator[Warehouse]:
    """Open the published snapshot of a home.

    Raises:
        CommandError: nothing has been published there, or the file cannot be opened.
    """
    file = home / SNAPSHOT
    if not file.exists():
        raise CommandError(
            f"there is no published warehouse in {home}",
            remedy="publish one with `milepost run`, or name another home with --home",
        )
    try:
        connection = duckdb.connect(str(file), read_only=True)
    except duckdb.Error as error:
        raise CommandError(
            f"{file} cannot be opened: {error}",
            remedy="`milepost doctor` says more; `milepost run` publishes it again",
            code=ExitCode.FAILED,
        ) from error
    with connection:
        yield Warehouse(connection, file)
