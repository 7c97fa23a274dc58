"""The lists beside the happenings: spend, exposures, campaigns, companies, matches, consents, erasures."""

from __future__ import annotations

import numpy as np
import polars as pl

from milepost.simulate.delivery import stamp
from milepost.simulate.world import DAY, END, HOUR, START, Integers, World

#: Channels with campaigns, their share of the budget, and the days between two rows of spend (0: none of their own).
BUDGET: dict[str, tuple[float, int]] = {
    "display": (0.16, 1),
    "social": (0.14, 1),
    "video": (0.08, 1),
    "paid_search": (0.20, 1),
    "email": (0.03, 7),
    "direct_mail": (0.07, 7),
    "telephone": (0.05, 7),
    "webinar": (0.03, 7),
    "event": (0.08, 7),
    "content": (0.03, 7),
    "print": (0.04, 7),
    "radio": (0.04, 7),
    "outdoor": (0.05, 7),
    "promotion": (0.0, 0),
}
#: Money for marketing in all years, in cents per customer.
CENTS_PER_CUSTOMER = 1_800
REACHED_PER_CUSTOMER = {"print": 0.20, "radio": 0.35, "outdoor": 0.50, "television": 0.80}
RESTATED_SHARE = 0.03
PROMISES = {
    "display": "works from the first day",
    "video": "effortless for everybody",
    "social": "people like you use it",
    "paid_search": "the best price",
    "email": "made for your needs",
}
SEGMENTS = ("industry", "trade", "health", "public", "software")


def _campaign_days(step: int) -> pl.DataFrame:
    """Give `at` (second) and `quarter` (`2018q1`) of every step-th day of all years."""
    days = pl.DataFrame({"at": np.arange(START, END, step * DAY)})
    when = pl.from_epoch("at", time_unit="s")
    return days.with_columns(pl.format("{}q{}", when.dt.year(), when.dt.quarter()).alias("quarter"))


