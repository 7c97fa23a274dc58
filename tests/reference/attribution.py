"""What each touch of a conversion's path is credited."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from math import floor

from milepost.rules import PER_CONVERSION_MODELS, Rules
from tests.reference.facts import Row
from tests.reference.money import split_largest_remainder
from tests.reference.touchpoints import fold_order

NO_TOUCH = "(none)"
#: Key touches and their weights; the last number is for the rest.
KEYED_MODELS: dict[str, tuple[dict[str, Fraction], Fraction]] = {
    "position_based": ({"first": Fraction(40), "last": Fraction(40)}, Fraction(20)),
    "w_shaped": ({"first": Fraction(30), "handover": Fraction(30), "created": Fraction(30)}, Fraction(10)),
    "full_path": (
        {key: Fraction(45, 2) for key in ("first", "enquiry", "created", "last")},
        Fraction(10),
    ),
}
ONE_CREDIT = 10**12


def credited_touches(touches: list[Row]) -> list[Row]:
    """The touches that a path may have."""
    return [
        touch
        for touch in touches
        if touch["team"] in ("marketing", "sales")
        and not touch["word"].links_only
        and not touch["shared"]
        and touch["subject_id"] is not None
    ]


def subject(row: Row) -> tuple[str, str]:
    return row["subject_type"], row["subject_id"]


def path_of(conversion: Row, touches: list[Row], conversions: list[Row], rules: Rules) -> list[Row]:
    """The touches of the conversion's subject before it and after the conversion before it."""
    if conversion["shared"] and conversion["account_id"] is None:
        return []
    before = [
        fold_order(other)
        for other in conversions
        if subject(other) == subject(conversion) and fold_order(other) < fold_order(conversion)
    ]
    return [
        touch
        for touch in credited_touches(touches)
        if subject(touch) == subject(conversion)
        and fold_order(touch) < fold_order(conversion)
        and (not before or fold_order(touch) > before[-1])
        and (
            rules.look_back_days is None
            or touch["occurred_at"] >= conversion["occurred_at"] - timedelta(days=rules.look_back_days)
        )
    ]


def weights(model: str, path: list[Row], rules: Rules) -> list[Fraction]:
    """The weight of each touch of a path that is not empty."""
    last = len(path) - 1
    if model == "first_touch":
        return [Fraction(place == 0) for place in range(len(path))]
    if model == "last_touch":
        return [Fraction(place == last) for place in range(len(path))]
    if model == "last_non_direct":
        indirect = [place for place, touch in enumerate(path) if touch["channel"] != "direct"]
        chosen = indirect[-1] if indirect else last
        return [Fraction(place == chosen) for place in range(len(path))]
    if model == "linear":
        return [Fraction(1) for _ in path]
    if model == "time_decay":
        return [Fraction(_decayed(path[-1]["occurred_at"] - touch["occurred_at"], rules)) for touch in path]
    key_weights, rest_weight = KEYED_MODELS[model]
    shares = [Fraction(0) for _ in path]
    keys = set()
    for key, weight in key_weights.items():
        place = _place_of(key, path)
        if place is not None:
            shares[place] += weight
            keys.add(place)
    rest = [place for place in range(len(path)) if place not in keys]
    for place in rest:
        shares[place] += rest_weight / len(rest)
    return shares


def _place_of(key: str, path: list[Row]) -> int | None:
    if key == "first":
        return 0
    if key == "last":
        return len(path) - 1
    for place, touch in enumerate(path):
        word = touch["word"]
        if {
            "handover": word.handover == "offered",
            "created": word.opportunity == "created",
            "enquiry": word.enquiry,
        }[key]:
            return place
    return None


def _decayed(age: timedelta, rules: Rules) -> int:
    half_life = timedelta(days=rules.half_life_days) // timedelta(microseconds=1)
    steps = age // timedelta(microseconds=1) * 4096 // half_life
    halvings, rest = divmod(steps, 4096)
    return 0 if halvings > 62 else _power(rest) >> halvings


@lru_cache(maxsize=4096)
def _power(rest: int) -> int:
    """The whole part of 2 to the power of 40 - rest/4096."""
    with localcontext() as context:
        context.prec = 60
        return floor(Decimal(2) ** (40 - Decimal(rest) / 4096))


def credit_rows(touches: list[Row], conversions: list[Row], rules: Rules) -> list[Row]:
    """The table `credits`."""
    rows = []
    for conversion in conversions:
        path = path_of(conversion, touches, conversions, rules)
        for model in PER_CONVERSION_MODELS:
            if model in rules.models:
                rows += _credits(model, conversion, path, rules)
    return rows


def _credits(model: str, conversion: Row, path: list[Row], rules: Rules) -> list[Row]:
    touches: list[Row] = path or [{"event_id": NO_TOUCH, "channel": NO_TOUCH, "campaign_id": None}]
    shares = weights(model, path, rules) if path else [Fraction(1)]
    credit = split_largest_remainder(ONE_CREDIT, shares)
    amount = split_largest_remainder(conversion["amount_micros"], shares)
    net = split_largest_remainder(conversion["net_micros"], shares)
    return [
        {
            "conversion_id": conversion["conversion_id"],
            "model": model,
            "event_id": touch["event_id"],
            "channel": touch["channel"],
            "campaign_id": touch["campaign_id"],
            "credit": Decimal(credit[place]).scaleb(-12),
            "amount_micros": amount[place],
            "net_micros": net[place],
            "currency": conversion["currency"],
        }
        for place, touch in enumerate(touches)
        if shares[place] > 0
    ]
