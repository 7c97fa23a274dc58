"""The views, worked by hand on a small story: a shopper, a reader, an account, a negotiator and a shared kiosk."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

import pytest

from schemas.vocabulary import load_vocabulary
from tests.warehouse.filling import STORY, rows, warehouse
from tests.warehouse.story import empty, one, picked, story
from warehouse.views import all_views, load_views, parse_view, view_columns

NAMES = sorted(all_views())


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
