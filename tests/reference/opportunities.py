"""Opportunities, each from the touches that name it."""

from __future__ import annotations

from collections import defaultdict

from tests.reference.facts import Row
from tests.reference.handovers import expected_touches
from tests.reference.money import sums


def opportunity_rows(touches: list[Row], conversions: list[Row], handovers: list[Row]) -> list[Row]:
    """The table `opportunities`."""
    naming = defaultdict(list)
    for touch in touches:
        if touch["opportunity_id"] is not None:
            naming[touch["opportunity_id"]].append(touch)
    return [_opportunity(name, own, conversions, handovers) for name, own in naming.items()]


def _opportunity(name: str, touches: list[Row], conversions: list[Row], handovers: list[Row]) -> Row:
    steps = [touch for touch in touches if touch["word"].opportunity is not None]
    created = [touch for touch in steps if touch["word"].opportunity == "created"]
    closing = steps[-1] if steps and steps[-1]["word"].opportunity in ("won", "lost") else None
    outcome = closing["word"].opportunity if closing else None
    expected = expected_touches(name, touches)
    booked = sums((c["currency"], c["amount_micros"]) for c in conversions if c["opportunity_id"] == name)
    currency = next(iter(booked)) if len(booked) == 1 else None
    applied = [
        row
        for row in handovers
        if (row["subject_type"], row["subject_id"], row["status"]) == ("opportunity", name, "applied")
    ]
    if applied:
        owner_team, owner = applied[-1]["owner_team"], applied[-1]["owner"]
    else:
        owner_team, owner = "sales" if created and created[0]["team"] == "sales" else "marketing", None
    return {
        "opportunity_id": name,
        "customer_id": next((t["customer_id"] for t in touches if t["customer_id"] is not None), None),
        "account_id": next((t["named"] for t in reversed(touches) if t["named"] is not None), None),
        "created_at": (created or touches)[0]["occurred_at"],
        "stage": next(
            (t["opportunity_stage"] for t in reversed(touches) if t["opportunity_stage"] is not None), None
        ),
        "owner_team": owner_team,
        "owner": owner if owner is not None else touches[-1]["owner"],
        "expected_micros": expected[-1]["amount_micros"] if expected else None,
        "expected_currency": expected[-1]["currency"] if expected else None,
        "closed_at": closing["occurred_at"] if closing else None,
        "outcome": outcome,
        "lost_reason": closing["reason"] if closing and outcome == "lost" else None,
        "booked_micros": booked[currency] if currency else None,
        "currency": currency,
        "currencies": len(booked),
    }
