"""The reference on cases worked by hand, so that it can be trusted as the oracle."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from milepost.rules import Rules, ServiceLevel
from tests.reference import Tables, reference_stitch
from tests.reference.handovers import due
from tests.reference.money import split_largest_remainder
from tests.reference.path_models import removal_effects
from tests.strategies import VOCABULARY, Facts, Row, fact

#: A Monday.
START = datetime(2024, 1, 1, 10, tzinfo=UTC)


def at(days: float = 0) -> datetime:
    return START + timedelta(days=days)


def touch(name: str, kind: str, days: float, *identifiers: str, **said: Any) -> Row:
    if "amount_micros" in said:
        said.setdefault("currency", "EUR")
    return fact(
        "touchpoint", 0, event_id=name, kind=kind, occurred_at=at(days), identifiers=list(identifiers), **said
    )


def stitch(*touchpoints: Row, rules: Rules | None = None, **others: list[Row]) -> Tables:
    facts: Facts = {"touchpoint": list(touchpoints), **others}
    return reference_stitch(facts, VOCABULARY, rules or Rules())


def id_of(identifier: str) -> str:
    return hashlib.sha256(identifier.encode()).hexdigest()[:32]


def only(rows: list[Row], **wanted: Any) -> Row:
    found = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    assert len(found) == 1, f"{len(found)} rows have {wanted}: {found}"
    return found[0]


def credits_of(tables: Tables, conversion_id: str, model: str) -> dict[str, Decimal]:
    return {
        row["event_id"]: row["credit"]
        for row in tables["credits"]
        if (row["conversion_id"], row["model"]) == (conversion_id, model)
    }


# --- Facts


def test_the_greatest_revision_stands_and_then_the_first_received() -> None:
    late, early = at(5), at(1)
    old = fact("campaign", 0, event_id="c", campaign_id="x", channel="email", name="old", received_at=early)
    new = old | {"revision": 1, "name": "new", "received_at": late}
    conflict = new | {"name": "another", "received_at": late + timedelta(1)}
    tables = stitch(campaign=[conflict, old, new])
    assert [row["name"] for row in tables["campaigns"]] == ["new"]


def test_a_corrected_clock_makes_no_conflict() -> None:
    first = touch("t", "site_visit", 1, "user:u", device_occurred_at=at(3), received_at=at(4))
    again = first | {"occurred_at": at(2), "received_at": at(3)}
    assert stitch(first, again)["touchpoints"][0]["occurred_at"] == at(2)


# --- Identity


def test_identifiers_of_one_touchpoint_are_one_customer_and_old_ids_stay_known() -> None:
    tables = stitch(touch("t", "site_visit", 0, "cookie:k", "email:e", "user:u"))
    assert [(row["a"], row["b"]) for row in tables["identity_links"]] == [
        ("user:u", "cookie:k"),
        ("user:u", "email:e"),
    ]
    assert tables["journeys"][0]["customer_id"] == id_of("user:u")
    assert {row["old_customer_id"]: row["customer_id"] for row in tables["customer_aliases"]} == {
        id_of("email:e"): id_of("user:u"),
        id_of("cookie:k"): id_of("user:u"),
    }


def test_an_owner_that_may_be_shared_also_links_the_others_through_the_next_one() -> None:
    links = stitch(touch("t", "site_visit", 0, "cookie:k", "device:d", "email:e"))["identity_links"]
    assert [(row["a"], row["b"]) for row in links] == [
        ("device:d", "cookie:k"),
        ("email:e", "cookie:k"),
        ("email:e", "device:d"),
    ]


def test_a_kiosk_falls_apart_with_its_fourth_user_also_in_retrospect() -> None:
    visits = [touch(f"t{n}", "site_visit", n, "cookie:kiosk", f"user:u{n}") for n in range(4)]
    before = stitch(*visits[:3])
    assert {row["status"] for row in before["identity_links"]} == {"joined", "refused"}
    after = stitch(*visits, touch("t9", "site_visit", 9, "cookie:kiosk"))
    assert [(row["status"], row["reason"]) for row in after["identity_links"]] == [
        ("shared", "shared: b")
    ] * 4
    assert len(after["journeys"]) == 5
    assert only(after["journeys"], shared=True)["customer_id"] == id_of("cookie:kiosk")
    assert all(row["customer_id"] != id_of("cookie:kiosk") for row in after["stage_entries"])


def test_a_link_between_two_users_is_refused_with_its_reason() -> None:
    tables = stitch(
        touch("t1", "site_visit", 1, "email:e", "user:u1"),
        touch("t2", "site_visit", 2, "email:e", "user:u2"),
    )
    assert [(row["a"], row["status"], row["reason"]) for row in tables["identity_links"]] == [
        ("user:u1", "joined", None),
        ("user:u2", "refused", "two values of user"),
    ]
    assert only(tables["identities"], value="e")["customer_id"] == id_of("user:u1")


def test_the_link_seen_first_wins_however_late_it_arrives() -> None:
    tables = stitch(
        touch("t1", "site_visit", 2, "email:e", "user:u1"),
        touch("t2", "site_visit", 1, "email:e", "user:u2", received_at=at(2000)),
    )
    assert only(tables["identities"], value="e")["customer_id"] == id_of("user:u2")


def test_blocked_identifiers_never_link() -> None:
    link = fact("identity_link", 0, event_id="l", a="cookie:null", b="user:u2", seen_at=at(0))
    tables = stitch(touch("t", "site_visit", 0, "cookie:null", "user:u1"), identity_link=[link])
    row = only(tables["identity_links"], status="blocked")
    assert (row["a"], row["b"], row["reason"]) == ("user:u2", "cookie:null", "blocked identifier")
    assert [row["value"] for row in tables["identities"]] == ["u1", "u2"]


# --- Retraction, erasure, consent


def test_a_retracted_link_stays_retracted_until_it_is_confirmed_again() -> None:
    visit = touch("t", "site_visit", 0, "email:e", "user:u")
    retraction = fact("retraction", 0, event_id="r", link_a="email:e", link_b="user:u", retracted_at=at(1))
    late = touch("t2", "site_visit", 5, "email:e", "user:u")
    apart = stitch(visit, late, retraction=[retraction])
    assert apart["identity_links"] == []
    assert apart["retractions"][0]["status"] == "applied"
    confirmed = fact("identity_link", 0, event_id="l", a="user:u", b="email:e", seen_at=at(2), confirmed=True)
    together = stitch(visit, retraction=[retraction], identity_link=[confirmed])
    assert together["retractions"][0]["status"] == "outweighed"
    assert together["identity_links"][0]["event_id"] == "t"


@pytest.mark.parametrize(
    ("target", "status", "reason"),
    [
        ("t", "applied", "typo"),
        ("absent", "waiting", "typo"),
        ("r", "rejected", "names_retraction"),
        ("e", "rejected", "names_erasure"),
    ],
)
def test_what_a_retraction_may_name(target: str, status: str, reason: str) -> None:
    erasure = fact("erasure", 0, event_id="e", identifier="user:other", erased_at=at(0))
    retraction = fact(
        "retraction", 0, event_id="r", target_event_id=target, retracted_at=at(0), reason="typo"
    )
    tables = stitch(touch("t", "site_visit", 0, "user:u"), erasure=[erasure], retraction=[retraction])
    assert (tables["retractions"][0]["status"], tables["retractions"][0]["reason"]) == (status, reason)
    assert len(tables["touchpoints"]) == (0 if target == "t" else 1)


def test_an_erasure_takes_the_person_up_to_its_time_and_strips_them_from_others() -> None:
    facts = [
        touch("own", "site_visit", 0, "user:u1", "email:e"),
        touch("late", "order", 1, "email:e", amount_micros=5, received_at=at(900)),
        touch("borrowed", "site_visit", 1, "user:u2", "email:e"),
        touch("afresh", "site_visit", 9, "email:e"),
    ]
    erasure = fact("erasure", 0, event_id="x", identifier="email:e", erased_at=at(5))
    tables = stitch(*facts, erasure=[erasure])
    assert [row["event_id"] for row in tables["touchpoints"]] == ["afresh", "borrowed"]
    assert {row["value"]: row["customer_id"] for row in tables["identities"]} == {
        "e": id_of("email:e"),
        "u2": id_of("user:u2"),
    }
    assert tables["identity_links"] == []
    assert tables["conversions"] == []


def test_shared_and_blocked_identifiers_cannot_be_erased() -> None:
    visits = [touch(f"t{n}", "site_visit", n, "cookie:kiosk", f"user:u{n}") for n in range(4)]
    erasures = [
        fact("erasure", 0, event_id="1", identifier="cookie:kiosk", erased_at=at(9)),
        fact("erasure", 0, event_id="2", identifier="cookie:null", erased_at=at(9)),
        # Before the fourth user the cookie was nobody else's than the first one's.
        fact("erasure", 0, event_id="3", identifier="cookie:kiosk", erased_at=at(0)),
    ]
    tables = stitch(*visits, erasure=erasures)
    assert [(row["status"], row["reason"]) for row in tables["erasures"]] == [
        ("rejected", "shared"),
        ("rejected", "blocked"),
        ("applied", None),
    ]
    assert [row["event_id"] for row in tables["touchpoints"]] == ["t1", "t2", "t3"]


def test_a_withdrawn_consent_stops_use_from_its_time_on_for_the_whole_person() -> None:
    def consent(name: str, days: float, granted: bool, **said: Any) -> Row:
        said = {"identifier": "user:u", "purpose": "analytics"} | said
        return fact("consent", 0, event_id=name, decided_at=at(days), granted=granted, **said)

    visits = [touch(f"t{n}", "site_visit", n, "cookie:k", *["user:u"][: n < 1]) for n in range(5)]
    consents = [consent("c1", 1.5, False), consent("c2", 3, True), consent("c3", 3, False)]
    used = stitch(*visits, consent=consents[:2])["touchpoints"]
    assert [row["event_id"] for row in used] == ["t0", "t1", "t3", "t4"]
    used = stitch(*visits, consent=consents)["touchpoints"]
    assert [row["event_id"] for row in used] == ["t0", "t1"]
    advertising = consent("c4", 0, False, purpose="advertising")
    assert len(stitch(*visits, consent=[advertising])["touchpoints"]) == 5
    erased = stitch(*visits, consent=[consent("c5", 2, False, means_erasure=True)])
    assert [row["event_id"] for row in erased["touchpoints"]] == ["t3", "t4"]
    assert erased["consents"] == []
    assert erased["erasures"][0]["event_id"] == "c5"


# --- Accounts


def test_a_touchpoint_takes_the_account_named_last_before_it_else_first_after() -> None:
    tables = stitch(
        touch("t0", "site_visit", 0, "user:u"),
        touch("t1", "site_visit", 1, "user:u", account_id="a"),
        touch("t2", "site_visit", 2, "user:u"),
        touch("t3", "site_visit", 3, "user:u", account_id="b"),
        touch("t4", "site_visit", 4, account_id="b"),
        touch("t5", "opportunity_created", 5, opportunity_id="o"),
    )
    assert [row["account_id"] for row in tables["touchpoints"]] == ["a", "a", "a", "b", "b", None]
    assert [row["customer_id"] is None for row in tables["touchpoints"]] == [False] * 4 + [True] * 2
    assert only(tables["journeys"])["account_id"] == "b"
    assert [(row["touches"], row["customers"]) for row in tables["accounts"]] == [(3, 0), (2, 1)]


# --- Stages


def test_the_stage_only_moves_forward_until_the_first_conversion() -> None:
    tables = stitch(
        touch("t1", "site_visit", 1, "user:u"),
        touch("t2", "ad_click_display", 2, "user:u"),
        touch("t3", "upsell", 3, "user:u"),
        touch("t4", "negotiation", 4, "user:u"),
        touch("t5", "order", 5, "user:u", amount_micros=0, products=["bread"]),
        touch("t6", "order", 6, "user:u", amount_micros=1, products=["bread"]),
        touch("t7", "order", 7, "user:u", amount_micros=1, products=["bread", "milk"]),
        touch("t8", "ticket_opened", 7.5, "user:u"),
        touch("t9", "site_visit", 8, "user:u"),
    )
    entries = [(row["event_id"], row["stage"], row["seconds_in_previous"]) for row in tables["stage_entries"]]
    day = 86_400
    assert entries == [
        ("t1", "consideration", None),
        ("t4", "conversion", 3 * day),
        ("t6", "retain", 2 * day),
        ("t7", "grow", day),
        ("t8", "retain", day // 2),
    ]
    row = tables["journeys"][0]
    assert (row["current_stage"], row["furthest_stage"], row["status"]) == ("retain", "grow", "customer")
    assert (row["intent_at"], row["conversion_at"], row["converted_at"]) == (None, at(4), at(5))
    assert only(tables["touchpoints"], event_id="t3")["not_booked_reason"] == "no_amount"
    assert [row["stage"] for row in tables["conversions"]] == ["conversion", "retain", "grow"]


def test_lost_and_churned_need_that_nothing_else_is_open() -> None:
    lost = [
        touch("t1", "opportunity_created", 1, "user:u", opportunity_id="o1"),
        touch("t2", "opportunity_lost", 3, "user:u", opportunity_id="o1"),
    ]
    assert stitch(*lost)["journeys"][0]["status"] == "lost"
    another = touch("t3", "opportunity_created", 2, "user:u", opportunity_id="o2")
    assert stitch(*lost, another)["journeys"][0]["status"] == "open"
    assert stitch(*lost, touch("t4", "site_visit", 4, "user:u"))["journeys"][0]["status"] == "open"
    left = [
        touch("t1", "subscription_started", 1, "user:u", amount_micros=1, subscription_id="s1"),
        touch("t2", "subscription_cancelled", 2, "user:u", subscription_id="s1"),
    ]
    assert stitch(*left)["journeys"][0]["status"] == "churned"
    assert stitch(*left, left[0] | {"event_id": "t0", "subscription_id": "s2"})["journeys"][0]["status"] == (
        "customer"
    )


# --- Conversions and refunds


def test_one_deal_books_once_by_the_highest_rank() -> None:
    tables = stitch(
        touch("won", "opportunity_won", 1, "user:u", amount_micros=90, deal_id="d"),
        touch("signed", "contract_signed", 2, "user:u", amount_micros=100, deal_id="d"),
        touch("again", "contract_signed", 3, "user:u", amount_micros=100, deal_id="d"),
        touch("second", "payment", 4, "user:u", amount_micros=7, deal_id="d", booking_number=1),
    )
    assert [row["conversion_id"] for row in tables["conversions"]] == ["second", "signed"]
    assert {row["event_id"]: row["not_booked_reason"] for row in tables["touchpoints"]} == {
        "won": "deal_booked_by:signed",
        "signed": None,
        "again": "deal_booked_by:signed",
        "second": None,
    }


def test_refunds_run_through_a_deal_and_what_exceeds_is_unmatched() -> None:
    deal = [
        touch("c0", "order", 1, "user:u", amount_micros=10, deal_id="d"),
        touch("c1", "order", 2, "user:u", amount_micros=20, deal_id="d", booking_number=1),
        touch("c2", "order", 9, "user:u", amount_micros=30, deal_id="d", booking_number=2),
    ]
    refunds = [
        touch("r1", "refund", 3, "user:u", amount_micros=25, deal_id="d", booking_number=1),
        touch("r2", "refund", 4, "user:u", amount_micros=50, deal_id="d"),
        touch("r3", "refund", 5, "user:u", amount_micros=5, deal_id="d", currency="USD"),
        touch("r4", "refund", 6, "user:u", amount_micros=5, conversion_id="nothing"),
        touch("r5", "refund", 7, "user:u"),
    ]
    tables = stitch(*deal, *refunds)
    # r1 takes 20 of c1 and 5 of c0; r2 the 5 left of c0 and all 30 of c2, and 15 are left.
    assert [(row["refunded_micros"], row["net_micros"]) for row in tables["conversions"]] == [
        (10, 0),
        (20, 0),
        (30, 0),
    ]
    assert [
        (row["event_id"], row["unmatched_micros"], row["reason"]) for row in tables["unmatched_refunds"]
    ] == [
        ("r2", 15, "exceeds"),
        ("r3", 5, "other_currency"),
        ("r4", 5, "no_conversion"),
    ]


def test_a_refund_of_what_another_booked_lowers_that() -> None:
    tables = stitch(
        touch("paid", "payment", 2, "user:u", amount_micros=10, deal_id="d"),
        touch("signed", "contract_signed", 1, "user:u", amount_micros=12, deal_id="d"),
        touch("back", "refund", 3, "user:u", amount_micros=5, conversion_id="paid"),
    )
    assert only(tables["conversions"])["net_micros"] == 7
    assert {(row["subject_type"], row["measure"], row["amount_micros"]) for row in tables["money"]} == {
        ("customer", "booked", 12),
        ("customer", "net", 7),
    }


# --- Attribution


def test_largest_remainder() -> None:
    assert split_largest_remainder(100, [1, 1, 1]) == [34, 33, 33]
    assert split_largest_remainder(10, [Fraction(1), Fraction(2), Fraction(4)]) == [1, 3, 6]
    assert split_largest_remainder(0, [1, 2]) == [0, 0]


def path(*kinds: str, amount: int = 100) -> Tables:
    touches = [touch(f"t{place}", kind, place, "user:u") for place, kind in enumerate(kinds)]
    return stitch(*touches, touch("won", "order", 50, "user:u", amount_micros=amount))


def test_w_shaped_weights() -> None:
    tables = path("ad_click_display", "site_visit", "handover", "call", "opportunity_created", "demo_held")
    assert credits_of(tables, "won", "w_shaped") == {
        "t0": Decimal("0.300000000000"),
        "t1": Decimal("0.033333333334"),
        "t2": Decimal("0.300000000000"),
        "t3": Decimal("0.033333333333"),
        "t4": Decimal("0.300000000000"),
        "t5": Decimal("0.033333333333"),
    }
    amounts = {
        row["event_id"]: row["amount_micros"] for row in tables["credits"] if row["model"] == "w_shaped"
    }
    assert amounts == {"t0": 30, "t1": 4, "t2": 30, "t3": 3, "t4": 30, "t5": 3}


def test_missing_keys_give_their_weight_in_proportion() -> None:
    # First 30 and handover 30, no opportunity created, the rest 10: of 70. The unit left goes to 3/7, the earlier.
    assert credits_of(path("site_visit", "handover", "call"), "won", "w_shaped") == {
        "t0": Decimal("0.428571428572"),
        "t1": Decimal("0.428571428571"),
        "t2": Decimal("0.142857142857"),
    }
    # An enquiry that is first and last has three keys, and there is no rest.
    assert credits_of(path("enquiry"), "won", "full_path") == {"t0": Decimal(1)}
    assert credits_of(path("site_visit", "call"), "won", "position_based") == {
        "t0": Decimal("0.5"),
        "t1": Decimal("0.5"),
    }
    assert credits_of(path("site_visit", "call", "site_visit"), "won", "position_based") == {
        "t0": Decimal("0.4"),
        "t1": Decimal("0.2"),
        "t2": Decimal("0.4"),
    }


def test_time_decay_halves_each_week() -> None:
    touches = [touch(f"t{days}", "site_visit", days, "user:u") for days in (0, 7, 14)]
    tables = stitch(*touches, touch("won", "order", 15, "user:u", amount_micros=700))
    assert credits_of(tables, "won", "time_decay") == {
        "t0": Decimal("0.142857142857"),
        "t7": Decimal("0.285714285714"),
        "t14": Decimal("0.571428571429"),
    }
    amounts = [row["amount_micros"] for row in tables["credits"] if row["model"] == "time_decay"]
    assert sorted(amounts) == [100, 200, 400]


def test_time_decay_between_whole_halvings_follows_the_table() -> None:
    touches = [touch("t0", "site_visit", 0, "user:u"), touch("t1", "site_visit", 3.5, "user:u")]
    tables = stitch(*touches, touch("won", "order", 15, "user:u", amount_micros=1))
    half_a_halving = 777_472_127_993  # the whole part of 2^39.5
    expected = Fraction(half_a_halving, half_a_halving + 2**40)
    assert credits_of(tables, "won", "time_decay")["t0"] == Decimal(round(expected * 10**12)).scaleb(-12)


def test_single_touch_models_and_the_path_between_conversions() -> None:
    tables = stitch(
        touch("t0", "search_visit", 0, "user:u"),
        touch("c0", "order", 1, "user:u", amount_micros=5),
        touch("t1", "site_visit", 2, "user:u"),
        touch("t2", "identify", 3, "user:u"),
        touch("t3", "ticket_opened", 4, "user:u"),
        touch("t4", "site_visit", 5, "user:u", channel="direct"),
        touch("c1", "order", 6, "user:u", amount_micros=7),
        touch("c2", "order", 7, "user:u", amount_micros=9),
    )
    assert credits_of(tables, "c1", "linear") == {"t1": Decimal("0.5"), "t4": Decimal("0.5")}
    assert credits_of(tables, "c1", "first_touch") == {"t1": Decimal(1)}
    assert credits_of(tables, "c1", "last_touch") == {"t4": Decimal(1)}
    assert credits_of(tables, "c1", "last_non_direct") == {"t1": Decimal(1)}
    assert credits_of(tables, "c2", "linear") == {"(none)": Decimal(1)}


def test_a_look_back_leaves_older_touches_out() -> None:
    touches = [touch("t0", "site_visit", 0, "user:u"), touch("t1", "site_visit", 5, "user:u")]
    won = touch("won", "order", 10, "user:u", amount_micros=1)
    tables = stitch(*touches, won, rules=Rules(look_back_days=5))
    assert set(credits_of(tables, "won", "linear")) == {"t1"}


def test_removal_effects_of_two_channels() -> None:
    # Two of three paths convert: a → b and b; a alone fails.
    # start → a 2/3, b 1/3; a → b 1/2, null 1/2; b → conversion 1. P = 1/3 + 2/3 · 1/2 = 2/3.
    # Without a: 1/3, effect 1/2. Without b: 0, effect 1.
    effects = removal_effects([("a", "b"), ("b",)], [("a",)])
    assert effects == {"a": Fraction(1, 2), "b": Fraction(1)}


def test_channel_credits_of_those_paths() -> None:
    tables = stitch(
        touch("a1", "ad_click_display", 0, "user:u1"),
        touch("b1", "email_clicked", 1, "user:u1"),
        touch("c1", "order", 2, "user:u1", amount_micros=100),
        touch("b2", "email_clicked", 1, "user:u2"),
        touch("c2", "order", 2, "user:u2", amount_micros=1),
        touch("a3", "ad_click_display", 1, "user:u3"),
        touch("c4", "order", 1, "user:u4", amount_micros=50),
    )
    found = {
        (row["model"], row["channel"]): (row["credit"], row["amount_micros"])
        for row in tables["channel_credits"]
    }
    third = Decimal("0.666666666666"), Decimal("1.333333333334")
    assert found == {
        ("markov", "display"): (third[0], 34),
        ("markov", "email"): (third[1], 67),
        ("markov", "(none)"): (Decimal(1), 50),
        ("shapley", "display"): (Decimal("0.5"), 50),
        ("shapley", "email"): (Decimal("1.5"), 51),
        ("shapley", "(none)"): (Decimal(1), 50),
    }


# --- Spend, handovers, opportunities


def test_spend_is_shared_equally_with_the_remainder_to_the_smallest_ids() -> None:
    visits = [touch(f"t{n}", "site_visit", 0, "user:u", campaign_id="x") for n in (3, 1, 2)]
    day = at(0).date()
    spends = [
        fact(
            "spend",
            0,
            event_id="s1",
            campaign_id="x",
            channel="email",
            day=day,
            amount_micros=8,
            currency="EUR",
        ),
        fact(
            "spend",
            0,
            event_id="s2",
            campaign_id=None,
            channel="email",
            day=day,
            amount_micros=5,
            currency="USD",
        ),
    ]
    rates = {"USD": {day: Decimal("0.5")}}
    tables = stitch(*visits, spend=spends, rules=Rules(reporting_currency="EUR", rates=rates))
    assert [row["amount_micros"] for row in tables["spend_shares"]] == [3, 3, 2]
    assert [(row["allocated_micros"], row["reporting_micros"]) for row in tables["spend"]] == [(8, 8), (0, 2)]


def test_the_handover_ledger() -> None:
    visits = [
        touch("v", "site_visit", 0, "user:u", campaign_id="x"),
        touch("h1", "handover", 1, "user:u", owner="Ada", amount_micros=500),
        touch("h2", "handover", 2, "user:u"),
        touch("call", "call", 2.5, "user:u"),
        touch("no", "handover_rejected", 3, "user:u", reason="too small"),
        touch("yes", "handover_accepted", 4, "user:u", owner="Bo"),
        touch("h3", "handover", 5, "user:u"),
        touch("yes2", "handover_accepted", 6, "user:u", owner="Bo"),
        touch("back", "handover_recycled", 7, "user:u"),
    ]
    spend = fact(
        "spend", 0, campaign_id="x", channel="email", day=at(0).date(), amount_micros=9, currency="EUR"
    )
    tables = stitch(*visits, spend=[spend])
    rows = {row["handover_id"]: row for row in tables["handovers"]}
    ledger = [
        (name, rows[name]["status"], rows[name]["ignored_reason"], rows[name]["state"])
        for name in ("h1", "h2", "no", "yes", "h3", "yes2", "back")
    ]
    assert ledger == [
        ("h1", "applied", None, "offered"),
        ("h2", "ignored", "already_offered", "offered"),
        ("no", "applied", None, "marketing"),
        ("yes", "ignored", "nothing_offered", "marketing"),
        ("h3", "applied", None, "offered"),
        ("yes2", "applied", None, "sales"),
        ("back", "applied", None, "marketing"),
    ]
    assert [rows[name]["owner"] for name in ("h1", "h2", "no", "yes", "yes2", "back")] == [
        "Ada",
        "Ada",
        "Ada",
        "Ada",
        "Bo",
        None,
    ]
    first, third = rows["h1"], rows["h3"]
    assert (first["answer"], first["answered_at"]) == ("rejected", at(3))
    assert (first["first_follow_up_at"], first["cost_micros"], first["currency"]) == (at(2.5), 9, "EUR")
    assert (first["expected_micros"], first["expected_currency"]) == (500, "EUR")
    assert (third["answer"], third["first_follow_up_at"], third["cost_micros"]) == ("accepted", None, None)
    assert only(tables["money"], measure="cost")["subject_id"] == "h1"


def test_what_sales_created_starts_with_sales() -> None:
    tables = stitch(
        touch("o", "opportunity_created", 0, "user:u", opportunity_id="o", owner="Ada", amount_micros=70),
        touch("h", "handover", 1, "user:u", opportunity_id="o"),
        touch("w", "opportunity_won", 2, "user:u", opportunity_id="o", amount_micros=60, reason="price"),
    )
    assert [(r["step"], r["status"], r["ignored_reason"], r["owner_team"]) for r in tables["handovers"]] == [
        ("offered", "ignored", "owned_by_sales", "sales"),
        ("created", "applied", None, "sales"),
    ]
    row = only(tables["opportunities"])
    assert (row["owner_team"], row["owner"], row["outcome"], row["closed_at"]) == (
        "sales",
        "Ada",
        "won",
        at(2),
    )
    assert (row["expected_micros"], row["booked_micros"], row["currency"]) == (70, 60, "EUR")


@pytest.mark.parametrize(
    ("offered", "hours", "expected"),
    [
        # A Friday: three hours are left, the other five are Monday's.
        (datetime(2024, 1, 5, 14, tzinfo=UTC), 8, datetime(2024, 1, 8, 14, tzinfo=UTC)),
        # A Saturday counts from Monday; a full day ends at closing, not at the next opening.
        (datetime(2024, 1, 6, 3, tzinfo=UTC), 8, datetime(2024, 1, 8, 17, tzinfo=UTC)),
        # At closing time the next day begins.
        (datetime(2024, 1, 2, 17, tzinfo=UTC), 0.5, datetime(2024, 1, 3, 9, 30, tzinfo=UTC)),
        (datetime(2024, 1, 2, 8, tzinfo=UTC), 20, datetime(2024, 1, 4, 13, tzinfo=UTC)),
    ],
)
def test_business_hours_over_a_weekend(offered: datetime, hours: float, expected: datetime) -> None:
    assert due(offered, ServiceLevel(hours=hours)) == expected


def test_business_hours_in_a_zone_with_a_holiday() -> None:
    level = ServiceLevel(hours=2, zone="America/New_York", holidays=(date(2024, 1, 8),))
    # Friday 16:00 in New York: one hour is left, Monday is a holiday, Tuesday's first hour ends at 10:00.
    assert due(datetime(2024, 1, 5, 21, tzinfo=UTC), level) == datetime(2024, 1, 9, 15, tzinfo=UTC)
