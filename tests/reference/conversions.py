"""Which touchpoints book their money, and what refunds take of it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from tests.reference.facts import Row
from tests.reference.touchpoints import fold_order


def mark_bookings(touches: list[Row]) -> None:
    """Give each touch `books` and `not_booked_reason`."""
    bookers: dict[Any, Row] = {}
    for touch in touches:  # in fold order, so that the first of equal rank stays
        if _could_book(touch) and touch["deal_id"] is not None:
            best = bookers.setdefault(_booking(touch), touch)
            if touch["word"].booking_rank > best["word"].booking_rank:
                bookers[_booking(touch)] = touch
    for touch in touches:
        touch["books"], touch["not_booked_reason"] = False, None
        if _could_book(touch):
            booker = touch if touch["deal_id"] is None else bookers[_booking(touch)]
            touch["books"] = booker is touch
            if booker is not touch:
                touch["not_booked_reason"] = f"deal_booked_by:{booker['event_id']}"
        elif touch["word"].amount == "booked":
            touch["not_booked_reason"] = "no_amount"


def _could_book(touch: Row) -> bool:
    return touch["word"].amount == "booked" and touch["amount_micros"] is not None


def _booking(touch: Row) -> tuple[str, int]:
    return touch["deal_id"], touch["booking_number"]


def conversion_stages(conversions: list[Row]) -> list[str]:
    """The stage of each of one subject's conversions, given in fold order."""
    stages: list[str] = []
    owned: set[str] = set()
    for conversion in conversions:
        if not stages:
            stages.append("conversion")
        elif conversion["word"].stage == "grow" or set(conversion["products"]) - owned:
            stages.append("grow")
        else:
            stages.append("retain")
        owned |= set(conversion["products"])
    return stages


def conversion_rows(touches: list[Row]) -> list[Row]:
    """The table `conversions` in fold order, before refunds; each row has the touch's own columns too."""
    conversions = [
        {**touch, "conversion_id": touch["event_id"], "refunded_micros": 0}
        for touch in touches
        if touch["books"]
    ]
    of_subject = defaultdict(list)
    for conversion in conversions:
        # What has no subject is alone.
        alone = conversion["event_id"] if conversion["subject_id"] is None else None
        of_subject[conversion["subject_type"], conversion["subject_id"], alone].append(conversion)
    for group in of_subject.values():
        for conversion, stage in zip(group, conversion_stages(group), strict=True):
            conversion["stage"] = stage
    return conversions


def refund(touches: list[Row], conversions: list[Row]) -> list[Row]:
    """Lower conversions by refunds (`refunded_micros`, `net_micros`); give the table `unmatched_refunds`."""
    unmatched = []
    for touch in touches:
        if touch["word"].amount != "refunded" or touch["amount_micros"] is None:
            continue
        named = _named(touch, touches, conversions)
        same_currency = [conversion for conversion in named if conversion["currency"] == touch["currency"]]
        left = touch["amount_micros"]
        for conversion in same_currency:
            taken = min(left, conversion["amount_micros"] - conversion["refunded_micros"])
            conversion["refunded_micros"] += taken
            left -= taken
        if left > 0:
            reason = "exceeds" if same_currency else "other_currency" if named else "no_conversion"
            unmatched.append({**touch, "unmatched_micros": left, "reason": reason})
    for conversion in conversions:
        conversion["net_micros"] = conversion["amount_micros"] - conversion["refunded_micros"]
    return unmatched


def _named(touch: Row, touches: list[Row], conversions: list[Row]) -> list[Row]:
    """The conversions that a refund names, in the order in which it lowers them."""
    by_id = {conversion["conversion_id"]: conversion for conversion in conversions}
    for other in touches:
        if other["event_id"] == touch["conversion_id"]:
            booker = (other["not_booked_reason"] or "").removeprefix("deal_booked_by:")
            if other["books"] or booker in by_id:
                return [by_id[other["event_id"] if other["books"] else booker]]
    of_deal = [c for c in conversions if touch["deal_id"] is not None and c["deal_id"] == touch["deal_id"]]
    number = touch["booking_number"]
    return sorted(of_deal, key=lambda c: (number not in (0, c["booking_number"]), fold_order(c)))
