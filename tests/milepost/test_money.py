"""Sums by currency."""

from __future__ import annotations

import polars as pl

from milepost.money import money, sole_currency, summarise_money
from schemas.tables import load_tables
from tests.milepost.sales_side import conversions

NO_COSTS = pl.DataFrame(schema={"handover_id": pl.String, "currency": pl.String, "amount_micros": pl.Int64})

BOOKED = conversions(
    {"conversion_id": "a", "customer_id": "ann", "amount_micros": 5, "net_micros": 4, "currency": "EUR"},
    {"conversion_id": "b", "customer_id": "ann", "amount_micros": 6, "net_micros": 6, "currency": "EUR"},
    {"conversion_id": "c", "customer_id": "bob", "account_id": "acme", "amount_micros": 7, "currency": "EUR"},
    {"conversion_id": "d", "customer_id": "bob", "account_id": "acme", "amount_micros": 0, "currency": "USD"},
    {
        "conversion_id": "e",
        "customer_id": "kiosk",
        "account_id": "acme",
        "amount_micros": 9,
        "currency": "EUR",
        "shared": True,
    },
    {"conversion_id": "f", "opportunity_id": "deal", "amount_micros": 1, "currency": "EUR"},
)


def test_only_one_currency_is_summed() -> None:
    assert sorted(summarise_money(BOOKED, "customer_id").rows()) == [
        ("ann", 11, 10, "EUR", 1),
        ("bob", None, None, None, 2),
        ("kiosk", 9, 9, "EUR", 1),
    ]
    assert summarise_money(BOOKED, "opportunity_id").rows() == [("deal", 1, 1, "EUR", 1)]


def test_money_has_every_currency() -> None:
    costs = pl.DataFrame([("offer", "EUR", 3), ("offer", "USD", 0)], schema=NO_COSTS.schema, orient="row")
    assert sorted(money(BOOKED, costs).rows()) == [
        ("account", "acme", "booked", "EUR", 7),
        ("account", "acme", "booked", "USD", 0),
        ("account", "acme", "net", "EUR", 7),
        ("account", "acme", "net", "USD", 0),
        ("customer", "ann", "booked", "EUR", 11),
        ("customer", "ann", "net", "EUR", 10),
        ("customer", "bob", "booked", "EUR", 7),
        ("customer", "bob", "booked", "USD", 0),
        ("customer", "bob", "net", "EUR", 7),
        ("customer", "bob", "net", "USD", 0),
        ("customer", "kiosk", "booked", "EUR", 9),
        ("customer", "kiosk", "net", "EUR", 9),
        ("handover", "offer", "cost", "EUR", 3),
        ("handover", "offer", "cost", "USD", 0),
        ("opportunity", "deal", "booked", "EUR", 1),
    ]


def test_empty_frames() -> None:
    table = money(conversions(), NO_COSTS)
    assert table.is_empty()
    assert table.schema == load_tables()["money"].polars_schema
    assert summarise_money(conversions(), "account_id").schema == {
        "account_id": pl.String,
        "booked_micros": pl.Int64,
        "net_micros": pl.Int64,
        "currency": pl.String,
        "currencies": pl.Int64,
    }
    assert sole_currency(NO_COSTS, "handover_id", ["amount_micros"]).is_empty()
