"""The ledger between marketing and sales."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from milepost.rules import Rules, ServiceLevel
from tests.reference.facts import Row
from tests.reference.money import sums
from tests.reference.touchpoints import fold_order

#: (step, state before) → state after; what is not here is ignored.
MOVES = {
    ("offered", "marketing"): "offered",
    ("accepted", "offered"): "sales",
    ("rejected", "offered"): "marketing",
    ("recycled", "offered"): "marketing",
    ("recycled", "sales"): "marketing",
}
WHY_IGNORED = {
    ("offered", "offered"): "already_offered",
    ("offered", "sales"): "owned_by_sales",
    ("accepted", "marketing"): "nothing_offered",
    ("accepted", "sales"): "owned_by_sales",
    ("rejected", "marketing"): "nothing_offered",
    ("rejected", "sales"): "owned_by_sales",
    ("recycled", "marketing"): "owned_by_marketing",
}
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def step_of(touch: Row) -> str | None:
    """The step of the ledger that a touch is."""
    if touch["word"].handover is not None:
        return str(touch["word"].handover)
    created = touch["word"].opportunity == "created" and touch["team"] == "sales"
    return "created" if created and touch["opportunity_id"] is not None else None


def handover_rows(
    touches: list[Row], spend_shares: list[Row], rules: Rules
) -> tuple[list[Row], dict[str, dict[str, int]]]:
    """The table `handovers` in fold order, and the cost of each applied offer by currency."""
    ledgers: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for touch in touches:
        if step_of(touch) is not None:
            if touch["opportunity_id"] is not None:
                ledgers["opportunity", touch["opportunity_id"]].append(touch)
            else:
                ledgers[touch["subject_type"], touch["subject_id"]].append(touch)
    rows: list[Row] = []
    costs: dict[str, dict[str, int]] = {}
    for subject, steps in ledgers.items():
        ledger = _walk(subject, steps)
        offers = [row for row in ledger if row["step"] == "offered" and row["status"] == "applied"]
        for row in ledger:
            row.update(_expected(row, touches))
            row.update(cost_micros=None, currency=None, currencies=0)
            row.update(answered_at=None, answer=None, first_follow_up_at=None, due_at=None)
        for place, offer in enumerate(offers):
            previous = offers[place - 1] if place > 0 else None
            following = offers[place + 1] if place + 1 < len(offers) else None
            cost = _cost(offer, previous, touches, spend_shares)
            costs[offer["handover_id"]] = cost
            offer["currencies"] = len(cost)
            if len(cost) == 1:
                offer["currency"], offer["cost_micros"] = next(iter(cost.items()))
            for row in ledger[ledger.index(offer) + 1 :]:
                if row["status"] == "applied":
                    offer["answered_at"], offer["answer"] = row["occurred_at"], row["step"]
                    break
            offer["first_follow_up_at"] = _follow_up(offer, following, touches)
            offer["due_at"] = due(offer["occurred_at"], rules.service_level)
        rows += ledger
    return sorted(rows, key=fold_order), costs


def _walk(subject: tuple[str, str], steps: list[Row]) -> list[Row]:
    """Take one subject's steps in fold order through the state machine."""
    state, owner = "marketing", None
    rows = []
    for place, touch in enumerate(steps):
        step = str(step_of(touch))
        team = team_of(state)
        if step == "created":
            to = "sales" if place == 0 else None
            why = "already_owned"
        else:
            to = MOVES.get((step, state))
            why = WHY_IGNORED.get((step, state), "")
        if to is not None:
            state = to
        if to is not None and touch["owner"] is not None:
            owner = touch["owner"]
        elif team_of(state) != team:
            owner = None
        rows.append(
            {
                **touch,
                "handover_id": touch["event_id"],
                "touch_subject": (touch["subject_type"], touch["subject_id"]),
                "subject_type": subject[0],
                "subject_id": subject[1],
                "step": step,
                "status": "ignored" if to is None else "applied",
                "ignored_reason": why if to is None else None,
                "state": state,
                "owner_team": team_of(state),
                "owner": owner,
            }
        )
    return rows


def team_of(state: str) -> str:
    return "sales" if state == "sales" else "marketing"


def _expected(row: Row, touches: list[Row]) -> Row:
    """The expected value known at the step."""
    if row["opportunity_id"] is None:
        micros, currency = row["amount_micros"], row["currency"]
    else:
        said = [
            touch
            for touch in expected_touches(row["opportunity_id"], touches)
            if fold_order(touch) <= fold_order(row)
        ]
        micros, currency = (said[-1]["amount_micros"], said[-1]["currency"]) if said else (None, None)
    return {"expected_micros": micros, "expected_currency": currency if micros is not None else None}


def expected_touches(opportunity_id: str, touches: list[Row]) -> list[Row]:
    """The touches that say what an opportunity is worth."""
    return [
        touch
        for touch in touches
        if touch["opportunity_id"] == opportunity_id
        and touch["word"].amount == "expected"
        and touch["amount_micros"] is not None
    ]


def _between(touch: Row, after: Row | None, before: Row | None) -> bool:
    return (after is None or fold_order(touch) > fold_order(after)) and (
        before is None or fold_order(touch) < fold_order(before)
    )


def _cost(offer: Row, previous: Row | None, touches: list[Row], shares: list[Row]) -> dict[str, int]:
    """Spend shares of the subject's touches up to the offer and after the previous one."""
    reached = {
        touch["event_id"]
        for touch in touches
        if offer["touch_subject"] == (touch["subject_type"], touch["subject_id"]) != (None, None)
        and fold_order(touch) <= fold_order(offer)
        and _between(touch, previous, None)
    }
    return sums((s["currency"], s["amount_micros"]) for s in shares if s["touch_id"] in reached)


def _follow_up(offer: Row, following: Row | None, touches: list[Row]) -> Any:
    """When sales first met the subject after the offer, one to one."""
    for touch in touches:
        own_subject = (touch["subject_type"], touch["subject_id"])
        if (
            touch["team"] == "sales"
            and touch["reach"] == "one_to_one"
            and step_of(touch) is None
            and _between(touch, offer, following)
            and (
                own_subject == offer["touch_subject"] != (None, None)
                or (
                    offer["opportunity_id"] is not None and touch["opportunity_id"] == offer["opportunity_id"]
                )
            )
        ):
            return touch["occurred_at"]
    return None


def due(offered_at: datetime, level: ServiceLevel) -> datetime | None:
    """The end of the service level in business hours; None where there are none."""
    if not level.days or level.opens >= level.closes:
        return None
    zone = ZoneInfo(level.zone)
    left = timedelta(hours=level.hours)
    day = offered_at.astimezone(zone).date()
    while True:
        if WEEKDAYS[day.weekday()] in level.days and day not in level.holidays:
            midnight = datetime.combine(day, time(), zone)
            opening = (midnight + timedelta(hours=level.opens)).astimezone(UTC)
            closing = (midnight + timedelta(hours=level.closes)).astimezone(UTC)
            start = max(opening, offered_at)
            if start < closing:
                if start + left <= closing:
                    return start + left
                left -= closing - start
        day += timedelta(days=1)
