"""Synthetic journeys as numbers: who, when, what kind, which identifiers, how much money.

Everything is drawn in whole arrays from one seed, so that millions of events take seconds. `render.py` turns
slices of these numbers into facts.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from schemas.vocabulary import load_vocabulary

EVENTS_PER_CUSTOMER = 8
#: Of all deliveries, how many repeat an earlier one.
DUPLICATE_SHARE = 0.05
#: The identifiers that a customer may have, by slot; the bit of a slot in `identifier_bits` is 1 << slot.
SLOTS = ("cookie", "device", "email", "cookie", "user")
CURRENCIES = ("EUR", "USD", "GBP")
PRODUCTS = 12
CAMPAIGNS = 200

IntArray = npt.NDArray[np.int64]

_SECOND = 1_000_000
_START = 1_672_531_200 * _SECOND  # 2023-01-01
_YEARS_IN_SECONDS = 2 * 365 * 86_400
_MEAN_GAP_IN_SECONDS = 12 * 86_400

# Of a customer's events by place (rows), how often each group of kinds comes (columns: awareness,
# consideration, intent, conversion, retain, grow, identify). Early touches are ads, late ones are service.
_GROUPS_BY_PLACE = (
    (0.66, 0.26, 0.04, 0.005, 0.01, 0.005, 0.02),
    (0.50, 0.38, 0.07, 0.02, 0.01, 0.01, 0.01),
    (0.34, 0.42, 0.14, 0.06, 0.02, 0.01, 0.01),
    (0.26, 0.38, 0.20, 0.10, 0.04, 0.01, 0.01),
    (0.20, 0.33, 0.22, 0.14, 0.08, 0.02, 0.01),
    (0.16, 0.28, 0.22, 0.16, 0.13, 0.04, 0.01),
    (0.14, 0.24, 0.18, 0.16, 0.20, 0.07, 0.01),
    (0.13, 0.21, 0.15, 0.15, 0.25, 0.10, 0.01),
)
# How often a kind comes within its group; kinds that are not named weigh 1, those with 0 never come.
# Handovers are left out: none of the five tables that are compared reads them.
_WEIGHTS = {
    "ad_impression_display": 6.0,
    "ad_impression_social": 6.0,
    "search_visit": 5.0,
    "email_sent": 5.0,
    "site_visit": 12.0,
    "email_opened": 5.0,
    "pricing_page_visit": 4.0,
    "order": 6.0,
    "negotiation": 2.0,
    "product_usage": 6.0,
    "handover": 0.0,
    "handover_accepted": 0.0,
    "handover_rejected": 0.0,
    "handover_recycled": 0.0,
}


@dataclass(frozen=True)
class Journeys:
    """Events as parallel arrays, one entry an event; `event` numbers the event that an entry delivers."""

    event: IntArray
    customer: IntArray
    kind: npt.NDArray[np.int16]  # its place in the vocabulary
    occurred_at: IntArray  # microseconds
    received_at: IntArray  # microseconds
    identifier_bits: npt.NDArray[np.int8]
    amount_micros: IntArray  # -1 for none
    currency: npt.NDArray[np.int8]
    product_bits: npt.NDArray[np.int16]
    refunded_event: IntArray  # -1 for none
    direct: npt.NDArray[np.bool_]
    campaign: npt.NDArray[np.int16]  # -1 for none
    salt: IntArray  # small random number for everything else that a fact says

    def take(self, rows: IntArray) -> Journeys:
        """Give the entries at these places, in this order."""
        return Journeys(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def __len__(self) -> int:
        return len(self.event)


def _kind_probabilities() -> npt.NDArray[np.float64]:
    """Give cumulative probabilities of kinds (columns), one row a place in the journey."""
    vocabulary = load_vocabulary()
    groups: dict[str | None, int] = {None: len(vocabulary.stages)}
    groups.update(vocabulary.stage_rank)
    weights = np.zeros((len(groups), len(vocabulary.kinds)))
    for place, (name, kind) in enumerate(vocabulary.kinds.items()):
        group = groups["retain"] if name == "refund" else groups[kind.stage]
        weights[group, place] = _WEIGHTS.get(name, 1.0)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.cumsum(np.array(_GROUPS_BY_PLACE) @ weights, axis=1)


def _draw_kinds(rng: np.random.Generator, place: IntArray) -> npt.NDArray[np.int16]:
    cumulative = _kind_probabilities()
    draws = rng.random(len(place))
    kinds = np.empty(len(place), dtype=np.int16)
    for number, row in enumerate(cumulative):
        chosen = place == number
        kinds[chosen] = np.searchsorted(row, draws[chosen] * row[-1], side="right")
    return kinds


def _draw_times(rng: np.random.Generator, customers: int) -> IntArray:
    """Give times of a customer's events in order; one gap in twenty is nought, so that ties are a case."""
    gaps = rng.exponential(_MEAN_GAP_IN_SECONDS, (customers, EVENTS_PER_CUSTOMER))
    gaps[rng.random(gaps.shape) < DUPLICATE_SHARE] = 0
    gaps[:, 0] = rng.random(customers) * _YEARS_IN_SECONDS
    times: IntArray = _START + np.cumsum((gaps * 1000).astype(np.int64), axis=1).ravel() * 1000
    return times


