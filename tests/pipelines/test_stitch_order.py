"""Facts that arrive in the worst order: batch after batch, the tables are those of all facts at once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from milepost.facts import stand
from milepost.rules import Rules
from milepost.units import UnitFinder, find_nodes
from schemas.vocabulary import load_vocabulary
from tests.pipelines.stitching import assert_published, expected_tables, put, stitch_home
from tests.places import Place
from tests.strategies import START, Facts, Row, fact, to_frames

DAY = timedelta(days=1)


def visit(number: int, days: int = 0, **said: object) -> Row:
    told = {"kind": "site_visit", "identifiers": [f"user:u{number}"], "campaign_id": "spring"} | said
    return fact("touchpoint", number, occurred_at=START + days * DAY, **told)


def spend(number: int, campaign: str | None = "spring", days: int = 0, **said: object) -> Row:
    told = {"channel": "display", "amount_micros": 101, "currency": "EUR"} | said
    return fact("spend", number, campaign_id=campaign, day=(START + days * DAY).date(), **told)


def link(number: int, a: str, b: str, hours: int) -> Row:
    seen_at = START + timedelta(hours=hours)
    return fact("identity_link", number, a=a, b=b, seen_at=seen_at, confirmed=False)


TWO_CAMPAIGNS: Facts = {
    "touchpoint": [visit(0), visit(1), visit(2, days=1), visit(3, campaign_id="autumn")],
    "spend": [spend(0), spend(1, days=1), spend(2, "autumn")],
}
BATCHES: dict[str, list[Facts]] = {
    "a touch moves to another campaign": [
        TWO_CAMPAIGNS,
        {"touchpoint": [visit(0, campaign_id="autumn", revision=1)]},
    ],
    "a touch moves to another day": [TWO_CAMPAIGNS, {"touchpoint": [visit(0, days=1, revision=1)]}],
    "a touch turns out to only link": [
        TWO_CAMPAIGNS,
        {"touchpoint": [visit(0, kind="identify", revision=1)]},
    ],
    "a spend has another channel": [TWO_CAMPAIGNS, {"spend": [spend(0, channel="email", revision=1)]}],
    "words that the vocabulary no longer has": [
        TWO_CAMPAIGNS,
        {
            "touchpoint": [
                {**visit(number), column: "unrecognised"}
                for number, column in enumerate(("kind", "channel", "team", "reach"), start=4)
            ]
        },
    ],
    "what comes to nothing joins units, beside a spend that makes a handover dearer": [
        {"touchpoint": [visit(0), visit(1), visit(2, 1, kind="handover", identifiers=["user:u0"])]},
        {
            "touchpoint": [visit(0, identifiers=["user:u0", "user:u1"], received_at=START + 9 * DAY)],
            "spend": [spend(0)],
        },
    ],
    "a blocked link is said again, earlier": [
        {"identity_link": [link(0, "cookie:null", "user:unknown", hours=1)]},
        {"identity_link": [link(1, "user:unknown", "cookie:null", hours=0)]},
    ],
}


@pytest.mark.parametrize("batches", BATCHES.values(), ids=BATCHES.keys())
def test_a_later_batch_changes_what_all_facts_at_once_would(batches: list[Facts], place: Place) -> None:
    together: Facts = {}
    for number, batch in enumerate(batches):
        for name, rows in batch.items():
            together[name] = [*together.get(name, []), *rows]
        put(place, {name: to_frames(batch)[name] for name in batch}, number)
        stitch_home(place, Rules())
    assert_published(place, expected_tables(to_frames(together), Rules()))


def units(facts: Facts) -> set[int]:
    """Give the units of facts."""
    finder = UnitFinder()
    nodes = [find_nodes(to_frames(facts)[name], name, load_vocabulary()) for name in facts]
    for batch in nodes:
        finder.add(batch)
    return {int(unit) for batch in nodes for unit in finder.labels(batch.keys)}


def test_what_is_said_of_a_link_of_blocked_identifiers_shares_a_unit() -> None:
    links = [link(0, "cookie:null", "user:unknown", hours=1), link(1, "user:unknown", "cookie:null", hours=0)]
    taken = fact("retraction", 0, retracted_at=START, link_a="user:unknown", link_b="cookie:null")
    assert len(units({"identity_link": links, "retraction": [taken]})) == 1


def test_profiles_of_an_account_with_a_blocked_looking_name_share_a_unit() -> None:
    said = {"subject_type": "account", "subject_id": "shop:null", "attribute": "role", "valid_from": START}
    assert len(units({"profile": [fact("profile", number, **said) for number in range(2)]})) == 1


@pytest.mark.parametrize("way", [1, -1])
def test_skew_corrected_times_of_one_delivery_stand_in_any_order(way: int) -> None:
    delivered = START + DAY
    copies = [
        visit(0, days, device_occurred_at=START, received_at=delivered, content=content)
        for days, content in ((1, None), (0, None), (0, "other"), (1, "other"))
    ]
    chosen = [
        stand(to_frames({"touchpoint": part[::way]})["touchpoint"]).facts for part in (copies[:2], copies)
    ]
    assert [frame["occurred_at"].to_list() for frame in chosen] == [[START], [START]]
