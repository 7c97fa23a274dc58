"""The contract check: each fault by its name, and good facts untouched."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from connectors.check import LARGEST_AMOUNT, check_facts
from schemas.contracts import FACT_TYPES, empty_facts, frame_schema
from schemas.vocabulary import load_vocabulary

NOW = datetime(2024, 6, 1, tzinfo=UTC)
TOUCH: dict[str, Any] = {
    "event_id": "e",
    "revision": 0,
    "source": "shop",
    "kind": "order",
    "channel": "storefront",
    "team": "marketing",
    "reach": "one_to_many",
    "occurred_at": NOW,
    "identifiers": ["cookie:c1"],
    "booking_number": 0,
    "amount_micros": 1,
    "currency": "EUR",
    "products": [],
    "received_at": NOW,
    "raw_ids": [],
    "mapping_version": "v",
}


def verdict(fact: str, row: dict[str, Any]) -> str | None:
    checked = check_facts(pl.DataFrame([row], schema=frame_schema(fact)), fact, load_vocabulary())
    assert checked.good.height + checked.rejects.height == 1
    return None if checked.good.height else str(checked.rejects["error_class"][0])


@pytest.mark.parametrize(
    ("change", "error_class"),
    [
        ({}, None),
        ({"kind": "nope"}, "unknown_kind"),
        ({"channel": "nope"}, "unknown_channel"),
        ({"currency": "XYZ"}, "unknown_currency"),
        ({"currency": None}, "missing_value"),
        ({"amount_micros": -1}, "negative_amount"),
        ({"amount_micros": LARGEST_AMOUNT + 1}, "absurd_amount"),
        ({"occurred_at": None}, "missing_value"),
        ({"occurred_at": datetime(1899, 1, 1, tzinfo=UTC)}, "too_early"),
        ({"occurred_at": NOW + timedelta(days=2)}, "in_the_future"),
        ({"occurred_at": NOW + timedelta(hours=23)}, None),
        ({"identifiers": []}, "no_subject"),
        ({"identifiers": ["cookie:null", "email:(blocked)", "device:0000-0000"]}, "no_subject"),
        ({"identifiers": [], "account_id": "acme"}, None),
        ({"identifiers": [], "opportunity_id": "o1"}, None),
        ({"identifiers": ["cookie:" + "x" * 600]}, "identifier_too_long"),
        ({"identifiers": ["cookie:a\0b"]}, "nul_byte"),
        ({"content": "a\0b"}, "nul_byte"),
        ({"kind": "refund", "amount_micros": 0}, "empty_refund"),
        ({"score_percent": 101}, "bad_score"),
        ({"campaign_id": "x" * 600}, "name_too_long"),
        ({"campaign_id": "x" * 512}, None),
        ({"campaign_id": "\U00020000" * 129}, "name_too_long"),
        ({"identifiers": ["cookie:" + "\U00020000" * 126]}, None),
        ({"identifiers": ["cookie:" + "\U00020000" * 127]}, "identifier_too_long"),
    ],
)
def test_a_touchpoint_is_held_against_its_contract(change: dict[str, Any], error_class: str | None) -> None:
    assert verdict("touchpoint", {**TOUCH, **change}) == error_class


ARRIVAL = {
    "event_id": "e",
    "revision": 0,
    "source": "s",
    "received_at": NOW,
    "raw_ids": [],
    "mapping_version": "v",
}


@pytest.mark.parametrize(
    ("fact", "row", "error_class"),
    [
        ("retraction", {"retracted_at": NOW}, "no_target"),
        ("retraction", {"retracted_at": NOW, "link_a": "user:1"}, "no_target"),
        ("retraction", {"retracted_at": NOW, "link_a": "user:1", "link_b": "cookie:1"}, None),
        ("retraction", {"retracted_at": NOW, "target_event_id": "t"}, None),
        ("identity_link", {"a": "user:1", "b": None, "seen_at": NOW, "confirmed": False}, "missing_value"),
        (
            "identity_link",
            {"a": "user:1", "b": "nope:1", "seen_at": NOW, "confirmed": False},
            "bad_identifier",
        ),
        (
            "identity_link",
            {"a": "user:" + "\U00020000" * 490, "b": "cookie:1", "seen_at": NOW, "confirmed": False},
            "identifier_too_long",
        ),
        ("erasure", {"identifier": "user:1", "erased_at": NOW}, None),
        ("erasure", {"identifier": "user:", "erased_at": NOW}, "bad_identifier"),
        (
            "spend",
            {"channel": "radio", "day": NOW.date(), "amount_micros": -1, "currency": "EUR"},
            "negative_amount",
        ),
        ("exposure", {"channel": "radio", "day": NOW.date(), "count": -1}, "bad_number"),
        ("exposure", {"channel": None, "day": NOW.date(), "count": 1}, "missing_value"),
    ],
)
def test_other_facts_are_held_against_theirs(fact: str, row: dict[str, Any], error_class: str | None) -> None:
    assert verdict(fact, {**ARRIVAL, **row}) == error_class


def test_a_name_that_is_too_long_is_told_how_long_it_may_be() -> None:
    row = {**TOUCH, "campaign_id": "\U00020000" * 129}
    checked = check_facts(
        pl.DataFrame([row], schema=frame_schema("touchpoint")), "touchpoint", load_vocabulary()
    )
    assert checked.rejects["reason_of_rejection"].to_list() == [
        "campaign_id is longer than 512 bytes of UTF-8"
    ]


@pytest.mark.parametrize("fact", FACT_TYPES)
def test_no_facts_are_no_trouble(fact: str) -> None:
    checked = check_facts(empty_facts(fact), fact, load_vocabulary())
    assert checked.good.schema == frame_schema(fact)
    assert checked.rejects.is_empty()
