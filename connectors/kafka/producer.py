"""Sends records to Kafka, many at a time, and says whether they are kept."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from kafka import KafkaProducer
from kafka.errors import KafkaError

from connectors.kafka.clients import explained, explanation
from connectors.kafka.columns import ByteColumn, Headers, Partition, wire_headers
from connectors.kafka.errors import NotAcknowledgedError, RecordTooLargeError
from connectors.kafka.knock import knock
from connectors.kafka.outgoing import (
    PreparedBatch,
    PreparedRecords,
    compress,
    partitions_of,
    record_sizes,
    write_records,
)
from connectors.kafka.settings import KafkaSettings

Compression = Literal["zstd", "lz4", "none"]
Longs = npt.NDArray[np.int64]
Values = Sequence[bytes | None] | ByteColumn

#: A batch holds no more bytes than this before compression, unless one record is larger.
BATCH_BYTES = 512 * 1024
#: A larger record is not sent; topics take less still.
LARGEST_BATCH = 8 * 1024 * 1024
#: So many bytes may wait to be acknowledged; who sends more waits.
WAITING_BYTES = 64 * 1024 * 1024
_RUN_OF_KEYLESS = 500
_LOOK_SECONDS = 0.002
_SLACK_SECONDS = 5.0


class Delivery:
    """Records on their way to a topic; `records` says how many, `size` their bytes before compression."""

    def __init__(
        self, producer: Producer, topic: str, sizes: Longs, batches: Sequence[PreparedBatch]
    ) -> None:
        self.topic, self.records, self.size = topic, sizes.size, int(sizes.sum())
        self._producer, self._batches = producer, batches

    def wait(self, timeout: float | None = None) -> None:
        """Wait until all of them are kept.

        Args:
            timeout: for how many seconds; as long as the producer tries to deliver them unless given.

        Raises:
            NotAcknowledgedError: some are not kept, or nothing was heard in time. `flush` does not tell it again.
        """
        self._producer.forget(self)
        end = time.monotonic() + (self._producer.patience if timeout is None else timeout)
        for batch in self._batches:
            try:
                failure = batch.failure(max(0.0, end - time.monotonic()))
            except TimeoutError:
                raise self._not_kept("Kafka has not answered in time") from None
            if failure is not None:
                raise self._not_kept(explanation(self._producer.settings, failure)) from failure

    def is_done(self) -> bool:
        """Say whether the brokers have spoken of all of them, for good or ill."""
        return all(batch.is_done for batch in self._batches)

    def has_arrived(self) -> bool:
        """Say whether all of them are kept."""
        return self.is_done() and all(batch.failure(0) is None for batch in self._batches)

    def _not_kept(self, cause: str) -> NotAcknowledgedError:
        return NotAcknowledgedError(
            f"topic {self.topic}: {self.records} records are not acknowledged: {cause}. Send them again"
        )


class Producer:
    """A sender of records: idempotent, acknowledged by all replicas in sync. Threads may share it."""

    def __init__(
        self, settings: KafkaSettings, compression: Compression = "zstd", delivery_timeout: float = 120.0
    ) -> None:
        """Connect.

        Args:
            settings: how to reach Kafka.
            compression: of batches.
            delivery_timeout: for how many seconds a record is tried to be delivered.

        Raises:
            KafkaUnreachableError: Kafka can't be reached, or does not let this client in.
        """
        self.settings, self._compression = settings, compression
        #: Seconds after which a record has had its fate.
        self.patience = delivery_timeout + _SLACK_SECONDS
        self._waiting: deque[Delivery] = deque()
        self._lock = threading.Lock()
        self._turn = 0
        self._is_closed = False
        self._client = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def send_many(
        self, topic: str, keys: Values | None, values: Values, headers: Sequence[Headers] | None = None
    ) -> Delivery:
        """Send records; returns before they are acknowledged.

        Args:
            topic: where to.
            keys: one for each record, or None; equal keys go to one partition.
            values: one for each record; None for "this key is gone".
            headers: of each record.

        Raises:
            KafkaUnreachableError: the topic's partitions can't be learnt.
            RecordTooLargeError: a record is larger than any topic takes; none is sent.
        """
        columns = _column(keys, len(values)), _column(values, len(values)), _headers(headers, len(values))
        sizes = record_sizes(*columns)
        self._make_room(int(sizes.sum()))
        client = self._usable_client()
        with explained(self.settings):
            numbers = sorted(client.partitions_for(topic))
        stamp = time.time_ns() // 1_000_000
        prepared = []
        for number, rows in self._shared_out(columns[0], sizes, len(numbers)):
            payload, codec = compress(write_records(rows, *columns), self._compression)
            if len(payload) > LARGEST_BATCH:
                raise RecordTooLargeError(
                    f"topic {topic}: a record has {len(payload)} bytes; at most {LARGEST_BATCH} are taken: send less"
                )
            records = PreparedRecords(payload, codec, rows.size, stamp)
            prepared.append((Partition(topic, numbers[number]), records))
        batches = [_hand_over(client, partition, records) for partition, records in prepared]
        delivery = Delivery(self, topic, sizes, batches)
        with self._lock:
            self._waiting.append(delivery)
        return delivery

    def forget(self, delivery: Delivery) -> None:
        """Leave a delivery to who waits for it."""
        with self._lock, suppress(ValueError):
            self._waiting.remove(delivery)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything that was sent is kept.

        Raises:
            NotAcknowledgedError: something is not; names the topic and the cause. The rest is waited for too.
        """
        end = None if timeout is None else time.monotonic() + timeout
        failed: NotAcknowledgedError | None = None
        while True:
            with self._lock:
                delivery = self._waiting[0] if self._waiting else None
            if delivery is None:
                break
            try:
                delivery.wait(None if end is None else max(0.0, end - time.monotonic()))
            except NotAcknowledgedError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def close(self, timeout: float = 10.0) -> None:
        """Let go of the connections, after at most `timeout` seconds for what is on its way; see `flush`."""
        with self._lock:
            self._is_closed = True
        _let_go(self._client, timeout)

    def _open(self) -> Any:
        milliseconds = int((self.patience - _SLACK_SECONDS) * 1000)
        with explained(self.settings):
            knock(self.settings)
            return KafkaProducer(
                **self.settings.client_options(),
                enable_idempotence=True,
                acks="all",
                delivery_timeout_ms=milliseconds,
                request_timeout_ms=min(30_000, milliseconds),
                max_block_ms=milliseconds,
                bootstrap_timeout_ms=min(30_000, milliseconds),
                metrics_enabled=False,
            )

    def _usable_client(self) -> Any:
        """Give kafka-python's producer; a new one where it has given up after an error that no retry helps."""
        with self._lock:
            if self._is_closed:
                raise NotAcknowledgedError("the producer is closed; open a new one")
            if self._client._transaction_manager.has_fatal_error():
                _let_go(self._client, 0)
                self._client = self._open()
            return self._client

    def _shared_out(self, keys: ByteColumn, sizes: Longs, count: int) -> Iterator[tuple[int, Longs]]:
        """Yield partitions (as places in their list) with the rows of a batch."""
        partitions = partitions_of(keys, count)
        keyless = np.flatnonzero(partitions < 0)
        run = max(_RUN_OF_KEYLESS, -(-keyless.size // count))
        partitions[keyless] = (self._turn + np.arange(keyless.size) // run) % count
        self._turn += 1
        order = np.argsort(partitions, kind="stable")
        ends = np.cumsum(np.bincount(partitions, minlength=count))
        for number, rows in enumerate(np.split(order, ends[:-1])):
            if rows.size:
                parts = np.cumsum(sizes[rows]) // BATCH_BYTES
                for part in np.split(rows, np.flatnonzero(np.diff(parts)) + 1):
                    yield number, part

    def _make_room(self, size: int) -> None:
        """Wait while too much is on its way; what went wrong stays to be told by `flush`."""
        while True:
            with self._lock:
                self._waiting = deque(delivery for delivery in self._waiting if not delivery.has_arrived())
                open_ones = [delivery for delivery in self._waiting if not delivery.is_done()]
            if not open_ones or sum(delivery.size for delivery in open_ones) + size <= WAITING_BYTES:
                return
            time.sleep(_LOOK_SECONDS)


def _let_go(client: Any, timeout: float) -> None:
    try:
        client.close(timeout)
    except KafkaError:
        # What is still on its way fails now, and is told by `flush` and `Delivery.wait`.
        client._sender.force_close()
        client._sender.join(_SLACK_SECONDS)
        client.close(0)


def _hand_over(client: Any, partition: Partition, records: PreparedRecords) -> PreparedBatch:
    """Give a batch to kafka-python, as it takes those that it has filled itself."""
    accumulator, batch = client._accumulator, PreparedBatch(partition, records)
    accumulator._appends_in_progress.increment()
    try:
        with accumulator._tp_lock(batch.topic_partition):
            if accumulator._closed:
                raise NotAcknowledgedError(f"topic {partition.topic}: the producer was closed meanwhile")
            accumulator._batches[batch.topic_partition].append(batch)
            accumulator._incomplete.add(batch)
    finally:
        accumulator._appends_in_progress.decrement()
    client._sender.wakeup()
    return batch


def _column(values: Values | None, count: int) -> ByteColumn:
    if values is None:
        return ByteColumn(np.empty(0, np.uint8), np.full(count, -1, np.int64), np.zeros(count, np.int64))
    if len(values) != count:
        raise ValueError(f"{len(values)} keys for {count} values")
    return values if isinstance(values, ByteColumn) else ByteColumn.of(values)


def _headers(headers: Sequence[Headers] | None, count: int) -> ByteColumn:
    return _column(None if headers is None else [wire_headers(each) for each in headers], count)
