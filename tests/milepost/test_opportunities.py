"""Opportunities from the touches that name them."""

from __future__ import annotations

from typing import Any

import polars as pl

from milepost.handovers import hand_over
from milepost.opportunities import opportunities
from milepost.rules import Rules
from schemas.tables import load_tables
from tests.milepost.sales_side import VOCABULARY, at, conversions, timeline, touch

NO_SHARES = load_tables()["spend_shares"].empty()


def fold(*touches: dict[str, Any], booked: pl.DataFrame | None = None) -> pl.DataFrame:
    line = timeline(*touches)
    steps = hand_over(line, NO_SHARES, VOCABULARY, Rules()).table
    return opportunities(line, steps, conversions() if booked is None else booked, VOCABULARY)


def deal(*touches: dict[str, Any], booked: pl.DataFrame | None = None) -> dict[str, Any]:
    named = [{"opportunity_id": "deal", **row} for row in touches]
    return fold(*named, booked=booked).row(0, named=True)


def test_a_deal_from_creation_to_signature() -> None:
    row = deal(
        touch("a", "call", at(1), customer_id=None, owner="ida"),
        touch(
            "b", "opportunity_created", at(2), account_id="acme", amount_micros=5, currency="EUR", owner="sam"
        ),
        touch("c", "opportunity_stage_changed", at(3), customer_id="bob", opportunity_stage="Proposal"),
        touch("d", "proposal", at(4), account_id="globex", amount_micros=8, currency="USD"),
        touch("e", "opportunity_won", at(5), reason="price", owner="zoe"),
        touch("f", "call", at(6), owner=None),
        booked=conversions(
            {"conversion_id": "e", "opportunity_id": "deal", "amount_micros": 7, "currency": "EUR"},
            {"conversion_id": "x", "opportunity_id": "other", "amount_micros": 9, "currency": "EUR"},
        ),
    )
    assert row == {
        "opportunity_id": "deal",
        "customer_id": "ann",
        "account_id": "globex",
        "created_at": at(2),
        "stage": "Proposal",
        "owner_team": "sales",
        "owner": "sam",
        "expected_micros": 8,
        "expected_currency": "USD",
        "closed_at": at(5),
        "outcome": "won",
        "lost_reason": None,
        "booked_micros": 7,
        "currency": "EUR",
        "currencies": 1,
    }


def test_a_lost_one_has_its_reason_and_may_reopen() -> None:
    lost = [touch("a", "call", at(1)), touch("b", "opportunity_lost", at(2), reason="no budget")]
    row = deal(*lost, touch("c", "call", at(3)))
    assert (row["outcome"], row["closed_at"], row["lost_reason"]) == ("lost", at(2), "no budget")
    row = deal(*lost, touch("c", "opportunity_stage_changed", at(3)))
    assert (row["outcome"], row["closed_at"], row["lost_reason"]) == (None, None, None)


def test_without_creation_it_starts_with_the_first_touch_and_marketing() -> None:
    row = deal(touch("a", "enquiry", at(1), owner="mia"), touch("b", "meeting", at(2), owner="sam"))
    assert (row["created_at"], row["owner_team"], row["owner"]) == (at(1), "marketing", "sam")


def test_the_ledger_says_who_owns_it() -> None:
    created = touch("b", "opportunity_created", at(2), owner="sam")
    row = deal(touch("a", "handover", at(1), owner="mia"), created)
    assert (row["owner_team"], row["owner"]) == ("marketing", "mia")
    row = deal(touch("a", "handover_accepted", at(1)), created)
    assert (row["owner_team"], row["owner"]) == ("sales", "sam"), "no step applies, but sales created it"
    row = deal(touch("a", "opportunity_created", at(1), team="marketing"), created)
    assert row["owner_team"] == "sales", "the step of sales applies, whoever created it first"


def test_an_account_that_only_the_customer_has_is_not_named() -> None:
    line = timeline(touch("a", "call", at(1), account_id="acme", opportunity_id="deal")).with_columns(
        pl.lit(None, pl.String).alias("named_account_id")
    )
    empty = load_tables()["handovers"].empty()
    assert opportunities(line, empty, conversions(), VOCABULARY)["account_id"].to_list() == [None]


def test_bookings_of_two_currencies_are_not_added() -> None:
    booked = conversions(
        {"conversion_id": "a", "opportunity_id": "deal", "amount_micros": 7, "currency": "EUR"},
        {"conversion_id": "b", "opportunity_id": "deal", "amount_micros": 7, "currency": "USD"},
    )
    row = deal(touch("a", "opportunity_won", at(1)), booked=booked)
    assert (row["booked_micros"], row["currency"], row["currencies"]) == (None, None, 2)
    row = deal(touch("a", "opportunity_won", at(1)))
    assert (row["booked_micros"], row["currency"], row["currencies"]) == (None, None, 0)


def test_empty_frames_give_an_empty_table() -> None:
    for touches in ([], [touch("a", "call", at(1))]):
        table = fold(*touches)
        assert table.is_empty()
        assert table.schema == load_tables()["opportunities"].polars_schema
