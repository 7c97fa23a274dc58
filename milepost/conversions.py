"""Conversions: which touchpoints book money, what refunds leave of it, and what stage they are of."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
import polars as pl

from milepost.words import Words
from schemas.tables import load_tables

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Booked:
    """What books, and what refunds leave of it.

    The timeline with `books` and `not_booked_reason`; table `conversions` (plus `position`, `shared` and the codes
    `customer`, `account`, `subject`, in fold order); table `unmatched_refunds`.
    """

    timeline: pl.DataFrame
    conversions: pl.DataFrame
    unmatched_refunds: pl.DataFrame


def book(timeline: pl.DataFrame, words: Words) -> Booked:
    """Find the conversions and match the refunds.

    Args:
        timeline: touchpoints in fold order, as `build_timeline` gives them.
        words: the vocabulary's codes.
    """
    timeline = _mark_bookings(timeline, words)
    bookings = timeline.filter("books")
    refunds = timeline.filter(
        pl.col("kind").is_in(words.kinds_where(lambda kind: kind.amount == "refunded"))
        & pl.col("amount_micros").is_not_null()
    )
    refunded, unmatched = _match_refunds(timeline, bookings, refunds)
    conversions = bookings.select(
        "position",
        "customer",
        "shared",
        "account",
        "subject",
        pl.col("event_id").alias("conversion_id"),
        "customer_id",
        "account_id",
        "subject_type",
        "subject_id",
        "occurred_at",
        "kind",
        "amount_micros",
        pl.Series("refunded_micros", refunded, pl.Int64),
        (pl.col("amount_micros") - pl.Series("refunded_micros", refunded, pl.Int64)).alias("net_micros"),
        "currency",
        "products",
        "deal_id",
        "booking_number",
        "opportunity_id",
    )
    # One that belongs to nobody is a first one.
    first = (pl.col("subject") < 0) | (pl.col("position") == pl.col("position").min().over("subject"))
    stage = (
        pl.when(first)
        .then(pl.lit("conversion"))
        .when(pl.Series("grows", grows(conversions, "subject", words), pl.Boolean))
        .then(pl.lit("grow"))
        .otherwise(pl.lit("retain"))
    )
    return Booked(timeline, conversions.with_columns(stage.alias("stage")), unmatched)


def _mark_bookings(timeline: pl.DataFrame, words: Words) -> pl.DataFrame:
    """Say which touchpoints book, and of other booked kinds why not."""
    code = timeline.get_column("kind").to_physical().to_numpy()
    candidates = timeline.select(
        "position", "event_id", "deal_id", "booking_number", "amount_micros", "kind"
    ).filter(pl.Series(words.booked[code]))
    with_deal = candidates.filter(pl.col("amount_micros").is_not_null() & pl.col("deal_id").is_not_null())
    booking = (
        with_deal.with_columns(words.kind_column("kind", "booking_rank").alias("booking_rank"))
        .sort("booking_rank", "position", descending=[True, False])
        .select(
            "position",
            pl.col("event_id").first().over("deal_id", "booking_number").alias("booked_by"),
        )
    )
    reasons = (
        candidates.join(booking, on="position", how="left", maintain_order="left")
        .with_columns(
            pl.when(pl.col("amount_micros").is_null())
            .then(pl.lit("no_amount"))
            .when(pl.col("booked_by") != pl.col("event_id"))
            .then(pl.format("deal_booked_by:{}", "booked_by"))
            .alias("not_booked_reason")
        )
        .select("position", "not_booked_reason")
    )
    books = np.zeros(timeline.height, dtype=np.bool_)
    booking_positions = reasons.filter(pl.col("not_booked_reason").is_null()).get_column("position")
    books[booking_positions.to_numpy()] = True
    unbooked = reasons.filter(pl.col("not_booked_reason").is_not_null())
    reason = pl.Series("not_booked_reason", [None], pl.String).new_from_index(0, timeline.height)
    if unbooked.height:
        reason = reason.scatter(unbooked.get_column("position"), unbooked.get_column("not_booked_reason"))
    return timeline.with_columns(pl.Series("books", books), reason.alias("not_booked_reason"))


def grows(conversions: pl.DataFrame, subject: str, words: Words) -> pl.Series:
    """Say of each conversion whether it would be `grow` as a later one of its subject.

    It would, if its kind's stage is `grow` or it has a product that none of the subject's earlier ones has.

    Args:
        conversions: `position`, `kind`, `products` and the column named by `subject`, in fold order.
        subject: the column that says whose conversions are compared.
        words: the vocabulary's codes.
    """
    by_kind = conversions.get_column("kind").is_in(words.kinds_where(lambda kind: kind.stage == "grow"))
    new = (
        conversions.select("position", "products", subject)
        .filter(pl.col("products").list.len() > 0)
        .explode("products")
        .filter(pl.col("position") == pl.col("position").min().over(subject, "products"))
        .get_column("position")
        .unique()
    )
    return by_kind | conversions.get_column("position").is_in(new.implode())


@numba.njit(cache=True)
def _lower(starts: Int64Array, targets: Int64Array, amounts: Int64Array, left: Int64Array) -> Int64Array:
    """Lower the conversions that each refund names, in order; `left` changes; give what matched nothing."""
    unmatched = amounts.copy()
    for refund in range(len(amounts)):
        for place in range(starts[refund], starts[refund + 1]):
            taken = min(unmatched[refund], left[targets[place]])
            left[targets[place]] -= taken
            unmatched[refund] -= taken
    return unmatched


def _named_conversions(timeline: pl.DataFrame, bookings: pl.DataFrame, refunds: pl.DataFrame) -> pl.DataFrame:
    """Give each refund's conversions in the order in which it lowers them: `refund`, `target`, `same_currency`."""
    conversions = bookings.select(
        pl.int_range(pl.len(), dtype=pl.Int64).alias("target"),
        "event_id",
        "deal_id",
        "booking_number",
        "currency",
    )
    unbooked = timeline.filter(pl.col("not_booked_reason").str.starts_with("deal_booked_by:")).select(
        "event_id", pl.col("not_booked_reason").str.strip_prefix("deal_booked_by:").alias("booked_by")
    )
    asking = refunds.select(
        pl.int_range(pl.len(), dtype=pl.Int64).alias("refund"),
        "conversion_id",
        "deal_id",
        "booking_number",
        pl.col("currency").alias("refund_currency"),
    ).join(unbooked, left_on="conversion_id", right_on="event_id", how="left", maintain_order="left")
    by_id = (
        asking.filter(pl.col("conversion_id").is_not_null())
        .with_columns(pl.coalesce("booked_by", "conversion_id").alias("event_id"))
        .join(conversions, on="event_id")
    )
    unnamed = asking.join(by_id, on="refund", how="anti")
    by_deal = unnamed.filter(pl.col("deal_id").is_not_null()).join(
        conversions, on="deal_id", suffix="_booked"
    )
    numbered = (pl.col("booking_number") != 0) & (pl.col("booking_number") == pl.col("booking_number_booked"))
    by_deal = by_deal.with_columns((~numbered).alias("later"))
    columns = [
        "refund",
        "target",
        "later",
        pl.col("refund_currency").eq_missing(pl.col("currency")).alias("same_currency"),
    ]
    return pl.concat(
        [by_id.with_columns(pl.lit(value=False).alias("later")).select(columns), by_deal.select(columns)]
    ).sort("refund", "later", "target")


