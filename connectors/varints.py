"""Numbers of variable length, zigzag coded as in Avro and in Kafka's records, for compiled loops."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

#: What reading a number says: in its shortest form, in a longer one; or cut short, or no 64 bits.
SHORTEST, LONGER, CUT_SHORT, TOO_LARGE = 0, 1, 2, 3


def compiled(function: Any) -> Any:
    """Compile a function on its first call, and keep it for later processes."""
    return njit(cache=True, nogil=True)(function)


@compiled
def read_varint(data, at, end):  # type: ignore[no-untyped-def]
    """Read a number from bytes: it, where it ends, and what is to say of it."""
    coded = np.uint64(0)
    for place in range(10):
        if at >= end:
            return np.int64(0), at, CUT_SHORT
        byte = data[at]
        at += 1
        if place == 9 and byte > 1:
            return np.int64(0), at, TOO_LARGE
        coded |= np.uint64(byte & 127) << np.uint64(7 * place)
        if byte < 128:
            number = np.int64(coded >> np.uint64(1)) ^ -np.int64(coded & np.uint64(1))
            return number, at, LONGER if byte == 0 and place > 0 else SHORTEST
    return np.int64(0), at, TOO_LARGE


@compiled
def varint_size(number):  # type: ignore[no-untyped-def]
    """Say how many bytes a number takes."""
    coded = np.uint64((number << 1) ^ (number >> 63))
    size = 1
    while coded > np.uint64(127):
        coded >>= np.uint64(7)
        size += 1
    return size


@compiled
def write_varint(out, at, number):  # type: ignore[no-untyped-def]
    """Write a number, and give where it ends."""
    coded = np.uint64((number << 1) ^ (number >> 63))
    while coded > np.uint64(127):
        out[at] = np.uint8((coded & np.uint64(127)) | np.uint64(128))
        coded >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(coded)
    return at + 1
