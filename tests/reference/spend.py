"""Spend shared over the touchpoints of its campaign and day."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from milepost.rules import Rules
from tests.reference.facts import Row


def spend_rows(spends: list[Row], touches: list[Row], rules: Rules) -> tuple[list[Row], list[Row]]:
    """The tables `spend` and `spend_shares`."""
    rows, shares = [], []
    for spend in spends:
        reached = sorted(
            touch["event_id"]
            for touch in touches
            if spend["campaign_id"] is not None
            and touch["campaign_id"] == spend["campaign_id"]
            and touch["occurred_at"].date() == spend["day"]
            and not touch["word"].links_only
        )
        for place, touch_id in enumerate(reached):
            each, remainder = divmod(spend["amount_micros"], len(reached))
            shares.append(
                {
                    "spend_id": spend["event_id"],
                    "touch_id": touch_id,
                    "campaign_id": spend["campaign_id"],
                    "day": spend["day"],
                    "amount_micros": each + (place < remainder),
                    "currency": spend["currency"],
                }
            )
        rows.append(
            {
                **spend,
                "allocated_micros": spend["amount_micros"] if reached else 0,
                "reporting_micros": _reporting(spend, rules),
                "reporting_currency": rules.reporting_currency,
            }
        )
    return rows, shares


def _reporting(spend: Row, rules: Rules) -> int | None:
    """The amount in the reporting currency; Python rounds halves to even."""
    if rules.reporting_currency is None:
        return None
    if spend["currency"] == rules.reporting_currency:
        return int(spend["amount_micros"])
    rate: Decimal | None = rules.rates.get(spend["currency"], {}).get(spend["day"])
    return None if rate is None else round(spend["amount_micros"] * Fraction(rate))
