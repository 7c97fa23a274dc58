"""One customer's rows from a list of event dictionaries: what the plain Beam peer does per customer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from benchmarks.compare import MODELS
from schemas.vocabulary import Vocabulary

Row = dict[str, Any]
Output = tuple[str, Row]

_NO_STAGE = 99
_CREDIT_UNITS = 10**12
_OPEN_STEPS = {"created", "changed", "started", "renewed"}


def largest_remainder(total: int, weights: list[int]) -> list[int]:
    """Split a total by weights; what floors leave goes to the largest fractions, ties to the earlier."""
    whole = sum(weights)
    shares = [total * weight // whole for weight in weights]
    fractions = [total * weight % whole for weight in weights]
    places = sorted(range(len(weights)), key=lambda place: -fractions[place])
    for place in places[: total - sum(shares)]:
        shares[place] += 1
    return shares


def _weights(model: str, path: list[Row]) -> list[int]:
    length = len(path)
    if model == "linear" or (model == "position_based" and length <= 2):
        return [1] * length
    if model == "position_based":
        # 40, 20 over the rest, 40, in units of which the rest gets one each.
        return [2 * (length - 2), *[1] * (length - 2), 2 * (length - 2)]
    chosen = 0 if model == "first_touch" else length - 1
    if model == "last_non_direct":
        chosen = next(
            (place for place in reversed(range(length)) if path[place]["channel"] != "direct"), chosen
        )
    return [int(place == chosen) for place in range(length)]


class CustomerFold:
    """Folds the events of one customer into rows of the five tables."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._kinds = vocabulary.kinds
        self._rank = vocabulary.stage_rank
        self._stages = list(vocabulary.stages)

    def _order(self, event: Row) -> tuple[Any, int, str]:
        stage = self._kinds[event["kind"]].stage
        return event["occurred_at"], _NO_STAGE if stage is None else self._rank[stage], event["event_id"]

    def _books(self, event: Row) -> bool:
        return self._kinds[event["kind"]].amount == "booked" and event["amount_micros"] is not None

    def rows(self, identifier: str, events: Iterable[Row]) -> Iterator[Output]:
        """Give (table, row) of everything that the customer with this best identifier has."""
        customer_id = hashlib.sha256(identifier.encode()).hexdigest()[:32]
        ordered = sorted(events, key=self._order)
        for event in ordered:
            yield "touchpoints", self._touchpoint(event, customer_id)
        conversions = self._conversions(ordered, customer_id)
        entries = self._stage_entries(ordered, conversions, customer_id)
        for entry in entries:
            yield "stage_entries", entry
        for conversion in conversions.values():
            yield "conversions", conversion
        yield from self._credits(ordered, conversions)
        yield "journeys", self._journey(ordered, conversions, entries, customer_id)

    def _touchpoint(self, event: Row, customer_id: str) -> Row:
        kind, books = self._kinds[event["kind"]], self._books(event)
        unpriced = kind.amount == "booked" and not books
        return {
            **event,
            "customer_id": customer_id,
            "stage": kind.stage,
            "subject_type": "customer",
            "subject_id": customer_id,
            "books": books,
            "not_booked_reason": "no_amount" if unpriced else None,
            "shared": False,
        }

    def _conversions(self, ordered: list[Row], customer_id: str) -> dict[str, Row]:
        refunds: dict[tuple[str, str], int] = {}
        for event in ordered:
            if self._kinds[event["kind"]].amount == "refunded" and event["amount_micros"] is not None:
                key = event["conversion_id"], event["currency"]
                refunds[key] = refunds.get(key, 0) + event["amount_micros"]
        conversions: dict[str, Row] = {}
        owned: set[str] = set()
        for event in ordered:
            if not self._books(event):
                continue
            grows = self._kinds[event["kind"]].stage == "grow" or not owned.issuperset(event["products"])
            later_stage = "grow" if grows else "retain"
            owned.update(event["products"])
            refunded = min(event["amount_micros"], refunds.get((event["event_id"], event["currency"]), 0))
            conversions[event["event_id"]] = {
                **event,
                "conversion_id": event["event_id"],
                "customer_id": customer_id,
                "subject_type": "customer",
                "subject_id": customer_id,
                "refunded_micros": refunded,
                "net_micros": event["amount_micros"] - refunded,
                "stage": later_stage if conversions else "conversion",
            }
        return conversions

    def _moves_to(self, event: Row, conversion: Row | None, current: int, converted: bool) -> int:
        """Give the rank of the stage after the event; that of the stage so far where it moves nothing."""
        last_before = self._rank["conversion"]
        if conversion is not None:
            level = self._rank[conversion["stage"]]
            return level if converted else max(current, level)
        level = self._rank.get(self._kinds[event["kind"]].stage or "", -1)
        if converted:
            return level if level > last_before else current
        return level if current < level <= last_before else current

    def _stage_entries(self, ordered: list[Row], conversions: dict[str, Row], customer_id: str) -> list[Row]:
        entries: list[Row] = []
        current, entered_at, converted = -1, None, False
        for event in ordered:
            conversion = conversions.get(event["event_id"])
            level = self._moves_to(event, conversion, current, converted)
            converted = converted or conversion is not None
            if level == current:
                continue
            entries.append(
                {
                    "customer_id": customer_id,
                    "event_id": event["event_id"],
                    "stage": self._stages[level],
                    "entered_at": event["occurred_at"],
                    "from_stage": self._stages[current] if entries else None,
                    "seconds_in_previous": int((event["occurred_at"] - entered_at).total_seconds())
                    if entered_at
                    else None,
                }
            )
            current, entered_at = level, event["occurred_at"]
        return entries

    def _credits(self, ordered: list[Row], conversions: dict[str, Row]) -> Iterator[Output]:
        path: list[Row] = []
        for event in ordered:
            if event["event_id"] in conversions:
                for model in MODELS:
                    yield from self._split(conversions[event["event_id"]], model, path)
                path = []
            elif event["team"] in ("marketing", "sales") and not self._kinds[event["kind"]].links_only:
                path.append(event)

    def _split(self, conversion: Row, model: str, path: list[Row]) -> Iterator[Output]:
        touches = path or [{"event_id": "(none)", "channel": "(none)", "campaign_id": None}]
        weights = _weights(model, touches)
        shares = largest_remainder(_CREDIT_UNITS, weights)
        amounts = largest_remainder(conversion["amount_micros"], weights)
        nets = largest_remainder(conversion["net_micros"], weights)
        for touch, weight, credit, amount, net in zip(touches, weights, shares, amounts, nets, strict=True):
            if weight:
                yield (
                    "credits",
                    {
                        "conversion_id": conversion["conversion_id"],
                        "model": model,
                        "event_id": touch["event_id"],
                        "channel": touch["channel"],
                        "campaign_id": touch["campaign_id"],
                        "credit": Decimal(credit).scaleb(-12),
                        "amount_micros": amount,
                        "net_micros": net,
                        "currency": conversion["currency"],
                    },
                )

    def _status(self, touches: list[Row], converted: bool) -> str:
        last = self._kinds[touches[-1]["kind"]] if touches else None
        if last and ((last.opportunity == "lost" and not converted) or last.subscription == "cancelled"):
            attribute = "opportunity" if last.opportunity else "subscription"
            steps: dict[str | None, str] = {}
            for touch in touches:
                step = getattr(self._kinds[touch["kind"]], attribute)
                if step:
                    steps[touch[f"{attribute}_id"]] = step
            if not _OPEN_STEPS.intersection(steps.values()):
                return "lost" if last.opportunity else "churned"
        return "customer" if converted else "open"

    def _journey(
        self, ordered: list[Row], conversions: dict[str, Row], entries: list[Row], customer_id: str
    ) -> Row:
        touches = [event for event in ordered if not self._kinds[event["kind"]].links_only]
        first: dict[str, Any] = {}
        for entry in entries:
            first.setdefault(entry["stage"], entry["entered_at"])
        currencies = {conversion["currency"] for conversion in conversions.values()}
        sole = len(currencies) == 1
        return {
            "customer_id": customer_id,
            "account_id": None,
            "status": self._status(touches, bool(conversions)),
            "current_stage": entries[-1]["stage"] if entries else None,
            "furthest_stage": max(
                (entry["stage"] for entry in entries), key=self._rank.__getitem__, default=None
            ),
            **{f"{stage}_at": first.get(stage) for stage in self._stages},
            "converted_at": min((row["occurred_at"] for row in conversions.values()), default=None),
            "first_touch_at": touches[0]["occurred_at"] if touches else None,
            "last_touch_at": touches[-1]["occurred_at"] if touches else None,
            "touches": len(touches),
            "conversions": len(conversions),
            "booked_micros": sum(row["amount_micros"] for row in conversions.values()) if sole else None,
            "net_micros": sum(row["net_micros"] for row in conversions.values()) if sole else None,
            "currency": next(iter(currencies)) if sole else None,
            "currencies": len(currencies),
            "shared": False,
        }
