"""Markov's removal effect and Shapley's value, worked by hand."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal
from fractions import Fraction

import polars as pl
import pytest

from milepost.path_models import NO_TOUCH, PATH_SEPARATOR, add_up, channel_credits
from milepost.rules import Rules
from schemas.tables import load_tables
from tests.reference.path_models import removal_effects

SCHEMA = {"currency": pl.String, "path": pl.String, "conversions": pl.Int64, "amount_micros": pl.Int64}


def credits_of(model: str, *paths: tuple[str | None, str, int, int]) -> dict[str, tuple[str, int]]:
    table = channel_credits(pl.DataFrame(paths, schema=SCHEMA, orient="row"), Rules(models=(model,)))
    assert table.schema == load_tables()["channel_credits"].polars_schema
    assert set(table["model"]) <= {model}
    assert set(table["currency"]) <= {"EUR"}
    rows = table.select("channel", "credit", "amount_micros").rows()
    return {channel: (str(credit.normalize()), amount) for channel, credit, amount in rows}


def test_shapley_shares_each_path_over_its_distinct_channels() -> None:
    # The first is shared by two: 1 and 5 each; the second is email's alone: 3 and 1; b has nothing else.
    credited = credits_of("shapley", ("EUR", "email > social > email", 2, 10), ("EUR", "email > email", 3, 1))
    assert credited == {"email": ("4", 6), "social": ("1", 5)}


def test_shapley_rounds_by_largest_remainder_with_ties_to_the_smaller_name() -> None:
    credited = credits_of("shapley", ("EUR", "c > a > b", 1, 2))
    assert credited == {
        "a": ("0.333333333334", 1),
        "b": ("0.333333333333", 1),
        "c": ("0.333333333333", 0),
    }


def test_markov_shares_by_what_removal_loses() -> None:
    # start → a (2 of 3), b (1 of 3); a → b (1 of 2), conversion (1 of 2); b → conversion (1 of 2), null (1 of 2).
    # P = 2/3. Without a: b alone, 1/3 · 1/2 = 1/6, effect 3/4. Without b: 2/3 · 1/2 = 1/3, effect 1/2. Shares 3/5, 2/5.
    credited = credits_of("markov", ("EUR", "a", 1, 10), ("EUR", "a > b", 1, 11), (None, "b", 1, 0))
    assert credited == {"a": ("1.2", 13), "b": ("0.8", 8)}


def test_markov_keeps_repeated_channels() -> None:
    # a a → conversion and b → conversion: each is half of what starts, and removing either loses that half.
    assert credits_of("markov", ("EUR", "a > a", 1, 1), ("EUR", "b", 1, 2)) == {"a": ("1", 2), "b": ("1", 1)}


def test_markov_credits_channels_of_failed_paths_that_lead_to_others() -> None:
    # c leads to a, and a converts one time in two, so c has an effect; d leads nowhere and has no row.
    # Counts: start → a 1, c 1, d 1; c → a; a → conversion 1, null 1. P = 1/3; without a 0, effect 1;
    # without c 1/3 · 1/2 = 1/6, effect 1/2. Shares 2/3, 1/3.
    credited = credits_of("markov", ("EUR", "a", 3, 9), (None, "c > a", 3, 0), (None, "d", 3, 0))
    assert credited == {"a": ("2.000000000001", 6), "c": ("0.999999999999", 3)}


@pytest.mark.parametrize("model", ["markov", "shapley"])
def test_conversions_without_a_touch_go_to_nobody(model: str) -> None:
    assert credits_of(model, ("EUR", "", 2, 7), ("EUR", "a", 1, 5)) == {NO_TOUCH: ("2", 7), "a": ("1", 5)}
    assert credits_of(model, ("EUR", "", 2, 7), (None, "a", 1, 0)) == {NO_TOUCH: ("2", 7)}


@pytest.mark.parametrize("model", ["markov", "shapley"])
def test_nothing_converted(model: str) -> None:
    assert credits_of(model, (None, "a > b", 4, 0)) == {}
    assert credits_of(model) == {}


@pytest.mark.parametrize("model", ["markov", "shapley"])
def test_rows_of_one_path_add_up_and_money_of_0_is_shared(model: str) -> None:
    once = credits_of(model, ("EUR", "a > b", 3, 0), (None, "b", 1, 0))
    assert once == credits_of(model, ("EUR", "a > b", 1, 0), ("EUR", "a > b", 2, 0), (None, "b", 1, 0))
    assert sum(amount for _, amount in once.values()) == 0


def test_models_that_are_not_asked_for_are_left_out() -> None:
    paths = pl.DataFrame([("EUR", "a", 1, 1), ("USD", "", 1, 1)], schema=SCHEMA, orient="row")
    assert channel_credits(paths, Rules(models=("linear",))).is_empty()
    table = channel_credits(paths, Rules())
    assert table.select("model", "currency", "channel").rows() == [
        ("markov", "EUR", "a"),
        ("markov", "USD", NO_TOUCH),
        ("shapley", "EUR", "a"),
        ("shapley", "USD", NO_TOUCH),
    ]


def test_currencies_are_chains_of_their_own_with_all_failures() -> None:
    paths = [("EUR", "a > b", 2, 5), (None, "b > a", 3, 0), ("EUR", "a", 1, 1)]
    alone = channel_credits(pl.DataFrame(paths, schema=SCHEMA, orient="row"), Rules())
    other = [("USD", "b > c", 4, 100)]
    both = channel_credits(pl.DataFrame([*paths, *other], schema=SCHEMA, orient="row"), Rules())
    assert both.filter(currency="EUR").equals(alone)


def test_one_inverse_gives_the_removal_effects_of_separate_solutions() -> None:
    """The reference solves one chain for each channel removed, exactly."""
    chance = random.Random(7)
    channels = [f"channel{number:02}" for number in range(12)]
    for _ in range(8):
        paths = [tuple(chance.choices(channels, k=chance.randint(1, 7))) for _ in range(40)]
        successes, failures = paths[:25], paths[25:]
        counts = Counter([("EUR", path) for path in successes] + [(None, path) for path in failures])
        rows = [(currency, PATH_SEPARATOR.join(path), count, 0) for (currency, path), count in counts.items()]
        credited = channel_credits(pl.DataFrame(rows, schema=SCHEMA, orient="row"), Rules(models=("markov",)))
        effects = removal_effects(successes, failures)
        total = sum(effects.values())
        for channel, credit in credited.select("channel", "credit").rows():
            # The shares are rounded to 12 decimals before 25 conversions are split by them.
            assert abs(Fraction(credit) - 25 * effects[channel] / total) < Fraction(26, 10**12)


@pytest.mark.parametrize("model", ["markov", "shapley"])
def test_credits_and_money_are_conserved(model: str) -> None:
    chance = random.Random(3)
    channels = [f"channel{number}" for number in range(30)]
    rows = [
        (
            chance.choice(["EUR", "USD", None]),
            PATH_SEPARATOR.join(chance.choices(channels, k=chance.randint(1, 9))),
            chance.randint(1, 1000),
            chance.randint(0, 10**12),
        )
        for _ in range(500)
    ]
    paths = pl.DataFrame([*rows, ("EUR", "", 17, 23)], schema=SCHEMA, orient="row")
    totals = (
        paths.drop_nulls("currency").group_by("currency").agg(pl.col("conversions", "amount_micros").sum())
    )
    credited = channel_credits(paths, Rules(models=(model,)))
    sums = credited.group_by("currency").agg(pl.col("credit", "amount_micros").sum())
    assert {row[0]: row[1:] for row in sums.rows()} == {
        currency: (Decimal(count), amount) for currency, count, amount in totals.rows()
    }


def test_the_order_of_rows_does_not_matter() -> None:
    rows = [("EUR", "a > b > c", 3, 10), ("EUR", "c", 1, 7), (None, "b > c", 2, 0), ("USD", "b", 1, 1)]
    tables = [
        channel_credits(pl.DataFrame(order, schema=SCHEMA, orient="row"), Rules())
        for order in (rows, rows[::-1])
    ]
    assert tables[0].equals(tables[1])


def test_a_credit_beyond_the_column_is_no_silent_error() -> None:
    paths = pl.DataFrame([("EUR", "a", 10**30, 1)], schema={**SCHEMA, "conversions": pl.Int128}, orient="row")
    with pytest.raises(OverflowError, match="channel_credits"):
        channel_credits(paths, Rules())


@pytest.mark.parametrize("seed", range(20))
def test_counts_that_are_added_up_say_the_same_as_the_paths(seed: int) -> None:
    chance = random.Random(seed)
    paths = [
        (
            currency,
            PATH_SEPARATOR.join(chance.choices("abcd", k=chance.randrange(5))),
            1 + chance.randrange(3),
            7,
        )
        for currency in chance.choices(["EUR", "USD", None], k=30)
    ]
    paths = [path for path in paths if path[0] is not None or path[1]]
    everything = pl.DataFrame(paths, schema=SCHEMA, orient="row")
    gone = everything.sample(10, seed=seed)
    left = everything.join(gone, on=list(SCHEMA), how="anti", nulls_equal=True)
    less = everything.join(gone, on=list(SCHEMA), how="semi", nulls_equal=True).with_columns(
        -pl.col("conversions"), -pl.col("amount_micros")
    )
    remaining = add_up(pl.concat([add_up(everything), less]))
    assert remaining.equals(add_up(left))
    assert add_up(remaining).equals(remaining)
    for counts in (everything, left):
        assert channel_credits(add_up(counts), Rules()).equals(channel_credits(counts, Rules()))
