"""The laws that hold only for all rows of the warehouse together, asked of the database itself.

A publication that stages some customers' rows, or all of them in shards, asks these inside its transaction, after the
rows are in and before the commit. The database sums what is many; the laws are those of `warehouse.audit.laws`.

A process that publishes every few seconds asks only of what it changes: what held before, and was not touched, holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from schemas.vocabulary import Vocabulary, load_vocabulary
from warehouse.audit.checks import MOST_EXAMPLES, VIOLATIONS_SCHEMA
from warehouse.audit.expectations import load_laws
from warehouse.audit.laws import LAWS
from warehouse.places import Warehouse

#: Of each table, what the laws of the whole read, in SQL that every kind of warehouse understands; sums over groups
#: stand for the rows of the group. `{those}` keeps to the spend that is asked of.
_REDUCED = {
    "channel_credits": "SELECT model, currency, channel, credit, amount_micros FROM journey.channel_credits",
    "conversion_sums": """
        SELECT currency, count(*) AS number, CAST(sum(amount_micros) AS DECIMAL(38, 0)) AS booked_micros
        FROM journey.conversions GROUP BY currency
    """,
    "spend": "SELECT s.event_id, s.allocated_micros FROM journey.spend AS s {those_spend}",
    "spend_shares": """
        SELECT s.spend_id, coalesce(min(s.touch_id) FILTER (WHERE t.event_id IS NULL), min(t.event_id)) AS touch_id,
            CAST(sum(s.amount_micros) AS BIGINT) AS amount_micros
        FROM journey.spend_shares AS s {those_shares}
        LEFT JOIN journey.touchpoints AS t ON t.event_id = s.touch_id
        GROUP BY s.spend_id
    """,
    "touchpoints": """
        SELECT DISTINCT t.event_id FROM journey.spend_shares AS s {those_shares}
        JOIN journey.touchpoints AS t ON t.event_id = s.touch_id
    """,
}
_EVERY = {"those_spend": "", "those_shares": ""}
_ASKED = {
    "those_spend": "JOIN asked_spend AS asked ON asked.spend_id = s.event_id",
    "those_shares": "JOIN asked_spend AS asked ON asked.spend_id = s.spend_id",
}
_SHARES_OF_TOUCHES = """
    SELECT DISTINCT s.spend_id FROM asked_touches AS asked
    JOIN journey.spend_shares AS s ON s.touch_id = asked.touch_id
"""
_TYPES = pl.Schema(
    {
        **dict.fromkeys(
            ("model", "currency", "channel", "event_id", "spend_id", "touch_id"),
            pl.String(),
        ),
        **dict.fromkeys(("amount_micros", "number", "allocated_micros"), pl.Int64()),
        "booked_micros": pl.Decimal(38, 0),
        "credit": pl.Decimal(38, 12),
    }
)


@dataclass(frozen=True)
class Touched:
    """What a publication changes that laws of the whole depend on, by event_id.

    `spend` are those whose row or shares come, change or go; `touches` are the touchpoints that go.
    """

    spend: pl.Series
    touches: pl.Series


def planned_whole_laws() -> list[str]:
    """Give the names of the laws that `count_whole_violations` asks."""
    return [law.name for law in load_laws() if law.whole]


def count_whole_violations(
    warehouse: Warehouse, vocabulary: Vocabulary | None = None, touched: Touched | None = None
) -> pl.DataFrame:
    """Count what violates the laws of the whole in the tables as the warehouse's open transaction sees them.

    Of spend and its shares only what is touched is looked at, where that is given.

    The result is as that of `count_violations`, and can be combined with it; a spend whose shares name several
    missing touchpoints counts once, and so do the shares of a spend among the rows of those that are touched.
    """
    words = vocabulary or load_vocabulary()
    if touched is None:
        tables = {name: _read(warehouse, query.format(**_EVERY)) for name, query in _REDUCED.items()}
    else:
        asked = pl.DataFrame({"spend_id": _asked_spend(warehouse, touched)})
        with warehouse.asking("asked_spend", asked):
            tables = {
                name: warehouse.query(query.format(**_ASKED), _TYPES) for name, query in _REDUCED.items()
            }
    found = []
    for law in load_laws():
        if law.whole:
            wrong = LAWS[law.name](tables, words)
            rows = warehouse.count(law.table) if touched is None else tables[law.table].height
            found.append(
                {
                    "expectation": law.name, "table": law.table, "severity": law.severity, "doc": law.doc,
                    "rows": rows, "violations": wrong.len(), "examples": wrong.head(MOST_EXAMPLES).to_list(),
                }
            )  # fmt: skip
    return pl.DataFrame(found, schema=VIOLATIONS_SCHEMA)


def _read(warehouse: Warehouse, query: str) -> pl.DataFrame:
    return warehouse.query(query, _TYPES, whole=True)


def _asked_spend(warehouse: Warehouse, touched: Touched) -> pl.Series:
    """Name the spend that is touched, by itself or through a touchpoint that its shares name."""
    with warehouse.asking("asked_touches", pl.DataFrame({"touch_id": touched.touches.cast(pl.String)})):
        through = warehouse.query(_SHARES_OF_TOUCHES, _TYPES).get_column("spend_id")
    return pl.concat([touched.spend.cast(pl.String), through]).unique()
