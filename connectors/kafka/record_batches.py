"""Reads Kafka's record batches (format 2) into columns, in place of kafka-python's object per record.

kafka-python still fetches, checks sums, decompresses, follows transactions and keeps positions; it only finds
one "record" in each batch, whose value is all of the batch's records.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecord, DefaultRecordBatch

from connectors.kafka.columns import ByteColumn, Partition, Records
from connectors.varints import LONGER, compiled, read_varint


class ColumnRecords(Fetcher.PartitionRecords):  # type: ignore[misc] # kafka-python has no types
    """What a fetch brought of a partition: yields a record per batch, whose value is a `Records`."""

    def _unpack_records(self, tp: Any, records: Any, *deserializers: Any) -> Iterator[Any]:
        batches = _Batches(records, Partition(*tp), self.fetch_offset)
        yield from super()._unpack_records(tp, batches, *deserializers)


class _Batches:
    """Stands for kafka-python's batches, and wraps those that hold records."""

    def __init__(self, records: Any, partition: Partition, fetch_offset: int) -> None:
        self._records, self._partition, self._fetch_offset = records, partition, fetch_offset

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        if not isinstance(batch, DefaultRecordBatch) or batch.is_control_batch:
            # Markers of transactions. Batches of formats that Kafka 4 no longer has are left as they are.
            return batch
        return _Batch(batch, self._partition, self._fetch_offset)


class _Batch:
    """Stands for a batch, and has one record: all of the batch's, from the offset on that was asked for."""

    def __init__(self, batch: Any, partition: Partition, fetch_offset: int) -> None:
        self._batch, self._partition, self._fetch_offset = batch, partition, fetch_offset

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        batch = iter(self._batch)
        data = np.frombuffer(batch._buffer, np.uint8)[batch._pos :]
        columns = _columns(batch, data, self._partition)
        columns = columns.part(slice(int(np.searchsorted(columns.offsets, self._fetch_offset)), None))
        if len(columns):
            stamp = batch.max_timestamp
            yield DefaultRecord(data.size, batch.last_offset, stamp, batch.timestamp_type, None, columns, [])


def _columns(batch: Any, data: Any, partition: Partition) -> Records:
    count = batch.records_count
    if count < 0 or count > data.size:
        raise CorruptRecordError(f"{partition}: batch at offset {batch.base_offset} claims {count} records")
    places = np.empty((8, count), np.int64)
    if not _parse(data, places, batch.last_offset_delta):
        raise CorruptRecordError(f"{partition}: batch at offset {batch.base_offset} holds no whole records")
    stamps = (
        np.full(count, batch.max_timestamp, np.int64)
        if batch.timestamp_type == batch.LOG_APPEND_TIME
        else batch.first_timestamp + places[0]
    )
    return Records(
        partition,
        batch.base_offset + places[1],
        stamps,
        ByteColumn(data, places[2], places[3]),
        ByteColumn(data, places[4], places[5]),
        ByteColumn(data, places[6], places[7]),
    )


@compiled
def _parse(data, places, last_offset):  # type: ignore[no-untyped-def]  # noqa: PLR0911 - a compiled kernel
    """Find the parts of records; false where they are not whole.

    Rows of `places`: difference of timestamps, difference of offsets, and start and end of key, value, headers.
    """
    at, offset = 0, -1
    for record in range(places.shape[1]):
        length, at, state = read_varint(data, at, data.size)
        end = at + length
        # Its attributes are a byte that means nothing yet.
        if state > LONGER or length < 1 or end > data.size:
            return False
        at += 1
        for column in range(2):
            places[column, record], at, state = read_varint(data, at, end)
            if state > LONGER:
                return False
        if not offset < places[1, record] <= last_offset:
            return False
        offset = places[1, record]
        for column in range(2, 6, 2):
            size, at, state = read_varint(data, at, end)
            if state > LONGER or size > end - at:
                return False
            places[column, record] = at if size >= 0 else -1
            at += max(size, 0)
            places[column + 1, record] = at
        places[6, record] = at
        places[7, record] = end
        headers, at, state = read_varint(data, at, end)
        if state > LONGER or headers < 0 or headers > end - at:
            return False
        for half in range(2 * headers):
            size, at, state = read_varint(data, at, end)
            # A header has a name; its value may be null.
            if state > LONGER or size > end - at or (size < 0 and half % 2 == 0):
                return False
            at += max(size, 0)
        if at != end:
            return False
    return at == data.size
