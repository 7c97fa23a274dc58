"""Store and warehouse in two DuckDB files of the home."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from warehouse.definitions import BULK_SETTINGS, WORKING_COPY, open_warehouse
from warehouse.embedded.store import EmbeddedStore
from warehouse.embedded.tables import EmbeddedWarehouse

STORE_FILE = "store.duckdb"


class EmbeddedPlaces:
    """Store and warehouse in files of a home; see `warehouse.places.Places`."""

    def __init__(self, home: Path) -> None:
        """Open both, creating what is missing."""
        self.home = home
        self._open()

    def _open(self) -> None:
        self.store = EmbeddedStore(self.home / STORE_FILE)
        try:
            connection = open_warehouse(self.home / WORKING_COPY)
        except BaseException:
            self.store.close()
            raise
        for setting in BULK_SETTINGS:
            connection.execute(setting)
        self.warehouse = EmbeddedWarehouse(connection)

    def close(self) -> None:
        """Close both files."""
        self.warehouse.close()
        self.store.close()

    def checkpoint(self) -> None:
        """Write the warehouse's log to its file."""
        self.warehouse.connection.execute("CHECKPOINT")

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Close both files meanwhile: DuckDB lets one process in at a time."""
        self.close()
        try:
            yield
        finally:
            self._open()
