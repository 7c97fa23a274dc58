"""Walks over Avro records without making an object: which of them are whole, and what is wrong with the others.

A record that passes ends exactly where its message ends, so it can be put beside others in a block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.varints import CUT_SHORT, LONGER, SHORTEST, TOO_LARGE, compiled, read_varint

Longs = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

#: Whole, and written as most writers write.
CANONICAL = SHORTEST
#: Whole, but written in a way of which only a complete reader knows, such as an array in several blocks.
UNUSUAL = LONGER
TRAILING_BYTES = "trailing_bytes"
NUL_CHARACTER = "nul_character"
#: What else a walk can say: the class of the error, and what is wrong with a field.
FAULTS = {
    CUT_SHORT: ("truncated", "is cut short by the message's end"),
    4: (TRAILING_BYTES, "is the last, and is followed by bytes that belong to nothing"),
    TOO_LARGE: ("bad_number", "is no number that fits"),
    5: ("bad_branch", "has a branch of its union that does not exist"),
    6: ("bad_enum", "has a word that its list does not have"),
    7: ("bad_boolean", "is neither true nor false"),
    8: ("bad_length", "has a negative length"),
    9: ("bad_time", "is outside the years 1 to 9999"),
    10: ("not_utf8", "is not UTF-8"),
    11: (NUL_CHARACTER, "holds a NUL character"),
}
_TRUNCATED, _NUMBER, _TRAILING, _BRANCH, _ENUM, _BOOLEAN, _LENGTH, _TIME, _UTF8, _NUL = range(2, 12)

_TEXT, _BYTES, _LONG, _INT, _FLAG, _WORD, _TEXTS, _MOMENT, _DAY = range(9)
_PLAIN = {"string": _TEXT, "bytes": _BYTES, "long": _LONG, "int": _INT, "boolean": _FLAG}
# Microseconds and days from 1970 to the first and after the last moment that a calendar of four digits has.
_MOMENTS = (-62_135_596_800_000_000, 253_402_300_800_000_000)
_DAYS = (-719_162, 2_932_897)


@dataclass(frozen=True)
class Fields:
    """The fields of a record as the walk needs them: kind, the union's branch that is null (-1: none), words."""

    kinds: npt.NDArray[np.int8]
    null_branches: npt.NDArray[np.int8]
    words: Longs


def fields_to_walk(schema: dict[str, Any]) -> Fields | None:
    """Prepare the walk over records of a schema; None where it has a type that the walk does not know."""
    rows = [_field(field["type"]) for field in schema["fields"]]
    known = [row for row in rows if row is not None]
    if len(known) < len(rows):
        return None
    kinds, null_branches, words = zip(*known, strict=True) if known else ((), (), ())
    return Fields(np.array(kinds, np.int8), np.array(null_branches, np.int8), np.array(words, np.int64))


def _field(avro: Any) -> tuple[int, int, int] | None:
    null_branch = -1
    if isinstance(avro, list):
        if len(avro) != 2 or avro.count("null") != 1:
            return None
        null_branch = avro.index("null")
        avro = avro[1 - null_branch]
    if isinstance(avro, str):
        return (_PLAIN[avro], null_branch, 0) if avro in _PLAIN else None
    kind, logical = avro["type"], avro.get("logicalType")
    if logical is not None:
        logical_kind = {("long", "timestamp-micros"): _MOMENT, ("int", "date"): _DAY}.get((kind, logical))
        return None if logical_kind is None else (logical_kind, null_branch, 0)
    if kind == "enum":
        return _WORD, null_branch, len(avro["symbols"])
    if kind == "array":
        return (_TEXTS, null_branch, 0) if avro["items"] == "string" else None
    return (_PLAIN[kind], null_branch, 0) if kind in _PLAIN else None


def walk(data: Bytes, starts: Longs, ends: Longs, fields: Fields) -> tuple[Longs, Longs]:
    """Walk over records.

    Args:
        data: bytes that hold the records.
        starts: where each begins in `data`.
        ends: where each must end.
        fields: what they are made of.

    Returns:
        For each record CANONICAL, UNUSUAL or a key of FAULTS; and the number of the field with the fault.
    """
    states, places = np.zeros(starts.size, np.int64), np.zeros(starts.size, np.int64)
    _walk_all(
        data,
        starts,
        ends,
        fields.kinds,
        fields.null_branches,
        fields.words,
        np.array([*_MOMENTS, *_DAYS]),
        states,
        places,
    )
    return states, places


def gather(data: Bytes, starts: Longs, ends: Longs) -> Bytes:
    """Put pieces of `data` one after the other."""
    out = np.empty(int((ends - starts).sum()), np.uint8)
    _gather(data, starts, ends, out)
    return out


