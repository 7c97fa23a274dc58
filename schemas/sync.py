"""Rewrites what of the Avro schemas follows from elsewhere: enums from the vocabulary, the journey from its table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from schemas.contracts import SCHEMA_FOLDER, UNRECOGNISED
from schemas.releases import FACT_SCHEMAS
from schemas.tables import load_tables
from schemas.vocabulary import Vocabulary, parse_vocabulary


def enum_symbols(vocabulary: Vocabulary) -> dict[str, list[str]]:
    """Give the symbols that each enum of the contracts has by the vocabulary: name of the enum → symbols."""
    words: dict[str, Iterable[str]] = {
        "Kind": vocabulary.kinds,
        "Channel": vocabulary.channels,
        "Team": vocabulary.teams,
        "Reach": vocabulary.reaches,
        "Stage": vocabulary.stages,
        "Namespace": vocabulary.namespaces,
    }
    return {name: [UNRECOGNISED, *listed] for name, listed in words.items()}


def journey_schema(folder: Path = SCHEMA_FOLDER) -> dict[str, Any]:
    """Give the Avro schema of a journey as others receive it: table `journeys`, column by column."""
    table = load_tables(folder / "tables.yaml")["journeys"]
    fields = []
    for column in table.columns:
        kind = _AVRO_TYPES[column.type]
        if column.name in table.key:
            fields.append({"name": column.name, "type": kind, "doc": column.doc})
        else:
            fields.append({"name": column.name, "type": ["null", kind], "doc": column.doc, "default": None})
    return {
        "type": "record",
        "name": "Journey",
        "namespace": "milepost",
        "doc": "A customer's journey as it is published now; one that is gone has a record without value.",
        "fields": fields,
    }


_AVRO_TYPES: dict[str, Any] = {
    "text": "string",
    "integer": "long",
    "boolean": "boolean",
    "timestamp": {"type": "long", "logicalType": "timestamp-micros"},
}


def stale_schemas(folder: Path = SCHEMA_FOLDER) -> dict[str, str]:
    """Give the schemas whose enums differ from the vocabulary: name → the text that the file should have."""
    vocabulary = parse_vocabulary((folder / "vocabulary.yaml").read_text(encoding="utf-8"))
    symbols = enum_symbols(vocabulary)
    stale: dict[str, str] = {}
    journey = json.dumps(journey_schema(folder), indent=2, ensure_ascii=False) + "\n"
    if (
        not (folder / "journey.avsc").exists()
        or (folder / "journey.avsc").read_text(encoding="utf-8") != journey
    ):
        stale["journey"] = journey
    for name in FACT_SCHEMAS:
        schema = json.loads((folder / f"{name}.avsc").read_text(encoding="utf-8"))
        if _rewrite(schema, symbols):
            stale[name] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    return stale


def sync_schemas(folder: Path = SCHEMA_FOLDER) -> list[str]:
    """Rewrite the schema files whose enums differ from the vocabulary; gives their names."""
    stale = stale_schemas(folder)
    for name, text in stale.items():
        (folder / f"{name}.avsc").write_text(text, encoding="utf-8")
    return sorted(stale)


def _rewrite(schema: dict[str, Any], symbols: dict[str, list[str]]) -> bool:
    changed = False
    for enum in _enums(schema):
        wanted = symbols.get(enum["name"])
        if wanted is not None and enum["symbols"] != wanted:
            enum["symbols"] = wanted
            changed = True
    return changed


def _enums(schema: Any) -> Iterator[dict[str, Any]]:
    """Walk every enum with symbols that a schema holds, at any depth."""
    if isinstance(schema, dict):
        if schema.get("type") == "enum":
            yield schema
        for part in schema.values():
            yield from _enums(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _enums(part)
