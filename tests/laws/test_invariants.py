"""Law 3 and what holds by construction: money, one owner at any instant, ids that are found for ever."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from decimal import Decimal
from functools import lru_cache
from typing import Any

import pytest

from milepost.rules import PATH_MODELS, PER_CONVERSION_MODELS, Rules
from tests.conftest import LAW_RUNS
from tests.laws.comparison import heart
from tests.reference import Tables
from tests.strategies import VOCABULARY, Row, hostile_facts, hostile_rules

RUNS = range(3000, 3000 + LAW_RUNS // 4)


def rules_of(seed: int) -> Rules:
    """Hostile settings with all models."""
    return hostile_rules(seed).model_copy(update={"models": Rules().models})


@lru_cache(maxsize=2)
def tables_of(seed: int) -> Tables:
    return heart(hostile_facts(seed, size=250), rules_of(seed))


def summed(rows: list[Row], by: tuple[str, ...], *columns: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    totals: dict[tuple[Any, ...], list[Any]] = defaultdict(lambda: [0] * len(columns))
    for row in rows:
        total = totals[tuple(row[name] for name in by)]
        for place, column in enumerate(columns):
            total[place] += row[column]
    return {key: tuple(total) for key, total in totals.items()}


@pytest.mark.parametrize("seed", RUNS)
def test_credits_sum_to_the_conversion(seed: int) -> None:
    tables = tables_of(seed)
    expected = {
        (row["conversion_id"], model, row["currency"]): (Decimal(1), row["amount_micros"], row["net_micros"])
        for row in tables["conversions"]
        for model in PER_CONVERSION_MODELS
    }
    by = ("conversion_id", "model", "currency")
    assert summed(tables["credits"], by, "credit", "amount_micros", "net_micros") == expected


@pytest.mark.parametrize("seed", RUNS)
def test_channel_credits_sum_to_all_conversions(seed: int) -> None:
    tables = tables_of(seed)
    conversions = [row | {"one": Decimal(1)} for row in tables["conversions"]]
    for model in PATH_MODELS:
        found = [row for row in tables["channel_credits"] if row["model"] == model]
        assert summed(found, ("currency",), "credit", "amount_micros") == summed(
            conversions, ("currency",), "one", "amount_micros"
        )


@pytest.mark.parametrize("seed", RUNS)
def test_net_is_what_refunds_leave_and_no_refund_is_lost(seed: int) -> None:
    tables = tables_of(seed)
    for row in tables["conversions"]:
        assert 0 <= row["refunded_micros"] <= row["amount_micros"]
        assert row["net_micros"] == row["amount_micros"] - row["refunded_micros"]
    refunds = [
        row
        for row in tables["touchpoints"]
        if VOCABULARY.kinds[row["kind"]].amount == "refunded" and row["amount_micros"]
    ]
    asked = sum(row["amount_micros"] for row in refunds)
    taken = sum(row["refunded_micros"] for row in tables["conversions"])
    assert asked == taken + sum(row["unmatched_micros"] for row in tables["unmatched_refunds"])


@pytest.mark.parametrize("seed", RUNS)
def test_spend_is_shared_exactly_or_shown_unallocated(seed: int) -> None:
    tables = tables_of(seed)
    shares = summed(tables["spend_shares"], ("spend_id",), "amount_micros")
    for row in tables["spend"]:
        assert row["allocated_micros"] in (0, row["amount_micros"])
        assert shares.get((row["event_id"],), (0,)) == (row["allocated_micros"],)


@pytest.mark.parametrize("seed", RUNS)
def test_money_of_customers_and_accounts_is_that_of_their_conversions(seed: int) -> None:
    tables = tables_of(seed)
    of_customers = [row for row in tables["conversions"] if row["customer_id"] is not None]
    for measure, column in (("booked", "amount_micros"), ("net", "net_micros")):
        found = [
            row for row in tables["money"] if (row["subject_type"], row["measure"]) == ("customer", measure)
        ]
        assert summed(found, ("subject_id", "currency"), "amount_micros") == summed(
            of_customers, ("customer_id", "currency"), column
        )
    for name in ("journeys", "accounts"):
        key = "customer" if name == "journeys" else "account"
        booked = {
            (row["subject_id"], row["currency"]): row["amount_micros"]
            for row in tables["money"]
            if (row["subject_type"], row["measure"]) == (key, "booked")
        }
        for row in tables[name]:
            own = {currency: amount for (who, currency), amount in booked.items() if who == row[f"{key}_id"]}
            assert len(own) == row["currencies"]
            assert row["booked_micros"] == (own[row["currency"]] if len(own) == 1 else None)


@pytest.mark.parametrize("seed", RUNS)
def test_the_ledger_has_one_owner_at_any_instant(seed: int) -> None:
    tables = tables_of(seed)
    stages = [*VOCABULARY.stages, None]
    order = {
        row["event_id"]: (row["occurred_at"], stages.index(row["stage"]), row["event_id"])
        for row in tables["touchpoints"]
    }
    ledgers = defaultdict(list)
    for row in sorted(tables["handovers"], key=lambda row: order[row["handover_id"]]):
        ledgers[row["subject_type"], row["subject_id"]].append(row)
    for ledger in ledgers.values():
        state = "marketing"
        for row in ledger:
            assert (row["status"] == "ignored") == (row["ignored_reason"] is not None)
            if row["status"] == "ignored":
                assert row["state"] == state
            else:
                assert row["state"] != state
            state = row["state"]
            assert row["owner_team"] == ("sales" if state == "sales" else "marketing")


@pytest.mark.parametrize("seed", RUNS)
def test_every_id_that_an_identifier_gives_is_found(seed: int) -> None:
    tables = tables_of(seed)
    aliases = {row["old_customer_id"]: row["customer_id"] for row in tables["customer_aliases"]}
    current = {row["customer_id"] for row in tables["identities"]}
    for row in tables["identities"]:
        name = f"{row['namespace']}:{row['value']}"
        own = hashlib.sha256(name.encode()).hexdigest()[:32]
        assert aliases.get(own, own) == row["customer_id"]
    assert set(aliases.values()) <= current
    assert not set(aliases) & current
    assert {row["customer_id"] for row in tables["journeys"]} <= current


@pytest.mark.parametrize("seed", RUNS)
def test_no_customer_holds_two_values_of_a_unique_namespace(seed: int) -> None:
    held = defaultdict(list)
    for row in tables_of(seed)["identities"]:
        if VOCABULARY.namespaces[row["namespace"]].unique:
            held[row["customer_id"], row["namespace"]].append(row["value"])
    assert all(len(values) == 1 for values in held.values())
