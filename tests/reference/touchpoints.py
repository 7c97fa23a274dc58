"""Touchpoints with their customer and account, those that a withdrawn consent forbids aside."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from milepost.rules import Rules
from schemas.vocabulary import Vocabulary
from tests.reference.facts import Row
from tests.reference.identity import Identity, customer_id_of, is_blocked, usable


def fold_order(touch: Row) -> tuple[datetime, int, str]:
    """Sort key: when, the kind's stage with no stage last, event_id."""
    return touch["fold_order"]  # type: ignore[no-any-return]


def touchpoints_in_use(
    facts: list[Row], consents: list[Row], identity: Identity, vocabulary: Vocabulary, rules: Rules
) -> list[Row]:
    """The table `touchpoints` (without what books) in fold order; each row also has

    - `fold_order`, its sort key
    - `word`, what the vocabulary says about its kind
    - `named`, the account that the touchpoint itself names.
    """
    touches = []
    for fact in facts:
        identifiers = usable(fact, vocabulary)
        customer = identity.customer(identifiers[0]) if identifiers else None
        if customer is not None and _forbidden(fact["occurred_at"], customer, consents, rules):
            continue
        word = vocabulary.kinds[fact["kind"]]
        rank = len(vocabulary.stages) if word.stage is None else vocabulary.stage_rank[word.stage]
        touches.append(
            {
                **fact,
                "customer_id": None if customer is None else customer_id_of(customer, vocabulary),
                "shared": bool(identifiers) and identifiers[0] in identity.shared,
                "stage": word.stage,
                "word": word,
                "named": fact["account_id"],
                "fold_order": (fact["occurred_at"], rank, fact["event_id"]),
            }
        )
    touches.sort(key=fold_order)
    for touch in touches:
        touch["account_id"] = _account(touch, touches)
        touch["subject_type"], touch["subject_id"] = _subject(touch)
    return touches


def _forbidden(when: datetime, customer: frozenset[str], consents: list[Row], rules: Rules) -> bool:
    """Whether the customer's last decision at that time is a withdrawal."""
    decisions = [
        fact
        for fact in consents
        if fact["identifier"] in customer
        and fact["purpose"] == rules.consent_purpose
        and fact["decided_at"] <= when
    ]
    if not decisions:
        return False
    last = max(decisions, key=lambda fact: (fact["decided_at"], not fact["granted"], fact["event_id"]))
    return not last["granted"]


def _account(touch: Row, touches: list[Row]) -> Any:
    """The account named; else the customer's last one named so far; else the first named later."""
    if touch["named"] is not None or touch["customer_id"] is None or touch["shared"]:
        return touch["named"]
    naming = [
        other
        for other in touches
        if other["customer_id"] == touch["customer_id"] and other["named"] is not None
    ]
    before = [other for other in naming if fold_order(other) <= fold_order(touch)]
    if before:
        return before[-1]["named"]
    return naming[0]["named"] if naming else None


def _subject(touch: Row) -> tuple[str | None, str | None]:
    if touch["account_id"] is not None:
        return "account", touch["account_id"]
    if touch["customer_id"] is not None:
        return "customer", touch["customer_id"]
    return None, None


def consent_rows(consents: list[Row], identity: Identity, vocabulary: Vocabulary) -> list[Row]:
    """The table `consents`."""
    return [
        {
            **fact,
            "customer_id": None
            if is_blocked(fact["identifier"], vocabulary)
            else customer_id_of(identity.customer(fact["identifier"]), vocabulary),
        }
        for fact in consents
    ]


def profile_rows(profiles: list[Row], identity: Identity, vocabulary: Vocabulary) -> list[Row]:
    """The table `profiles`: of several facts at one time, the greatest revision, then the smallest event_id."""
    rows: dict[tuple[Any, ...], Row] = {}
    for fact in sorted(profiles, key=lambda fact: (-fact["revision"], fact["event_id"])):
        identifier, subject_id = "", fact["subject_id"]
        if fact["subject_type"] == "customer":
            identifier = fact["subject_id"]
            subject_id = customer_id_of(identity.customer(identifier), vocabulary)
        key = (fact["subject_type"], subject_id, fact["attribute"], fact["valid_from"], identifier)
        rows.setdefault(key, {**fact, "subject_id": subject_id, "identifier": identifier})
    return list(rows.values())


def campaign_rows(campaigns: list[Row]) -> list[Row]:
    """The table `campaigns`: of several facts, the greatest revision, then the smallest event_id."""
    rows: dict[str, Row] = {}
    for fact in sorted(campaigns, key=lambda fact: (-fact["revision"], fact["event_id"])):
        rows.setdefault(fact["campaign_id"], fact)
    return list(rows.values())
