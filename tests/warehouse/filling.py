"""Fill a small warehouse row by row: a table, and dictionaries with the columns that matter; the others are NULL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl

from schemas.tables import load_tables
from warehouse.definitions import create_warehouse, write_frames

AS_OF = datetime(2026, 4, 15, 12, tzinfo=UTC)


def at(text: str) -> datetime:
    """Give a time in UTC from `2026-01-05` or `2026-01-05 09:30`."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def frame(table: str, rows: list[Mapping[str, Any]]) -> pl.DataFrame:
    """Give a frame of the table; a column that a row does not name is NULL."""
    schema = load_tables()[table].polars_schema
    unknown = {name for row in rows for name in row} - set(schema)
    assert not unknown, f"{table} has no column {unknown}"
    return pl.DataFrame(
        [{name: row.get(name) for name in schema} for row in rows], schema=schema, orient="row"
    )


def warehouse(tables: Mapping[str, list[Mapping[str, Any]]]) -> duckdb.DuckDBPyConnection:
    """Give an in-memory warehouse with these rows."""
    connection = duckdb.connect()
    create_warehouse(connection)
    write_frames(connection, {name: frame(name, rows) for name, rows in tables.items()})
    return connection


def rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    """Give the result of a query as dictionaries."""
    result = connection.execute(query)
    names = [column[0] for column in result.description or []]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def touch(event: str, customer: str | None, kind: str, when: str, **more: Any) -> dict[str, Any]:
    """Give a touchpoint with the defaults of its kind."""
    from schemas.vocabulary import load_vocabulary

    word = load_vocabulary().kinds[kind]
    account = more.get("account_id")
    return {
        "event_id": event, "customer_id": customer, "kind": kind, "stage": word.stage, "channel": word.channel,
        "team": word.team, "reach": word.reach, "occurred_at": at(when), "received_at": at(when), "source": "test",
        "subject_type": "account" if account else "customer", "subject_id": account or customer,
        "books": False, "shared": False, "booking_number": 0, "products": [], **more,
    }  # fmt: skip


SPRING, DAY = "spring", timedelta(days=1)

