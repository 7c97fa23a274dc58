"""The views of sales, worked by hand on the story."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from tests.warehouse.filling import STORY, at, rows, touch, warehouse
from tests.warehouse.story import one, picked


def test_pipeline_by_week_month_and_quarter() -> None:
    names = (
        "period_start",
        "opened",
        "won",
        "open_at_end",
        "open_at_end_micros",
        "booked_micros",
        "is_current",
    )
    months = picked("SELECT * FROM sales.pipeline WHERE period = 'month' ORDER BY period_start", *names)
    assert months == [
        (date(2026, 2, 1), 1, 0, 1, 900_000_000, 0, False),
        (date(2026, 3, 1), 0, 1, 0, 0, 1_000_000_000, False),
        (date(2026, 4, 1), 0, 0, 0, 0, 0, True),
    ]
    quarters = picked("SELECT * FROM sales.pipeline WHERE period = 'quarter' ORDER BY period_start", *names)
    assert quarters[0] == (date(2026, 1, 1), 1, 1, 0, 0, 1_000_000_000, False)
    weeks = picked("SELECT * FROM sales.pipeline WHERE period = 'week' ORDER BY period_start", *names)
    assert len(weeks) == 11
    assert [week[3] for week in weeks] == [1] * 6 + [0] * 5


def test_an_opportunity_that_is_not_closed_is_open_in_the_current_period() -> None:
    open_deal = {**STORY["opportunities"][0], "closed_at": None, "outcome": None}
    connection = warehouse(STORY | {"opportunities": [open_deal], "conversions": []})
    april = one("SELECT * FROM sales.pipeline WHERE period = 'month' AND is_current", connection)
    assert (april["open_at_end"], april["lost"], april["open_at_end_micros"]) == (1, 0, 900_000_000)


def test_lead_queue_holds_what_is_undecided_with_what_marketing_knows() -> None:
    lead = one("SELECT * FROM sales.lead_queue")
    assert (lead["position"], lead["lead_id"], lead["waiting_for"], lead["overdue"]) == (
        1,
        "haggler",
        "answer",
        True,
    )
    open_deal = {**STORY["opportunities"][0], "closed_at": None, "outcome": None}
    connection = warehouse(STORY | {"opportunities": [open_deal], "conversions": []})
    found = rows(connection, "SELECT * FROM sales.lead_queue ORDER BY position")
    assert [(row["lead_id"], row["waiting_for"], row["owner"]) for row in found] == [
        ("haggler", "answer", None),
        ("deal", "closing", "Kim"),
    ]
    assert (found[1]["name"], found[1]["recent_content"]) == ("Acme Ltd", ["Prices?"])
    assert (found[1]["cost_micros"], found[1]["cost_currency"]) == (30_000_000, "EUR")


def test_a_customer_who_bought_before_the_offer_is_still_in_the_queue() -> None:
    shopper = {**STORY["handovers"][2], "handover_id": "h", "subject_id": "shopper", "customer_id": "shopper"}
    connection = warehouse(STORY | {"handovers": [shopper]})
    assert one("SELECT * FROM sales.lead_queue", connection)["lead_id"] == "shopper"
    sold = {**STORY["conversions"][0], "conversion_id": "later", "occurred_at": at("2026-04-14")}
    connection = warehouse(STORY | {"handovers": [shopper], "conversions": [*STORY["conversions"], sold]})
    assert rows(connection, "SELECT * FROM sales.lead_queue") == []


def test_buyers_show_roles_stage_and_last_touch() -> None:
    found = one("SELECT * FROM sales.buyers WHERE account_id = 'acme'")
    assert (found["account_name"], found["role"], found["key_contact"]) == (
        "Acme Ltd",
        "decision maker",
        True,
    )
    assert (found["last_touch_kind"], found["days_since_last_touch"]) == ("opportunity_won", 26)
    people = picked("SELECT customer_id FROM sales.buyers ORDER BY 1", "customer_id")
    assert people == [("buyer",), ("haggler",), ("reader",), ("shopper",)]


def test_an_account_without_known_people_is_a_buyer() -> None:
    alone = {**STORY["accounts"][0], "account_id": "alone", "customers": 0, "key_contacts": []}
    event = touch("a1", None, "trade_show_attended", "2026-04-01", account_id="alone")
    connection = warehouse({"clock": STORY["clock"], "accounts": [alone], "touchpoints": [event]})
    found = one("SELECT * FROM sales.buyers", connection)
    assert (found["account_id"], found["customer_id"]) == ("alone", None)
    assert (found["last_touch_kind"], found["key_contact"]) == ("trade_show_attended", False)


def test_cycle_length_by_type_of_buyer() -> None:
    account = one("SELECT * FROM sales.cycle_length WHERE buyer_type = 'account'")
    assert (account["buyers"], account["median_days_from_first_touch"]) == (1, 47)
    assert (account["median_days_from_intent"], account["median_days_from_opportunity"]) == (43, 42)
    customer = one("SELECT * FROM sales.cycle_length WHERE buyer_type = 'customer'")
    assert (customer["median_days_from_first_touch"], customer["median_days_from_intent"]) == (29, None)


def test_cost_per_sale() -> None:
    found = one("SELECT * FROM sales.cost_per_sale WHERE month = '2026-02-01'")
    assert (found["spend_micros"], found["conversions"]) == (10_000_000, 1)
    assert found["cost_per_new_buyer_micros"] == 10_000_000


def test_follow_up_by_owner() -> None:
    found = picked(
        "SELECT * FROM sales.follow_up ORDER BY offered_month", "owner", "late", "overdue", "median_hours"
    )
    assert found == [("Kim", 1, 0, 48.0), ("(nobody)", 0, 1, None)]


@pytest.mark.parametrize(
    ("first_follow_up", "answer", "as_of", "expected"),
    [
        (at("2026-02-06 16:59"), "accepted", at("2026-04-15"), "in_time"),
        (at("2026-02-06 17:00"), "accepted", at("2026-04-15"), "in_time"),
        (at("2026-02-06 17:01"), "accepted", at("2026-04-15"), "late"),
        (None, "rejected", at("2026-04-15"), "not_needed"),
        (None, None, at("2026-02-06 17:00"), "waiting"),
        (None, None, at("2026-02-06 17:01"), "overdue"),
    ],
)
def test_follow_up_is_judged_by_the_agreed_time(
    first_follow_up: datetime | None, answer: str | None, as_of: datetime, expected: str
) -> None:
    offer = {**STORY["handovers"][0], "first_follow_up_at": first_follow_up, "answer": answer}
    connection = warehouse({"handovers": [offer], "clock": [{"as_of": as_of}]})
    assert one("SELECT follow_up FROM shared.handover_ledger", connection) == {"follow_up": expected}
