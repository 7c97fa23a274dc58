"""The views, worked by hand on a small story: a shopper, a reader, an account, a negotiator and a shared kiosk."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import duckdb
import pytest

from schemas.vocabulary import load_vocabulary
from tests.warehouse.filling import STORY, at, rows, touch, warehouse
from warehouse.views import all_views, load_views, parse_view, view_columns

NAMES = sorted(all_views())


@cache
def story() -> duckdb.DuckDBPyConnection:
    return warehouse(STORY)


@cache
def empty() -> duckdb.DuckDBPyConnection:
    return warehouse({})


def one(query: str, connection: duckdb.DuckDBPyConnection | None = None) -> dict[str, Any]:
    found = rows(connection or story(), query)
    assert len(found) == 1, found
    return found[0]


def picked(query: str, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows(story(), query)]


# ------------------------------------------------------------------------------------------- every view


@pytest.mark.parametrize("name", NAMES)
def test_every_column_of_a_view_is_documented_in_order_and_holds_its_grain(name: str) -> None:
    view = all_views()[name]
    found = rows(story(), f"SELECT * FROM {name}")
    description = story().execute(f"SELECT * FROM {name} LIMIT 0")
    columns = [column[0] for column in description.description or []]
    description.fetchall()
    assert columns == list(view.columns) == list(view_columns()[name])
    keys = [tuple(row[part] for part in view.grain) for row in found]
    assert len(keys) == len(set(keys)), f"{name} repeats its grain"


@pytest.mark.parametrize("name", NAMES)
def test_a_view_works_on_an_empty_warehouse_and_has_no_column_too_wide_for_a_tool(name: str) -> None:
    rows(empty(), f"SELECT * FROM {name}")
    kinds = rows(
        empty(),
        "SELECT data_type, comment FROM duckdb_columns()"
        f" WHERE concat_ws('.', schema_name, table_name) = '{name}'",
    )
    assert kinds
    assert not {row["data_type"] for row in kinds} & {"HUGEINT", "TIMESTAMP WITH TIME ZONE"}
    assert all(row["comment"] for row in kinds)


def test_all_views_of_the_design_are_there() -> None:
    promised = (
        "marketing.funnel marketing.cohorts marketing.channels marketing.campaigns marketing.paths"
        " marketing.handovers marketing.experience marketing.lifetime_value sales.pipeline sales.lead_queue"
        " sales.buyers sales.cycle_length sales.cost_per_sale sales.follow_up shared.handover_ledger"
        " shared.definitions"
    )
    assert set(promised.split()) <= all_views().keys()


def test_the_present_is_read_from_the_clock_only() -> None:
    for view in load_views().values():
        assert not re.search(r"\b(now|today|current_date|current_timestamp|random)\b", view.sql.lower()), (
            view.name
        )


def test_views_name_only_kinds_stages_and_teams_of_the_vocabulary() -> None:
    words = load_vocabulary()
    for kind in ("ticket_opened", "product_usage"):
        assert kind in words.kinds
    assert "conversion" in words.stages
    assert set(words.teams) == {"marketing", "sales", "service"}


def test_a_head_without_grain_is_refused() -> None:
    with pytest.raises(ValueError, match=r"View shared\.x: its head needs"):
        parse_view("shared.x", "-- What a row is.\n--\n-- a: A column.\nSELECT 1 AS a")


def test_definitions_hold_every_column_of_every_view() -> None:
    found = set(
        picked("SELECT * FROM shared.definitions WHERE column_name IS NOT NULL", "table_name", "column_name")
    )
    for name, columns in view_columns().items():
        if name != "shared.definitions":
            assert {(name, column) for column in columns} <= found
    assert ("journey.journeys", "converted_at") in found


# ------------------------------------------------------------------------------------------- marketing


def test_funnel() -> None:
    found = picked(
        "SELECT * FROM marketing.funnel",
        "stage", "reached", "entered", "here_now", "open", "converted", "continued", "exposures",
    )  # fmt: skip
    assert found == [
        ("awareness", 4, 3, 1, 2, 2, 3, 5000),
        ("consideration", 3, 1, 0, 1, 2, 3, 0),
        # The negotiator reached the stage `conversion` and has not converted.
        ("intent", 3, 1, 0, 1, 2, 2, 0),
        ("conversion", 3, 3, 2, 1, 2, 1, 0),
        ("retain", 1, 1, 1, 0, 1, 0, 0),
        ("grow", 0, 0, 0, 0, 0, None, 0),
    ]
    intent = one("SELECT * FROM marketing.funnel WHERE stage = 'intent'")
    assert intent["conversion_rate"] == pytest.approx(2 / 3, abs=1e-9)
    assert intent["median_days_before"] == 4
    assert (intent["marketing_touches"], intent["sales_touches"]) == (3, 2)


def test_cohorts_count_open_journeys_as_open() -> None:
    found = picked(
        "SELECT * FROM marketing.cohorts WHERE cohort_month = '2026-01-01'",
        "months_since", "customers", "converted", "open_now", "lost_now", "complete",
    )  # fmt: skip
    assert found == [
        (0, 2, 0, 1, 0, True),
        (1, 2, 1, 1, 0, True),
        (2, 2, 1, 1, 0, True),
        (3, 2, 1, 1, 0, False),
    ]


def test_channels() -> None:
    display = one(
        "SELECT * FROM marketing.channels WHERE channel = 'display' AND currency = 'EUR' AND model = 'linear'"
    )
    assert (display["touches"], display["spend_micros"]) == (1, 40_000_000)
    assert (display["conversions"], display["booked_micros"]) == (Decimal("0.5"), 50_000_000)
    assert display["cost_per_conversion_micros"] == 80_000_000
    assert display["return_on_spend"] == pytest.approx(1.25, abs=1e-9)
    radio = one(
        "SELECT * FROM marketing.channels WHERE channel = 'radio' AND currency = 'EUR' AND model = 'shapley'"
    )
    assert (radio["exposures"], radio["touches"], radio["cost_per_conversion_micros"]) == (5000, 0, None)


def test_campaigns() -> None:
    spring = one(
        "SELECT * FROM marketing.campaigns"
        " WHERE campaign_id = 'spring' AND currency = 'EUR' AND model = 'first_touch'"
    )
    assert (spring["name"], spring["touches"], spring["customers"], spring["converted"]) == (
        "Spring",
        2,
        2,
        1,
    )
    assert (spring["conversions"], spring["cost_per_conversion_micros"]) == (1, 40_000_000)
    nameless = one(
        "SELECT * FROM marketing.campaigns"
        " WHERE campaign_id = '(none)' AND currency = 'EUR' AND model = 'first_touch'"
    )
    assert (nameless["spend_micros"], nameless["unallocated_micros"]) == (10_000_000, 10_000_000)


def test_paths_let_a_channel_that_repeats_stand_once() -> None:
    found = picked(
        "SELECT * FROM marketing.paths ORDER BY path", "path", "currency", "steps", "touches", "median_days"
    )
    assert found == [
        ("display > website", "EUR", 2, 2, 29.0),
        ("organic_search > website > crm > meeting", "USD", 4, 5, 47.0),
    ]


def test_handovers_keep_currencies_apart() -> None:
    found = picked(
        "SELECT * FROM marketing.handovers ORDER BY offered_month, currency",
        "offered_month", "currency", "offered", "accepted", "cost_micros", "expected_micros", "booked_micros",
    )  # fmt: skip
    assert found == [
        (date(2026, 2, 1), "EUR", 0, 0, 30_000_000, 0, 0),
        (date(2026, 2, 1), "USD", 1, 1, 0, 900_000_000, 1_000_000_000),
        (date(2026, 4, 1), None, 1, 0, 0, 0, 0),
    ]


def test_experience_sets_promise_against_reality() -> None:
    spring = one("SELECT * FROM marketing.experience WHERE campaign_id = 'spring'")
    assert spring["promise"] == "Delivered tomorrow"
    assert (spring["customers"], spring["mean_score_percent"], spring["tickets"]) == (1, 40, 1)


def test_lifetime_value_is_what_was_observed() -> None:
    found = one("SELECT * FROM marketing.lifetime_value WHERE currency = 'EUR'")
    assert (found["net_per_customer_micros"], found["cost_per_customer_micros"]) == (80_000_000, 40_000_000)
    assert (found["converted_month"], found["months_observed"]) == (date(2026, 2, 1), 2)


# ------------------------------------------------------------------------------------------- sales


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


# ------------------------------------------------------------------------------------------- one truth


def test_totals_agree_in_every_view_of_both_teams() -> None:
    totals = dict(
        picked("SELECT currency, sum(spend_micros) AS s FROM sales.cost_per_sale GROUP BY 1", "currency", "s")
    )
    booked = dict(
        picked(
            "SELECT currency, sum(booked_micros) AS s FROM sales.cost_per_sale GROUP BY 1", "currency", "s"
        )
    )
    for view in ("marketing.channels", "marketing.campaigns"):
        for model in ("first_touch", "linear"):
            found = rows(
                story(),
                f"SELECT currency, sum(spend_micros) AS spend, sum(booked_micros) AS booked FROM {view}"
                f" WHERE model = '{model}' GROUP BY currency",
            )
            assert {row["currency"]: row["spend"] for row in found} == totals
            assert {row["currency"]: row["booked"] for row in found} == booked
    converted = one("SELECT count(*) AS n FROM shared.counted_journeys WHERE converted_at IS NOT NULL")["n"]
    cohorts = one(
        "SELECT sum(n) AS n FROM (SELECT max(converted) AS n FROM marketing.cohorts GROUP BY cohort_month)"
    )
    assert converted == 2 == cohorts["n"]
    assert one("SELECT sum(customers) AS n FROM marketing.experience")["n"] == converted
    offers = one("SELECT sum(offered) AS n FROM marketing.handovers")["n"]
    assert offers == one("SELECT sum(offered) AS n FROM sales.follow_up")["n"] == 2


def test_the_shared_kiosk_is_in_no_count() -> None:
    assert one("SELECT max(reached) AS n FROM marketing.funnel")["n"] == 4
    assert rows(story(), "SELECT * FROM sales.buyers WHERE customer_id = 'kiosk'") == []
    kiosk = {**STORY["handovers"][2], "handover_id": "h", "subject_id": "kiosk", "customer_id": "kiosk"}
    connection = warehouse(STORY | {"handovers": [kiosk]})
    assert one("SELECT shared FROM shared.handover_ledger", connection) == {"shared": True}
    for view in ("marketing.handovers", "sales.follow_up", "sales.lead_queue"):
        assert rows(connection, f"SELECT * FROM {view}") == []
