"""Cuts CSV bytes into records and fields, whatever they hold, without making an object per field."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

Longs = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

#: What is wrong with a record before its fields are counted.
FINE, NUL_BYTE, TEXT_AFTER_QUOTE, OPEN_QUOTE = 0, 1, 2, 3

_LINE_FEED, _CARRIAGE_RETURN, _NUL = 10, 13, 0


class Tokens(NamedTuple):
    """Records and fields of a stretch of bytes.

    A field is `buffer[field_start:field_end]`, without its quotes; `escaped` says that quotes in it are
    doubled. Record r has the fields `first_field[r]` to `first_field[r + 1]` and the bytes
    `record_start[r]:record_end[r]`. `consumed` is where the first incomplete record starts.
    """

    field_start: Longs
    field_end: Longs
    escaped: Bytes
    first_field: Longs
    record_start: Longs
    record_end: Longs
    status: Bytes
    consumed: int


def tokenise(buffer: Bytes, start: int, is_last: bool, delimiter: int, quote: int) -> Tokens:
    """Cut the bytes from `start` on; with `is_last` the end of the bytes ends the last record."""
    rest = buffer[start:]
    most_records = int(np.count_nonzero(rest == _LINE_FEED)) + 1
    most_fields = int(np.count_nonzero(rest == delimiter)) + most_records
    field_start, field_end = np.empty(most_fields, np.int64), np.empty(most_fields, np.int64)
    escaped = np.zeros(most_fields, np.uint8)
    first_field = np.zeros(most_records + 1, np.int64)
    record_start, record_end = np.empty(most_records, np.int64), np.empty(most_records, np.int64)
    status = np.zeros(most_records, np.uint8)
    records, fields, consumed = _scan(
        buffer,
        start,
        is_last,
        delimiter,
        quote,
        field_start,
        field_end,
        escaped,
        first_field,
        record_start,
        record_end,
        status,
    )
    return Tokens(
        field_start[:fields],
        field_end[:fields],
        escaped[:fields],
        first_field[: records + 1],
        record_start[:records],
        record_end[:records],
        status[:records],
        int(consumed),
    )


def _compiled(function: Any) -> Any:
    return njit(cache=True, nogil=True)(function)


@_compiled
def _scan(  # type: ignore[no-untyped-def]
    buffer,
    start,
    is_last,
    delimiter,
    quote,
    field_start,
    field_end,
    escaped,
    first_field,
    record_start,
    record_end,
    status,
):
    size = buffer.size
    at = start
    records = 0
    fields = 0
    while at < size:
        begin = at
        fields_before = fields
        state = 0
        complete = False
        while True:
            # One field from `at` on.
            doubled = 0
            if at < size and buffer[at] == quote:
                at += 1
                left = at
                closed = False
                while at < size:
                    byte = buffer[at]
                    if byte == quote:
                        if at + 1 < size and buffer[at + 1] == quote:
                            doubled = 1
                            at += 2
                            continue
                        if at + 1 == size and not is_last:
                            break  # the next byte decides whether the quote is doubled
                        closed = True
                        break
                    if byte == 0:
                        state = 1
                    at += 1
                right = at
                if not closed:
                    if not is_last:
                        return records, fields_before, begin
                    state = 3
                    break
                at += 1
                while at < size and buffer[at] != delimiter and buffer[at] != 10:
                    if buffer[at] != 13 or (at + 1 < size and buffer[at + 1] != 10):
                        state = 2
                    at += 1
            else:
                left = at
                while at < size and buffer[at] != delimiter and buffer[at] != 10:
                    if buffer[at] == 0:
                        state = 1
                    at += 1
                right = at
                if right > left and buffer[right - 1] == 13 and (at == size or buffer[at] == 10):
                    right -= 1
            if at == size and not is_last:
                return records, fields_before, begin
            field_start[fields] = left
            field_end[fields] = right
            escaped[fields] = doubled
            fields += 1
            if at < size and buffer[at] == delimiter:
                at += 1
                continue
            complete = True
            break
        if not complete:
            # A quote that nothing closes: the line is lost, the lines behind it are not.
            fields = fields_before
            at = begin
            while at < size and buffer[at] != 10:
                at += 1
        end = at
        at += 1
        blank = True
        for place in range(begin, end):
            if buffer[place] != 13:
                blank = False
                break
        if blank:
            fields = fields_before
            continue
        record_start[records] = begin
        record_end[records] = end
        status[records] = state
        records += 1
        first_field[records] = fields
    return records, fields, min(at, size)


def gather(buffer: Bytes, start: Longs, end: Longs, escaped: Bytes, quote: int) -> tuple[Longs, Bytes]:
    """Copy fields behind each other: their offsets (one more than fields) and their bytes, quotes undoubled."""
    offsets = np.zeros(start.size + 1, np.int64)
    np.cumsum(end - start, out=offsets[1:])
    data = np.empty(int(offsets[-1]), np.uint8)
    used = _copy(buffer, start, end, escaped, quote, offsets, data)
    return offsets, data[:used]


@_compiled
def _copy(buffer, start, end, escaped, quote, offsets, data):  # type: ignore[no-untyped-def]
    to = 0
    for field in range(start.size):
        offsets[field] = to
        if escaped[field]:
            at = start[field]
            while at < end[field]:
                data[to] = buffer[at]
                to += 1
                at += 2 if buffer[at] == quote else 1
        else:
            for at in range(start[field], end[field]):
                data[to] = buffer[at]
                to += 1
    offsets[start.size] = to
    return to
