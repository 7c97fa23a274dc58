"""Snowplow's tracker protocol: each event becomes a JSON object of its parameters.

Beside what the tracker sent stand, named as in Snowplow's own tables: `collector_tstamp`, `derived_tstamp`
(when it happened by our clock), and what the request knew: `useragent`, `referer`, `network_userid`,
`user_ipaddress`.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any

from connectors.collector.json_text import decode, encode
from connectors.collector.records import RawRecord, Refused
from connectors.collector.settings import KIB, CollectorSettings, SnowplowSource
from connectors.collector.taken import Taken, made_id
from connectors.collector.times import corrected, iso

_PAYLOAD_SCHEMA = "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-"
#: A parameter with JSON in base64 → the one that holds it as text.
_PACKED = {"ue_px": "ue_pr", "cx": "co"}
_ADDED = 4 * KIB


class AppSources:
    """Which source an application id belongs to."""

    def __init__(self, settings: CollectorSettings) -> None:
        sources = {
            name: source for name, source in settings.sources.items() if isinstance(source, SnowplowSource)
        }
        self._by_id = {app: name for name, source in sources.items() for app in source.app_ids}
        self._other = next((name for name, source in sources.items() if not source.app_ids), None)

    def find(self, app_id: object) -> str:
        """Give the source; raises Refused for an id of none."""
        source = self._by_id.get(app_id, self._other) if isinstance(app_id, str) else self._other
        if source is None:
            raise Refused("unknown_app_id", "the application id (aid) belongs to no source")
        return source


def take_payload(
    body: object,
    known: Mapping[str, str],
    received: int,
    apps: AppSources,
    settings: CollectorSettings,
) -> Taken:
    """Make the records of a `tp2` request.

    Args:
        body: the self-describing JSON that was posted.
        known: what the request itself knew of the client.
        received: when it arrived (microseconds).
        apps: the sources.
        settings: the limits.

    Raises:
        Refused: it is no list of events.
    """
    if not isinstance(body, dict) or not str(body.get("schema")).startswith(_PAYLOAD_SCHEMA):
        raise Refused("bad_schema", f"the body is not self-describing JSON of {_PAYLOAD_SCHEMA}…")
    events = body.get("data")
    if not isinstance(events, list) or not events:
        raise Refused("bad_batch", "data is not a list of events")
    if len(events) > settings.max_batch_events:
        raise Refused("batch_too_long", f"{len(events)} events; {settings.max_batch_events} are the most")
    taken = Taken()
    for index, event in enumerate(events):
        take_event(taken, index, event, known, received, apps, settings)
    return taken


def take_event(
    taken: Taken,
    index: int,
    event: object,
    known: Mapping[str, str],
    received: int,
    apps: AppSources,
    settings: CollectorSettings,
) -> None:
    """Make the record of one event, or note why there is none."""
    try:
        if not isinstance(event, dict):
            raise Refused("bad_type", "an event is not an object")
        source = apps.find(event.get("aid"))
        taken.records.setdefault(source, []).append(_record(source, event, known, received, settings))
    except Refused as refusal:
        taken.reject(index, event.get("eid") if isinstance(event, dict) else None, refusal)


def _record(
    source: str, sent: dict[str, Any], known: Mapping[str, str], received: int, settings: CollectorSettings
) -> RawRecord:
    event = {name: _text(name, value) for name, value in sent.items() if value is not None}
    if not event.get("e"):
        raise Refused("bad_type", "an event has no type (e)")
    if not event.get("eid"):
        said = {name: value for name, value in event.items() if name != "stm"}
        event["eid"] = made_id(source, said)
    for packed, plain in _PACKED.items():
        text = _unpacked(event.get(packed))
        if text is not None:
            del event[packed]
            event[plain] = text
    event |= known
    event["collector_tstamp"] = iso(received)
    event["derived_tstamp"] = iso(_derived(event, received))
    value = encode(event, settings.max_event_bytes + _ADDED)
    person = event.get("duid") or event.get("uid") or event.get("network_userid") or event["eid"]
    return RawRecord(person.encode(), value, received)


def _text(name: str, value: object) -> str:
    """Give a parameter as text: all are, though some trackers send numbers."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (int, float)):
        return str(value)
    raise Refused("bad_type", f"{name[:40]} is neither a text nor a number")


def _derived(event: Mapping[str, str], received: int) -> int:
    """Give when an event happened: the true time where the tracker knows it, else its device's, corrected."""
    if event.get("ttm"):
        return _milliseconds("ttm", event["ttm"])
    created = _milliseconds("dtm", event["dtm"]) if event.get("dtm") else None
    sent = _milliseconds("stm", event["stm"]) if event.get("stm") else None
    return corrected(received, sent, created)


def _milliseconds(name: str, text: str) -> int:
    """Read milliseconds since 1970 as microseconds."""
    if not (text.isascii() and text.removeprefix("-").isdecimal() and len(text) <= 16):
        raise Refused("bad_time", f"{name} is not a number of milliseconds since 1970")
    return int(text) * 1000


def _unpacked(packed: str | None) -> str | None:
    """Give the JSON that a parameter holds in base64; None where it holds none."""
    if not packed:
        return None
    try:
        raw = urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        decode(raw)
        text = raw.decode()
    except (binascii.Error, ValueError, Refused):
        return None
    return None if "\\u0000" in text else text
