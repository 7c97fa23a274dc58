"""Store and warehouse in one database, written by one process at a time."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from warehouse.lock import HomeBusyError
from warehouse.postgres.session import Session
from warehouse.postgres.store import PostgresStore
from warehouse.postgres.tables import PostgresWarehouse
from warehouse.postgres.url import check_url

#: The number of the lock that a writer holds: the product's name as bytes.
WRITER_LOCK = int.from_bytes(b"milepost")

#: Seconds to wait for the session of a writer that has just died. Where the network was cut, the server holds it until
#: it misses the client's answers, which takes a minute (see the session's settings): that is for the caller to wait.
PATIENCE = 5.0

_HOLDER = """
    SELECT application_name, to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS "UTC"'),
        application_name = current_setting('application_name')
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
        AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (classid::bigint << 32) + objid::bigint = $1
"""


class StoreBusyError(HomeBusyError):
    """Another process writes to this database, or a session of before that the server holds yet: it may pass."""


class PostgresPlaces:
    """Store and warehouse in a PostgreSQL database; see `warehouse.places.Places`."""

    def __init__(self, url: str, purpose: str, *, reading: bool = False) -> None:
        """Open both, creating what is missing; the writers' lock goes with the session, however it ends."""
        check_url(url)
        application = f"milepost {purpose}, process {os.getpid()} on {socket.gethostname()}"
        self.session = Session(url, application.encode()[:63].decode(errors="ignore"))
        try:
            if not reading:
                self._lock()
            self.store = PostgresStore(self.session)
            self.warehouse = PostgresWarehouse(self.session)
        except BaseException:
            self.session.close()
            raise

    def _lock(self) -> None:
        until = time.monotonic() + PATIENCE
        while not self.session.rows("SELECT pg_try_advisory_lock($1)", WRITER_LOCK)[0][0]:
            if time.monotonic() > until:
                raise StoreBusyError(self._say_who_writes())
            time.sleep(0.1)

    def _say_who_writes(self) -> str:
        held = "The server lets go of a session that the network has cut off within a minute"
        name, since, ours = next(
            iter(self.session.rows(_HOLDER, WRITER_LOCK)), ("Another process", None, False)
        )
        if ours:
            return (
                f"{self.session.name} is still held by a session of this very process, since {since}. {held}: try "
                "again then; nothing was changed."
            )
        who = f"{name}, since {since}," if since else name
        return f"{who} writes to {self.session.name}. Wait until it ends, or stop it; nothing was changed. {held}."

    def close(self) -> None:
        """Let go of the database and the lock."""
        self.session.close()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Do nothing: others may read at any time."""
        yield

    def checkpoint(self) -> None:
        """Do nothing: readers see the database itself."""
