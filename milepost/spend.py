"""Spend is shared equally over its campaign's touchpoints of the day; what is not shared stays visible."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from milepost.rules import Rules
from milepost.words import fitted
from schemas.tables import load_tables
from schemas.vocabulary import Vocabulary

_LARGEST_INT64 = 2**63 - 1


def share_spend(spend: pl.DataFrame, timeline: pl.DataFrame, vocabulary: Vocabulary) -> pl.DataFrame:
    """Share each spend equally over its campaign's touchpoints of its day.

    The micros that an equal division leaves over go one each to the smallest `event_id`s.

    Args:
        spend: Facts of spend that stand: `event_id`, `campaign_id`, `day`, `amount_micros`, `currency`.
        timeline: Touchpoints in use: `event_id`, `campaign_id`, `occurred_at`, `kind`.
        vocabulary: Says which kinds only link; they take no share.

    Returns:
        The table `spend_shares`, shares of 0 included, in no order.
    """
    table = load_tables()["spend_shares"]
    wanted = spend.filter(pl.col("campaign_id").is_not_null())
    if wanted.is_empty() or timeline.is_empty():
        return table.empty()
    links_only = [name for name, kind in vocabulary.kinds.items() if kind.links_only]
    campaign_day = ["campaign_id", "day"]
    touches = (
        timeline.lazy()
        .filter(
            pl.col("campaign_id").cast(pl.String).is_in(wanted["campaign_id"].unique().implode()),
            ~pl.col("kind").is_in(links_only),
        )
        .select(
            pl.col("event_id").alias("touch_id"),
            pl.col("campaign_id").cast(pl.String),
            pl.col("occurred_at").dt.date().alias("day"),
        )
        .join(wanted.lazy().select(campaign_day).unique(), on=campaign_day, how="semi")
        .sort("touch_id")
        .with_columns(
            pl.int_range(pl.len(), dtype=pl.Int64).over(campaign_day).alias("place"),
            pl.len().over(campaign_day).cast(pl.Int64).alias("touches"),
        )
    )
    each = pl.col("amount_micros") // pl.col("touches")
    left_over = pl.col("amount_micros") % pl.col("touches")
    return (
        touches.join(wanted.lazy().rename({"event_id": "spend_id"}), on=campaign_day)
        .select(
            "spend_id",
            "touch_id",
            "campaign_id",
            "day",
            (each + (pl.col("place") < left_over)).alias("amount_micros"),
            "currency",
        )
        .collect()
        .match_to_schema(table.polars_schema)
    )


@dataclass(frozen=True)
class SpendTable:
    """The table `spend`, and how many of its rows lack the rate of their currency and day."""

    table: pl.DataFrame
    missing_rates: int


def spend_table(spend: pl.DataFrame, shares: pl.DataFrame, rules: Rules) -> SpendTable:
    """Give the table `spend` with what was allocated and, where rates are set, reporting amounts.

    Args:
        spend: Facts of spend that stand.
        shares: The table `spend_shares`.
        rules: Says the reporting currency and the rates. Without a reporting currency both of its columns
            are NULL and no rate is missing.

    Returns:
        The table in no order, and the number of missing rates. An amount that 64 bits cannot hold after
        conversion counts as one without a rate: the rate is a mistake.
    """
    allocated = shares.group_by("spend_id").agg(pl.col("amount_micros").sum().alias("allocated_micros"))
    reporting = _reporting_micros(spend, rules)
    table = (
        spend.with_columns(
            reporting.alias("reporting_micros"),
            pl.lit(rules.reporting_currency, dtype=pl.String).alias("reporting_currency"),
        )
        .join(allocated, left_on="event_id", right_on="spend_id", how="left")
        .with_columns(pl.col("allocated_micros").fill_null(0))
        .select(load_tables()["spend"].polars_schema.names())
    )
    missing = reporting.null_count() if rules.reporting_currency is not None else 0
    return SpendTable(fitted(table, load_tables()["spend"].polars_schema), missing)


def _reporting_micros(spend: pl.DataFrame, rules: Rules) -> pl.Series:
    """Convert each row's amount by the rate of its currency and day, half-even; NULL without a rate."""
    if rules.reporting_currency is None or spend.is_empty():
        return pl.Series("reporting_micros", [None] * spend.height, dtype=pl.Int64)
    days = spend.select("currency", "day").unique()
    rates = [_rate(currency, day, rules) for currency, day in days.iter_rows()]
    days = days.with_columns(pl.Series("rate", range(days.height), dtype=pl.Int64))
    rate = spend.join(days, on=["currency", "day"], how="left", maintain_order="left")["rate"].to_numpy()
    numerators = _integers([0 if ratio is None else ratio[0] for ratio in rates])[rate]
    denominators = _integers([1 if ratio is None else ratio[1] for ratio in rates])[rate]
    exact = spend["amount_micros"].to_numpy().astype(object) * numerators
    rounded = _divide_half_even(exact, denominators)
    known = np.array([ratio is not None for ratio in rates], dtype=bool)[rate]
    fits = (np.abs(rounded) <= _LARGEST_INT64).astype(bool)
    kept = known & fits
    micros = np.where(kept, rounded, 0).astype(np.int64)
    return pl.DataFrame({"micros": micros, "kept": kept}).select(
        pl.when("kept").then("micros").alias("reporting_micros")
    )["reporting_micros"]


def _rate(currency: str, day: date, rules: Rules) -> tuple[int, int] | None:
    """Give the rate of a currency and day as an exact ratio of integers."""
    if currency == rules.reporting_currency:
        return 1, 1
    rate: Decimal | None = rules.rates.get(currency, {}).get(day)
    return None if rate is None else rate.as_integer_ratio()


def _integers(values: list[int]) -> np.ndarray[Any, np.dtype[np.object_]]:
    """Hold integers of any size: an amount times a rate may exceed 64 bits, and 128."""
    return np.array(values, dtype=object)


def _divide_half_even(
    numerator: np.ndarray[Any, np.dtype[np.object_]], denominator: np.ndarray[Any, np.dtype[np.object_]]
) -> np.ndarray[Any, np.dtype[np.object_]]:
    """Divide integers of any size and round to the nearest, ties to the even one."""
    whole = numerator // denominator
    twice_rest = 2 * (numerator - whole * denominator)
    up = (twice_rest > denominator) | ((twice_rest == denominator) & (whole % 2 == 1))
    rounded: np.ndarray[Any, np.dtype[np.object_]] = whole + up
    return rounded
