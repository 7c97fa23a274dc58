"""The laws that hold only for all rows of the warehouse together, asked of the database itself.

A publication that stages some customers' rows, or all of them in shards, asks these inside its transaction, after the
rows are in and before the commit. The database sums what is many; the laws are those of `warehouse.audit.laws`.
"""

from __future__ import annotations

import polars as pl

from schemas.vocabulary import Vocabulary, load_vocabulary
from warehouse.audit.checks import MOST_EXAMPLES, VIOLATIONS_SCHEMA
from warehouse.audit.expectations import load_laws
from warehouse.audit.laws import LAWS
from warehouse.places import Warehouse

#: Of each table, what the laws of the whole read, in SQL that every kind of warehouse understands; sums over groups
#: stand for the rows of the group.
_REDUCED = {
    "channel_credits": "SELECT model, currency, channel, credit, amount_micros FROM journey.channel_credits",
    "conversions": "SELECT currency, amount_micros FROM journey.conversions",
    "spend": "SELECT event_id, allocated_micros FROM journey.spend",
    "spend_shares": """
        SELECT s.spend_id, coalesce(min(s.touch_id) FILTER (WHERE t.event_id IS NULL), min(t.event_id)) AS touch_id,
            CAST(sum(s.amount_micros) AS BIGINT) AS amount_micros
        FROM journey.spend_shares AS s
        LEFT JOIN journey.touchpoints AS t ON t.event_id = s.touch_id
        GROUP BY s.spend_id
    """,
    "touchpoints": """
        SELECT event_id FROM journey.touchpoints
        WHERE event_id IN (SELECT touch_id FROM journey.spend_shares)
    """,
}


def planned_whole_laws() -> list[str]:
    """Give the names of the laws that `count_whole_violations` asks."""
    return [law.name for law in load_laws() if law.whole]


def count_whole_violations(warehouse: Warehouse, vocabulary: Vocabulary | None = None) -> pl.DataFrame:
    """Count what violates the laws of the whole in the tables as the warehouse's open transaction sees them.

    The result is as that of `count_violations`, and can be combined with it; a spend whose shares name several
    missing touchpoints counts once.
    """
    words = vocabulary or load_vocabulary()
    tables = {name: warehouse.query(query, name) for name, query in _REDUCED.items()}
    found = []
    for law in load_laws():
        if law.whole:
            wrong = LAWS[law.name](tables, words)
            rows = warehouse.count(law.table)
            found.append(
                {
                    "expectation": law.name, "table": law.table, "severity": law.severity, "doc": law.doc,
                    "rows": rows, "violations": wrong.len(), "examples": wrong.head(MOST_EXAMPLES).to_list(),
                }
            )  # fmt: skip
    return pl.DataFrame(found, schema=VIOLATIONS_SCHEMA)
