"""Opportunities: one possible deal each, as the touchpoints that name it and the handover ledger say."""

from __future__ import annotations

import polars as pl

from milepost.handovers import says_expected
from milepost.money import summarise_money
from schemas.tables import load_tables
from schemas.vocabulary import Vocabulary


def opportunities(
    timeline: pl.DataFrame, handovers: pl.DataFrame, conversions: pl.DataFrame, vocabulary: Vocabulary
) -> pl.DataFrame:
    """Fold the touchpoints that name each opportunity.

    Args:
        timeline: The touchpoints in use in fold order, columns of the table `touchpoints` and
            `named_account_id` (the account that the touchpoint itself names).
        handovers: The table `handovers`, the steps of a subject in fold order.
        conversions: The table `conversions`.
        vocabulary: Says which kinds create, change, win and lose an opportunity, and which say an
            expected amount.

    Returns:
        The table `opportunities`, in no order.
    """
    table = load_tables()["opportunities"]
    touches = timeline.filter(pl.col("opportunity_id").is_not_null())
    if touches.is_empty():
        return table.empty()
    owned = (
        handovers.lazy()
        .filter(pl.col("subject_type") == "opportunity", pl.col("status") == "applied")
        .group_by(pl.col("subject_id").alias("opportunity_id"))
        .agg(pl.col("owner_team").last().alias("ledger_team"), pl.col("owner").last().alias("ledger_owner"))
    )
    booked = summarise_money(conversions, "opportunity_id").lazy().select(pl.exclude("net_micros"))
    is_lost = pl.col("outcome") == "lost"
    return (
        touches.lazy()
        .with_columns(_step_of(vocabulary))
        .group_by("opportunity_id")
        .agg(*_folds(vocabulary))
        .join(owned, on="opportunity_id", how="left")
        .join(booked, on="opportunity_id", how="left")
        .with_columns(
            pl.when(pl.col("last_step").is_in(["won", "lost"])).then("last_step").alias("outcome"),
            pl.coalesce("ledger_team", "first_team").alias("owner_team"),
            pl.coalesce("ledger_owner", "last_owner").alias("owner"),
            pl.col("currencies").fill_null(0),
        )
        .with_columns(
            pl.when(pl.col("outcome").is_not_null()).then("last_step_at").alias("closed_at"),
            pl.when(is_lost).then("last_step_reason").alias("lost_reason"),
        )
        .select(table.polars_schema.names())
        .collect()
        .match_to_schema(table.polars_schema)
    )


def _step_of(vocabulary: Vocabulary) -> pl.Expr:
    """Give what a touch does to its opportunity (`created`, `changed`, `won`, `lost`), NULL where nothing."""
    steps = {
        name: kind.opportunity for name, kind in vocabulary.kinds.items() if kind.opportunity is not None
    }
    return (
        pl.col("kind")
        .cast(pl.String)
        .replace_strict(list(steps), list(steps.values()), default=None, return_dtype=pl.String)
        .alias("step")
    )


def _folds(vocabulary: Vocabulary) -> list[pl.Expr]:
    """What the touches of one opportunity, in fold order, say."""
    created = pl.col("step") == "created"
    a_step = pl.col("step").is_not_null()
    expected = says_expected(vocabulary)
    first_created_by = pl.col("team").cast(pl.String).filter(created).first()
    return [
        pl.col("customer_id").drop_nulls().first(),
        pl.col("named_account_id").drop_nulls().last().alias("account_id"),
        pl.coalesce(pl.col("occurred_at").filter(created).first(), pl.col("occurred_at").first()).alias(
            "created_at"
        ),
        pl.col("opportunity_stage").drop_nulls().last().alias("stage"),
        pl.when(first_created_by == "sales")
        .then(pl.lit("sales"))
        .otherwise(pl.lit("marketing"))
        .alias("first_team"),
        pl.col("owner").last().alias("last_owner"),
        pl.col("amount_micros").filter(expected).last().alias("expected_micros"),
        pl.col("currency").filter(expected).last().alias("expected_currency"),
        pl.col("step").filter(a_step).last().alias("last_step"),
        pl.col("occurred_at").filter(a_step).last().alias("last_step_at"),
        pl.col("reason").filter(a_step).last().alias("last_step_reason"),
    ]
