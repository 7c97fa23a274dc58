"""Of all deliveries of a fact, the one that stands; and what retractions take away."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

Row = dict[str, Any]
Facts = dict[str, list[Row]]
#: A link's two identifiers, in no order.
Pair = frozenset[str]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RETRACTABLE = ("touchpoint", "spend", "exposure", "identity_link")


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return micros(value)
    if isinstance(value, date):
        return value.isoformat()
    return value


def canonical_bytes(fact: Row) -> bytes:
    """What a fact says, without when and how it arrived and what was made of a wrong clock."""
    left_out = {"received_at", "raw_ids", "mapping_version"}
    if fact.get("device_occurred_at") is not None:
        left_out.add("occurred_at")
    said = {name: _plain(value) for name, value in fact.items() if name not in left_out}
    return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def standing(deliveries: Iterable[Row]) -> list[Row]:
    """One fact an event_id: greatest revision, first received, smallest bytes (then smallest corrected time)."""
    best: dict[str, Row] = {}
    for fact in deliveries:
        other = best.get(fact["event_id"])
        if other is None or _standing_order(fact) < _standing_order(other):
            best[fact["event_id"]] = fact
    return [best[event_id] for event_id in sorted(best)]


def _standing_order(fact: Row) -> tuple[Any, ...]:
    return (-fact["revision"], fact["received_at"], canonical_bytes(fact), fact.get("occurred_at", EPOCH))


def retract(facts: Facts) -> tuple[Facts, set[Pair], list[Row]]:
    """Give the facts without the retracted, the link pairs that are retracted, and the table `retractions`."""
    retractions = {fact["event_id"] for fact in facts["retraction"]}
    erasures = {fact["event_id"] for fact in facts["erasure"]} | {
        fact["event_id"] for fact in facts["consent"] if means_erasure(fact)
    }
    arrived = {fact["event_id"] for kind in RETRACTABLE for fact in facts[kind]}
    targets = {fact["target_event_id"] for fact in facts["retraction"]} & arrived
    confirmations = [
        link for link in facts["identity_link"] if link["confirmed"] and link["event_id"] not in targets
    ]

    pairs: set[Pair] = set()
    rows = []
    for fact in facts["retraction"]:
        target, reason = fact["target_event_id"], fact["reason"]
        if target in arrived:
            status = "applied"
        elif target in erasures:
            status, reason = "rejected", "names_erasure"
        elif target in retractions:
            status, reason = "rejected", "names_retraction"
        elif target is not None:
            status = "waiting"
        elif any(
            pair_of(link) == frozenset((fact["link_a"], fact["link_b"]))
            and link["seen_at"] > fact["retracted_at"]
            for link in confirmations
        ):
            status = "outweighed"
        else:
            status = "applied"
            pairs.add(frozenset((fact["link_a"], fact["link_b"])))
        rows.append({**fact, "status": status, "reason": reason})

    left = {kind: list(rows) for kind, rows in facts.items()}
    for kind in RETRACTABLE:
        left[kind] = [fact for fact in facts[kind] if fact["event_id"] not in targets]
    left["identity_link"] = [link for link in left["identity_link"] if pair_of(link) not in pairs]
    return left, pairs, rows


def judge_again(left: Facts, pairs: set[Pair], rows: list[Row]) -> tuple[Facts, set[Pair], list[Row]]:
    """Apply retractions that a link outweighed which was erased since."""
    pairs, judged = set(pairs), []
    for row in rows:
        pair = frozenset((row["link_a"], row["link_b"]))
        confirmed = any(
            link["confirmed"] and pair_of(link) == pair and link["seen_at"] > row["retracted_at"]
            for link in left["identity_link"]
        )
        applies = row["status"] == "outweighed" and not confirmed
        judged.append({**row, "status": "applied"} if applies else row)
        pairs |= {pair} if applies else set()
    links = [link for link in left["identity_link"] if pair_of(link) not in pairs]
    return {**left, "identity_link": links}, pairs, judged


def pair_of(link: Row) -> Pair:
    return frozenset((link["a"], link["b"]))


def means_erasure(consent: Row) -> bool:
    return bool(consent["means_erasure"]) and not consent["granted"]
