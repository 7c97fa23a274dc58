"""The contracts of facts: Avro schemas, and the Polars schemas that frames of facts have."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

SCHEMA_FOLDER = Path(__file__).parent

#: Every type of fact, in the order in which pages and tables list them.
FACT_TYPES = (
    "touchpoint",
    "spend",
    "exposure",
    "identity_link",
    "profile",
    "campaign",
    "consent",
    "erasure",
    "retraction",
)

#: The symbol that a reader sees for a word that its vocabulary does not have.
UNRECOGNISED = "unrecognised"

_PRIMITIVES: dict[str, pl.DataType] = {
    "string": pl.String(),
    "long": pl.Int64(),
    "int": pl.Int64(),
    "boolean": pl.Boolean(),
    "bytes": pl.Binary(),
}
_LOGICAL: dict[str, pl.DataType] = {
    "timestamp-micros": pl.Datetime("us", "UTC"),
    "date": pl.Date(),
}


@lru_cache(maxsize=32)
def avro_schema(name: str, folder: Path = SCHEMA_FOLDER) -> dict[str, Any]:
    """Load the Avro schema of a fact type (or `dead_letter`) as a dictionary."""
    schema: dict[str, Any] = json.loads((folder / f"{name}.avsc").read_text(encoding="utf-8"))
    return schema


def _polars_type(avro_type: Any) -> pl.DataType:
    if isinstance(avro_type, list):
        return _polars_type(next(branch for branch in avro_type if branch != "null"))
    if isinstance(avro_type, str):
        return _PRIMITIVES[avro_type]
    if "logicalType" in avro_type:
        return _LOGICAL[avro_type["logicalType"]]
    if avro_type["type"] == "array":
        return pl.List(_polars_type(avro_type["items"]))
    if avro_type["type"] == "enum":
        return pl.String()
    return _PRIMITIVES[avro_type["type"]]


@lru_cache(maxsize=32)
def frame_schema(name: str) -> pl.Schema:
    """Give the columns and types of a frame of facts.

    Enums are strings, `int` and `long` are Int64, timestamps are Datetime("us", "UTC"), arrays are lists.
    """
    fields = avro_schema(name)["fields"]
    return pl.Schema({field["name"]: _polars_type(field["type"]) for field in fields})


@lru_cache(maxsize=32)
def required_columns(name: str) -> frozenset[str]:
    """Give the columns of a fact type that may not be null."""
    fields = avro_schema(name)["fields"]
    return frozenset(
        field["name"] for field in fields if not (isinstance(field["type"], list) and "null" in field["type"])
    )


@lru_cache(maxsize=32)
def enum_columns(name: str) -> dict[str, tuple[str, ...]]:
    """Give the columns that hold an enum, with the words that they may hold."""
    return {
        field["name"]: tuple(word for word in field["type"]["symbols"] if word != UNRECOGNISED)
        for field in avro_schema(name)["fields"]
        if isinstance(field["type"], dict) and field["type"].get("type") == "enum"
    }


def empty_facts(name: str) -> pl.DataFrame:
    """Give a frame of the fact type without rows."""
    return pl.DataFrame(schema=frame_schema(name))
