"""Quarantine: bad facts stand aside one by one, with the reason, and Great Expectations says the same."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl

from schemas.contracts import frame_schema
from schemas.vocabulary import load_vocabulary
from tests.warehouse.filling import at
from warehouse.audit import audit_facts, quarantine
from warehouse.audit.checks import violation
from warehouse.audit.expectations import fact_expectations


def facts(fact_type: str, rows: list[dict[str, Any]], **defaults: Any) -> pl.DataFrame:
    schema = frame_schema(fact_type)
    return pl.DataFrame(
        [{name: ({"source": "shop"} | defaults | row).get(name) for name in schema} for row in rows],
        schema=schema,
        orient="row",
    )


TOUCH = {
    "kind": "order", "channel": "storefront", "team": "marketing", "reach": "one_to_many",
    "occurred_at": at("2026-01-01"), "booking_number": 0, "received_at": at("2026-01-01"),
}  # fmt: skip
HOSTILE_TOUCHES = [
    {"event_id": "good", "amount_micros": 5, "currency": "EUR"},
    {"event_id": "plain"},
    {"event_id": "unknown", "kind": "unrecognised"},
    {"event_id": "negative", "amount_micros": -1, "currency": "EUR"},
    {"event_id": "absurd", "amount_micros": 10**18, "currency": "EUR"},
    {"event_id": "bare", "amount_micros": 5},
    {"event_id": "shout", "amount_micros": 5, "currency": "euro"},
    {"event_id": "ancient", "occurred_at": at("1066-10-14")},
    {"event_id": "future", "occurred_at": at("2999-01-01")},
    {"event_id": "score", "score_percent": 101},
    {"event_id": "", "kind": "order"},
    {"event_id": "book", "account_id": "x" * 1001},
    {"event_id": "long", "content": "x" * 10_001},
]
HOSTILE: dict[str, pl.DataFrame] = {
    "touchpoint": facts("touchpoint", HOSTILE_TOUCHES, **TOUCH),
    "spend": facts(
        "spend",
        [{"event_id": "s"}, {"event_id": "t", "amount_micros": -1}, {"event_id": "u", "day": date(1, 1, 1)}],
        channel="radio", day=date(2026, 1, 1), amount_micros=1, currency="EUR",
    ),
    "campaign": facts(
        "campaign", [{"event_id": "c", "starts_on": date(2026, 2, 1), "ends_on": date(2026, 1, 1)}], channel="radio"
    ),
    "erasure": facts("erasure", [{"event_id": "e"}], erased_at=at("2026-01-01")),
}  # fmt: skip


def test_bad_facts_stand_aside_with_the_reason_and_good_ones_stay_as_they_are() -> None:
    good, quarantined = quarantine(HOSTILE)
    assert good["touchpoint"]["event_id"].to_list() == ["good", "plain", "long"]
    assert good["touchpoint"].schema == frame_schema("touchpoint")
    assert good["erasure"] is HOSTILE["erasure"]
    assert dict(quarantined.select("event_id", "expectation").rows()) == {
        "unknown": "touchpoint_kind_known",
        "negative": "touchpoint_amount_plausible",
        "absurd": "touchpoint_amount_plausible",
        "bare": "touchpoint_amount_has_currency",
        "shout": "touchpoint_currency_is_code",
        "ancient": "touchpoint_time_plausible",
        "future": "touchpoint_time_plausible",
        "score": "touchpoint_score_in_percent",
        "": "touchpoint_has_id",
        "book": "touchpoint_account_short",
        "t": "spend_amount_plausible",
        "u": "spend_day_plausible",
    }
    assert quarantined.filter(event_id="bare").row(0, named=True) == {
        "fact_type": "touchpoint",
        "event_id": "bare",
        "source": "shop",
        "expectation": "touchpoint_amount_has_currency",
        "reason": "Not so: An amount has a currency beside it.",
    }


def test_nothing_is_lost_between_good_and_quarantined() -> None:
    good, quarantined = quarantine(HOSTILE)
    for fact_type, frame_before in HOSTILE.items():
        aside = quarantined.filter(fact_type=fact_type).height
        assert good[fact_type].height + aside == frame_before.height


def test_quarantine_looks_at_one_row_only() -> None:
    """A fact's fate is the same alone as among others, in any order."""
    whole = set(quarantine(HOSTILE)[1]["event_id"])
    touches = HOSTILE["touchpoint"]
    alone = set()
    for n in range(touches.height):
        alone |= set(quarantine({"touchpoint": touches.slice(n, 1)})[1]["event_id"])
    assert alone == whole - {"t", "u"}
    shuffled = touches.sample(fraction=1, shuffle=True, seed=3)
    assert set(quarantine({"touchpoint": shuffled})[1]["event_id"]) == alone


def test_suites_over_facts_say_the_same_as_the_quarantine() -> None:
    expected = {
        rule.name: count
        for fact_type, rows in HOSTILE.items()
        for rule in fact_expectations()[fact_type]
        if (count := rows.select(violation(rule, load_vocabulary(), rows.schema[rule.column]).sum()).item())
    }
    assert audit_facts(HOSTILE) == expected
    assert expected["touchpoint_content_short"] == 1
    assert expected["campaign_ends_after_start"] == 1
