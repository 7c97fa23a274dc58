"""Which schema a message was written with: four bytes after the magic byte say it.

A Schema Registry hands out ids from 1 up. Without one, an id is the first 31 bits of the SHA-256 of the
schema's parsing canonical form, with the top bit set: no registry ever hands out such a number, so both
kinds can stand in one topic, and every release of Milepost knows the ids of those before it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import fastavro

from connectors.kafka.walker import Fields, fields_to_walk
from schemas.contracts import SCHEMA_FOLDER, avro_schema
from schemas.releases import RELEASED_FOLDER, SCHEMA_NAMES, released_versions

#: Ids with this bit are made of a schema's fingerprint.
FINGERPRINT_BIT = 0x8000_0000


@dataclass(frozen=True)
class WrittenWith:
    """A schema that messages were written with: which type of fact, by what it is parsed, and how to walk it.

    `is_todays` where a record has the bytes that today's schema would give it.
    """

    fact: str
    parsed: Any
    fields: Fields | None
    names: tuple[str, ...]
    is_todays: bool


def canonical_form(schema: dict[str, Any]) -> str:
    """Give the parsing canonical form of a schema."""
    form: str = fastavro.schema.to_parsing_canonical_form(schema)
    return form


def fingerprint_id(schema: dict[str, Any]) -> int:
    """Give the id that a schema has without a registry (unsigned, 32 bits)."""
    digest = hashlib.sha256(canonical_form(schema).encode()).digest()
    return int.from_bytes(digest[:4]) | FINGERPRINT_BIT


@lru_cache(maxsize=32)
def todays_id(fact: str) -> int:
    """Give the id of today's schema of a type of fact (or `dead_letter`), without a registry."""
    return fingerprint_id(avro_schema(fact))


@lru_cache(maxsize=1)
def package_ids() -> dict[int, WrittenWith]:
    """Give every schema that the package knows by its id: today's, and those of all releases."""
    known: dict[int, WrittenWith] = {}
    folders = [RELEASED_FOLDER / version for version in released_versions()]
    for folder in [*folders, SCHEMA_FOLDER]:
        for fact in SCHEMA_NAMES:
            if (folder / f"{fact}.avsc").exists():
                schema = avro_schema(fact, folder)
                known[fingerprint_id(schema)] = written_with(schema)
    return known


def written_with(schema: dict[str, Any]) -> WrittenWith:
    """Prepare a schema for reading; raises ValueError for one that is of no type of fact."""
    fact = _fact_by_name().get(schema.get("name", "").rpartition(".")[2])
    if fact is None or schema.get("type") != "record":
        raise ValueError(f"{schema.get('name')!r} is the name of no type of fact")
    return WrittenWith(
        fact,
        fastavro.parse_schema(schema),
        fields_to_walk(schema),
        tuple(field["name"] for field in schema["fields"]),
        canonical_form(schema) == canonical_form(avro_schema(fact)),
    )


@lru_cache(maxsize=1)
def _fact_by_name() -> dict[str, str]:
    return {avro_schema(fact)["name"]: fact for fact in SCHEMA_NAMES}
