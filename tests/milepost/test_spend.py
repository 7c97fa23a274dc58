"""Spend shared over touches, and reporting amounts."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from milepost.rules import Rules
from milepost.spend import share_spend, spend_table
from schemas.contracts import empty_facts, frame_schema
from schemas.tables import load_tables
from tests.milepost.sales_side import VOCABULARY, at, rows_of, timeline, touch

DAY = date(2024, 1, 2)


def spends(*rows: dict[str, Any]) -> pl.DataFrame:
    usual = {"source": "ads", "channel": "display", "day": DAY, "currency": "EUR", "raw_ids": []}
    full = [
        {"event_id": f"spend{place}", "campaign_id": "spring", **usual, **row}
        for place, row in enumerate(rows)
    ]
    schema = frame_schema("spend")
    return pl.DataFrame(
        [{name: row.get(name) for name in schema} for row in full], schema=schema, orient="row"
    )


def clicks(*ids: str, **said: Any) -> list[dict[str, Any]]:
    return [touch(name, "ad_click_display", at(2), **{"campaign_id": "spring", **said}) for name in ids]


def shares_of(*rows: dict[str, Any], touches: list[dict[str, Any]]) -> dict[tuple[str, str], int]:
    shares = share_spend(spends(*rows), timeline(*touches), VOCABULARY)
    return {
        (spend, reached): amount
        for spend, reached, amount in rows_of(shares, "spend_id", "touch_id", "amount_micros")
    }


def test_left_over_micros_go_to_the_smallest_event_ids() -> None:
    shares = shares_of({"amount_micros": 11}, touches=clicks("c", "a", "b"))
    assert shares == {("spend0", "a"): 4, ("spend0", "b"): 4, ("spend0", "c"): 3}


def test_shares_of_nothing_are_rows() -> None:
    assert shares_of({"amount_micros": 1}, touches=clicks("a", "b")) == {
        ("spend0", "a"): 1,
        ("spend0", "b"): 0,
    }


def test_several_spends_of_a_campaign_and_day_are_shared_each() -> None:
    shares = shares_of(
        {"amount_micros": 4}, {"amount_micros": 3, "currency": "USD"}, touches=clicks("a", "b")
    )
    assert shares == {("spend0", "a"): 2, ("spend0", "b"): 2, ("spend1", "a"): 2, ("spend1", "b"): 1}


@pytest.mark.parametrize(
    "beside",
    [
        touch("x", "ad_click_display", at(2), campaign_id="autumn"),
        touch("x", "ad_click_display", at(2), campaign_id=None),
        touch("x", "identify", at(2), campaign_id="spring"),
        touch("x", "ad_click_display", at(3, 0), campaign_id="spring"),
        touch(
            "x",
            "ad_click_display",
            datetime(2024, 1, 1, 23, 59, 59, 999_999, tzinfo=UTC),
            campaign_id="spring",
        ),
    ],
    ids=["other campaign", "no campaign", "only links", "day after", "day before"],
)
def test_other_touches_take_no_share(beside: dict[str, Any]) -> None:
    assert shares_of({"amount_micros": 5}, touches=[*clicks("a"), beside]) == {("spend0", "a"): 5}


def test_touches_of_shared_customers_take_a_share() -> None:
    shares = shares_of({"amount_micros": 4}, touches=[*clicks("a"), *clicks("b", shared=True)])
    assert shares == {("spend0", "a"): 2, ("spend0", "b"): 2}


def test_what_reaches_nobody_stays_unallocated() -> None:
    facts = spends(
        {"amount_micros": 5},
        {"amount_micros": 7, "campaign_id": None},
        {"amount_micros": 9, "day": at(9).date()},
    )
    shares = share_spend(facts, timeline(*clicks("a")), VOCABULARY)
    table = spend_table(facts, shares, Rules()).table
    assert sorted(
        rows_of(table, "event_id", "allocated_micros", "reporting_micros", "reporting_currency")
    ) == [
        ("spend0", 5, None, None),
        ("spend1", 0, None, None),
        ("spend2", 0, None, None),
    ]
    assert table.schema == load_tables()["spend"].polars_schema


@pytest.mark.parametrize(
    ("amount", "rate", "expected"),
    [
        (1, "0.5", 0),
        (3, "0.5", 2),
        (5, "0.5", 2),
        (2, "0.9213", 2),
        (10, "0.25", 2),
        (0, "7", 0),
        (3, "2", 6),
    ],
)
def test_reporting_amounts_round_half_even(amount: int, rate: str, expected: int) -> None:
    rules = Rules(reporting_currency="USD", rates={"EUR": {DAY: Decimal(rate)}})
    facts = spends({"amount_micros": amount})
    made = spend_table(facts, load_tables()["spend_shares"].empty(), rules)
    assert rows_of(made.table, "reporting_micros", "reporting_currency") == [(expected, "USD")]
    assert made.missing_rates == 0


def test_large_amounts_and_long_rates_are_exact() -> None:
    rate = Decimal("1.000000000000000000000000000001")
    facts = spends({"amount_micros": 2**62 + 1})
    rules = Rules(reporting_currency="USD", rates={"EUR": {DAY: rate}})
    assert spend_table(facts, load_tables()["spend_shares"].empty(), rules).table[
        "reporting_micros"
    ].to_list() == [2**62 + 1]


def test_missing_rates_are_null_and_counted() -> None:
    rules = Rules(
        reporting_currency="EUR", rates={"USD": {at(3).date(): Decimal(1)}, "CHF": {DAY: Decimal("1e30")}}
    )
    facts = spends(
        {"amount_micros": 5},
        {"amount_micros": 5, "currency": "USD"},
        {"amount_micros": 5, "currency": "GBP"},
        {"amount_micros": 5, "currency": "CHF"},
    )
    made = spend_table(facts, load_tables()["spend_shares"].empty(), rules)
    assert dict(rows_of(made.table, "event_id", "reporting_micros")) == {
        "spend0": 5,
        "spend1": None,
        "spend2": None,
        "spend3": None,
    }
    assert made.missing_rates == 3


def test_empty_frames_give_empty_tables() -> None:
    rules = Rules(reporting_currency="EUR")
    for facts, touches in (
        (empty_facts("spend"), clicks("a")),
        (spends({"amount_micros": 1}), []),
        (empty_facts("spend"), []),
    ):
        shares = share_spend(facts, timeline(*touches), VOCABULARY)
        assert shares.is_empty()
        assert shares.schema == load_tables()["spend_shares"].polars_schema
        made = spend_table(facts, shares, rules)
        assert made.table.height == facts.height
        assert made.table.schema == load_tables()["spend"].polars_schema
        assert made.missing_rates == 0
