"""What happens to consumers who buy: orders, refunds, subscriptions, usage, tickets, satisfaction, growth."""

from __future__ import annotations

import numpy as np
import polars as pl

from milepost.simulate.ledger import Ledger, pick, poisson_times
from milepost.simulate.world import CONVERSION, CURRENCIES, DAY, END, HOUR, Integers, World

PRODUCTS = ("kettle", "grinder", "beans", "filters", "scale", "cups", "machine", "descaler", "tray", "timer")
TICKET_REASONS = ("delivery", "invoice", "defect", "how to", "account")
LEAVING_REASONS = ("price", "not used", "other provider", "quality")


def currency_of(world: World, people: Integers) -> pl.Series:
    """Give the currency in which each of the people pays."""
    return pl.Series(CURRENCIES, dtype=pl.String).gather(world.currency[people])


def baskets(rng: np.random.Generator, count: int) -> pl.Series:
    """Draw one or two products for each of so many orders, as text with semicolons."""
    names = pl.Series(PRODUCTS, dtype=pl.String)
    one = rng.integers(0, len(PRODUCTS), count)
    two = (one + rng.integers(1, len(PRODUCTS), count)) % len(PRODUCTS)
    pairs = pl.DataFrame(
        {"one": names.gather(one), "two": names.gather(two), "both": rng.random(count) < 0.35}
    )
    both = pl.format("{};{}", pl.col("one"), pl.col("two"))
    return pairs.select(pl.when("both").then(both).otherwise(pl.col("one"))).to_series()


def numbered(prefix: str, count: int) -> pl.Series:
    """Give ids: the prefix with 1, 2, and so on."""
    return pl.select(pl.format(prefix + "{}", pl.int_range(1, count + 1))).to_series()


def buy(world: World, rng: np.random.Generator, ledger: Ledger) -> None:
    """Write down the orders of consumers, how some are paid by invoice, and refunds."""
    buyers = np.flatnonzero(~world.business & (world.level == CONVERSION))
    start = world.reached[CONVERSION][buyers]
    loyalty = np.where(world.disappointed[buyers], 200 * DAY, 600 * DAY)
    stop = np.minimum(start + rng.exponential(loyalty).astype(np.int64), END)
    again, again_at = poisson_times(rng, buyers, start + DAY, stop, 2.2)
    person, at = np.concatenate([buyers, again]), np.concatenate([start, again_at])
    count = len(person)
    cents = np.round(np.exp(rng.normal(8.3, 0.7, count))).astype(np.int64)
    cents[rng.random(count) < 0.003] = 0
    order = numbered("SO-", count)
    currency = currency_of(world, person)
    has_card = world.identifiers["loyalty_card"].is_not_null().to_numpy()[person]
    in_store = has_card & (rng.random(count) < 0.5)
    ledger.add(
        "order",
        person,
        at,
        amount=cents,
        currency=currency,
        deal=order,
        products=baskets(rng, count),
        where=pl.Series(np.where(in_store, "shop", "online")),
    )
    invoiced = np.flatnonzero(~in_store & (rng.random(count) < 0.25))
    ledger.add(
        "payment",
        person[invoiced],
        at[invoiced] + rng.integers(DAY, 30 * DAY, len(invoiced)),
        amount=cents[invoiced],
        currency=currency.gather(invoiced),
        deal=order.gather(invoiced),
    )
    returned = np.flatnonzero(
        (cents > 0) & (rng.random(count) < np.where(world.disappointed[person], 0.08, 0.03))
    )
    part = np.where(rng.random(len(returned)) < 0.6, 1.0, rng.uniform(0.2, 0.9, len(returned)))
    # Now and then somebody pays back more than was paid: such a rest must show up, not vanish.
    part[rng.random(len(returned)) < 0.01] = 1.5
    ledger.add(
        "refund",
        person[returned],
        at[returned] + rng.integers(2 * DAY, 40 * DAY, len(returned)),
        amount=np.maximum(1, (cents[returned] * part).astype(np.int64)),
        currency=currency.gather(returned),
        deal=order.gather(returned),
        reason=pick(rng, ("did not fit", "broken", "too late", "changed my mind"), len(returned)),
    )


