"""Money by subject and currency: amounts of different currencies are never added.

A table with one row a subject shows the sum of a sole currency; the table `money` has them all.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from schemas.tables import load_tables


def sole_currency(rows: pl.DataFrame, key: str, amounts: Sequence[str]) -> pl.DataFrame:
    """Sum amounts by key where these are all of one currency.

    Args:
        rows: One row an amount: `key`, `currency` (String) and the amounts (Int64 micros). Rows without
            a key belong to nobody and are left out.
        key: The column of the subject's id.
        amounts: The columns to sum.

    Returns:
        One row a key, in no order: `key`, the amounts (NULL where the key has several currencies),
        `currency` (the sole one, else NULL), `currencies` (Int64, how many).
    """
    several = pl.col("currencies") > 1
    by_currency = (
        rows.lazy()
        .filter(pl.col(key).is_not_null())
        .group_by(key, "currency")
        .agg(pl.col(name).sum() for name in amounts)
    )
    return (
        by_currency.group_by(key)
        .agg(
            *(pl.col(name).first() for name in amounts),
            pl.col("currency").first(),
            pl.len().cast(pl.Int64).alias("currencies"),
        )
        .select(
            key,
            *(pl.when(~several).then(name).alias(name) for name in amounts),
            pl.when(~several).then("currency").alias("currency"),
            "currencies",
        )
        .collect()
    )


def summarise_money(conversions: pl.DataFrame, key: str) -> pl.DataFrame:
    """Sum what each subject booked, for the tables that have one row a subject.

    Args:
        conversions: Rows of the table `conversions`: `key`, `currency`, `amount_micros`, `net_micros`.
        key: `customer_id`, `account_id` or `opportunity_id`.

    Returns:
        One row a subject with a conversion, in no order: `key`, `booked_micros`, `net_micros` (Int64, NULL
        where `currencies` > 1), `currency`, `currencies`. Who has none has no row: join from the left, and
        fill `currencies` with 0.
    """
    rows = conversions.select(key, "currency", pl.col("amount_micros").alias("booked_micros"), "net_micros")
    return sole_currency(rows, key, ("booked_micros", "net_micros"))


#: Subject, the column of its id in `conversions`, measure, the column of its amount.
_MEASURES_OF_CONVERSIONS = (
    ("customer", "customer_id", "booked", "amount_micros"),
    ("customer", "customer_id", "net", "net_micros"),
    ("account", "account_id", "booked", "amount_micros"),
    ("account", "account_id", "net", "net_micros"),
    ("opportunity", "opportunity_id", "booked", "amount_micros"),
)


def _measure(
    rows: pl.LazyFrame, subject_type: str, subject_id: str, measure: str, amount: str
) -> pl.LazyFrame:
    return (
        rows.filter(pl.col(subject_id).is_not_null())
        .group_by(pl.col(subject_id).alias("subject_id"), pl.col("currency"))
        .agg(pl.col(amount).sum().alias("amount_micros"))
        .select(
            pl.lit(subject_type).alias("subject_type"),
            "subject_id",
            pl.lit(measure).alias("measure"),
            "currency",
            "amount_micros",
        )
    )


#: Costs of handovers by currency.
COSTS = {"handover_id": pl.String, "currency": pl.String, "amount_micros": pl.Int64}


def booked_money(conversions: pl.DataFrame) -> pl.DataFrame:
    """Give table `money` without what handovers cost; see `money`."""
    return money(conversions, pl.DataFrame(schema=COSTS))


def money(conversions: pl.DataFrame, handover_costs: pl.DataFrame) -> pl.DataFrame:
    """Give every amount by subject, measure and currency.

    Args:
        conversions: Rows of the table `conversions` and `shared` (Boolean, of the touchpoint): bookings of
            shared customers are no account's.
        handover_costs: `handover_id`, `currency` (String) and `amount_micros` (Int64), as
            `milepost.handovers.hand_over` gives them.

    Returns:
        The table `money`, in no order.
    """
    booked = conversions.lazy()
    of_accounts = booked.filter(~pl.col("shared"))
    parts = [
        _measure(of_accounts if measure[0] == "account" else booked, *measure)
        for measure in _MEASURES_OF_CONVERSIONS
    ]
    parts.append(_measure(handover_costs.lazy(), "handover", "handover_id", "cost", "amount_micros"))
    return pl.concat(parts).collect().match_to_schema(load_tables()["money"].polars_schema)
