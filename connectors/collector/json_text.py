"""JSON of strangers: read without trust, and written so that every later reader can take it."""

from __future__ import annotations

import json
from typing import Any

from connectors.collector.records import Refused

#: Levels of objects and lists in one event.
MAX_DEPTH = 64
#: Digits of an integer: more is no number for those who read it as a double.
MAX_DIGITS = 300


def _integer(digits: str) -> int | float:
    # Written later, an infinite number is refused with its event, not with all events of the request.
    return int(digits) if len(digits) <= MAX_DIGITS else float("inf")


_decoder = json.JSONDecoder(parse_int=_integer)
# What was read from JSON has no circles to look for.
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))
_sorted_encoder = json.JSONEncoder(separators=(",", ":"), sort_keys=True)


def decode(body: bytes) -> Any:
    """Read JSON in UTF-8.

    Raises:
        Refused: it is none, or nested too deep.
    """
    try:
        return _decoder.decode(body.decode())
    except UnicodeDecodeError:
        raise Refused("bad_encoding", "the body is not UTF-8") from None
    except RecursionError:
        raise Refused("too_deep", f"more than {MAX_DEPTH} levels of objects and lists") from None
    except ValueError as error:
        place = f" near character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise Refused("bad_json", f"the body is not JSON{place}") from None


def encode(event: dict[str, Any], most_bytes: int) -> bytes:
    """Write one event as compact JSON in UTF-8.

    Raises:
        Refused: it is too large or too deep, or holds what others can't read: a NUL character, half of a
            surrogate pair, a number that is none or has no end.
    """
    try:
        value = _encoder.encode(event).encode()
    except UnicodeEncodeError:
        raise Refused("bad_text", "a text holds half of a surrogate pair") from None
    except RecursionError:
        raise Refused("too_deep", f"more than {MAX_DEPTH} levels of objects and lists") from None
    except ValueError:
        raise Refused("bad_number", "a number is not finite or too large") from None
    if len(value) > most_bytes:
        raise Refused("event_too_large", f"the event has {len(value)} bytes; {most_bytes} are the most", 413)
    # Two cheap looks at the bytes; what looks suspect is looked at closely.
    if b"\\u0000" in value and _has_nul(event):
        raise Refused("bad_text", "a text holds a NUL character")
    if value.count(b"{") + value.count(b"[") > MAX_DEPTH and _depth(event) > MAX_DEPTH:
        raise Refused("too_deep", f"more than {MAX_DEPTH} levels of objects and lists")
    return value


def canonical(value: Any) -> bytes:
    """Write JSON with sorted keys, for hashing."""
    try:
        return _sorted_encoder.encode(value).encode()
    except RecursionError:
        raise Refused("too_deep", f"more than {MAX_DEPTH} levels of objects and lists") from None


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level := [child for parent in level for child in _children(parent)]:
        depth += 1
    return depth


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _has_nul(event: dict[str, Any]) -> bool:
    waiting: list[Any] = [event]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and "\0" in value:
            return True
        if isinstance(value, dict):
            waiting += value.keys()
        waiting += _children(value)
    return False
