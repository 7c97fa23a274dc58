"""What erasures take away, for good."""

from __future__ import annotations

from datetime import datetime

from schemas.vocabulary import Vocabulary
from tests.reference.facts import Facts, Pair, Row, means_erasure
from tests.reference.identity import identify, is_blocked, sightings, usable


def erase(facts: Facts, retracted: set[Pair], vocabulary: Vocabulary) -> tuple[Facts, list[Row]]:
    """Give the facts without the erased, and the table `erasures`."""
    rows = []
    applied: list[tuple[datetime, frozenset[str]]] = []
    asked = [{**fact, "fact": "erasure"} for fact in facts["erasure"]]
    for request in asked + [_as_erasure(fact) for fact in facts["consent"] if means_erasure(fact)]:
        found = _who(request, facts, retracted, vocabulary)
        if isinstance(found, str):
            rows.append({**request, "status": "rejected", "reason": found})
        else:
            rows.append({**request, "status": "applied", "reason": None})
            applied.append((request["erased_at"], found))

    def erased(identifier: str, when: datetime) -> bool:
        return any(when <= until and identifier in identifiers for until, identifiers in applied)

    left = dict(facts)
    left["touchpoint"] = []
    for touchpoint in facts["touchpoint"]:
        when = touchpoint["occurred_at"]
        owner = usable(touchpoint, vocabulary)[:1]
        if not (owner and erased(owner[0], when)):
            kept = [name for name in touchpoint["identifiers"] if not erased(name, when)]
            left["touchpoint"].append({**touchpoint, "identifiers": kept})
    left["identity_link"] = [
        fact
        for fact in facts["identity_link"]
        if not (erased(fact["a"], fact["seen_at"]) or erased(fact["b"], fact["seen_at"]))
    ]
    left["profile"] = [
        fact
        for fact in facts["profile"]
        if fact["subject_type"] != "customer" or not erased(fact["subject_id"], fact["valid_from"])
    ]
    left["consent"] = [
        fact for fact in facts["consent"] if not erased(fact["identifier"], fact["decided_at"])
    ]
    return left, rows


def _as_erasure(consent: Row) -> Row:
    return {**consent, "erased_at": consent["decided_at"], "fact": "consent"}


def _who(request: Row, facts: Facts, retracted: set[Pair], vocabulary: Vocabulary) -> frozenset[str] | str:
    """The identifiers of the customer at that time, or why there is nobody to erase."""
    if is_blocked(request["identifier"], vocabulary):
        return "blocked"
    until = request["erased_at"]
    then = identify(
        sightings(
            [fact for fact in facts["touchpoint"] if fact["occurred_at"] <= until],
            [fact for fact in facts["identity_link"] if fact["seen_at"] <= until],
            retracted,
            vocabulary,
        ),
        vocabulary,
    )
    if request["identifier"] in then.shared:
        return "shared"
    return then.customer(request["identifier"])