def spend(world: World, rng: np.random.Generator) -> pl.DataFrame:
    """Give what campaigns cost by day, with some rows restated later and some that belong to no campaign."""
    parts = []
    for channel, (share, step) in BUDGET.items():
        if step:
            days = _campaign_days(step)
            cents = (
                CENTS_PER_CUSTOMER * world.size * share / days.height * rng.lognormal(0, 0.35, days.height)
            )
            parts.append(
                days.select(
                    pl.lit(channel).alias("channel"),
                    pl.format(channel + "-{}", "quarter").alias("campaign"),
                    "at",
                    pl.Series("cents", np.round(cents).astype(np.int64)),
                )
            )
    rows = pl.concat(parts)
    # One in fifty is spent on the brand and on no campaign: it stays unallocated.
    rows = rows.with_columns(
        pl.when(pl.Series(rng.random(rows.height) >= 0.02)).then("campaign").alias("campaign"),
        (pl.col("at") + DAY + HOUR).alias("updated"),
    )
    restated = rows.filter(pl.Series(rng.random(rows.height) < RESTATED_SHARE)).with_columns(
        (pl.col("cents") * 9 // 10).alias("cents"), (pl.col("updated") + 20 * DAY).alias("updated")
    )
    everything = pl.concat([rows, restated])
    return (
        everything[rng.permutation(everything.height)]
        .select(
            "campaign",
            "channel",
            stamp("at", "%Y-%m-%d").alias("day"),
            pl.format(
                "{}.{}", pl.col("cents") // 100, (pl.col("cents") % 100).cast(pl.String).str.zfill(2)
            ).alias("cost"),
            pl.lit("EUR").alias("currency"),
            stamp("updated").alias("updated_at"),
            (pl.col("updated") + HOUR).alias("received"),
        )
        .with_columns(stamp("received").alias("exported_at"))
    )


def exposures(world: World, rng: np.random.Generator) -> pl.DataFrame:
    """Give how many people the media without clicks reached, by week."""
    days = _campaign_days(7)
    parts = [
        days.select(
            pl.format(channel + "-{}", "quarter").alias("campaign")
            if channel in BUDGET
            else pl.lit(None, dtype=pl.String).alias("campaign"),
            pl.lit(channel).alias("medium"),
            stamp("at", "%Y-%m-%d").alias("day"),
            pl.Series("contacts", rng.poisson(world.size * share, days.height)),
            stamp("at").alias("reported_at"),
            pl.col("at").alias("received"),
        )
        for channel, share in REACHED_PER_CUSTOMER.items()
    ]
    return pl.concat(parts)


def campaigns() -> pl.DataFrame:
    """Give the campaigns: one per channel and quarter."""
    quarters = (
        _campaign_days(1)
        .group_by("quarter")
        .agg(pl.col("at").min().alias("first"), pl.col("at").max().alias("last"))
    )
    parts = [
        quarters.sort("quarter").select(
            pl.format(channel + "-{}", "quarter").alias("campaign_code"),
            pl.format(
                "{} {}", pl.lit(channel.replace("_", " ").capitalize()), pl.col("quarter").str.to_uppercase()
            ).alias("title"),
            pl.lit(channel).alias("channel"),
            pl.lit(PROMISES.get(channel)).cast(pl.String).alias("promise"),
            stamp("first", "%Y-%m-%d").alias("first_day"),
            stamp("last", "%Y-%m-%d").alias("last_day"),
            stamp("first").alias("planned_at"),
            pl.col("first").alias("received"),
        )
        for channel in BUDGET
    ]
    return pl.concat(parts)


def accounts(world: World, rng: np.random.Generator) -> pl.DataFrame:
    """Give the companies' names and segments."""
    rows = pl.DataFrame({"n": np.arange(world.accounts), "at": world.account_reached[1]})
    return rows.select(
        pl.format("A-{}", "n").alias("account_id"),
        pl.format("Company {}", "n").alias("account_name"),
        pl.Series("segment", SEGMENTS).gather(rng.integers(0, len(SEGMENTS), rows.height)).alias("segment"),
        stamp("at").alias("created_at"),
        stamp("at").alias("synced_at"),
        pl.col("at").alias("received"),
    )


def matches(world: World, rng: np.random.Generator) -> pl.DataFrame:
    """Give matches of CRM contacts with users, some wrong: `person`, `other` (whose user it is), texts and seconds."""
    has_both = (
        world.identifiers["crm_contact"].is_not_null() & world.identifiers["user"].is_not_null()
    ).to_numpy() & (world.signed_up_at < END - 60 * DAY)
    people = np.flatnonzero(has_both)
    people = people[rng.random(len(people)) < 0.3]
    wrong = rng.random(len(people)) < 0.02
    # A wrong match names the next one's user.
    other = np.where(wrong, np.roll(people, 1), people)
    wrong &= other != people
    at = np.minimum(
        np.maximum(world.signed_up_at[people], world.signed_up_at[other]) + 20 * DAY, END - 2 * DAY
    )
    return pl.DataFrame(
        {
            "match_id": np.arange(len(people)) + 1,
            "contact_id": world.identifiers["crm_contact"][pl.Series(people)] if len(people) else [],
            "user_id": world.identifiers["user"][pl.Series(other)] if len(people) else [],
            "person": people,
            "wrong": wrong,
            "checked": pl.Series(np.where(rng.random(len(people)) < 0.2, "yes", "no")) if len(people) else [],
            "at": at,
        },
        schema_overrides={"contact_id": pl.String, "user_id": pl.String, "checked": pl.String},
    ).with_columns(pl.when("wrong").then(pl.lit("no")).otherwise("checked").alias("checked"))


def privacy(world: World, rng: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame, Integers]:
    """Give consents, erasure requests, and by person the second of its erasure (a huge number: never)."""
    reachable = world.identifiers["email"].is_not_null().to_numpy() & (world.signed_up_at < END - 60 * DAY)
    people = np.flatnonzero(reachable)
    email = world.identifiers["email"]
    never = np.iinfo(np.int64).max
    erased_at = np.full(world.size, never, dtype=np.int64)
    leaving = people[rng.random(len(people)) < max(0.004, min(0.5, 6 / max(1, len(people))))]
    erased_at[leaving] = rng.integers(world.signed_up_at[leaving] + 30 * DAY, END) if len(leaving) else never
    # One in five says it with the tick box of the consent form.
    by_consent = np.zeros(world.size, dtype=np.bool_)
    by_consent[leaving[::5]] = True

    agreed = people[rng.random(len(people)) < 0.3]
    objecting = people[(rng.random(len(people)) < 0.02) & (erased_at[people] == never)]
    answers = pl.concat(
        [
            pl.DataFrame({"person": agreed, "at": world.signed_up_at[agreed]}).with_columns(
                pl.lit("yes").alias("answer"), pl.lit("no").alias("erase_me")
            ),
            pl.DataFrame(
                {"person": objecting, "at": np.minimum(world.signed_up_at[objecting] + 90 * DAY, END - DAY)}
            ).with_columns(pl.lit("no").alias("answer"), pl.lit("no").alias("erase_me")),
            pl.DataFrame(
                {"person": np.flatnonzero(by_consent), "at": erased_at[np.flatnonzero(by_consent)]}
            ).with_columns(pl.lit("no").alias("answer"), pl.lit("yes").alias("erase_me")),
        ]
    )
    consents = answers.select(
        pl.int_range(1, pl.len() + 1).alias("consent_id"),
        email.gather(answers["person"]).alias("address"),
        pl.lit("analytics").alias("purpose"),
        "answer",
        "erase_me",
        stamp("at").alias("answered_at"),
        stamp("at").alias("recorded_at"),
        pl.col("at").alias("received"),
    )
    asked = leaving[~by_consent[leaving]]
    requests = pl.DataFrame({"person": asked, "at": erased_at[asked]}).select(
        pl.int_range(1, pl.len() + 1).alias("request_id"),
        email.gather(pl.Series(asked, dtype=pl.Int64)).alias("address"),
        pl.lit("asked by letter").alias("ground"),
        stamp("at").alias("requested_at"),
        stamp("at").alias("recorded_at"),
        pl.col("at").alias("received"),
    )
    return consents, requests, erased_at
