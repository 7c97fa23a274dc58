"""The six stages and the status of a customer or account."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import Any

from schemas.vocabulary import Vocabulary
from tests.reference.conversions import conversion_stages
from tests.reference.facts import Row
from tests.reference.money import sums

BEFORE_CONVERSION = ("awareness", "consideration", "intent", "conversion")
AFTER_CONVERSION = ("retain", "grow")


def stage_moves(touches: list[Row], vocabulary: Vocabulary) -> list[tuple[str, Row]]:
    """Each move to another stage with the touch that made it, of one subject's touches in fold order."""
    conversions = [touch for touch in touches if touch["books"]]
    stage_of = dict(zip((c["event_id"] for c in conversions), conversion_stages(conversions), strict=True))
    rank = vocabulary.stage_rank
    moves: list[tuple[str, Row]] = []
    stage, converted = None, False
    for touch in touches:
        to = None
        if touch["books"]:
            to = stage_of[touch["event_id"]]
            converted = True
        elif converted:
            to = touch["stage"] if touch["stage"] in AFTER_CONVERSION else None
        elif touch["stage"] in BEFORE_CONVERSION and (stage is None or rank[touch["stage"]] > rank[stage]):
            to = touch["stage"]
        if to is not None and to != stage:
            stage = to
            moves.append((to, touch))
    return moves


def status(touches: list[Row]) -> str:
    """`open`, `customer`, `lost` or `churned`."""
    if not touches:
        return "open"
    converted = any(touch["books"] for touch in touches)
    last = touches[-1]["word"]
    if last.opportunity == "lost" and not converted and not _any_open(touches, "opportunity"):
        return "lost"
    if last.subscription == "cancelled" and not _any_open(touches, "subscription"):
        return "churned"
    return "customer" if converted else "open"


def _any_open(touches: list[Row], machine: str) -> bool:
    """Whether any opportunity (or subscription) is open after these touches."""
    last_step: dict[Any, str] = {}
    for touch in touches:
        step = getattr(touch["word"], machine)
        if step is not None:
            last_step[touch[f"{machine}_id"]] = step
    return any(step in ("created", "changed", "started", "renewed") for step in last_step.values())


def journey(touches: list[Row], nets: dict[str, int], vocabulary: Vocabulary) -> Row:
    """The columns that `journeys` and `accounts` have in common, of one subject's touches in fold order.

    `nets` holds the net amount of each conversion.
    """
    touches = [touch for touch in touches if not touch["word"].links_only]
    moves = stage_moves(touches, vocabulary)
    conversions = [touch for touch in touches if touch["books"]]
    booked = sums((touch["currency"], touch["amount_micros"]) for touch in conversions)
    net = sums((touch["currency"], nets[touch["event_id"]]) for touch in conversions)
    currency = next(iter(booked)) if len(booked) == 1 else None
    row: Row = {
        "status": status(touches),
        "current_stage": moves[-1][0] if moves else None,
        "furthest_stage": max((stage for stage, _ in moves), key=vocabulary.stage_rank.get, default=None),  # type: ignore[arg-type]
        "converted_at": conversions[0]["occurred_at"] if conversions else None,
        "first_touch_at": touches[0]["occurred_at"] if touches else None,
        "last_touch_at": touches[-1]["occurred_at"] if touches else None,
        "touches": len(touches),
        "conversions": len(conversions),
        "booked_micros": booked[currency] if currency else None,
        "net_micros": net[currency] if currency else None,
        "currency": currency,
        "currencies": len(booked),
    }
    for stage in vocabulary.stages:
        row[f"{stage}_at"] = next((touch["occurred_at"] for to, touch in moves if to == stage), None)
    return row


def journey_rows(touches: list[Row], nets: dict[str, int], vocabulary: Vocabulary) -> list[Row]:
    """The table `journeys`."""
    of_customer = defaultdict(list)
    for touch in touches:
        if touch["customer_id"] is not None:
            of_customer[touch["customer_id"]].append(touch)
    return [
        {
            "customer_id": customer_id,
            "account_id": None if own[0]["shared"] else _last_account(own),
            "shared": own[0]["shared"],
            **journey(own, nets, vocabulary),
        }
        for customer_id, own in of_customer.items()
    ]


def _last_account(touches: list[Row]) -> Any:
    """The account named last; of several at that time, the smallest."""
    naming = [touch for touch in touches if touch["named"] is not None]
    last = max((touch["occurred_at"] for touch in naming), default=None)
    return min((touch["named"] for touch in naming if touch["occurred_at"] == last), default=None)


def account_rows(
    touches: list[Row], journeys: list[Row], profiles: list[Row], nets: dict[str, int], vocabulary: Vocabulary
) -> list[Row]:
    """The table `accounts`."""
    of_account = defaultdict(list)
    for touch in touches:
        if touch["account_id"] is not None:
            of_account[touch["account_id"]].append(touch)
    rows = []
    for account_id, own in of_account.items():
        customers = [row["customer_id"] for row in journeys if row["account_id"] == account_id]
        rows.append(
            {
                "account_id": account_id,
                "customers": len(customers),
                "key_contacts": sorted(set(customers) & _key_contacts(profiles)),
                **journey([touch for touch in own if not touch["shared"]], nets, vocabulary),
            }
        )
    return rows


def _key_contacts(profiles: list[Row]) -> set[str]:
    """The customers whose last profile `key_contact` has a value."""
    marks = [
        row for row in profiles if (row["subject_type"], row["attribute"]) == ("customer", "key_contact")
    ]
    marks.sort(key=lambda row: row["event_id"], reverse=True)
    marks.sort(key=lambda row: (row["valid_from"], row["revision"]))
    last = {row["subject_id"]: row["value"] for row in marks}
    return {customer_id for customer_id, value in last.items() if value is not None}


def stage_entry_rows(touches: list[Row], vocabulary: Vocabulary) -> list[Row]:
    """The table `stage_entries`, of customers, shared ones aside."""
    of_customer = defaultdict(list)
    for touch in touches:
        if touch["customer_id"] is not None and not touch["shared"] and not touch["word"].links_only:
            of_customer[touch["customer_id"]].append(touch)
    rows = []
    for customer_id, own in of_customer.items():
        before: tuple[str, Row] | None = None
        for stage, touch in stage_moves(own, vocabulary):
            rows.append(
                {
                    "customer_id": customer_id,
                    "event_id": touch["event_id"],
                    "stage": stage,
                    "entered_at": touch["occurred_at"],
                    "from_stage": before[0] if before else None,
                    "seconds_in_previous": (touch["occurred_at"] - before[1]["occurred_at"])
                    // timedelta(seconds=1)
                    if before
                    else None,
                }
            )
            before = (stage, touch)
    return rows