def _draw_identifiers(rng: np.random.Generator, customer: IntArray, place: IntArray) -> npt.NDArray[np.int8]:
    """Chain a customer's identifiers: each link of the chain is on one of its events, at a random place.

    The other events hold one to three of the same identifiers, so no customer falls apart and none is joined
    to another one.
    """
    customers = int(customer[-1]) + 1
    count = rng.choice(np.arange(2, 6), size=customers, p=(0.15, 0.35, 0.35, 0.15))
    if len(customer) % EVENTS_PER_CUSTOMER:
        count[-1] = 1  # too few events for a chain
    offset = rng.integers(0, EVENTS_PER_CUSTOMER, customers)
    stride = rng.integers(0, EVENTS_PER_CUSTOMER // 2, customers) * 2 + 1
    link = (place - offset[customer]) * stride[customer] % EVENTS_PER_CUSTOMER
    of_customer = count[customer]

    def any_slot() -> IntArray:
        slots: IntArray = (rng.random(len(customer)) * of_customer).astype(np.int64)
        return slots

    another = np.where(rng.random(len(customer)) < 0.3, 1 << any_slot(), 0)
    linking = (3 << link) | np.where(rng.random(len(customer)) < 0.2, another, 0)
    loose = (1 << any_slot()) | another
    return np.where(link < of_customer - 1, linking, loose).astype(np.int8)


def _kinds_where(**attributes: object) -> IntArray:
    return np.array(
        [
            place
            for place, kind in enumerate(load_vocabulary().kinds.values())
            if all(getattr(kind, name) == value for name, value in attributes.items())
        ]
    )


def _last_priced_event(priced: npt.NDArray[np.bool_], customer: IntArray) -> IntArray:
    """Give, for each event, the customer's last event before it that has a booked amount; -1 for none."""
    numbers = np.where(priced, np.arange(len(priced)), -1)
    last = np.empty_like(numbers)
    last[0] = -1
    last[1:] = np.maximum.accumulate(numbers)[:-1]
    mine: IntArray = np.where((last >= 0) & (customer[last] == customer), last, -1)
    return mine


def _draw_amounts(
    rng: np.random.Generator, kind: npt.NDArray[np.int16], customer: IntArray
) -> tuple[npt.NDArray[np.int16], IntArray, npt.NDArray[np.int8], IntArray]:
    """Draw kinds (refunds without anything to refund become usage), amounts, currencies and what is refunded."""
    kinds = list(load_vocabulary().kinds)
    booked, refund = np.isin(kind, _kinds_where(amount="booked")), kind == kinds.index("refund")
    cents = np.exp(rng.normal(8.5, 1.2, len(kind))).astype(np.int64)
    odd = rng.random(len(kind))
    amount = cents * 10_000 + np.where(odd < 0.2, rng.integers(0, 10_000, len(kind)), 0)
    amount[odd > 0.99] = 0  # a gift counts
    priced = booked & (rng.random(len(kind)) < 0.97)
    home = rng.choice(len(CURRENCIES), size=int(customer[-1]) + 1, p=(0.6, 0.3, 0.1))[customer]
    elsewhere = rng.random(len(kind)) < 0.005
    currency = np.where(elsewhere, (home + 1) % len(CURRENCIES), home).astype(np.int8)
    refunded = np.where(refund, _last_priced_event(priced, customer), -1)
    kind = np.where(refund & (refunded < 0), kinds.index("product_usage"), kind).astype(np.int16)
    is_refund = refunded >= 0
    # Half of what it cost and a little: two refunds of one order may exceed it.
    amount[is_refund] = amount[refunded[is_refund]] // 2 + 7
    expected = np.isin(kind, _kinds_where(amount="expected")) & (odd < 0.8)
    amount[~(priced | is_refund | expected)] = -1
    return kind, amount, currency, refunded


def draw_journeys(events: int, seed: int) -> Journeys:
    """Draw deliveries, duplicates among them, in the order in which they were received.

    Args:
        events: how many deliveries, of which `DUPLICATE_SHARE` repeat another one.
        seed: the same seed and number give the same journeys.
    """
    rng = np.random.default_rng(seed)
    duplicates = int(events * DUPLICATE_SHARE)
    unique = events - duplicates
    event = np.arange(unique)
    customer, place = event // EVENTS_PER_CUSTOMER, event % EVENTS_PER_CUSTOMER
    kind, amount, currency, refunded = _draw_amounts(rng, _draw_kinds(rng, place), customer)
    occurred_at = _draw_times(rng, int(customer[-1]) + 1)[:unique]
    delay = rng.exponential(7_200 * _SECOND, unique).astype(np.int64)
    marketing = np.isin(kind, _kinds_where(team="marketing"))
    names = list(load_vocabulary().kinds)
    visits = np.isin(kind, [names.index(name) for name in ("site_visit", "pricing_page_visit", "order")])
    has_products = np.isin(kind, _kinds_where(amount="booked"))
    once = Journeys(
        event=event,
        customer=customer,
        kind=kind,
        occurred_at=occurred_at,
        received_at=occurred_at + delay,
        identifier_bits=_draw_identifiers(rng, customer, place),
        amount_micros=amount,
        currency=currency,
        product_bits=np.where(
            has_products,
            (1 << rng.integers(0, PRODUCTS, unique)) * (rng.random(unique) < 0.8)
            | (1 << rng.integers(0, PRODUCTS, unique)) * (rng.random(unique) < 0.3),
            0,
        ).astype(np.int16),
        refunded_event=refunded,
        direct=visits & (rng.random(unique) < 0.35),
        campaign=np.where(
            marketing & (rng.random(unique) < 0.3), rng.integers(0, CAMPAIGNS, unique), -1
        ).astype(np.int16),
        salt=rng.integers(0, 1 << 20, unique),
    )
    again = rng.choice(unique, size=duplicates, replace=False)
    rows = np.concatenate([event, again])
    delivered = once.take(rows)
    delivered.received_at[unique:] += 1 + rng.integers(0, 3 * 86_400 * _SECOND, duplicates)
    return delivered.take(np.argsort(delivered.received_at, kind="stable"))