#: A shopper who buys and complains, a reader, an account that sales wins, a negotiator, and a kiosk that is shared.
STORY: dict[str, list[Mapping[str, Any]]] = {
    "clock": [{"as_of": AS_OF}],
    "touchpoints": [
        touch("t01", "shopper", "ad_click_display", "2026-01-05", campaign_id=SPRING),
        touch("t02", "shopper", "site_visit", "2026-01-10", content="/shoes"),
        touch("t03", "shopper", "order", "2026-02-03", amount_micros=100_000_000, currency="EUR", books=True),
        touch("t04", "shopper", "ticket_opened", "2026-02-10"),
        touch("t05", "shopper", "satisfaction_score", "2026-02-12", score_percent=40),
        touch("t06", "reader", "email_sent", "2026-01-15", campaign_id=SPRING),
        touch("t07", "buyer", "search_visit", "2026-02-01", account_id="acme"),
        touch("t08", "buyer", "enquiry", "2026-02-05", account_id="acme", content="Prices?"),
        touch("t09", "buyer", "handover", "2026-02-06", account_id="acme", opportunity_id="deal"),
        touch("t10", "buyer", "handover_accepted", "2026-02-07", account_id="acme", opportunity_id="deal"),
        touch("t11", "buyer", "meeting", "2026-02-08", account_id="acme", opportunity_id="deal"),
        touch("t12", "buyer", "opportunity_won", "2026-03-20", account_id="acme", opportunity_id="deal",
              amount_micros=1_000_000_000, currency="USD", books=True),
        touch("t13", "haggler", "negotiation", "2026-03-01"),
        touch("t14", "kiosk", "site_visit", "2026-03-02", shared=True),
        touch("t15", "reader", "identify", "2026-01-16"),
        touch("t16", "haggler", "handover", "2026-04-13"),
    ],
    "journeys": [
        {"customer_id": "shopper", "status": "customer", "current_stage": "retain", "furthest_stage": "retain",
         "awareness_at": at("2026-01-05"), "consideration_at": at("2026-01-10"), "conversion_at": at("2026-02-03"),
         "retain_at": at("2026-02-10"), "converted_at": at("2026-02-03"), "first_touch_at": at("2026-01-05"),
         "last_touch_at": at("2026-02-12"), "touches": 5, "conversions": 1, "booked_micros": 100_000_000,
         "net_micros": 80_000_000, "currency": "EUR", "currencies": 1, "shared": False},
        {"customer_id": "reader", "status": "open", "current_stage": "awareness", "furthest_stage": "awareness",
         "awareness_at": at("2026-01-15"), "first_touch_at": at("2026-01-15"), "last_touch_at": at("2026-01-15"),
         "touches": 1, "conversions": 0, "currencies": 0, "shared": False},
        {"customer_id": "buyer", "account_id": "acme", "status": "customer", "current_stage": "conversion",
         "furthest_stage": "conversion", "awareness_at": at("2026-02-01"), "intent_at": at("2026-02-05"),
         "conversion_at": at("2026-03-20"), "converted_at": at("2026-03-20"), "first_touch_at": at("2026-02-01"),
         "last_touch_at": at("2026-03-20"), "touches": 6, "conversions": 1, "booked_micros": 1_000_000_000,
         "net_micros": 1_000_000_000, "currency": "USD", "currencies": 1, "shared": False},
        {"customer_id": "haggler", "status": "open", "current_stage": "conversion", "furthest_stage": "conversion",
         "conversion_at": at("2026-03-01"), "first_touch_at": at("2026-03-01"), "last_touch_at": at("2026-04-13"),
         "touches": 2, "conversions": 0, "currencies": 0, "shared": False},
        {"customer_id": "kiosk", "status": "open", "current_stage": "consideration",
         "furthest_stage": "consideration", "consideration_at": at("2026-03-02"), "first_touch_at": at("2026-03-02"),
         "last_touch_at": at("2026-03-02"), "touches": 1, "conversions": 0, "currencies": 0, "shared": True},
    ],
    "accounts": [
        {"account_id": "acme", "status": "customer", "current_stage": "conversion", "furthest_stage": "conversion",
         "awareness_at": at("2026-02-01"), "intent_at": at("2026-02-05"), "conversion_at": at("2026-03-20"),
         "converted_at": at("2026-03-20"), "first_touch_at": at("2026-02-01"), "last_touch_at": at("2026-03-20"),
         "touches": 6, "conversions": 1, "booked_micros": 1_000_000_000, "net_micros": 1_000_000_000,
         "currency": "USD", "currencies": 1, "customers": 1, "key_contacts": ["buyer"]},
    ],
    "stage_entries": [
        {"customer_id": "shopper", "event_id": "t01", "stage": "awareness", "entered_at": at("2026-01-05")},
        {"customer_id": "shopper", "event_id": "t02", "stage": "consideration", "entered_at": at("2026-01-10"),
         "from_stage": "awareness", "seconds_in_previous": 5 * 86_400},
        {"customer_id": "shopper", "event_id": "t03", "stage": "conversion", "entered_at": at("2026-02-03"),
         "from_stage": "consideration", "seconds_in_previous": 24 * 86_400},
        {"customer_id": "shopper", "event_id": "t04", "stage": "retain", "entered_at": at("2026-02-10"),
         "from_stage": "conversion", "seconds_in_previous": 7 * 86_400},
        {"customer_id": "reader", "event_id": "t06", "stage": "awareness", "entered_at": at("2026-01-15")},
        {"customer_id": "buyer", "event_id": "t07", "stage": "awareness", "entered_at": at("2026-02-01")},
        {"customer_id": "buyer", "event_id": "t08", "stage": "intent", "entered_at": at("2026-02-05"),
         "from_stage": "awareness", "seconds_in_previous": 4 * 86_400},
        {"customer_id": "buyer", "event_id": "t12", "stage": "conversion", "entered_at": at("2026-03-20"),
         "from_stage": "intent", "seconds_in_previous": 43 * 86_400},
        {"customer_id": "haggler", "event_id": "t13", "stage": "conversion", "entered_at": at("2026-03-01")},
    ],
    "conversions": [
        {"conversion_id": "t03", "customer_id": "shopper", "subject_type": "customer", "subject_id": "shopper",
         "occurred_at": at("2026-02-03"), "kind": "order", "amount_micros": 100_000_000,
         "refunded_micros": 20_000_000, "net_micros": 80_000_000, "currency": "EUR", "stage": "conversion",
         "products": ["shoes"], "booking_number": 0},
        {"conversion_id": "t12", "customer_id": "buyer", "account_id": "acme", "subject_type": "account",
         "subject_id": "acme", "occurred_at": at("2026-03-20"), "kind": "opportunity_won",
         "amount_micros": 1_000_000_000, "refunded_micros": 0, "net_micros": 1_000_000_000, "currency": "USD",
         "stage": "conversion", "products": [], "booking_number": 0, "opportunity_id": "deal"},
    ],
    "credits": [
        {"conversion_id": c, "model": m, "event_id": e, "channel": h, "campaign_id": p, "credit": Decimal(s),
         "amount_micros": a, "net_micros": n, "currency": u}
        for c, m, e, h, p, s, a, n, u in [
            ("t03", "first_touch", "t01", "display", SPRING, "1", 100_000_000, 80_000_000, "EUR"),
            ("t12", "first_touch", "t07", "organic_search", None, "1", 1_000_000_000, 1_000_000_000, "USD"),
            ("t03", "linear", "t01", "display", SPRING, "0.5", 50_000_000, 40_000_000, "EUR"),
            ("t03", "linear", "t02", "website", None, "0.5", 50_000_000, 40_000_000, "EUR"),
            ("t12", "linear", "t07", "organic_search", None, "0.2", 200_000_000, 200_000_000, "USD"),
            ("t12", "linear", "t08", "website", None, "0.2", 200_000_000, 200_000_000, "USD"),
            ("t12", "linear", "t09", "crm", None, "0.2", 200_000_000, 200_000_000, "USD"),
            ("t12", "linear", "t10", "crm", None, "0.2", 200_000_000, 200_000_000, "USD"),
            ("t12", "linear", "t11", "meeting", None, "0.2", 200_000_000, 200_000_000, "USD"),
        ]
    ],
    "channel_credits": [
        {"model": "shapley", "currency": "EUR", "channel": "display",
         "credit": Decimal("0.5"), "amount_micros": 50_000_000},
        {"model": "shapley", "currency": "EUR", "channel": "website",
         "credit": Decimal("0.5"), "amount_micros": 50_000_000},
        {"model": "shapley", "currency": "USD", "channel": "crm",
         "credit": Decimal(1), "amount_micros": 1_000_000_000},
    ],
    "handovers": [
        {"handover_id": "t09", "subject_type": "opportunity", "subject_id": "deal", "opportunity_id": "deal",
         "customer_id": "buyer", "account_id": "acme", "step": "offered", "occurred_at": at("2026-02-06"),
         "status": "applied", "state": "offered", "owner_team": "marketing", "answered_at": at("2026-02-07"),
         "answer": "accepted", "first_follow_up_at": at("2026-02-08"), "due_at": at("2026-02-06 17:00"),
         "expected_micros": 900_000_000, "expected_currency": "USD", "cost_micros": 30_000_000, "currency": "EUR",
         "currencies": 1},
        {"handover_id": "t10", "subject_type": "opportunity", "subject_id": "deal", "opportunity_id": "deal",
         "customer_id": "buyer", "account_id": "acme", "step": "accepted", "occurred_at": at("2026-02-07"),
         "status": "applied", "state": "sales", "owner_team": "sales", "owner": "Kim", "currencies": 0},
        {"handover_id": "t16", "subject_type": "customer", "subject_id": "haggler", "customer_id": "haggler",
         "step": "offered", "occurred_at": at("2026-04-13"), "status": "applied", "state": "offered",
         "owner_team": "marketing", "due_at": at("2026-04-13 17:00"), "currencies": 0},
    ],
    "opportunities": [
        {"opportunity_id": "deal", "customer_id": "buyer", "account_id": "acme", "created_at": at("2026-02-06"),
         "owner_team": "sales", "owner": "Kim", "expected_micros": 900_000_000, "expected_currency": "USD",
         "closed_at": at("2026-03-20"), "outcome": "won", "booked_micros": 1_000_000_000, "currency": "USD",
         "currencies": 1},
    ],
    "money": [
        {"subject_type": s, "subject_id": i, "measure": m, "currency": c, "amount_micros": a}
        for s, i, m, c, a in [
            ("customer", "shopper", "booked", "EUR", 100_000_000), ("customer", "shopper", "net", "EUR", 80_000_000),
            ("customer", "buyer", "booked", "USD", 1_000_000_000), ("customer", "buyer", "net", "USD", 1_000_000_000),
            ("account", "acme", "booked", "USD", 1_000_000_000), ("account", "acme", "net", "USD", 1_000_000_000),
            ("opportunity", "deal", "booked", "USD", 1_000_000_000), ("handover", "t09", "cost", "EUR", 30_000_000),
        ]
    ],
    "spend": [
        {"event_id": "s1", "campaign_id": SPRING, "channel": "display", "day": date(2026, 1, 5),
         "amount_micros": 40_000_000, "currency": "EUR", "allocated_micros": 40_000_000, "source": "ads"},
        {"event_id": "s2", "channel": "radio", "day": date(2026, 2, 1), "amount_micros": 10_000_000,
         "currency": "EUR", "allocated_micros": 0, "source": "ads"},
    ],
    "spend_shares": [
        {"spend_id": "s1", "touch_id": "t01", "campaign_id": SPRING, "day": date(2026, 1, 5),
         "amount_micros": 40_000_000, "currency": "EUR"},
    ],
    "exposures": [
        {"event_id": "x1", "channel": "radio", "day": date(2026, 2, 1), "count": 5000, "source": "radio"},
    ],
    "profiles": [
        {"subject_type": "account", "subject_id": "acme", "attribute": "name", "valid_from": at("2026-01-01"),
         "identifier": "", "value": "Acme Ltd", "event_id": "p1", "source": "crm"},
        {"subject_type": "customer", "subject_id": "buyer", "attribute": "role", "valid_from": at("2026-01-01"),
         "identifier": "user:1", "value": "engineer", "event_id": "p2", "source": "crm"},
        {"subject_type": "customer", "subject_id": "buyer", "attribute": "role", "valid_from": at("2026-03-01"),
         "identifier": "user:1", "value": "decision maker", "event_id": "p3", "source": "crm"},
    ],
    "campaigns": [
        {"campaign_id": SPRING, "name": "Spring", "channel": "display", "promise": "Delivered tomorrow",
         "starts_on": date(2026, 1, 1), "ends_on": date(2026, 3, 31), "event_id": "k1", "source": "crm"},
    ],
}  # fmt: skip
