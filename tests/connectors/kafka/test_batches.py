"""Record batches: what we write kafka-python reads, and what it writes we read; damaged ones are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.errors import CorruptRecordError
from kafka.record import MemoryRecords
from kafka.record.memory_records import MemoryRecordsBuilder
from kafka.structs import TopicPartition

from connectors.kafka.columns import ByteColumn, Headers, Partition, Records, wire_headers
from connectors.kafka.outgoing import PreparedRecords, compress, write_records
from connectors.kafka.record_batches import ColumnRecords

Row = tuple[bytes | None, bytes | None, Headers]
NAME = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
ROWS = st.lists(
    st.tuples(
        st.none() | st.binary(max_size=80),
        st.none() | st.binary(max_size=300),
        st.lists(
            st.tuples(
                st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
                st.none() | st.binary(max_size=70),
            ),
            max_size=3,
        ),
    ),
    min_size=1,
    max_size=20,
)
PARTITION = Partition("topic", 3)


def _written(rows: list[Row], compression: str = "none", order: list[int] | None = None) -> bytes:
    columns = [ByteColumn.of([row[place] for row in rows]) for place in (0, 1)]  # type: ignore[misc]
    headers = ByteColumn.of([wire_headers(row[2]) for row in rows])
    chosen = np.array(range(len(rows)) if order is None else order, np.int64)
    payload, codec = compress(write_records(chosen, *columns, headers), compression)
    prepared = PreparedRecords(payload, codec, chosen.size, 1_700_000_000_000)
    prepared.set_producer_state(7, 1, 42, False)
    before = prepared.size_in_bytes()
    prepared.close()
    assert prepared.size_in_bytes() == before
    return bytes(prepared.buffer() or b"")


def _read(content: bytes, offset: int = 0) -> list[Records]:
    part: Any = ColumnRecords(offset, TopicPartition(*PARTITION), MemoryRecords(content))
    return [record.value for record in part.take()]


def _rows(parts: list[Records]) -> list[Row]:
    return [
        row
        for part in parts
        for row in zip(part.keys.to_list(), part.values.to_list(), part.headers(), strict=True)
    ]


@settings(deadline=None)
@given(rows=ROWS, compression=st.sampled_from(["none", "lz4", "zstd"]))
def test_kafka_python_reads_what_we_write(rows: list[Row], compression: str) -> None:
    (batch,) = MemoryRecords(_written(rows, compression))
    assert batch.validate_crc()
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (7, 1, 42)
    assert batch.last_offset_delta == len(rows) - 1
    read = list(batch)
    assert [(record.key, record.value, record.headers) for record in read] == rows
    assert [record.offset for record in read] == list(range(len(rows)))
    assert {record.timestamp for record in read} == {1_700_000_000_000}


@settings(deadline=None)
@given(rows=ROWS, compression=st.sampled_from([0, 1, 3, 4]), offset=st.integers(0, 25), data=st.data())
def test_we_read_what_kafka_python_writes(
    rows: list[Row], compression: int, offset: int, data: st.DataObject
) -> None:
    stamps = data.draw(st.lists(st.integers(0, 2**45), min_size=len(rows), max_size=len(rows)))
    content = b""
    for _ in range(2):
        builder = MemoryRecordsBuilder(2, compression, 1_000_000)
        for stamp, row in zip(stamps, rows, strict=True):
            builder.append(stamp, *row)
        builder.close()
        content += bytes(builder.buffer())
    parts = _read(content, offset)
    assert _rows(parts) == 2 * rows[offset:]
    for part in parts:
        assert part.partition == PARTITION
        assert part.offsets.tolist() == list(range(offset, len(rows)))
        assert part.timestamps.tolist() == stamps[offset:]
        assert part.next_offset == len(rows)


def test_rows_are_written_in_the_order_asked_for() -> None:
    rows: list[Row] = [(b"k%d" % number, b"v%d" % number, []) for number in range(5)]
    assert _rows(_read(_written(rows, order=[3, 0, 4]))) == [rows[3], rows[0], rows[4]]


def test_our_own_batches_are_read_back() -> None:
    rows: list[Row] = [(None, b"v" * number, [("n", b"%d" % number)]) for number in range(300)]
    assert _rows(_read(_written(rows, "zstd"))) == rows


@settings(deadline=None, max_examples=100)
@given(rows=ROWS, data=st.data())
def test_damaged_records_are_named_or_read_as_kafka_python_reads_them(
    rows: list[Row], data: st.DataObject
) -> None:
    content = bytearray(_written(rows))
    payload = content[61:]
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    prepared = PreparedRecords(bytes(payload), 0, len(rows), 0)
    prepared.close()
    damaged = bytes(prepared.buffer() or b"")
    try:
        parts = _read(damaged)
    except CorruptRecordError:
        return
    (batch,) = MemoryRecords(damaged)
    try:
        expected = [(record.key, record.value) for record in batch]
    except (CorruptRecordError, UnicodeDecodeError):
        # Names of headers that are no text, and numbers in longer forms, are none of our business.
        return
    assert [row[:2] for row in _rows(parts)] == expected


def test_a_batch_that_claims_more_records_than_it_has_is_named() -> None:
    for claimed in (5, 2_000_000_000, -1):
        prepared = PreparedRecords(_written([(b"k", b"v", [])])[61:], 0, claimed, 0)
        prepared.close()
        with pytest.raises(CorruptRecordError, match=r"topic/3: batch at offset 0 (claims|holds no whole)"):
            _read(bytes(prepared.buffer() or b""))


def test_a_batch_whose_sum_is_wrong_is_refused() -> None:
    content = bytearray(_written([(b"k", b"v", [])]))
    content[-1] ^= 1
    with pytest.raises(CorruptRecordError, match="failed crc check"):
        _read(bytes(content))


@given(
    columns=st.lists(st.lists(st.none() | st.binary(max_size=5), max_size=6), min_size=1, max_size=4),
    start=st.integers(0, 8),
)
def test_columns_are_joined_and_parted(columns: list[list[bytes | None]], start: int) -> None:
    joined = ByteColumn.joined([ByteColumn.of(column) for column in columns])
    values = [value for column in columns for value in column]
    assert joined.to_list() == values
    assert joined.part(slice(start, None)).to_list() == values[start:]
    assert joined.sizes.tolist() == [-1 if value is None else len(value) for value in values]
    assert len(joined) == len(values)
