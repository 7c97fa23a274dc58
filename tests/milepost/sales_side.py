"""Small timelines for the tests of spend, handovers and opportunities."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl

from schemas.tables import load_tables
from schemas.vocabulary import load_vocabulary

VOCABULARY = load_vocabulary()

TIMELINE_SCHEMA = pl.Schema(
    [*load_tables()["touchpoints"].polars_schema.items(), ("named_account_id", pl.String())]
)
CONVERSIONS_SCHEMA = pl.Schema(
    [*load_tables()["conversions"].polars_schema.items(), ("shared", pl.Boolean())]
)


def at(day: int, hour: int = 12, minute: int = 0) -> datetime:
    """A time in January 2024; the 1st is a Monday."""
    return datetime(2024, 1, day, hour, minute, tzinfo=UTC)


def touch(event_id: str, kind: str, when: datetime, **said: Any) -> dict[str, Any]:
    """A touchpoint of customer `ann` unless it says otherwise, its defaults from the vocabulary."""
    word = VOCABULARY.kinds[kind]
    row = {
        "event_id": event_id,
        "kind": kind,
        "occurred_at": when,
        "customer_id": "ann",
        "stage": word.stage,
        "channel": word.channel,
        "team": word.team,
        "reach": word.reach,
        "shared": False,
        **said,
    }
    if row.get("account_id") is not None:
        row |= {
            "subject_type": "account",
            "subject_id": row["account_id"],
            "named_account_id": row["account_id"],
        }
    elif row["customer_id"] is not None:
        row |= {"subject_type": "customer", "subject_id": row["customer_id"]}
    return row


def timeline(*touches: dict[str, Any]) -> pl.DataFrame:
    """The touches, which have to be given in fold order, as the heart's timeline."""
    rows = [{column: row.get(column) for column in TIMELINE_SCHEMA} for row in touches]
    frame = pl.DataFrame(rows, schema=TIMELINE_SCHEMA, orient="row")
    return frame.with_row_index("position").with_columns(
        pl.col("kind").cast(pl.Enum(list(VOCABULARY.kinds))),
        pl.col("team").cast(pl.Enum(list(VOCABULARY.teams))),
        pl.col("reach").cast(pl.Enum(list(VOCABULARY.reaches))),
    )


def conversions(*rows: dict[str, Any]) -> pl.DataFrame:
    """Conversions, nothing refunded unless they say otherwise."""
    full = [{"net_micros": row["amount_micros"], "shared": False, **row} for row in rows]
    named = [{column: row.get(column) for column in CONVERSIONS_SCHEMA} for row in full]
    return pl.DataFrame(named, schema=CONVERSIONS_SCHEMA, orient="row")


def rows_of(frame: pl.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    """The columns' values, row by row."""
    return frame.select(columns).rows()
