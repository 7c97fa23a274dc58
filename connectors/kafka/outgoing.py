"""Makes Kafka's record batches (format 2) of columns, in place of kafka-python's work on each record.

kafka-python still sends them, tries again, numbers them for idempotence and hears what the brokers say.
"""

from __future__ import annotations

import threading
from typing import Any

import lz4.frame
import numpy as np
import numpy.typing as npt
import zstandard
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.producer.future import FutureRecordMetadata
from kafka.producer.producer_batch import ProducerBatch
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import calc_crc32c
from kafka.structs import TopicPartition

from connectors.kafka.columns import ByteColumn, Partition
from connectors.varints import compiled, varint_size, write_varint

Longs = npt.NDArray[np.int64]

_HEADER = DefaultRecordBatch.HEADER_STRUCT
_ZSTD_LEVEL = 1
_local = threading.local()


class PreparedRecords:
    """A batch's records, compressed; what kafka-python asks of a batch that it fills itself."""

    def __init__(self, payload: bytes, codec: int, count: int, timestamp: int) -> None:
        self._payload, self._codec, self._count, self._timestamp = payload, codec, count, timestamp
        self._is_transactional = False
        self._batch: bytearray | None = None
        self.producer_id, self.producer_epoch, self.base_sequence = -1, -1, -1

    def append(self, *_record: object) -> None:
        """Take no more records."""

    def set_producer_state(
        self, producer_id: int, producer_epoch: int, base_sequence: int, is_transactional: bool
    ) -> None:
        """Number the batch, so that the broker knows it when it comes twice."""
        self.producer_id, self.producer_epoch, self.base_sequence = producer_id, producer_epoch, base_sequence
        self._is_transactional = is_transactional

    def close(self) -> None:
        """Write the header, once."""
        if self._batch is not None:
            return
        batch = bytearray(_HEADER.size)
        attributes = self._codec | (DefaultRecordBatch.TRANSACTIONAL_MASK if self._is_transactional else 0)
        fields: list[Any] = [
            0,
            _HEADER.size + len(self._payload) - DefaultRecordBatch.AFTER_LEN_OFFSET,
            0,
            2,
            0,
            attributes,
            self._count - 1,
            self._timestamp,
            self._timestamp,
            self.producer_id,
            self.producer_epoch,
            self.base_sequence,
            self._count,
        ]
        _HEADER.pack_into(batch, 0, *fields)
        batch += self._payload
        fields[4] = calc_crc32c(memoryview(batch)[DefaultRecordBatch.ATTRIBUTES_OFFSET :])
        _HEADER.pack_into(batch, 0, *fields)
        self._batch, self._payload = batch, b""

    def buffer(self) -> bytearray | None:
        """Give the whole batch, after `close`."""
        return self._batch

    def size_in_bytes(self) -> int:
        """Say how large the batch is."""
        return _HEADER.size + len(self._payload) if self._batch is None else len(self._batch)

    def next_offset(self) -> int:
        """Say how many records there are."""
        return self._count

    def is_full(self) -> bool:
        """Nothing more comes: send it."""
        return True

    def compression_rate(self) -> float:
        """Is not measured."""
        return 1.0


class PreparedBatch(ProducerBatch):  # type: ignore[misc] # kafka-python has no types
    """A batch that is sent as it is, unless a broker finds it too large: then kafka-python makes two of it."""

    def __init__(self, partition: Partition, records: PreparedRecords) -> None:
        self._futures: list[Any] = []
        super().__init__(TopicPartition(*partition), records)

    @property
    def _record_futures(self) -> list[Any]:
        # Asked for only when the batch is divided: from then on each record has a fate of its own.
        if not self._futures:
            self._futures = [
                FutureRecordMetadata(self.produce_future, number, None, None, -1, -1, -1)
                for number in range(self.record_count)
            ]
        return self._futures

    @_record_futures.setter
    def _record_futures(self, _none_yet: list[Any]) -> None:
        pass

    def failure(self, timeout: float) -> BaseException | None:
        """Wait until the broker has spoken; gives what went wrong, or None.

        Raises:
            TimeoutError: nothing was heard for `timeout` seconds.
        """
        self.produce_future.wait(timeout)
        if self._futures:
            return next((failed for future in self._futures if (failed := _failure(future, timeout))), None)
        if not self.produce_future.is_done:
            raise TimeoutError
        if self.produce_future.failed():
            return self.produce_future.exception  # type: ignore[no-any-return]
        _, _, exception_of = self.produce_future.value
        exception: BaseException | None = None if exception_of is None else exception_of(0)
        return exception


def _failure(future: Any, timeout: float) -> Any:
    try:
        future.get(timeout)
    except KafkaTimeoutError:
        if not future.is_done:
            raise TimeoutError from None
        return future.exception
    except KafkaError as error:
        return error
    return None


