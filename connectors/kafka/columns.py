"""Records of Kafka as columns: one buffer of bytes, and where in it each key and value lies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Longs = npt.NDArray[np.int64]

Headers = list[tuple[str, bytes | None]]


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


@dataclass(frozen=True)
class ByteColumn:
    """Byte strings in `data`, each from its start to its end; a null one has a start of -1 (and an end)."""

    data: npt.NDArray[np.uint8]
    starts: Longs
    ends: Longs

    @staticmethod
    def of(values: Sequence[bytes | None]) -> ByteColumn:
        """Make a column of values."""
        sizes = np.fromiter((-1 if value is None else len(value) for value in values), np.int64, len(values))
        is_null = sizes < 0
        ends = np.cumsum(np.where(is_null, 0, sizes))
        data = np.frombuffer(b"".join(value for value in values if value is not None), np.uint8)
        return ByteColumn(data, np.where(is_null, -1, ends - sizes), ends)

    @staticmethod
    def joined(columns: Sequence[ByteColumn]) -> ByteColumn:
        """Put columns one after the other."""
        if len(columns) == 1:
            return columns[0]
        shifts = np.cumsum([0, *(column.data.size for column in columns)])
        return ByteColumn(
            np.concatenate([column.data for column in columns]),
            np.concatenate(
                [
                    np.where(column.starts < 0, -1, column.starts + shift)
                    for column, shift in zip(columns, shifts, strict=False)
                ]
            ),
            np.concatenate([column.ends + shift for column, shift in zip(columns, shifts, strict=False)]),
        )

    def __len__(self) -> int:
        return self.starts.size

    @property
    def sizes(self) -> Longs:
        """How long each is; -1 for a null one."""
        return np.where(self.starts < 0, -1, self.ends - self.starts)

    def part(self, rows: slice) -> ByteColumn:
        """Give the rows of a slice."""
        return ByteColumn(self.data, self.starts[rows], self.ends[rows])

    def to_list(self) -> list[bytes | None]:
        """Give the values as Python objects."""
        whole = self.data.tobytes()
        return [
            None if start < 0 else whole[start:end]
            for start, end in zip(self.starts.tolist(), self.ends.tolist(), strict=True)
        ]


@dataclass(frozen=True)
class Records:
    """Records of one partition, in order of their offsets (which may have gaps).

    `timestamps` are milliseconds since 1970; `header_parts` are headers as they are on the wire.
    """

    partition: Partition
    offsets: Longs
    timestamps: Longs
    keys: ByteColumn
    values: ByteColumn
    header_parts: ByteColumn

    def __len__(self) -> int:
        return self.offsets.size

    @property
    def next_offset(self) -> int:
        """Where to read on."""
        return int(self.offsets[-1]) + 1

    def part(self, rows: slice) -> Records:
        """Give the rows of a slice."""
        return Records(
            self.partition,
            self.offsets[rows],
            self.timestamps[rows],
            self.keys.part(rows),
            self.values.part(rows),
            self.header_parts.part(rows),
        )

    def headers(self) -> list[Headers]:
        """Give each record's headers: names and values."""
        return [_headers(part or b"\0") for part in self.header_parts.to_list()]

    @staticmethod
    def joined(parts: Sequence[Records]) -> Records:
        """Put records of one partition one after the other."""
        if len(parts) == 1:
            return parts[0]
        return Records(
            parts[0].partition,
            np.concatenate([part.offsets for part in parts]),
            np.concatenate([part.timestamps for part in parts]),
            ByteColumn.joined([part.keys for part in parts]),
            ByteColumn.joined([part.values for part in parts]),
            ByteColumn.joined([part.header_parts for part in parts]),
        )


def by_partition(parts: Iterable[Records]) -> list[Records]:
    """Join records so that each partition comes once, in order of their first ones."""
    found: dict[Partition, list[Records]] = {}
    for part in parts:
        found.setdefault(part.partition, []).append(part)
    return [Records.joined(mine) for mine in found.values()]


def wire_headers(headers: Headers) -> bytes:
    """Write headers as they are on the wire."""
    wire = bytearray(_varint_bytes(len(headers)))
    for name, value in headers:
        text = name.encode()
        wire += _varint_bytes(len(text)) + text
        wire += _varint_bytes(-1) if value is None else _varint_bytes(len(value)) + value
    return bytes(wire)


def _varint_bytes(number: int) -> bytes:
    coded, wire = (number << 1) ^ (number >> 63), bytearray()
    while coded > 127:
        wire.append((coded & 127) | 128)
        coded >>= 7
    wire.append(coded)
    return bytes(wire)


def _headers(wire: bytes) -> Headers:
    count, at = _varint(wire, 0)
    headers: Headers = []
    for _ in range(count):
        size, at = _varint(wire, at)
        name, at = wire[at : at + size].decode(errors="replace"), at + size
        size, at = _varint(wire, at)
        headers.append((name, None if size < 0 else wire[at : at + size]))
        at += max(size, 0)
    return headers


def _varint(wire: bytes, at: int) -> tuple[int, int]:
    coded = shift = 0
    while True:
        byte = wire[at]
        at += 1
        coded |= (byte & 127) << shift
        if byte < 128:
            return (coded >> 1) ^ -(coded & 1), at
        shift += 7
