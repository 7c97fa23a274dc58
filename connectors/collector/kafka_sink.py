"""The sink that counts: a source's topic in Kafka, acknowledged by all replicas that are in step.

Sending costs about as much for one record as for a hundred. So while one group of a source's records is under way,
what comes in meanwhile gathers and goes out together as the next group: nothing waits on purpose, and the
busier it is, the less a record costs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from connectors.collector.records import RawRecord, SinkUnavailableError
from connectors.collector.settings import MIB
from connectors.kafka.errors import KafkaUnreachableError
from connectors.kafka.producer import Producer
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import RECEIVED_AT, raw_topic

#: Bytes at which a group is closed and the next one begun.
GROUP_BYTES = 2 * MIB
#: One for each source that is sending: those whose topics are missing must not take the others' turns.
_MOST_THREADS = 64

_T = TypeVar("_T")


class KafkaSink:
    """Puts records into the topics of raw records; to be used from one event loop."""

    def __init__(self, settings: KafkaSettings, seconds: float = 5.0) -> None:
        """Nothing is connected before the first record.

        Args:
            settings: how to reach Kafka.
            seconds: after which records that aren't acknowledged count as not delivered.
        """
        self._settings = settings
        self._seconds = seconds
        self._producer: Producer | None = None
        self._connecting = asyncio.Lock()
        self._threads = ThreadPoolExecutor(_MOST_THREADS, "kafka")
        self._lanes: dict[str, _Groups] = {}

    async def put(self, source: str, records: Sequence[RawRecord]) -> None:
        """Return once Kafka has acknowledged every record.

        Raises:
            SinkUnavailableError: it hasn't; the records may be put again, and may have arrived nevertheless.
        """
        groups = self._lanes.get(source)
        if groups is None:
            groups = self._lanes[source] = _Groups(self._seconds)
        group = groups.join(records)
        if groups.task is None:
            groups.task = asyncio.create_task(self._send_all(source, groups))
        # Others wait for the same group: one who gives up must not end it for all.
        await asyncio.shield(group.done)

    async def close(self) -> None:
        """Send what is under way, and disconnect."""
        tasks = [groups.task for groups in self._lanes.values() if groups.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=self._seconds)
        if self._producer is not None:
            await self._discard(self._producer)
        self._threads.shutdown(wait=False)

    async def _send_all(self, source: str, groups: _Groups) -> None:
        """Send group after group until there are none."""
        while (group := groups.next()) is not None:
            try:
                await self._send(source, group.records)
            except Exception as error:
                # Also one that nobody thought of must reach those who wait.
                groups.fail(group, error)
            else:
                group.end(None)
        groups.task = None

    async def _send(self, source: str, records: list[RawRecord]) -> None:
        producer = self._producer or await self._connected()
        try:
            await self._in_thread(self._send_and_wait, producer, source, records)
        except KafkaUnreachableError:
            # It was handed nothing: the topic isn't known. Other sources may well be served.
            raise
        except Exception:
            # What it holds must not overtake what the next one sends.
            await self._discard(producer)
            raise

    def _send_and_wait(self, producer: Producer, source: str, records: list[RawRecord]) -> None:
        producer.send_many(
            raw_topic(self._settings, source),
            [record.key for record in records],
            [record.value for record in records],
            [[(RECEIVED_AT, b"%d" % record.received_at)] for record in records],
        ).wait(self._seconds)

    async def _connected(self) -> Producer:
        async with self._connecting:
            if self._producer is None:
                await self._knock()
                self._producer = await self._in_thread(Producer, self._settings, "lz4", self._seconds)
            return self._producer

    async def _knock(self) -> None:
        """See whether any broker listens: a producer would try for half a minute, and can't be stopped meanwhile.

        Raises:
            SinkUnavailableError: none does.
        """
        for server in self._settings.bootstrap_servers:
            host, _, port = server.rpartition(":")
            try:
                async with asyncio.timeout(self._seconds):
                    _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            except (OSError, TimeoutError):
                continue
            writer.close()
            return
        raise SinkUnavailableError(
            f"nothing listens at {', '.join(self._settings.bootstrap_servers)}; is Kafka running there?"
        )

    async def _discard(self, producer: Producer) -> None:
        """Let a producer go; the next record makes a new one."""
        if self._producer is producer:
            self._producer = None
        with suppress(Exception):
            await self._in_thread(producer.close, 0)

    async def _in_thread(self, work: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


class _Group:
    """Records that go out together; who put them waits for `done`, but not for ever."""

    def __init__(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self.records: list[RawRecord] = []
        self.size = 0
        self.done: asyncio.Future[None] = loop.create_future()
        late = SinkUnavailableError(f"Kafka has not acknowledged within {seconds:g} s")
        self._timer = loop.call_later(seconds, self.end, late)

    def end(self, error: SinkUnavailableError | None) -> None:
        """Tell how it went, unless that has been told."""
        self._timer.cancel()
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
            # It may be that nobody waits any longer.
            self.done.exception()


class _Groups:
    """A source's groups that wait to be sent, and the task that sends them."""

    def __init__(self, seconds: float) -> None:
        self.task: asyncio.Task[None] | None = None
        self._seconds = seconds
        self._waiting: deque[_Group] = deque()

    def join(self, records: Sequence[RawRecord]) -> _Group:
        """Add records to the last group, or to a new one where that is full or too late."""
        if not self._waiting or self._waiting[-1].size >= GROUP_BYTES or self._waiting[-1].done.done():
            self._waiting.append(_Group(self._seconds))
        group = self._waiting[-1]
        group.records += records
        group.size += sum(len(record.value) for record in records)
        return group

    def next(self) -> _Group | None:
        """Take the first group that isn't too late."""
        while self._waiting:
            group = self._waiting.popleft()
            if not group.done.done():
                return group
        return None

    def fail(self, group: _Group, error: Exception) -> None:
        """Tell of a failure, also those whose records would only run into the same one."""
        for failed in (group, *self._waiting):
            failed.end(SinkUnavailableError(str(error) or type(error).__name__))
        self._waiting.clear()
