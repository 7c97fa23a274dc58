"""The laws between rows and tables: each gives the ids of what breaks it, as a text series.

Every function takes the tables by name and the vocabulary, and reads only the tables that
`schemas/expectations/laws.yaml` lists for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from schemas.tables import CREDIT_SCALE
from schemas.vocabulary import Vocabulary

Tables = Mapping[str, pl.DataFrame]
Law = Callable[[Tables, Vocabulary], pl.Series]

_WHOLE = 10**CREDIT_SCALE

#: The states from which a step of the ledger may be applied, and the state after it. `first` stands before any step.
_STEPS = {
    "created": (("first",), "sales"),
    "offered": (("first", "marketing"), "offered"),
    "accepted": (("offered",), "sales"),
    "rejected": (("offered",), "marketing"),
    "recycled": (("offered", "sales"), "marketing"),
}


def _units(column: str = "credit") -> pl.Expr:
    """Give credits as whole units of 10^-12, which add up exactly."""
    units: pl.Expr = pl.col(column).to_physical()
    return units


def with_sums(tables: Tables) -> Tables:
    """Add what laws read of groups of rows, which is the costly part.

    `credit_sums` has the credits by conversion and model; `conversion_sums` the conversions by currency, as
    `currency`, `number`, `booked_micros`.
    """
    sums = {}
    if "credits" in tables:
        sums["credit_sums"] = (
            tables["credits"]
            .group_by("conversion_id", "model")
            .agg(
                _units().sum(),
                pl.col("amount_micros", "net_micros").sum(),
                pl.col("currency").first(),
                currencies=pl.col("currency").n_unique(),
            )
        )
    if "conversions" in tables:
        by_currency = tables["conversions"].group_by("currency")
        sums["conversion_sums"] = by_currency.agg(
            pl.len().cast(pl.Int64).alias("number"),
            # A currency's sum over all customers may be more than 64 bits hold: that is for the audit to say.
            pl.col("amount_micros").cast(pl.Int128).sum().alias("booked_micros"),
        )
    return {**tables, **sums}


def _credits_sum_to_conversion(tables: Tables, _: Vocabulary) -> pl.Series:
    conversions = tables["conversions"].select("conversion_id", "amount_micros", "net_micros", "currency")
    both = tables["credit_sums"].join(conversions, on="conversion_id", suffix="_booked")
    wrong = both.filter(
        (pl.col("credit") != _WHOLE)
        | (pl.col("amount_micros") != pl.col("amount_micros_booked"))
        | (pl.col("net_micros") != pl.col("net_micros_booked"))
        | pl.col("currency").ne_missing(pl.col("currency_booked"))
        | (pl.col("currencies") != 1)
    )
    return wrong["conversion_id"].unique().sort()


def _missing(tables: Tables, table: str, column: str, other: str, key: str) -> pl.Series:
    """Give the values of a column that are no key of another table; NULL names nothing."""
    values = tables[table].select(pl.col(column).drop_nulls().unique())
    return values.join(tables[other], left_on=column, right_on=key, how="anti")[column].sort()


def _conversions_credited_by_every_model(tables: Tables, _: Vocabulary) -> pl.Series:
    models = tables["credit_sums"]["model"].n_unique()
    if not models:
        return pl.Series(dtype=pl.String())
    counts = tables["credit_sums"].group_by("conversion_id").agg(models=pl.len())
    joined = tables["conversions"].select("conversion_id").join(counts, on="conversion_id", how="left")
    return joined.filter(pl.col("models").fill_null(0) != models)["conversion_id"].sort()


def _channel_credits_sum_to_conversions(tables: Tables, _: Vocabulary) -> pl.Series:
    conversions = tables["conversion_sums"]
    models = tables["channel_credits"].select("model").unique()
    sums = (
        tables["channel_credits"]
        .group_by("model", "currency")
        .agg(_units().sum(), pl.col("amount_micros").cast(pl.Int128).sum())
    )
    both = models.join(conversions, how="cross").join(
        sums, on=["model", "currency"], how="full", suffix="_credited", coalesce=True
    )
    wrong = both.filter(
        (pl.col("number").fill_null(0).cast(pl.Int128) * _WHOLE != pl.col("credit").fill_null(0))
        | (pl.col("booked_micros").cast(pl.Int128).fill_null(0) != pl.col("amount_micros").fill_null(0))
    )
    return wrong.select(pl.concat_str("model", "currency", separator=" "))["model"].sort()


def _conversions_net(tables: Tables, _: Vocabulary) -> pl.Series:
    wrong = tables["conversions"].filter(
        pl.col("amount_micros") - pl.col("refunded_micros") != pl.col("net_micros")
    )
    return wrong["conversion_id"]


def _conversions_are_touchpoints_that_book(tables: Tables, _: Vocabulary) -> pl.Series:
    booking = tables["touchpoints"].filter("books").select(conversion_id="event_id")
    conversions = tables["conversions"].select("conversion_id")
    return pl.concat(
        [
            booking.join(conversions, on="conversion_id", how="anti"),
            conversions.join(booking, on="conversion_id", how="anti"),
        ]
    )["conversion_id"].sort()


def _journeys_count_their_conversions(tables: Tables, _: Vocabulary) -> pl.Series:
    counts = tables["conversions"].group_by("customer_id").agg(pl.len().cast(pl.Int64).alias("counted"))
    wrong = (
        tables["journeys"]
        .join(counts, on="customer_id", how="left")
        .filter(pl.col("conversions") != pl.col("counted").fill_null(0))
    )
    return wrong["customer_id"].sort()


def _money_is_the_conversions(tables: Tables, _: Vocabulary) -> pl.Series:
    by = ["subject_id", "currency", "measure"]
    booked = (
        tables["conversions"]
        .drop_nulls("customer_id")
        .group_by(pl.col("customer_id").alias("subject_id"), "currency")
        .agg(booked=pl.col("amount_micros").sum(), net=pl.col("net_micros").sum())
        .unpivot(["booked", "net"], index=["subject_id", "currency"], variable_name="measure")
    )
    money = tables["money"].filter(
        (pl.col("subject_type") == "customer") & pl.col("measure").is_in(["booked", "net"])
    )
    both = booked.join(money.select(*by, "amount_micros"), on=by, how="full", coalesce=True)
    return both.filter(pl.col("value").ne_missing(pl.col("amount_micros")))["subject_id"].unique().sort()


def _stage_entries_go_forward(tables: Tables, vocabulary: Vocabulary) -> pl.Series:
    stages = list(vocabulary.stages)
    until_conversion = stages[: stages.index("conversion") + 1]
    entered = {stage: pl.when(pl.col("stage") == stage).then("entered_at") for stage in until_conversion}
    customers = (
        tables["stage_entries"]
        .select(
            "customer_id",
            pl.col("from_stage").is_null().alias("begins"),
            (pl.col("stage") == pl.col("from_stage")).alias("stands"),
            *(time.alias(stage) for stage, time in entered.items()),
        )
        .group_by("customer_id")
        .agg(
            pl.col("begins", "stands").sum(),
            pl.col(until_conversion).min(),
            pl.col(until_conversion).count().name.suffix("_times"),
        )
    )
    # A stage is entered once, and one further on never earlier.
    wrong = (pl.col("begins") != 1) | (pl.col("stands") > 0)
    for place, stage in enumerate(until_conversion):
        wrong = wrong | (pl.col(f"{stage}_times") > 1)
        if place:
            latest = pl.max_horizontal(until_conversion[:place])
            wrong = wrong | (pl.col(stage) < latest).fill_null(value=False)
    return customers.filter(wrong)["customer_id"].sort()


def _ledger_has_one_owner(tables: Tables, _: Vocabulary) -> pl.Series:
    subject = ["subject_type", "subject_id"]
    steps = (
        tables["handovers"]
        .filter(pl.col("status") == "applied")
        .sort(*subject, "occurred_at", "handover_id")
        .with_columns(before=pl.col("state").shift().over(subject).fill_null("first"))
    )
    fits = pl.lit(value=False)
    for step, (states, after) in _STEPS.items():
        fits = fits | ((pl.col("step") == step) & pl.col("before").is_in(states) & (pl.col("state") == after))
    owner = pl.when(pl.col("state") == "sales").then(pl.lit("sales")).otherwise(pl.lit("marketing"))
    return steps.filter(~fits | (pl.col("owner_team") != owner))["handover_id"].sort()


def _shares_sum_to_allocated(tables: Tables, _: Vocabulary) -> pl.Series:
    sums = tables["spend_shares"].group_by("spend_id").agg(shared=pl.col("amount_micros").sum())
    wrong = (
        tables["spend"]
        .join(sums, left_on="event_id", right_on="spend_id", how="left")
        .filter(pl.col("allocated_micros").fill_null(0) != pl.col("shared").fill_null(0))
    )
    return wrong["event_id"].sort()


LAWS: dict[str, Law] = {
    "credits_sum_to_conversion": _credits_sum_to_conversion,
    "credits_name_a_conversion": lambda t, _: _missing(
        t, "credit_sums", "conversion_id", "conversions", "conversion_id"
    ),
    "conversions_credited_by_every_model": _conversions_credited_by_every_model,
    "channel_credits_sum_to_conversions": _channel_credits_sum_to_conversions,
    "conversions_net_is_amount_less_refunds": _conversions_net,
    "conversions_are_touchpoints_that_book": _conversions_are_touchpoints_that_book,
    "touchpoints_have_journeys": lambda t, _: _missing(
        t, "touchpoints", "customer_id", "journeys", "customer_id"
    ),
    "touchpoints_have_accounts": lambda t, _: _missing(
        t, "touchpoints", "account_id", "accounts", "account_id"
    ),
    "journeys_count_their_conversions": _journeys_count_their_conversions,
    "money_is_the_conversions": _money_is_the_conversions,
    "stage_entries_go_forward": _stage_entries_go_forward,
    "stage_entries_have_journeys": lambda t, _: _missing(
        t, "stage_entries", "customer_id", "journeys", "customer_id"
    ),
    "ledger_has_one_owner": _ledger_has_one_owner,
    "shares_sum_to_allocated": _shares_sum_to_allocated,
    "shares_name_spend_and_touch": lambda t, _: pl.concat(
        [
            _missing(t, "spend_shares", "spend_id", "spend", "event_id"),
            _missing(t, "spend_shares", "touch_id", "touchpoints", "event_id"),
        ]
    ),
    "aliases_lead_to_customers": lambda t, _: _missing(
        t, "customer_aliases", "customer_id", "identities", "customer_id"
    ),
}
