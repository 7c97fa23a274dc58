"""The handover ledger: who owns an opportunity (else an account, a customer), marketing or sales, and since when."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from milepost.business_hours import due_at
from milepost.handover_states import STEPS, fold_steps
from milepost.money import COSTS, sole_currency
from milepost.rules import Rules
from schemas.tables import load_tables
from schemas.vocabulary import Vocabulary

#: Later than every position.
_NO_END = 2**32 - 1


@dataclass(frozen=True)
class HandedOver:
    """The table `handovers`, and what each applied offer had cost by currency.

    `costs` has `handover_id`, `currency` (String) and `amount_micros` (Int64): one row for each currency in
    which the offer has a spend share.
    """

    table: pl.DataFrame
    costs: pl.DataFrame


def hand_over(
    timeline: pl.DataFrame, shares: pl.DataFrame, vocabulary: Vocabulary, rules: Rules
) -> HandedOver:
    """Fold the steps of each subject into the ledger.

    Args:
        timeline: The touchpoints in use in fold order, columns of the table `touchpoints` and `position`
            (UInt32, the place in that order).
        shares: The table `spend_shares`: `touch_id`, `currency`, `amount_micros`.
        vocabulary: Says which kinds are steps and which say an expected amount.
        rules: Says the service level.

    Returns:
        The ledger, one row a step in fold order, and the costs.
    """
    table = load_tables()["handovers"]
    step = timeline.select(step_of(vocabulary)).to_series()
    if step.is_null().all():
        return HandedOver(table.empty(), pl.DataFrame(schema=COSTS))
    ledger = fold_steps(_steps(timeline, step))
    offers = ledger.filter("offer")
    costs = _costs(offers, timeline, shares)
    follow_ups = _follow_ups(offers, timeline, step)
    expected = _expected(ledger, timeline, vocabulary)
    due = pl.DataFrame(
        {"position": offers["position"], "due_at": due_at(offers["occurred_at"], rules.service_level)}
    )
    cost = sole_currency(costs, "handover_id", ["amount_micros"]).rename({"amount_micros": "cost_micros"})
    rows = (
        ledger.drop("currency")
        .join(follow_ups, on="position", how="left")
        .join(due, on="position", how="left")
        .join(expected, on="position", how="left")
        .join(cost, on="handover_id", how="left")
        .with_columns(pl.col("currencies").fill_null(0))
        .sort("position")
        .select(table.polars_schema.names())
    )
    return HandedOver(rows.match_to_schema(table.polars_schema), costs)


def step_of(vocabulary: Vocabulary) -> pl.Expr:
    """Give a touch's step in the ledger (String), NULL where it is none."""
    steps = {name: kind.handover for name, kind in vocabulary.kinds.items() if kind.handover is not None}
    created = [name for name, kind in vocabulary.kinds.items() if kind.opportunity == "created"]
    by_sales = (
        pl.col("kind").is_in(created) & (pl.col("team") == "sales") & pl.col("opportunity_id").is_not_null()
    )
    named = (
        pl.when(pl.col("kind").is_in([name for name, step in steps.items() if step == wanted])).then(
            pl.lit(wanted)
        )
        for wanted in STEPS[1:]
    )
    return pl.coalesce(*named, pl.when(by_sales).then(pl.lit("created"))).alias("step")


def _steps(timeline: pl.DataFrame, step: pl.Series) -> pl.DataFrame:
    """Give the ledger's steps with their subject, sorted by subject and position.

    `touch_subject_type`, `touch_subject_id` are the subject of the step's touchpoint; `subject` is a number.
    """
    names_one = pl.col("opportunity_id").is_not_null()
    return (
        timeline.lazy()
        .with_columns(step)
        .filter(pl.col("step").is_not_null())
        .select(
            "position",
            pl.col("event_id").alias("handover_id"),
            pl.when(names_one)
            .then(pl.lit("opportunity"))
            .otherwise(pl.col("subject_type").cast(pl.String))
            .alias("subject_type"),
            pl.when(names_one).then("opportunity_id").otherwise("subject_id").alias("subject_id"),
            pl.col("subject_type").cast(pl.String).alias("touch_subject_type"),
            pl.col("subject_id").alias("touch_subject_id"),
            "opportunity_id",
            "customer_id",
            "account_id",
            "step",
            "occurred_at",
            "owner",
            "reason",
            "amount_micros",
            "currency",
        )
        .sort("subject_type", "subject_id", "position")
        .with_columns(pl.struct("subject_type", "subject_id").rle_id().alias("subject"))
        .collect()
    )


