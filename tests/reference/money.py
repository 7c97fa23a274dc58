"""Sums by currency, and shares that lose nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import floor

from tests.reference.facts import Row


def sums(amounts: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Add amounts up, currency by currency."""
    totals: dict[str, int] = {}
    for currency, amount in amounts:
        totals[currency] = totals.get(currency, 0) + amount
    return totals


def split_largest_remainder(total: int, weights: Sequence[Fraction | int]) -> list[int]:
    """Share a total in proportion to weights, to the unit; equal fractions go to the earlier."""
    whole = sum(weights, Fraction(0))
    exact = [total * Fraction(weight) / whole if whole else Fraction(0) for weight in weights]
    shares = [floor(share) for share in exact]
    by_fraction = sorted(range(len(exact)), key=lambda place: (shares[place] - exact[place], place))
    for place in by_fraction[: total - sum(shares)]:
        shares[place] += 1
    return shares


def money_rows(
    touches: list[Row], conversions: list[Row], handover_costs: dict[str, dict[str, int]]
) -> list[Row]:
    """The table `money`."""
    rows = []

    def add(subject_type: str, subject_id: str, measure: str, totals: dict[str, int]) -> None:
        for currency, amount in totals.items():
            rows.append(
                {
                    "subject_type": subject_type,
                    "subject_id": subject_id,
                    "measure": measure,
                    "currency": currency,
                    "amount_micros": amount,
                }
            )

    for subject_type in ("customer", "account", "opportunity"):
        column = f"{subject_type}_id"
        for subject_id in {row[column] for row in conversions if row[column] is not None}:
            own = [
                row
                for row in conversions
                if row[column] == subject_id and not (subject_type == "account" and row["shared"])
            ]
            add(subject_type, subject_id, "booked", sums((r["currency"], r["amount_micros"]) for r in own))
            if subject_type != "opportunity":
                add(subject_type, subject_id, "net", sums((r["currency"], r["net_micros"]) for r in own))
    for handover_id, cost in handover_costs.items():
        add("handover", handover_id, "cost", cost)
    return rows
