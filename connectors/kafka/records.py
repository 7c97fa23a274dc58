"""Reads Avro records of one schema: quickly in a block where all is as usual, one by one where it is not."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import fastavro
import numpy as np
import polars as pl

from connectors.bus import encode_facts
from connectors.kafka.messages import Longs, Messages, Rejected
from connectors.kafka.schema_ids import WrittenWith
from connectors.kafka.walker import CANONICAL, FAULTS, NUL_CHARACTER, TRAILING_BYTES, UNUSUAL, gather, walk
from schemas.contracts import avro_schema, empty_facts, frame_schema

_BLOCK_NAME = "kafka"


def read_records(
    written: WrittenWith, records: Messages, rejected: Rejected
) -> Iterator[tuple[pl.DataFrame, Longs]]:
    """Read records.

    Args:
        written: the schema that they were written with.
        records: without the prefixes of messages.
        rejected: takes those that are none.

    Yields:
        Frames with the contract's columns, and the positions of their rows (ascending in each).
    """
    if written.fields is None:
        yield _read_each(written, records, rejected)
        return
    states, places = walk(records.data, records.starts, records.ends, written.fields)
    for row in np.flatnonzero(states > UNUSUAL).tolist():
        error_class, said = FAULTS[int(states[row])]
        rejected.add(
            records.positions[row : row + 1], error_class, f"field {written.names[places[row]]} {said}"
        )
    is_quick = (states == CANONICAL) & written.is_todays
    if is_quick.any():
        quick = records.only(is_quick)
        yield _read_block(written.fact, quick), quick.positions
    is_slow = (states <= UNUSUAL) & ~is_quick
    if is_slow.any():
        yield _read_each(written, records.only(is_slow), rejected)


def _read_block(fact: str, records: Messages) -> pl.DataFrame:
    """Read records that a walk found whole as the one block of an object container file."""
    body = gather(records.data, records.starts, records.ends)
    block = io.BytesIO()
    block.write(_header(fact))
    fastavro.schemaless_writer(block, "long", records.starts.size)
    fastavro.schemaless_writer(block, "long", body.size)
    block.write(body.data)
    block.write(hashlib.md5(_BLOCK_NAME.encode(), usedforsecurity=False).digest())
    block.seek(0)
    return pl.read_avro(block).select(pl.col(name).cast(kind) for name, kind in frame_schema(fact).items())


@lru_cache(maxsize=32)
def _header(fact: str) -> bytes:
    return encode_facts(fact, empty_facts(fact), _BLOCK_NAME)


def _read_each(written: WrittenWith, records: Messages, rejected: Rejected) -> tuple[pl.DataFrame, Longs]:
    """Read records one by one, resolving their schema to today's."""
    rows: list[dict[str, Any]] = []
    kept = np.zeros(records.positions.size, np.bool_)
    reader = _reader_schema(written.fact)
    for number, (start, end) in enumerate(zip(records.starts.tolist(), records.ends.tolist(), strict=True)):
        body = io.BytesIO(records.data[start:end].tobytes())
        position = records.positions[number : number + 1]
        try:
            row = fastavro.schemaless_reader(body, written.parsed, reader)
        except Exception as error:  # what hostile bytes make of a reader can't be foreseen
            rejected.add(position, "unreadable", f"no record of its schema ({type(error).__name__})")
            continue
        if body.tell() < end - start:
            rejected.add(position, TRAILING_BYTES, "the record is followed by bytes that belong to nothing")
        elif any("\0" in text for text in _texts_of(row.values())):
            rejected.add(position, NUL_CHARACTER, "a text holds a NUL character")
        else:
            rows.append(row)
            kept[number] = True
    return pl.DataFrame(rows, schema=frame_schema(written.fact), orient="row"), records.positions[kept]


def _texts_of(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from value


@lru_cache(maxsize=32)
def _reader_schema(fact: str) -> Any:
    return fastavro.parse_schema(avro_schema(fact))
