"""Facts of every type for tests of messages, made from the contracts alone."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta
from typing import Any

import fastavro
from hypothesis import strategies as st

from connectors.kafka.schema_ids import todays_id
from schemas.contracts import avro_schema

_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
_LONG = st.integers(-(2**63), 2**63 - 1)
_INT = st.integers(-(2**31), 2**31 - 1)
_MOMENT = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999), timezones=st.just(UTC))
_PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "string": _TEXT,
    "bytes": st.binary(max_size=12),
    "long": _LONG,
    "int": _INT,
    "boolean": st.booleans(),
}


def _values(avro: Any) -> st.SearchStrategy[Any]:
    if isinstance(avro, list):
        return st.none() | _values(next(branch for branch in avro if branch != "null"))
    if isinstance(avro, str):
        return _PLAIN[avro]
    if avro.get("logicalType") == "timestamp-micros":
        return _MOMENT
    if avro.get("logicalType") == "date":
        return st.dates(date(1, 1, 1), date(9999, 12, 31))
    if avro["type"] == "enum":
        return st.sampled_from(avro["symbols"])
    if avro["type"] == "array":
        return st.lists(_values(avro["items"]), max_size=3)
    return _PLAIN[avro["type"]]


def rows_of(fact: str) -> st.SearchStrategy[dict[str, Any]]:
    """Make rows of a type of fact."""
    return st.fixed_dictionaries(
        {field["name"]: _values(field["type"]) for field in avro_schema(fact)["fields"]}
    )


def some_rows(fact: str, count: int) -> list[dict[str, Any]]:
    """Make rows of a type of fact that differ in everything that may differ."""
    return [
        {field["name"]: _some_value(field["type"], number) for field in avro_schema(fact)["fields"]}
        for number in range(count)
    ]


def _some_value(avro: Any, number: int) -> Any:
    if isinstance(avro, list):
        plain = next(branch for branch in avro if branch != "null")
        return None if number % 3 == 1 else _some_value(plain, number)
    if isinstance(avro, dict) and "logicalType" in avro:
        moment = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=number, microseconds=number)
        return moment.date() if avro["logicalType"] == "date" else moment
    kind = avro["type"] if isinstance(avro, dict) else avro
    return {
        "string": lambda: f"text ü {number}",
        "bytes": lambda: bytes([number % 256]),
        "long": lambda: number - 5,
        "int": lambda: number % 100,
        "boolean": lambda: number % 2 == 0,
        "enum": lambda: avro["symbols"][number % len(avro["symbols"])],
        "array": lambda: [f"cookie:{number}-{item}" for item in range(number % 4)],
    }[kind]()


def message_of(
    fact: str, row: dict[str, Any], schema: dict[str, Any] | None = None, schema_id: int = 0
) -> bytes:
    """Write a message by the reference writer, with today's schema and id unless others are given."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema or avro_schema(fact)), row)
    return b"\0" + (schema_id or todays_id(fact)).to_bytes(4) + body.getvalue()
