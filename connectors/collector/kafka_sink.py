"""The sink that counts: a source's topic in Kafka, acknowledged by all replicas that are in step.

kafka-python's producer works in threads of its own; here its acknowledgements come back to the event loop.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from connectors.collector.records import RawRecord, SinkUnavailableError
from connectors.kafka.clients import explanation
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import raw_topic

#: The header that says when a record came in: microseconds since 1970 in UTC, in decimal digits.
RECEIVED_AT = "received_at"
#: Bytes of one request to a broker; the topics of raw records take as much.
LARGEST_REQUEST = 8 * 1024 * 1024


class KafkaSink:
    """Puts records into the topics of raw records; to be used from one event loop."""

    def __init__(self, settings: KafkaSettings, seconds: float = 5.0) -> None:
        """Nothing is connected before the first record.

        Args:
            settings: how to reach Kafka.
            seconds: after which a record that isn't acknowledged counts as not delivered.
        """
        self._settings = settings
        self._milliseconds = int(seconds * 1000)
        self._producer: Any = None
        self._making: asyncio.Task[Any] | None = None
        self._topics: dict[str, str] = {}

    async def put(self, source: str, records: Sequence[RawRecord]) -> None:
        """Return once Kafka has acknowledged every record.

        Raises:
            SinkUnavailableError: it hasn't; the records may be put again, and may have arrived nevertheless.
        """
        from kafka.errors import KafkaError

        producer = self._producer or await self._connected()
        try:
            topic = self._topics.get(source) or await self._known_topic(producer, source)
            waiting = _Acknowledgements(len(records))
        except (KafkaError, OSError) as error:
            raise SinkUnavailableError(explanation(self._settings, error)) from error
        try:
            for key, value, received_at in records:
                producer.send(topic, value, key, headers=[(RECEIVED_AT, b"%d" % received_at)]).add_callback(
                    waiting.one
                ).add_errback(waiting.none)
        except (KafkaError, OSError) as error:
            waiting.all.cancel()
            self._topics.pop(source, None)
            raise SinkUnavailableError(explanation(self._settings, error)) from error
        try:
            await waiting.all
        except KafkaError as error:
            await self._discard(producer)
            raise SinkUnavailableError(explanation(self._settings, error)) from error
        except asyncio.CancelledError:
            # Nobody waits any longer; what a later producer sends must not be overtaken by what this one holds.
            await asyncio.shield(self._discard(producer))
            raise

    async def close(self) -> None:
        """Send what is under way, and disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await asyncio.to_thread(producer.close, self._milliseconds / 1000)

    async def _connected(self) -> Any:
        """Give the producer; whoever comes while it is being made waits for the same one."""
        from kafka.errors import KafkaError

        if self._making is None:
            self._making = asyncio.create_task(asyncio.to_thread(self._make))
            self._making.add_done_callback(self._made)
        try:
            return await asyncio.shield(self._making)
        except (KafkaError, OSError) as error:
            raise SinkUnavailableError(explanation(self._settings, error)) from error

    def _make(self) -> Any:
        from kafka import KafkaProducer

        return KafkaProducer(
            **self._settings.client_options(),
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            batch_size=256 * 1024,
            delivery_timeout_ms=self._milliseconds,
            request_timeout_ms=self._milliseconds,
            max_block_ms=min(self._milliseconds, 2_000),
            bootstrap_timeout_ms=self._milliseconds,
            reconnect_backoff_max_ms=1_000,
            allow_auto_create_topics=False,
            max_request_size=LARGEST_REQUEST,
            metrics_enabled=False,
        )

    def _made(self, task: asyncio.Task[Any]) -> None:
        self._making = None
        if not task.cancelled() and task.exception() is None:
            self._producer = task.result()

    async def _known_topic(self, producer: Any, source: str) -> str:
        """Give a source's topic once the cluster has told of it: asking would hold up the event loop."""
        topic = raw_topic(self._settings, source)
        await asyncio.to_thread(producer.partitions_for, topic)
        self._topics[source] = topic
        return topic

    async def _discard(self, producer: Any) -> None:
        """Give up a producer with what it holds; the next record makes a new one."""
        if self._producer is not producer:
            return
        self._producer = None
        self._topics.clear()
        with suppress(Exception):
            await asyncio.to_thread(producer.close, 0)


class _Acknowledgements:
    """One asyncio future for the records of one call, resolved from the producer's thread."""

    def __init__(self, records: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._records = records
        # Its steps are atomic: acknowledgements may come from the producer's thread and from this one.
        self._count = itertools.count(1)
        self.all: asyncio.Future[None] = self._loop.create_future()

    def one(self, _: object) -> None:
        if next(self._count) == self._records:
            self._loop.call_soon_threadsafe(self._resolve, None)

    def none(self, error: BaseException) -> None:
        self._loop.call_soon_threadsafe(self._resolve, error)

    def _resolve(self, error: BaseException | None) -> None:
        if self.all.done():
            return
        if error is None:
            self.all.set_result(None)
        else:
            self.all.set_exception(error)