def compress(payload: npt.NDArray[np.uint8], compression: str) -> tuple[bytes, int]:
    """Compress a batch's records: the bytes, and the codec's number in the batch's attributes."""
    if compression == "lz4":
        # Kafka reads no blocks that depend on each other.
        return lz4.frame.compress(payload, block_linked=False), DefaultRecordBatch.CODEC_LZ4
    if compression == "zstd":
        if not hasattr(_local, "zstd"):
            _local.zstd = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
        return _local.zstd.compress(payload), DefaultRecordBatch.CODEC_ZSTD
    return payload.tobytes(), DefaultRecordBatch.CODEC_NONE


def record_sizes(keys: ByteColumn, values: ByteColumn, headers: ByteColumn) -> Longs:
    """Say how many bytes each record takes before compression, nearly."""
    return np.maximum(keys.sizes, 0) + np.maximum(values.sizes, 0) + np.maximum(headers.sizes, 0) + 16


def write_records(
    rows: Longs, keys: ByteColumn, values: ByteColumn, headers: ByteColumn
) -> npt.NDArray[np.uint8]:
    """Write the records of `rows`, without a batch's header, all at the batch's time."""
    columns = [
        part for column in (keys, values, headers) for part in (column.data, column.starts, column.ends)
    ]
    sizes = np.empty(rows.size, np.int64)
    out = np.empty(_measure(rows, sizes, *columns), np.uint8)
    _write(rows, sizes, out, *columns)
    return out


def partitions_of(keys: ByteColumn, count: int) -> Longs:
    """Give each key's partition as Kafka's own clients do; records without a key are up to the caller (-1)."""
    partitions = np.empty(len(keys), np.int64)
    _partition(keys.data, keys.starts, keys.ends, count, partitions)
    return partitions


@compiled
def _measure(  # type: ignore[no-untyped-def]
    rows, sizes, _keys, key_starts, key_ends, _data, starts, ends, _head, head_starts, head_ends
):
    """Fill in each record's size, and give that of all with the numbers that tell their sizes."""
    total = 0
    for place in range(rows.size):
        row = rows[place]
        # Attributes and the difference of timestamps are a zero byte each; no headers are a third.
        size = 2 + varint_size(place)
        size += _sized(key_starts[row], key_ends[row]) + _sized(starts[row], ends[row])
        size += head_ends[row] - head_starts[row] if head_starts[row] >= 0 else 1
        sizes[place] = size
        total += size + varint_size(size)
    return total


@compiled
def _sized(start, end):  # type: ignore[no-untyped-def]
    return 1 if start < 0 else varint_size(end - start) + end - start


@compiled
def _put(out, at, data, start, end):  # type: ignore[no-untyped-def]
    if start < 0:
        return write_varint(out, at, -1)
    at = write_varint(out, at, end - start)
    out[at : at + end - start] = data[start:end]
    return at + end - start


@compiled
def _write(  # type: ignore[no-untyped-def]
    rows, sizes, out, key_data, key_starts, key_ends, data, starts, ends, head, head_starts, head_ends
):
    at = 0
    for place in range(rows.size):
        row = rows[place]
        at = write_varint(out, at, sizes[place])
        out[at] = out[at + 1] = 0
        at = write_varint(out, at + 2, place)
        at = _put(out, at, key_data, key_starts[row], key_ends[row])
        at = _put(out, at, data, starts[row], ends[row])
        if head_starts[row] < 0:
            out[at] = 0
            at += 1
        else:
            size = head_ends[row] - head_starts[row]
            out[at : at + size] = head[head_starts[row] : head_ends[row]]
            at += size


@compiled
def _partition(data, starts, ends, count, partitions):  # type: ignore[no-untyped-def]
    """MurmurHash 2, as Kafka's Java client has it, over each key."""
    multiplier, mask = np.uint64(0x5BD1E995), np.uint64(0xFFFFFFFF)
    for row in range(starts.size):
        if starts[row] < 0:
            partitions[row] = -1
            continue
        size = ends[row] - starts[row]
        hashed = np.uint64(0x9747B28C) ^ np.uint64(size)
        at = starts[row]
        while at + 4 <= ends[row]:
            word = np.uint64(0)
            for byte in range(4):
                word |= np.uint64(data[at + byte]) << np.uint64(8 * byte)
            word = (word * multiplier) & mask
            word ^= word >> np.uint64(24)
            word = (word * multiplier) & mask
            hashed = ((hashed * multiplier) & mask) ^ word
            at += 4
        if at < ends[row]:
            for byte in range(ends[row] - at):
                hashed ^= np.uint64(data[at + byte]) << np.uint64(8 * byte)
            hashed = (hashed * multiplier) & mask
        hashed ^= hashed >> np.uint64(13)
        hashed = (hashed * multiplier) & mask
        hashed ^= hashed >> np.uint64(15)
        partitions[row] = np.int64(hashed & np.uint64(0x7FFFFFFF)) % count
