"""Facts as messages: Avro in Confluent's wire format, whole frames at a time.

A message is a zero byte, four bytes for the id of its schema (see `schema_ids`), and one record in Avro.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from connectors.avro_rows import encode_rows_apart, plain_columns
from connectors.bus import writer_schema
from connectors.kafka.columns import ByteColumn
from connectors.kafka.messages import Messages, Rejected, WireReject
from connectors.kafka.records import read_records
from connectors.kafka.registry import SchemaRegistry
from connectors.kafka.schema_ids import FINGERPRINT_BIT, WrittenWith, package_ids, todays_id
from schemas.contracts import empty_facts, frame_schema

#: A larger message is a mistake, or an attack.
LARGEST_MESSAGE = 4 * 1024 * 1024

_PREFIX = struct.Struct(">BI")


@dataclass(frozen=True)
class Decoded:
    """What messages held.

    `frame` has the contract's columns, `positions` says for each row which message it came from (ascending);
    every other message is in `rejects` (ascending too).
    """

    frame: pl.DataFrame
    positions: npt.NDArray[np.int64]
    rejects: tuple[WireReject, ...]


def encode_messages(fact: str, facts: pl.DataFrame, schema_id: int | None = None) -> list[bytes]:
    """Encode facts (or dead letters), a message each.

    Args:
        fact: the type of fact.
        facts: frame with the contract's columns.
        schema_id: the id of today's schema in a registry; its fingerprint's unless given.
    """
    prefix = _PREFIX.pack(0, todays_id(fact) if schema_id is None else schema_id)
    plain = plain_columns(facts, frame_schema(fact))
    rows, offsets = encode_rows_apart(plain, writer_schema(fact)["fields"], prefix)
    whole, places = rows.tobytes(), offsets.tolist()
    return [whole[start:end] for start, end in pairwise(places)]


def decode_messages(
    fact: str, values: Sequence[bytes | None] | ByteColumn, registry: SchemaRegistry | None = None
) -> Decoded:
    """Decode messages of a type of fact (or dead letters). A message that is none damages no other.

    Args:
        fact: the type of fact that the topic holds.
        values: values of records; the column of a `Records` costs no object per message.
        registry: where schemas are found that the package does not know, such as those of later releases.

    Raises:
        SchemaRegistryError: the registry can't be reached, so that nothing can be said of a message yet.
    """
    rejected = Rejected()
    column = values if isinstance(values, ByteColumn) else ByteColumn.of(values)
    messages = _with_magic(_of_fair_size(column, rejected), rejected)
    frames = [(empty_facts(fact), np.empty(0, np.int64))]
    for schema_id, mine in _by_schema(messages):
        written = _known(fact, schema_id, registry)
        if isinstance(written, WrittenWith):
            frames += read_records(written, mine, rejected)
        else:
            rejected.add(mine.positions, *written)
    positions = np.concatenate([rows for _, rows in frames])
    frame = pl.concat([rows for rows, _ in frames])
    if len(frames) > 2:
        order = np.argsort(positions)
        frame, positions = frame[order], positions[order]
    return Decoded(frame, positions, rejected.in_order())


def _of_fair_size(values: ByteColumn, rejected: Rejected) -> Messages:
    sizes = values.sizes
    rejected.add(
        np.flatnonzero(sizes < 0),
        "no_value",
        "the message has no value; only those of journeys may have none",
    )
    large = np.flatnonzero(sizes > LARGEST_MESSAGE)
    rejected.add(large, "too_large", f"the message has more than {LARGEST_MESSAGE} bytes; send smaller ones")
    short = np.flatnonzero((sizes >= 0) & (sizes < _PREFIX.size))
    rejected.add(short, "truncated", f"the message is shorter than the {_PREFIX.size} bytes it begins with")
    taken = np.flatnonzero((sizes >= _PREFIX.size) & (sizes <= LARGEST_MESSAGE))
    return Messages(values.data, values.starts[taken], values.ends[taken], taken)


def _with_magic(messages: Messages, rejected: Rejected) -> Messages:
    is_right = messages.data[messages.starts] == 0
    rejected.add(
        messages.positions[~is_right],
        "wrong_magic",
        "the message does not begin with byte 0; send Avro in Confluent's wire format",
    )
    return messages.only(is_right)


def _by_schema(messages: Messages) -> Iterator[tuple[int, Messages]]:
    """Yield the records of each schema id, without their prefixes."""
    places = messages.starts[:, None] + np.arange(1, _PREFIX.size)
    ids = messages.data[places].astype(np.int64) @ np.array([1 << 24, 1 << 16, 1 << 8, 1])
    records = Messages(messages.data, messages.starts + _PREFIX.size, messages.ends, messages.positions)
    for schema_id in np.unique(ids).tolist():
        yield schema_id, records.only(ids == schema_id)


def _known(fact: str, schema_id: int, registry: SchemaRegistry | None) -> WrittenWith | tuple[str, str]:
    """Find what an id stands for; else say why its messages are rejected: class and reason."""
    written = package_ids().get(schema_id)
    if written is None and registry is not None and not schema_id & FINGERPRINT_BIT:
        try:
            written = registry.schema(schema_id)
        except ValueError as error:
            return "unknown_schema", f"schema {schema_id} of the registry can't be used: {error}"
    if written is None:
        missing = (
            "no registry is set that may know it" if registry is None else "the registry does not know it"
        )
        return "unknown_schema", (
            f"this release does not know the schema {schema_id:#010x}, and {missing}; "
            "if a newer release wrote it, upgrade and replay"
        )
    if written.fact != fact:
        return "wrong_schema", f"the message is of type {written.fact}, but its topic is for {fact}"
    return written
