"""Which identifiers are one person."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from schemas.vocabulary import Vocabulary
from tests.reference.facts import Pair, Row


@dataclass
class Identity:
    """The customers of a set of links."""

    #: The table `identity_links`.
    links: list[Row]
    shared: set[str]
    #: Every linked identifier's customer, as the set of its identifiers.
    customers: dict[str, frozenset[str]]

    def customer(self, identifier: str) -> frozenset[str]:
        return self.customers.get(identifier, frozenset((identifier,)))


def split(identifier: str) -> tuple[str, str]:
    namespace, _, value = identifier.partition(":")
    return namespace, value


def strength(identifier: str, vocabulary: Vocabulary) -> tuple[int, str]:
    """Sort key: the strongest namespace first, then the smallest value."""
    namespace, value = split(identifier)
    return vocabulary.namespace_rank[namespace], value


def is_blocked(identifier: str, vocabulary: Vocabulary) -> bool:
    return vocabulary.blocklist.blocks(split(identifier)[1])


def id_of(identifier: str) -> str:
    return hashlib.sha256(identifier.encode()).hexdigest()[:32]


def customer_id_of(customer: frozenset[str], vocabulary: Vocabulary) -> str:
    return id_of(min(customer, key=lambda identifier: strength(identifier, vocabulary)))


def usable(touchpoint: Row, vocabulary: Vocabulary) -> list[str]:
    """The identifiers that are not blocked, the owner first."""
    unblocked = {name for name in touchpoint["identifiers"] if not is_blocked(name, vocabulary)}
    return sorted(unblocked, key=lambda identifier: strength(identifier, vocabulary))


def pairs_of(identifiers: list[str], vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """The links of a touchpoint with these usable identifiers, the owner first."""
    if len(identifiers) < 2:
        return []
    owner, second, *rest = identifiers
    pairs = [(owner, other) for other in identifiers[1:]]
    if vocabulary.namespaces[split(owner)[0]].max_links is not None:
        pairs += [(second, other) for other in rest]
    return pairs


Sighting = tuple[str, str, datetime, str]


def sightings(
    touchpoints: list[Row], links: list[Row], retracted: set[Pair], vocabulary: Vocabulary
) -> list[Sighting]:
    """Every time that two identifiers were seen together: (a, b, when, event_id), `a` the stronger."""
    seen = []
    for touchpoint in touchpoints:
        for a, b in pairs_of(usable(touchpoint, vocabulary), vocabulary):
            seen.append((a, b, touchpoint["occurred_at"], touchpoint["event_id"]))
    for link in links:
        if link["a"] != link["b"]:
            a, b = sorted((link["a"], link["b"]), key=lambda name: strength(name, vocabulary))
            seen.append((a, b, link["seen_at"], link["event_id"]))
    return [sighting for sighting in seen if frozenset(sighting[:2]) not in retracted]


def identify(seen: list[Sighting], vocabulary: Vocabulary) -> Identity:
    """Join linked identifiers into customers, in the order in which the links were first seen."""
    first: dict[tuple[str, str], tuple[datetime, str]] = {}
    for a, b, when, event_id in seen:
        first[a, b] = min(first.get((a, b), (when, event_id)), (when, event_id))

    blocked = {pair for pair in first if any(is_blocked(name, vocabulary) for name in pair)}
    shared = _shared({pair for pair in first if pair not in blocked}, vocabulary)
    customers: dict[str, frozenset[str]] = {}
    links = []
    for (a, b), (when, event_id) in sorted(first.items(), key=lambda item: (*item[1], *item[0])):
        reason = None
        if (a, b) in blocked:
            status, reason = "blocked", "blocked identifier"
        elif a in shared or b in shared:
            status, reason = "shared", "shared: a" if a in shared else "shared: b"
        else:
            customer_a = customers.get(a, frozenset((a,)))
            customer_b = customers.get(b, frozenset((b,)))
            conflict = _conflict(customer_a | customer_b, vocabulary)
            if conflict is None:
                status = "joined"
                for name in customer_a | customer_b:
                    customers[name] = customer_a | customer_b
            else:
                status, reason = "refused", f"two values of {conflict}"
        links.append(
            {"a": a, "b": b, "first_seen_at": when, "event_id": event_id, "status": status, "reason": reason}
        )
    return Identity(links, shared, customers)


def _shared(pairs: set[tuple[str, str]], vocabulary: Vocabulary) -> set[str]:
    """Identifiers directly linked to too many values of one unique namespace."""
    linked: dict[tuple[str, str], set[str]] = defaultdict(set)
    for pair in pairs:
        for name, other in (pair, pair[::-1]):
            namespace, value = split(other)
            if vocabulary.namespaces[namespace].unique:
                linked[name, namespace].add(value)
    shared = set()
    for (name, _), values in linked.items():
        max_links = vocabulary.namespaces[split(name)[0]].max_links
        if max_links is not None and len(values) > max_links:
            shared.add(name)
    return shared


def _conflict(customer: frozenset[str], vocabulary: Vocabulary) -> str | None:
    """The strongest unique namespace of which the identifiers hold two values."""
    for name, namespace in vocabulary.namespaces.items():
        if namespace.unique and sum(split(identifier)[0] == name for identifier in customer) > 1:
            return name
    return None


def known(
    touchpoints: list[Row], links: list[Row], profiles: list[Row], consents: list[Row], vocabulary: Vocabulary
) -> dict[str, tuple[datetime, datetime]]:
    """Every identifier that a fact names, blocked ones aside, with when it was first and last seen."""
    seen = [(name, fact["occurred_at"]) for fact in touchpoints for name in fact["identifiers"]]
    seen += [(name, fact["seen_at"]) for fact in links for name in (fact["a"], fact["b"])]
    seen += [
        (fact["subject_id"], fact["valid_from"]) for fact in profiles if fact["subject_type"] == "customer"
    ]
    seen += [(fact["identifier"], fact["decided_at"]) for fact in consents]
    spans: dict[str, tuple[datetime, datetime]] = {}
    for name, when in seen:
        if not is_blocked(name, vocabulary):
            first, last = spans.get(name, (when, when))
            spans[name] = min(first, when), max(last, when)
    return spans


def identity_rows(
    spans: dict[str, tuple[datetime, datetime]], identity: Identity, vocabulary: Vocabulary
) -> tuple[list[Row], list[Row]]:
    """The tables `identities` and `customer_aliases`."""
    identities, aliases = [], []
    for name, (first, last) in spans.items():
        namespace, value = split(name)
        customer_id = customer_id_of(identity.customer(name), vocabulary)
        identities.append(
            {
                "namespace": namespace,
                "value": value,
                "customer_id": customer_id,
                "first_seen_at": first,
                "last_seen_at": last,
                "shared": name in identity.shared,
            }
        )
        if id_of(name) != customer_id:
            aliases.append({"old_customer_id": id_of(name), "customer_id": customer_id})
    return identities, aliases
