"""The timeline: touchpoints in use, in fold order, each with its customer, account and subject."""

from __future__ import annotations

import numpy as np
import polars as pl

from milepost.words import Words, words_from_codes
from schemas.contracts import frame_schema
from schemas.tables import load_tables

#: What the timeline takes of a touchpoint as its fact says it.
TOLD = [
    column for column in load_tables()["touchpoints"].polars_schema if column in frame_schema("touchpoint")
]


def fold_order(touchpoints: pl.DataFrame, words: Words) -> pl.Series:
    """Give the row numbers of touchpoints in fold order: (`occurred_at`, the kind's stage, `event_id`).

    Args:
        touchpoints: `occurred_at`, `kind` (Enum of the vocabulary), `event_id`.
        words: the vocabulary's codes.
    """
    order = touchpoints.get_column("occurred_at").cast(pl.Int64).arg_sort()
    times = touchpoints.get_column("occurred_at").gather(order)
    tied = (times == times.shift(1)).fill_null(value=False)
    tied |= tied.shift(-1).fill_null(value=False)
    if not tied.any():
        return order
    # Sorting by strings is dear, so only runs of equal times are sorted by them.
    places = tied.arg_true()
    rows = order.gather(places)
    runs = touchpoints.select("occurred_at", "kind", "event_id")[rows].with_columns(
        rows.alias("row"),
        pl.Series("stage", words.stage_of_kind).gather(
            touchpoints.get_column("kind").to_physical().gather(rows)
        ),
    )
    return order.scatter(places, runs.sort("occurred_at", "stage", "event_id").get_column("row"))


def with_words(touchpoints: pl.DataFrame, words: Words) -> pl.DataFrame:
    """Turn `kind`, `channel`, `team` and `reach` into Enums of the vocabulary."""
    return touchpoints.with_columns(
        pl.col("kind").cast(words.kind),
        pl.col("channel").cast(words.channel),
        pl.col("team").cast(words.team),
        pl.col("reach").cast(words.reach),
    )


def build_timeline(touchpoints: pl.DataFrame, words: Words) -> pl.DataFrame:
    """Put touchpoints in fold order and give each its account and subject.

    Args:
        touchpoints: those in use, with the columns of the contract, plus `customer` (Int32 code, -1 for none),
            `customer_id` (String) and `shared` (Boolean: the customer is a shared identifier). Words are Enums.
        words: the vocabulary's codes.

    Returns:
        The touchpoints in fold order with `position` (UInt32), `stage` (Enum), `stage_code` (Int8), `account_id`
        resolved, `named_account_id` as the touchpoint names it, `account` (Int32 code, -1 for none), `subject_type`,
        `subject_id`, and `subject` (Int64): a code of the subject, -1 for none.
    """
    ordered = touchpoints[fold_order(touchpoints, words)].with_row_index("position")
    codes = words.stage_of_kind[ordered.get_column("kind").to_physical().to_numpy()]
    ordered = ordered.with_columns(
        words_from_codes("stage", codes, words.stage),
        pl.Series("stage_code", codes, pl.Int8),
        pl.col("account_id").alias("named_account_id"),
    )
    ordered = _code_accounts(resolve_accounts(ordered))
    has_account = pl.col("account_id").is_not_null()
    return ordered.with_columns(
        pl.when(has_account)
        .then(pl.lit("account"))
        .when(pl.col("customer_id").is_not_null())
        .then(pl.lit("customer"))
        .alias("subject_type"),
        pl.coalesce("account_id", "customer_id").alias("subject_id"),
        pl.when(has_account)
        .then(pl.col("account").cast(pl.Int64) + (pl.col("customer").max().cast(pl.Int64) + 1))
        .otherwise(pl.col("customer").cast(pl.Int64))
        .alias("subject"),
    )


def _code_accounts(ordered: pl.DataFrame) -> pl.DataFrame:
    """Add `account`: the place of the account among all, sorted; -1 for none."""
    accounts = ordered.get_column("account_id").drop_nulls().unique().sort()
    if not len(accounts):
        return ordered.with_columns(pl.lit(-1, pl.Int32).alias("account"))
    codes = pl.DataFrame({"account_id": accounts, "account": np.arange(len(accounts), dtype=np.int32)})
    return ordered.join(codes, on="account_id", how="left", maintain_order="left").with_columns(
        pl.col("account").fill_null(-1)
    )


def resolve_accounts(ordered: pl.DataFrame) -> pl.DataFrame:
    """Give touchpoints that name no account their customer's then.

    That is the account that the customer's touchpoints named last at or before it, else first after it. A shared
    customer's touchpoints have only what they name.

    Args:
        ordered: touchpoints in fold order with `account_id`, `customer`, `shared`.
    """
    inherits = (pl.col("customer") >= 0) & ~pl.col("shared")
    naming = ordered.filter(inherits & pl.col("account_id").is_not_null()).get_column("customer").unique()
    if not len(naming):
        return ordered
    affected = inherits & pl.col("customer").is_in(naming.implode())
    named = (
        ordered.filter(affected)
        .select("position", pl.col("account_id").forward_fill().over("customer").alias("before"), "customer")
        .with_columns(pl.col("before").backward_fill().over("customer").alias("inherited"))
        .select("position", "inherited")
    )
    return (
        ordered.join(named, on="position", how="left", maintain_order="left")
        .with_columns(pl.coalesce("account_id", "inherited").alias("account_id"))
        .drop("inherited")
    )


def last_accounts(timeline: pl.DataFrame) -> pl.DataFrame:
    """Give each unshared customer's account: the one named last, ties to the smallest: `customer`, `account_id`."""
    naming = timeline.filter(
        (pl.col("customer") >= 0) & ~pl.col("shared") & pl.col("named_account_id").is_not_null()
    )
    return (
        naming.sort("occurred_at", "named_account_id", descending=[True, False])
        .unique("customer", keep="first", maintain_order=True)
        .select("customer", pl.col("named_account_id").alias("account_id"))
    )