def _match_refunds(
    timeline: pl.DataFrame, bookings: pl.DataFrame, refunds: pl.DataFrame
) -> tuple[Int64Array, pl.DataFrame]:
    """Give what is refunded of each booking, and table `unmatched_refunds`."""
    table = load_tables()["unmatched_refunds"]
    booked = bookings.get_column("amount_micros").to_numpy()
    if not refunds.height:
        return np.zeros(len(booked), dtype=np.int64), table.empty()
    named = _named_conversions(timeline, bookings, refunds)
    payable = named.filter("same_currency")
    starts = np.searchsorted(payable.get_column("refund").to_numpy(), np.arange(refunds.height + 1))
    left = booked.copy()
    unmatched = _lower(
        starts.astype(np.int64),
        payable.get_column("target").to_numpy(),
        refunds.get_column("amount_micros").to_numpy(),
        left,
    )
    in_named = pl.int_range(pl.len(), dtype=pl.Int64)
    rows = refunds.with_columns(
        pl.Series("unmatched_micros", unmatched),
        pl.when(in_named.is_in(payable.get_column("refund").unique().implode()))
        .then(pl.lit("exceeds"))
        .when(in_named.is_in(named.get_column("refund").unique().implode()))
        .then(pl.lit("other_currency"))
        .otherwise(pl.lit("no_conversion"))
        .alias("reason"),
    ).filter(pl.col("unmatched_micros") > 0)
    return booked - left, rows.select(list(table.polars_schema))
