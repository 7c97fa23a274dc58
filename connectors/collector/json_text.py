"""JSON of strangers: read without trust, and written so that every later reader can take it."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson

from connectors.collector.records import Refused

#: Levels of objects and lists in one event.
MAX_DEPTH = 64

#: Stands for a number that no reader can take: it is refused with its event, not with all events of the request.
_NO_NUMBER = object()


def _finite(text: str) -> object:
    number = float(text)
    return number if math.isfinite(number) else _NO_NUMBER


def _integer(text: str) -> object:
    # As the fast reader has it: beyond 64 bits a number is a double, as in JavaScript.
    return int(text) if len(text) < 19 else _long_integer(text)


def _long_integer(text: str) -> object:
    number = _finite(text)
    if number is _NO_NUMBER:
        return number
    exact = int(text)
    return exact if -(2**63) <= exact < 2**64 else number


_lenient = json.JSONDecoder(parse_int=_integer, parse_float=_finite, parse_constant=lambda _: _NO_NUMBER)


def decode(body: bytes) -> Any:
    """Read JSON in UTF-8.

    Raises:
        Refused: it is none, or nested too deep.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # It may be one event among many that is wrong, or NaN, which some clients send.
        return _decode_leniently(body)


def _decode_leniently(body: bytes) -> Any:
    try:
        return _lenient.decode(body.decode())
    except UnicodeDecodeError:
        raise Refused("bad_encoding", "the body is not UTF-8") from None
    except RecursionError:
        raise _too_deep() from None
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
        value = orjson.dumps(event)
    except TypeError:
        raise _why_unwritable(event) from None
    if len(value) > most_bytes:
        raise Refused("event_too_large", f"the event has {len(value)} bytes; {most_bytes} are the most", 413)
    # Two cheap looks at the bytes; what looks suspect is looked at closely.
    if b"\\u0000" in value and any("\0" in text for text in _texts(event)):
        raise Refused("bad_text", "a text holds a NUL character")
    if value.count(b"{") + value.count(b"[") > MAX_DEPTH and _depth(event) > MAX_DEPTH:
        raise _too_deep()
    return value


def canonical(value: dict[str, Any]) -> bytes:
    """Write JSON with sorted keys, for hashing; raises Refused as `encode` does, sizes aside."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        raise _why_unwritable(value) from None


def _why_unwritable(event: dict[str, Any]) -> Refused:
    if _depth(event) > MAX_DEPTH:
        return _too_deep()
    if any(not text.isascii() and _is_torn(text) for text in _texts(event)):
        return Refused("bad_text", "a text holds half of a surrogate pair")
    return Refused("bad_number", "a number is not finite or too large")


def _is_torn(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _too_deep() -> Refused:
    return Refused("too_deep", f"more than {MAX_DEPTH} levels of objects and lists")


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level := [child for parent in level for child in _children(parent)]:
        depth += 1
    return depth


def _texts(event: dict[str, Any]) -> list[str]:
    """Give all keys and texts of an event."""
    waiting: list[Any] = [event]
    texts: list[str] = []
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            texts.append(value)
        if isinstance(value, dict):
            texts += value
        waiting += _children(value)
    return texts


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
