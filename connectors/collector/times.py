"""Times of events: microseconds since 1970 in UTC, and the correction of clocks that go wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from connectors.collector.records import Refused

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLAIN_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)


def micros(time: datetime) -> int:
    """Give microseconds since 1970 of a time with a zone."""
    return (time - _EPOCH) // _MICROSECOND


def iso(time: int) -> str:
    """Write microseconds since 1970 as ISO 8601 in UTC.

    Raises:
        Refused: no year between 1 and 9999.
    """
    try:
        moment = _PLAIN_EPOCH + timedelta(microseconds=time)
    except OverflowError:
        raise Refused("bad_time", "a time lies outside of the years 1 to 9999") from None
    return moment.isoformat(timespec="microseconds") + "Z"


def parse_iso(text: str, field: str) -> int:
    """Read ISO 8601 (UTC where it names no zone) as microseconds since 1970.

    Raises:
        Refused: it is no such time; the message names the field.
    """
    try:
        time = datetime.fromisoformat(text)
        return micros(time if time.tzinfo is not None else time.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise Refused("bad_time", f"{field} is not a time in ISO 8601") from None


def corrected(received: int, sent: int | None, happened: int | None) -> int:
    """Give when an event happened by our clock, from what the client's clock said (all microseconds).

    The client's clock was as wrong when it sent as when it noted the event, so the time between the two is right.
    """
    if happened is None:
        return received
    return happened if sent is None else received - (sent - happened)