@compiled
def _gather(data, starts, ends, out):  # type: ignore[no-untyped-def]
    at = 0
    for row in range(starts.size):
        size = ends[row] - starts[row]
        out[at : at + size] = data[starts[row] : ends[row]]
        at += size


@compiled
def _text(data, at, end):  # type: ignore[no-untyped-def]
    """Say whether bytes are UTF-8 without NUL."""
    while at < end:
        first = data[at]
        if first < 128:
            if first == 0:
                return _NUL
            at += 1
            continue
        if first < 0xC2 or first > 0xF4:
            return _UTF8
        more = 1 if first < 0xE0 else 2 if first < 0xF0 else 3
        if at + more >= end:
            return _UTF8
        second = data[at + 1]
        # Forms longer than need be, halves of surrogate pairs, and what lies beyond the last character.
        if (
            (first == 0xE0 and second < 0xA0)
            or (first == 0xED and second > 0x9F)
            or (first == 0xF0 and second < 0x90)
            or (first == 0xF4 and second > 0x8F)
        ):
            return _UTF8
        for place in range(1, more + 1):
            if data[at + place] & 0xC0 != 0x80:
                return _UTF8
        at += more + 1
    return CANONICAL


@compiled
def _sized(data, at, end, is_text):  # type: ignore[no-untyped-def]
    """Read a length and as many bytes: where they end, and what is to say of them."""
    length, at, state = read_varint(data, at, end)
    if state > UNUSUAL:
        return at, state
    if length < 0:
        return at, _LENGTH
    if length > end - at:
        return at, _TRUNCATED
    if is_text:
        said = _text(data, at, at + length)
        if said != CANONICAL:
            return at, said
    return at + length, state


@compiled
def _texts(data, at, end):  # type: ignore[no-untyped-def]
    """Read an array of texts: where it ends, and what is to say of it."""
    worst = CANONICAL
    blocks = 0
    while True:
        count, at, state = read_varint(data, at, end)
        if state > UNUSUAL:
            return at, state
        worst = max(worst, state)
        if count == 0:
            return at, worst
        blocks += 1
        if blocks > 1:
            worst = UNUSUAL
        if count < 0:
            # The block's size in bytes follows.
            worst = UNUSUAL
            _, at, state = read_varint(data, at, end)
            if state > UNUSUAL:
                return at, state
        # A count below zero is the number of items too; each item has a byte at least.
        while count != 0:
            at, state = _sized(data, at, end, True)
            if state > UNUSUAL:
                return at, state
            worst = max(worst, state)
            count -= 1 if count > 0 else -1


@compiled
def _plain(data, at, end, kind, words, limits):  # type: ignore[no-untyped-def]  # noqa: PLR0911 - a compiled kernel
    """Read a value that is a number: where it ends, and what is to say of it."""
    if kind == _FLAG:
        if at >= end:
            return at, _TRUNCATED
        return at + 1, CANONICAL if data[at] < 2 else _BOOLEAN
    number, at, state = read_varint(data, at, end)
    if state > UNUSUAL:
        return at, state
    if kind == _WORD and (number < 0 or number >= words):
        return at, _ENUM
    if kind in (_INT, _DAY) and (number < -(2**31) or number >= 2**31):
        return at, _NUMBER
    if kind == _MOMENT and (number < limits[0] or number >= limits[1]):
        return at, _TIME
    if kind == _DAY and (number < limits[2] or number >= limits[3]):
        return at, _TIME
    return at, state


@compiled
def _walk_all(data, starts, ends, kinds, null_branches, words, limits, states, places):  # type: ignore[no-untyped-def]
    for row in range(starts.size):
        at, end = starts[row], ends[row]
        worst = CANONICAL
        for field in range(kinds.size):
            places[row] = field
            if null_branches[field] >= 0:
                branch, at, state = read_varint(data, at, end)
                worst = max(worst, state)
                if state <= UNUSUAL and (branch < 0 or branch > 1):
                    worst = _BRANCH
                if worst > UNUSUAL:
                    break
                if branch == null_branches[field]:
                    continue
            kind = kinds[field]
            if kind == _TEXTS:
                at, state = _texts(data, at, end)
            elif kind in (_TEXT, _BYTES):
                at, state = _sized(data, at, end, kind == _TEXT)
            else:
                at, state = _plain(data, at, end, kind, words[field], limits)
            worst = max(worst, state)
            if worst > UNUSUAL:
                break
        if worst <= UNUSUAL and at < end:
            worst = _TRAILING
        states[row] = worst