def _follow_ups(offers: pl.DataFrame, timeline: pl.DataFrame, step: pl.Series) -> pl.DataFrame:
    """Give each offer's first one-to-one touch of sales after it and before the subject's next offer.

    A touch counts that has the subject of the offer's touchpoint or names the offer's opportunity.
    """
    answers = (
        timeline.lazy()
        .with_columns(step)
        .filter(pl.col("team") == "sales", pl.col("reach") == "one_to_one", pl.col("step").is_null())
        .select(
            "position",
            pl.col("occurred_at").alias("first_follow_up_at"),
            pl.col("subject_type").cast(pl.String).alias("touch_subject_type"),
            pl.col("subject_id").alias("touch_subject_id"),
            "opportunity_id",
            pl.col("position").alias("followed_up"),
        )
        .collect()
    )
    found = []
    for key in (["touch_subject_type", "touch_subject_id"], ["opportunity_id"]):
        asked = offers.select("position", "next_offer", *key).drop_nulls(key).sort("position")
        possible = answers.select("position", "followed_up", "first_follow_up_at", *key)
        found.append(
            asked.join_asof(
                possible.join(asked, on=key, how="semi", maintain_order="left"),
                on="position",
                by=key,
                strategy="forward",
                check_sortedness=False,
            )
            .filter(pl.col("followed_up") < pl.col("next_offer").fill_null(_NO_END))
            .select("position", "followed_up", "first_follow_up_at")
        )
    return pl.concat(found).sort("followed_up").unique("position", keep="first").drop("followed_up")


def _costs(offers: pl.DataFrame, timeline: pl.DataFrame, shares: pl.DataFrame) -> pl.DataFrame:
    """Sum by currency the shares of each offer's account (else customer) since the subject's previous offer.

    The sum up to the offer less the sum up to the previous one, both looked up in running totals.
    """
    subject = ["touch_subject_type", "touch_subject_id"]
    asked = offers.select("handover_id", "position", "previous_offer", *subject).drop_nulls(subject)
    if asked.is_empty() or shares.is_empty():
        return pl.DataFrame(schema=COSTS)
    spent = (
        timeline.lazy()
        .select(
            "position",
            pl.col("event_id").alias("touch_id"),
            pl.col("subject_type").cast(pl.String).alias("touch_subject_type"),
            pl.col("subject_id").alias("touch_subject_id"),
        )
        .join(asked.lazy(), on=subject, how="semi")
        .join(shares.lazy().select("touch_id", "currency", "amount_micros"), on="touch_id")
        .sort("position")
        .with_columns(
            pl.col("amount_micros").cum_sum().over(*subject, "currency").alias("total"),
            pl.int_range(1, pl.len() + 1).over(*subject, "currency").alias("shares"),
        )
        .select("position", "currency", *subject, "total", "shares")
        .collect()
    )
    windows = asked.join(spent.select(*subject, "currency").unique(), on=subject)
    for end in ("position", "previous_offer"):
        totals = spent.rename({"position": end, "total": f"total_{end}", "shares": f"shares_{end}"})
        ends = windows.filter(pl.col(end).is_not_null()).sort(end)
        found = ends.join_asof(
            totals, on=end, by=[*subject, "currency"], strategy="backward", check_sortedness=False
        ).select("handover_id", "currency", f"total_{end}", f"shares_{end}")
        windows = windows.join(found, on=["handover_id", "currency"], how="left").with_columns(
            pl.col(f"total_{end}", f"shares_{end}").fill_null(0)
        )
    return windows.filter(pl.col("shares_position") > pl.col("shares_previous_offer")).select(
        "handover_id",
        "currency",
        (pl.col("total_position") - pl.col("total_previous_offer")).alias("amount_micros"),
    )


def _expected(ledger: pl.DataFrame, timeline: pl.DataFrame, vocabulary: Vocabulary) -> pl.DataFrame:
    """Give the amount expected at each step: of its opportunity what was said last, else the step's own."""
    said = (
        timeline.lazy()
        .filter(pl.col("opportunity_id").is_not_null(), says_expected(vocabulary))
        .select(
            "position",
            "opportunity_id",
            pl.col("amount_micros").alias("expected_micros"),
            pl.col("currency").alias("expected_currency"),
        )
        .collect()
    )
    own = ledger.filter(pl.col("opportunity_id").is_null()).select(
        "position",
        pl.col("amount_micros").alias("expected_micros"),
        pl.when(pl.col("amount_micros").is_not_null()).then("currency").alias("expected_currency"),
    )
    of_opportunities = (
        ledger.filter(pl.col("opportunity_id").is_not_null())
        .select("position", "opportunity_id")
        .sort("position")
        .join_asof(said, on="position", by="opportunity_id", strategy="backward", check_sortedness=False)
        .drop("opportunity_id")
    )
    return pl.concat([own, of_opportunities])


def says_expected(vocabulary: Vocabulary) -> pl.Expr:
    """Say whether a touch states an expected amount."""
    kinds = [name for name, kind in vocabulary.kinds.items() if kind.amount == "expected"]
    return pl.col("kind").is_in(kinds) & pl.col("amount_micros").is_not_null()
