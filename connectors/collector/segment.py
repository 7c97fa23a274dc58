"""Segment's HTTP tracking API: bodies of requests become one raw record per event, as Segment passes events on."""

from __future__ import annotations

from typing import Any, NamedTuple

from connectors.collector.json_text import encode
from connectors.collector.records import RawRecord, Refused
from connectors.collector.settings import KIB, CollectorSettings
from connectors.collector.taken import Taken, made_id
from connectors.collector.times import corrected, iso, parse_iso

#: The last part of a path → the type of its events. The short ones are what analytics.js calls.
CALLS = {
    call: kind
    for kind in ("track", "identify", "page", "screen", "group", "alias")
    for call in (kind, kind[0])
} | dict.fromkeys(("batch", "import", "b"), "batch")

TYPES = frozenset(CALLS.values()) - {"batch"}
_OBJECTS = ("properties", "traits", "context", "integrations")
_SHARED = ("context", "integrations")
_IDS = ("messageId", "anonymousId", "userId", "previousId", "groupId")
#: Bytes that the collector's own fields may add to an event.
_ADDED = KIB
#: How many times a request's largest size what a batch's events share may come to, once merged into each.
_SHARED_TIMES = 4


class _Times(NamedTuple):
    """When a request arrived and when its client says it was sent: microseconds, and written out."""

    received: int
    received_text: str
    sent: int | None
    sent_text: str | None


def take_call(
    source: str, kind: str, body: dict[str, Any], received: int, settings: CollectorSettings
) -> Taken:
    """Make the record of a single call (`track`, …), or those of a `batch`.

    Args:
        source: the source that the write key stands for.
        kind: what the path says, a value of `CALLS`.
        body: the request's body.
        received: when it arrived (microseconds).
        settings: the limits.

    Raises:
        Refused: the request as a whole can't be taken.
    """
    taken = Taken()
    if kind == "batch":
        _take_batch(taken, source, body, received, settings)
        return taken
    record = _record(source, {**body, "type": kind}, _times(body, received), settings)
    taken.records[source] = [record]
    return taken


def _take_batch(
    taken: Taken, source: str, body: dict[str, Any], received: int, settings: CollectorSettings
) -> None:
    events = body.get("batch")
    if not isinstance(events, list) or not events:
        raise Refused("bad_batch", "batch is not a list of events")
    if len(events) > settings.max_batch_events:
        raise Refused(
            "batch_too_long", f"{len(events)} events; {settings.max_batch_events} are the most", 413
        )
    shared = _shared(body, len(events), settings)
    times = _times(body, received)
    records = taken.records[source] = []
    for index, event in enumerate(events):
        try:
            if not isinstance(event, dict):
                raise Refused("bad_type", "an event is not an object")
            records.append(_batch_record(source, event, shared, times, settings))
        except Refused as refusal:
            taken.reject(index, event.get("messageId") if isinstance(event, dict) else None, refusal)


def _shared(body: dict[str, Any], events: int, settings: CollectorSettings) -> dict[str, dict[str, Any]]:
    """Give what a batch says once for all of its events."""
    shared = {name: body[name] for name in _SHARED if body.get(name)}
    for name, value in shared.items():
        if not isinstance(value, dict):
            raise Refused("bad_type", f"{name} is not an object")
    if shared:
        size = len(encode(shared, settings.max_event_bytes))
        # A small body must not become a large amount of work.
        if size * events > _SHARED_TIMES * settings.max_batch_bytes:
            raise Refused("context_too_large", "what the events share is too large for so many of them", 413)
    return shared


def _batch_record(
    source: str,
    event: dict[str, Any],
    shared: dict[str, dict[str, Any]],
    times: _Times,
    settings: CollectorSettings,
) -> RawRecord:
    # `action` is what old libraries call the type.
    kind = event.get("type", event.get("action"))
    if not isinstance(kind, str) or kind not in TYPES:
        raise Refused("bad_type", f"type is none of {', '.join(sorted(TYPES))}")
    merged = {**event, "type": kind}
    for name, value in shared.items():
        own = event.get(name)
        if own is None or isinstance(own, dict):
            merged[name] = {**value, **(own or {})}
    return _record(source, merged, _times(event, times.received) if "sentAt" in event else times, settings)


def _record(source: str, event: dict[str, Any], times: _Times, settings: CollectorSettings) -> RawRecord:
    """Check one event (a dict that is ours to change), give it its times and an id, and write it."""
    event.pop("writeKey", None)
    for name in _OBJECTS:
        if event.get(name) == []:
            # What PHP makes of an empty object.
            event[name] = {}
        if not isinstance(event.get(name), (dict, type(None))):
            raise Refused("bad_type", f"{name} is not an object")
    for name in _IDS:
        if name in event:
            event[name] = _text_id(name, event[name])
    if event["type"] == "track" and not (isinstance(event.get("event"), str) and event["event"]):
        raise Refused("bad_type", "a track call has no event, the name of what happened")
    happened = event.get("originalTimestamp") or event.get("timestamp")
    if not event.get("messageId"):
        # From what was said, so that a retry of the same request is known to be one.
        said = {name: value for name, value in event.items() if name not in {"sentAt", "messageId"}}
        event["messageId"] = made_id(source, said)
    _set_times(event, happened, times)
    value = encode(event, settings.max_event_bytes + _ADDED)
    person = event.get("anonymousId") or event.get("userId") or event["messageId"]
    return RawRecord(person.encode(), value, times.received)


def _set_times(event: dict[str, Any], happened: object, times: _Times) -> None:
    if happened is not None and not isinstance(happened, str):
        raise Refused("bad_time", "timestamp is not a text")
    event["receivedAt"] = times.received_text
    if times.sent_text is not None:
        event["sentAt"] = times.sent_text
    if happened:
        event["originalTimestamp"] = happened
        event["timestamp"] = iso(corrected(times.received, times.sent, parse_iso(happened, "timestamp")))
    else:
        event["timestamp"] = times.received_text


def _text_id(name: str, value: object) -> str | None:
    """Give an id as text: some libraries send numbers."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise Refused("bad_type", f"{name} is neither a text nor a whole number")


def _times(body: dict[str, Any], received: int) -> _Times:
    said = body.get("sentAt")
    if said is None or said == "":
        return _Times(received, iso(received), None, None)
    if not isinstance(said, str):
        raise Refused("bad_time", "sentAt is not a text")
    sent = parse_iso(said, "sentAt")
    return _Times(received, iso(received), sent, iso(sent))
