"""Hostile sets of facts over a small world, so that whatever can collide does.

`hostile_facts(seed, size)` is plain seeded randomness; `fact_sets()` is a Hypothesis strategy over the same
makers of single facts, so that a failing set shrinks fact by fact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import polars as pl
from hypothesis import strategies as st

from milepost.rules import Rules, ServiceLevel
from schemas.contracts import FACT_TYPES, frame_schema
from schemas.vocabulary import Vocabulary, load_vocabulary

Row = dict[str, Any]
Facts = dict[str, list[Row]]

VOCABULARY = load_vocabulary()
#: A Friday, so that business hours meet weekends.
START = datetime(2023, 3, 3, 14, tzinfo=UTC)
#: Many moments fall together; some lie years apart.
MOMENTS = [
    *(START + timedelta(hours=hours) for hours in (0, 0, 1, 2, 3, 5, 10, 18, 43, 66, 67, 90)),
    *(START + timedelta(days=days) for days in (7, 8, 14, 21, 30, 60, 61, 180, 400, 1100)),
    START + timedelta(microseconds=1),
    datetime(2023, 3, 3, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2023, 3, 4, 0, 0, 0, 0, tzinfo=UTC),
    # What systems write that do not know.
    datetime(1900, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
]
AMOUNTS = (0, 1, 2, 7, 100, 999_999, 10_000_000, 123_456_789, 99_990_000, 7_000_000_000_001, 10**17 + 1)
BLOCKED = (
    "cookie:null",
    "email:test@example",
    "user:unknown",
    "device:0000-0000",
    "crm_contact: N/A ",
    "cookie:\u00a0NULL\u3000",
)
BOOKED_KINDS = [name for name, kind in VOCABULARY.kinds.items() if kind.amount == "booked"]
LEDGER_KINDS = ["handover", "handover_accepted", "handover_rejected", "handover_recycled"]
DEAL_KINDS = [name for name, kind in VOCABULARY.kinds.items() if kind.opportunity is not None]
PATH_KINDS = [
    "ad_click_display",
    "site_visit",
    "email_clicked",
    "enquiry",
    "demo_held",
    "call",
    "negotiation",
]
MIX = {
    "touchpoint": 76,
    "identity_link": 5,
    "spend": 5,
    "exposure": 1,
    "profile": 4,
    "campaign": 1,
    "consent": 3,
    "erasure": 1,
    "retraction": 4,
}


@dataclass(frozen=True)
class World:
    """How many of each there are, and how many facts of a type have a number."""

    people: int
    numbers: int

    @property
    def identifiers(self) -> list[str]:
        people = range(self.people)
        return [
            *(f"user:u{n}" for n in people),
            *(f"crm_contact:c{n}" for n in people[::2]),
            *(email_of(n) for n in people),
            *(f"device:d{n}" for n in people[::2]),
            *(f"cookie:k:{n}" for n in people),
            "loyalty_card:ü1",
            "phone:p1",
        ]


def email_of(person: int) -> str:
    return f"email:{hashlib.sha256(bytes([person])).hexdigest()[:16]}"


def event_id(fact_type: str, number: int) -> str:
    return hashlib.sha256(f"{fact_type} {number}".encode()).hexdigest()[:32]


def some_event_id(random: Random, fact_type: str, world: World) -> str:
    """The id of a fact that is probably there."""
    return event_id(fact_type, random.randrange(max(2, world.numbers * MIX[fact_type] // MIX["touchpoint"])))


def sometimes(random: Random, chance: float, value: Any, otherwise: Any = None) -> Any:
    return value if random.random() < chance else otherwise


def fact(fact_type: str, number: int, **said: Any) -> Row:
    """A fact with a default in every column that is not said."""
    moment = said.get("occurred_at", START)
    defaults: Row = {
        column: [] if kind == pl.List(pl.String()) else None
        for column, kind in frame_schema(fact_type).items()
    }
    defaults |= {
        "event_id": event_id(fact_type, number),
        "revision": 0,
        "source": "shop",
        "received_at": moment + timedelta(hours=1),
        "mapping_version": "m1",
    }
    if fact_type == "touchpoint":
        kind = VOCABULARY.kinds[said["kind"]]
        defaults |= {"channel": kind.channel, "team": kind.team, "reach": kind.reach, "booking_number": 0}
    unknown = set(said) - set(defaults)
    assert not unknown, unknown
    return defaults | said


def own_identifiers(random: Random, world: World) -> list[str]:
    """All identifiers of a person."""
    n = random.randrange(world.people)
    even = [f"crm_contact:c{n}", f"device:d{n}"] if n % 2 == 0 else ["phone:p1", "loyalty_card:ü1"]
    return [f"user:u{n}", email_of(n), f"cookie:k:{n}", *random.sample(even, k=random.randrange(3))]


def identifiers_of(random: Random, world: World) -> list[str]:
    """Identifiers of mostly one person, sometimes with a kiosk's cookie, a stranger's or a blocked one."""
    everybody = world.identifiers
    own = own_identifiers(random, world)
    chosen = random.sample(own, k=min(len(own), random.choice((1, 1, 2, 3))))
    if random.random() < 0.12:
        chosen.append("cookie:k:0")
    if random.random() < 0.05:
        chosen.append(random.choice(everybody))
    if random.random() < 0.06:
        chosen.append(random.choice(BLOCKED))
    if random.random() < 0.03:
        chosen.append(chosen[0])
    random.shuffle(chosen)
    return chosen


def kind_of(random: Random) -> str:
    kinds: Sequence[str] = random.choices(
        (list(VOCABULARY.kinds), BOOKED_KINDS, ["refund"], LEDGER_KINDS, DEAL_KINDS, PATH_KINDS),
        weights=(30, 15, 6, 12, 9, 28),
    )[0]
    return random.choice(kinds)


def touchpoint(random: Random, number: int, world: World) -> Row:
    name = kind_of(random)
    kind = VOCABULARY.kinds[name]
    money = kind.amount != "none"
    named = money or kind.handover is not None or kind.opportunity is not None
    amount = sometimes(random, 0.85 if money else 0.04, random.choice(AMOUNTS))
    said: Row = {
        "kind": name,
        "occurred_at": random.choice(MOMENTS),
        "identifiers": identifiers_of(random, world),
        "account_id": sometimes(random, 0.15, f"a{random.randrange(1 + world.people // 3)}"),
        "opportunity_id": sometimes(
            random, 0.6 if named else 0.06, f"o{random.randrange(2 + world.people // 4)}"
        ),
        "campaign_id": sometimes(random, 0.35, f"campaign {random.randrange(4)}"),
        "amount_micros": amount,
        "currency": None if amount is None else random.choice(("EUR", "EUR", "EUR", "USD")),
        "products": random.choices(("bread", "milk", "wine"), k=random.randrange(3)) if money else [],
        "owner": sometimes(random, 0.3, random.choice(("Ada", "Bo"))),
        "reason": sometimes(random, 0.3, "too dear"),
        "content": sometimes(random, 0.2, 'Ä page, with "quotes"'),
        "source": random.choice(("shop", "crm", "ads")),
        "score_percent": sometimes(random, 0.1, random.randrange(101)),
    }
    if kind.amount in ("booked", "refunded"):
        said["deal_id"] = sometimes(random, 0.5, f"deal {random.randrange(world.people)}")
        said["booking_number"] = random.choice((0, 0, 0, 1, 2))
    if kind.amount == "refunded":
        said["conversion_id"] = sometimes(random, 0.6, some_event_id(random, "touchpoint", world))
    if kind.subscription is not None:
        said["subscription_id"] = sometimes(random, 0.7, f"s{random.randrange(3)}")
    if kind.opportunity is not None:
        said["opportunity_stage"] = sometimes(random, 0.6, random.choice(("qualified", "proposed")))
    if not kind.links_only and random.random() < 0.15:
        said["team"] = random.choice(list(VOCABULARY.teams))
        said["reach"] = random.choice(list(VOCABULARY.reaches))
        said["channel"] = random.choice(("direct", "email", "event"))
    if random.random() < 0.06:
        said["identifiers"] = [random.choice(BLOCKED)] if random.random() < 0.3 else []
        subject = random.choice(("account_id", "account_id", "opportunity_id"))
        said |= {"account_id": None, "opportunity_id": None, subject: f"{subject[0]}0"}
    if random.random() < 0.05:
        said["device_occurred_at"] = said["occurred_at"] + timedelta(days=3)
    years_late = timedelta(days=random.choice((0, 0, 0, 1, 1500)))
    return fact("touchpoint", number, received_at=said["occurred_at"] + years_late, **said)


def identity_link(random: Random, number: int, world: World) -> Row:
    a, b = random.sample(own_identifiers(random, world), k=2)
    way = random.random()
    if way < 0.2:
        # One long chain through everybody's addresses and cookies.
        n = random.randrange(world.people)
        a, b = email_of(n), f"cookie:k:{(n + random.randrange(2)) % world.people}"
    elif way < 0.45:
        b = random.choice([*world.identifiers, "cookie:k:0", "cookie:k:0", *BLOCKED])
    return fact(
        "identity_link",
        number,
        a=a,
        b=b,
        seen_at=random.choice(MOMENTS),
        confirmed=random.random() < 0.3,
    )


def spend(random: Random, number: int, world: World) -> Row:
    return fact(
        "spend",
        number,
        campaign_id=sometimes(random, 0.85, f"campaign {random.randrange(4)}"),
        channel=random.choice(("display", "email")),
        day=random.choice(MOMENTS).date(),
        amount_micros=random.choice(AMOUNTS),
        currency=random.choice(("EUR", "EUR", "USD", "SEK")),
    )


def exposure(random: Random, number: int, world: World) -> Row:
    return fact(
        "exposure",
        number,
        campaign_id=sometimes(random, 0.5, "campaign 1"),
        channel="radio",
        day=random.choice(MOMENTS).date(),
        count=random.randrange(10_000),
    )


def profile(random: Random, number: int, world: World) -> Row:
    of_account = random.random() < 0.2
    return fact(
        "profile",
        number,
        subject_type="account" if of_account else "customer",
        subject_id="a0" if of_account else random.choice(world.identifiers),
        attribute=random.choice(("key_contact", "key_contact", "role")),
        value=sometimes(random, 0.7, random.choice(("yes", "buyer"))),
        valid_from=random.choice(MOMENTS),
    )


def campaign(random: Random, number: int, world: World) -> Row:
    return fact(
        "campaign",
        number,
        campaign_id=f"campaign {random.randrange(4)}",
        name=sometimes(random, 0.8, "Spring"),
        channel="email",
        promise=sometimes(random, 0.5, "It is easy"),
        starts_on=sometimes(random, 0.5, START.date()),
        ends_on=sometimes(random, 0.5, date(2023, 4, 1)),
        revision=random.choice((0, 0, 1)),
    )


def consent(random: Random, number: int, world: World) -> Row:
    return fact(
        "consent",
        number,
        identifier=random.choice([*world.identifiers, *BLOCKED[:1]]),
        purpose=random.choice(("analytics", "analytics", "advertising")),
        granted=random.random() < 0.5,
        decided_at=random.choice(MOMENTS),
        means_erasure=random.random() < 0.15,
    )


def erasure(random: Random, number: int, world: World) -> Row:
    return fact(
        "erasure",
        number,
        identifier=random.choice([*world.identifiers, "cookie:k:0", "user:never seen", BLOCKED[0]]),
        erased_at=random.choice(MOMENTS),
        reason="asked",
    )


def retraction(random: Random, number: int, world: World) -> Row:
    said: Row = {"retracted_at": random.choice(MOMENTS), "reason": sometimes(random, 0.5, "a mistake")}
    if random.random() < 0.5:
        target = random.choice(("touchpoint", "touchpoint", "identity_link", "spend", "exposure"))
        target = sometimes(random, 0.3, random.choice(("erasure", "retraction", "consent")), target)
        said["target_event_id"] = some_event_id(random, target, world)
    else:
        said["link_a"], said["link_b"] = random.sample(own_identifiers(random, world)[:3], k=2)
    return fact("retraction", number, **said)


MAKERS = {
    "touchpoint": touchpoint,
    "identity_link": identity_link,
    "spend": spend,
    "exposure": exposure,
    "profile": profile,
    "campaign": campaign,
    "consent": consent,
    "erasure": erasure,
    "retraction": retraction,
}


def again(random: Random, fact_type: str, original: Row, world: World) -> Row:
    """The same fact once more: a duplicate, a later revision or a conflict."""
    copy = {
        **original,
        "received_at": original["received_at"] + timedelta(days=random.choice((-400, 0, 1, 900))),
    }
    way = random.random()
    if way < 0.5:
        if copy.get("device_occurred_at") is not None:
            copy["occurred_at"] += timedelta(hours=1)
        return copy | {"raw_ids": ["raw 1"], "mapping_version": "m2"}
    changed = MAKERS[fact_type](random, 0, world)
    kept = {name: copy[name] for name in ("event_id", "received_at")}
    return {**changed, **kept, "revision": random.choice((0, 1, 2)) if way < 0.8 else copy["revision"]}


def hostile_facts(seed: int, size: int = 300) -> Facts:
    """Some hundred facts that differ with the seed, in no order."""
    random = Random(seed)
    numbers: dict[str, int] = dict.fromkeys(FACT_TYPES, 0)
    world = World(people=max(3, size // random.choice((8, 15, 30))), numbers=max(2, size * 3 // 4))
    kinds = random.choices(list(MIX), weights=list(MIX.values()), k=size)
    facts: Facts = {fact_type: [] for fact_type in FACT_TYPES}
    for fact_type in kinds:
        made = facts[fact_type]
        if made and random.random() < 0.06:
            made.append(again(random, fact_type, random.choice(made), world))
        else:
            made.append(MAKERS[fact_type](random, numbers[fact_type], world))
            numbers[fact_type] += 1
    return with_one_native_id(facts, size) if random.random() < 0.25 else facts


def with_one_native_id(facts: Facts, size: int) -> Facts:
    """The same facts, whose types share their ids, as where one record of a source becomes several facts."""
    # Erasures and consents keep theirs: both have a row in `erasures`, whose key is the id.
    shared = {
        event_id(fact_type, number): event_id("any", number)
        for fact_type in set(FACT_TYPES) - {"erasure", "consent"}
        for number in range(size)
    }
    columns = ("event_id", "target_event_id", "conversion_id")
    return {
        fact_type: [
            row | {name: shared.get(row[name], row[name]) for name in columns if name in row} for row in rows
        ]
        for fact_type, rows in facts.items()
    }


def hostile_vocabulary(seed: int) -> Vocabulary:
    """The vocabulary with other ranks, unique namespaces and protections."""
    random = Random(seed)
    said = VOCABULARY.model_dump()
    namespaces = list(said["namespaces"].items())
    random.shuffle(namespaces)
    for _, namespace in namespaces:
        namespace["unique"] = random.random() < 0.4
        namespace["max_links"] = random.choice((None, 1, 2, 3))
    return Vocabulary.model_validate(said | {"namespaces": dict(namespaces)})


def hostile_rules(seed: int) -> Rules:
    """Settings that differ with the seed."""
    random = Random(seed)
    models = random.sample(Rules().models, k=random.choice((3, 10, 10, 10)))
    return Rules(
        models=tuple(models),
        half_life_days=random.choice((7, 7, 0.5, 30, 0.000001, 20_000)),
        look_back_days=random.choice((None, None, 30, 0.25)),
        reporting_currency=random.choice((None, "EUR")),
        rates={"USD": {START.date(): Decimal("0.9375"), date(2023, 3, 4): Decimal("0.5")}},
        service_level=random.choice(
            (
                ServiceLevel(),
                ServiceLevel(hours=0.5, zone="America/New_York", opens=0, closes=24, days=("Sun", "Mon")),
                ServiceLevel(hours=12.5, zone="Europe/Berlin", opens=8, holidays=(date(2023, 3, 6),)),
            )
        ),
    )


@st.composite
def single_facts(draw: st.DrawFn, world: World) -> tuple[str, Row]:
    """One fact with its type; its number is one of few, so that facts meet again."""
    fact_type = draw(st.sampled_from([kind for kind, weight in MIX.items() for _ in range(weight)]))
    random = draw(st.randoms(use_true_random=False))
    return fact_type, MAKERS[fact_type](random, draw(st.integers(0, world.numbers - 1)), world)


@st.composite
def fact_sets(draw: st.DrawFn, people: int = 4, numbers: int = 40, most: int = 50) -> Facts:
    """Sets of facts that Hypothesis shrinks."""
    facts: Facts = {fact_type: [] for fact_type in FACT_TYPES}
    for fact_type, row in draw(st.lists(single_facts(World(people, numbers)), max_size=most)):
        facts[fact_type].append(row)
    return facts


def rule_sets() -> st.SearchStrategy[Rules]:
    return st.integers(0, 200).map(hostile_rules)


def to_frames(facts: Facts) -> dict[str, pl.DataFrame]:
    """Frames as the heart takes them, one a type of fact, with the columns of `frame_schema`."""
    return {
        fact_type: pl.DataFrame(facts.get(fact_type, []), schema=frame_schema(fact_type), orient="row")
        for fact_type in FACT_TYPES
    }


def to_rows(frame: pl.DataFrame) -> list[Row]:
    return frame.to_dicts()


def rows_of(frames: Mapping[str, pl.DataFrame]) -> dict[str, list[Row]]:
    return {name: to_rows(frame) for name, frame in frames.items()}
