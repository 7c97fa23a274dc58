"""Quarantine: facts that fail a row-level expectation stand aside, with the reason, before anything is folded."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from schemas.vocabulary import Vocabulary, load_vocabulary
from warehouse.audit.checks import violation
from warehouse.audit.expectations import fact_expectations

QUARANTINED_SCHEMA = pl.Schema(
    {
        "fact_type": pl.String(),
        "event_id": pl.String(),
        "source": pl.String(),
        "expectation": pl.String(),
        "reason": pl.String(),
    }
)


def failed_expectation(
    fact_type: str, frame: pl.DataFrame, vocabulary: Vocabulary | None = None
) -> pl.Series:
    """Give for each fact the name of the first critical expectation that it fails; NULL for a good one."""
    words = vocabulary or load_vocabulary()
    names = [
        pl.when(violation(rule, words, frame.schema[rule.column])).then(pl.lit(rule.name))
        for rule in fact_expectations()[fact_type]
        if rule.severity == "critical"
    ]
    return frame.select(failed=pl.coalesce(names))["failed"]


def quarantine(
    facts: Mapping[str, pl.DataFrame], vocabulary: Vocabulary | None = None
) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """Part good facts from those that fail a critical row-level expectation.

    `facts` are frames by type of fact. Gives the good ones with unchanged columns and order, and one row for
    each quarantined one: `fact_type`, `event_id`, `source`, `expectation` and `reason` (all text).
    """
    good, quarantined = {}, [pl.DataFrame(schema=QUARANTINED_SCHEMA)]
    for fact_type, frame in facts.items():
        if frame.is_empty():
            good[fact_type] = frame
            continue
        failed = failed_expectation(fact_type, frame, vocabulary)
        if failed.null_count() == frame.height:
            good[fact_type] = frame
            continue
        good[fact_type] = frame.filter(failed.is_null())
        reasons = {rule.name: rule.doc for rule in fact_expectations()[fact_type]}
        quarantined.append(
            frame.select("event_id", "source")
            .with_columns(fact_type=pl.lit(fact_type), expectation=failed)
            .filter(pl.col("expectation").is_not_null())
            .with_columns(reason="Not so: " + pl.col("expectation").replace_strict(reasons))
            .select(QUARANTINED_SCHEMA.names())
        )
    return good, pl.concat(quarantined)
