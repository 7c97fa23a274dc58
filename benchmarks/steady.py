"""A steady load: raw records at a set rate, and a reader that sees when they are in the tables."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import numpy as np
import polars as pl
import psycopg

from benchmarks.stand import Stand
from benchmarks.streamed import SOURCE, raw_records
from connectors.ids import event_id
from connectors.kafka.producer import Producer
from connectors.kafka.topics import raw_topic

#: Records are sent so often (seconds), and one of each lot is watched.
TICK = 0.1
#: How often the reader looks (seconds).
_LOOK_SECONDS = 0.05
_PATIENCE = 300.0


class Sender:
    """Sends records in a thread of its own, and remembers when the one of each lot that is watched went."""

    def __init__(self, stand: Stand, facts: pl.DataFrame, rate: int) -> None:
        """Prepare `facts` to be sent at `rate` a second; nothing is sent yet."""
        self._kafka, self._topic = stand.kafka, raw_topic(stand.kafka, SOURCE)
        size = max(1, round(rate * TICK))
        self._lots = [raw_records(lot) for lot in facts.iter_slices(size)]
        self._watched = [
            event_id(SOURCE, lot.item(lot.height - 1, "event_id")) for lot in facts.iter_slices(size)
        ]
        self.sent_at: dict[str, float] = {}
        self.records = 0
        self._stop = threading.Event()
        self._failed: Exception | None = None
        self._thread = threading.Thread(target=self._guarded, daemon=True)

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sending; raises what went wrong."""
        self._stop.set()
        self._thread.join()
        if self._failed is not None:
            raise self._failed

    @property
    def is_sending(self) -> bool:
        """Say whether there is more to send."""
        return self._thread.is_alive()

    def _guarded(self) -> None:
        try:
            self._send()
        except Exception as error:
            self._failed = error

    def _send(self) -> None:
        began = time.monotonic()
        with Producer(self._kafka) as producer:
            for number, (lot, watched) in enumerate(zip(self._lots, self._watched, strict=True)):
                if self._stop.wait(max(0.0, began + number * TICK - time.monotonic())):
                    return
                self.sent_at.setdefault(watched, time.monotonic())
                producer.send_many(self._topic, None, lot).wait()
                self.records += len(lot)


class Reader:
    """Looks into table `touchpoints`, as anybody would who reads the tables, until it has seen what is watched."""

    def __init__(self, stand: Stand, sender: Sender) -> None:
        """Watch what the sender sends."""
        self._stand, self._sender = stand, sender
        self.seconds: list[float] = []
        self._seen: set[str] = set()
        self._snapshot = 0

    def look(self) -> None:
        """Look once."""
        waiting = [one for one in list(self._sender.sent_at) if one not in self._seen]
        if not waiting:
            return
        found = (
            self._in_postgresql(waiting) if self._stand.database is not None else self._in_snapshot(waiting)
        )
        now = time.monotonic()
        self.seconds += [now - self._sender.sent_at[one] for one in found]
        self._seen.update(found)

    def _in_postgresql(self, waiting: list[str]) -> list[str]:
        rows = self._connection().execute(
            "SELECT event_id FROM journey.touchpoints WHERE event_id = ANY(%s)", [waiting]
        )
        return [found for (found,) in rows]

    def _connection(self) -> psycopg.Connection:
        if not hasattr(self, "_open"):
            assert self._stand.database is not None
            self._open = psycopg.connect(self._stand.database.url, autocommit=True)
        return self._open

    def _in_snapshot(self, waiting: list[str]) -> list[str]:
        snapshot = self._stand.home / "warehouse.duckdb"
        if not snapshot.exists() or snapshot.stat().st_ino == self._snapshot:
            return []
        self._snapshot = snapshot.stat().st_ino
        with duckdb.connect(snapshot, read_only=True) as connection:
            rows = connection.execute(
                "SELECT event_id FROM journey.touchpoints WHERE list_contains(?, event_id)", [waiting]
            ).fetchall()
        return [found for (found,) in rows]

    def look_until_done(self) -> None:
        """Look until everything watched has been seen, or time is up."""
        until = time.monotonic() + _PATIENCE
        while (
            self._sender.is_sending or len(self._seen) < len(self._sender.sent_at)
        ) and time.monotonic() < until:
            self.look()
            self._stand.check_parts()
            time.sleep(_LOOK_SECONDS)

    @property
    def missing(self) -> int:
        """How many of those watched have not been seen."""
        return len(self._sender.sent_at) - len(self._seen)


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Give median, 99th percentile and greatest."""
    half, most, all_of = np.percentile(seconds, [50, 99, 100])
    return {"p50": round(float(half), 2), "p99": round(float(most), 2), "max": round(float(all_of), 2)}


@contextmanager
def working(stand: Stand) -> Iterator[None]:
    """Run ingest and stitch meanwhile."""
    stand.start_part("stitch")
    stand.start_part("ingest")
    try:
        yield
    finally:
        stand.stop_part("ingest")
        stand.stop_part("stitch")
