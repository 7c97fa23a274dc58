"""From the request to Kafka, or to the spool and from there to Kafka: what was acknowledged arrives."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from connectors.collector.metrics import Metrics
from connectors.collector.records import RawRecord, Sink, SinkUnavailableError
from connectors.collector.settings import MIB, CollectorSettings
from connectors.collector.spool import Room, Spool
from connectors.errors import ConnectorError

_CHUNK_BYTES = MIB
_RETRY_SECONDS = (0.25, 2.0)
_logger = logging.getLogger(__name__)


class Delivery:
    """Takes records of all sources. Start and close it in the event loop that uses it."""

    def __init__(
        self, settings: CollectorSettings, sink: Sink, folder: Path, sources: Iterable[str], metrics: Metrics
    ) -> None:
        """Nothing is touched before `start`.

        Args:
            settings: how large the spool may be.
            sink: where records go for good.
            folder: of the spool.
            sources: names of the sources.
            metrics: are told what waits and where records went.
        """
        self._sink = sink
        self._folder = folder
        self._sources = tuple(sources)
        self._metrics = metrics
        self._executor = ThreadPoolExecutor(1, "spool")
        self._lock = -1
        self.room = Room(settings.spool_bytes)
        self._lanes: dict[str, _Lane] = {}

    async def start(self) -> None:
        """Open the spool, and go on with what an earlier process left there.

        Raises:
            ConnectorError: another collector uses it.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _locked(self._folder)
        for source in self._sources:
            spool = Spool(self._folder / source, self.room, self._executor)
            self._lanes[source] = _Lane(source, self._sink, spool, self._metrics)
        for lane in self._lanes.values():
            lane.start()

    async def put(self, source: str, records: Sequence[RawRecord]) -> None:
        """Return once the records are safe, in the sink or on the disk; raises Overloaded where they aren't."""
        await self._lanes[source].put(records)

    def waiting(self) -> dict[str, bool]:
        """Say of each source whether its records wait in the spool for the sink."""
        return {source: not lane.direct for source, lane in self._lanes.items()}

    async def close(self) -> None:
        """Stop, and leave what waits on the disk for the next start."""
        for lane in self._lanes.values():
            await lane.close()
        await self._sink.close()
        self._executor.shutdown()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class _Lane:
    """One source's way: straight to the sink, or, while anything waits in its spool, behind that in order."""

    def __init__(self, source: str, sink: Sink, spool: Spool, metrics: Metrics) -> None:
        self.direct = spool.is_empty
        self._source = source
        self._sink = sink
        self._spool = spool
        self._metrics = metrics
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if not self.direct:
            self._wake.set()
        self._task = asyncio.create_task(self._drain())

    async def put(self, records: Sequence[RawRecord]) -> None:
        if self.direct:
            try:
                await self._to_sink(records)
                return
            except SinkUnavailableError as error:
                if self.direct:
                    _logger.warning("%s: records go to the spool from now on: %s", self._source, error)
                self.direct = False
        try:
            await self._spool.append(records)
        finally:
            # Also where there is no room: when the spool is empty, the way is free again.
            self._wake.set()
        self._metrics.spooled(self._source, len(records))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._spool.close()

    async def _to_sink(self, records: Sequence[RawRecord]) -> None:
        await self._sink.put(self._source, records)
        self._metrics.delivered(self._source, len(records))

    async def _drain(self) -> None:
        wait = _RETRY_SECONDS[0]
        while True:
            await self._wake.wait()
            try:
                await self._drain_all()
                wait = _RETRY_SECONDS[0]
            except (SinkUnavailableError, OSError) as error:
                _logger.info("%s: records stay in the spool: %s", self._source, error)
                await asyncio.sleep(wait)
                wait = min(2 * wait, _RETRY_SECONDS[1])
            except Exception:
                # What waits must go on, whatever this was.
                _logger.exception("%s: a fault while the spool was emptied", self._source)
                await asyncio.sleep(_RETRY_SECONDS[1])

    async def _drain_all(self) -> None:
        while True:
            records = await self._spool.read(_CHUNK_BYTES)
            if records:
                await self._to_sink(records)
                await self._spool.forget()
            elif self._spool.is_empty:
                # No step of another task lies between these lines, so nothing is overtaken.
                self._wake.clear()
                self.direct = True
                _logger.info("%s: the spool is empty", self._source)
                return
            else:
                await asyncio.sleep(0.01)


def _locked(folder: Path) -> int:
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ConnectorError(
            f"{folder}: another collector uses this spool; stop it, or give this one another home"
        ) from None
    return descriptor