def subscribe(world: World, rng: np.random.Generator, ledger: Ledger) -> None:
    """Write down consumers' subscriptions: start, renewals each quarter, and who leaves."""
    buyers = np.flatnonzero(~world.business & (world.level == CONVERSION))
    people = buyers[rng.random(len(buyers)) < 0.15]
    start = world.reached[CONVERSION][people] + rng.integers(HOUR, 40 * DAY, len(people))
    quarters = rng.geometric(np.where(world.disappointed[people], 0.25, 0.10))
    ids, currency = numbered("SUB-C", len(people)), currency_of(world, people)
    cents = rng.choice([990, 1990, 2990], len(people))
    common = {"currency": currency, "subscription": ids, "amount": pl.Series(cents)}
    ledger.add("subscription_started", people, start, products="box", deal=ids, **common)
    repeats = np.minimum(quarters - 1, 24)
    which = np.repeat(np.arange(len(people)), repeats)
    number = np.arange(len(which)) - np.repeat(np.cumsum(repeats) - repeats, repeats) + 1
    ledger.add(
        "subscription_renewed",
        people[which],
        start[which] + number * 91 * DAY,
        products="box",
        deal=ids.gather(which),
        booking_number=number,
        **{name: values.gather(which) for name, values in common.items()},
    )
    leave = start + quarters * 91 * DAY
    ledger.add(
        "subscription_cancelled",
        people,
        leave,
        subscription=ids,
        reason=pick(rng, LEAVING_REASONS, len(people)),
    )


def live_with_it(world: World, rng: np.random.Generator, ledger: Ledger) -> None:
    """Write down usage, onboarding, tickets, satisfaction, reviews and referrals of everybody who owns something."""
    owners = np.flatnonzero(world.level == CONVERSION)
    start = world.reached[CONVERSION][owners]
    stop = np.minimum(start + 700 * DAY, END)
    business = world.business[owners]
    named = np.flatnonzero(world.signed_up_at[owners] < END)

    for step in ("invited", "configured", "trained"):
        who = owners[business & (rng.random(len(owners)) < 0.6)]
        ledger.add(
            "onboarding_step",
            who,
            world.reached[CONVERSION][who] + rng.integers(DAY, 60 * DAY, len(who)),
            content=step,
            account=world.account[who],
        )
    person, at = poisson_times(rng, owners[named], start[named] + HOUR, stop[named], 4.0)
    ledger.add("product_usage", person, at, content=pick(rng, ("dashboard", "report", "export"), len(person)))

    unhappy = world.disappointed[owners]
    for group, mean in ((unhappy, 1.2), (~unhappy, 0.5)):
        person, at = poisson_times(rng, owners[group], start[group] + DAY, stop[group], mean)
        reason = pick(rng, TICKET_REASONS, len(person))
        # A ticket's four touches share its number, which the desk puts into the subject.
        subject = pick(rng, ("#urgent", "#normal", "#question"), len(person))
        answered = at + rng.integers(HOUR // 4, 2 * DAY, len(at))
        resolved = answered + rng.integers(HOUR, 9 * DAY, len(at))
        ledger.add("ticket_opened", person, at, reason=reason, content=subject)
        ledger.add("ticket_answered", person, answered, reason=reason, content=subject)
        ledger.add("ticket_resolved", person, resolved, reason=reason, content=subject)
        rated = np.flatnonzero(rng.random(len(person)) < 0.35)
        stars = rng.integers(1, 6, len(rated)) - world.disappointed[person[rated]]
        ledger.add(
            "ticket_rated",
            person[rated],
            resolved[rated] + rng.integers(HOUR, 3 * DAY, len(rated)),
            score=np.clip(stars, 1, 5) * 20,
            reason=reason.gather(rated),
        )
    person, at = poisson_times(rng, owners, start + 14 * DAY, stop, 0.7)
    points = np.clip(np.round(rng.normal(8.2 - 2.3 * world.disappointed[person], 1.6)), 0, 10).astype(
        np.int64
    )
    ledger.add("satisfaction_score", person, at, score=points * 10)
    writers = owners[~business]
    person, at = poisson_times(rng, writers, start[~business] + 7 * DAY, stop[~business], 0.12)
    ledger.add("review_written", person, at, score=np.clip(rng.integers(2, 6, len(person)), 1, 5) * 20)
    person, at = poisson_times(rng, owners, start + 60 * DAY, stop, 0.06)
    ledger.add("referral", person, at, content="recommended us")
