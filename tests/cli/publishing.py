"""Facts by hand, and a home with their published warehouse, made by the heart and the warehouse's own definitions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from milepost.rules import Rules
from milepost.stitch import stitch
from schemas.contracts import frame_schema
from schemas.vocabulary import load_vocabulary
from warehouse.definitions import create_warehouse, open_warehouse, write_frames

VOCABULARY = load_vocabulary()
START = datetime(2026, 1, 1, tzinfo=UTC)


def facts(name: str, *rows: Mapping[str, Any]) -> pl.DataFrame:
    """Make a frame of facts of a type; what a row leaves out is null."""
    schema = frame_schema(name)
    common = {"revision": 0, "source": "shop", "received_at": START, "raw_ids": [], "mapping_version": ""}
    filled = [{column: {**common, **row}.get(column) for column in schema} for row in rows]
    return pl.DataFrame(filled, schema=schema)


def touch(event_id: str, kind: str, day: int, *identifiers: str, **more: Any) -> dict[str, Any]:
    """Make a touchpoint of a kind with its channel, team and reach, so many days after the start."""
    words = VOCABULARY.kinds[kind]
    return {
        "event_id": event_id,
        "kind": kind,
        "channel": words.channel,
        "team": words.team,
        "reach": words.reach,
        "occurred_at": START + timedelta(days=day),
        "identifiers": list(identifiers),
        "booking_number": 0,
        "products": [],
        **more,
    }


def publish(home: Path, *touches: Mapping[str, Any], fates: Mapping[str, Any] | None = None) -> None:
    """Stitch touchpoints and publish the warehouse in a home."""
    tables = stitch({"touchpoint": facts("touchpoint", *touches)}, VOCABULARY, Rules())
    home.mkdir(parents=True, exist_ok=True)
    with open_warehouse(home / "warehouse.duckdb") as connection:
        create_warehouse(connection, VOCABULARY)
        write_frames(connection, tables)
        connection.execute("INSERT INTO journey.clock VALUES ('2026-06-01')")
        connection.execute(
            "INSERT INTO journey.publications (publication_id, published_at, facts, fates) "
            "VALUES ('p', '2026-06-01', ?, ?)",
            [len(touches), json.dumps(fates or {})],
        )
