"""Numbers for 64-bit keys: a hash table that gives each distinct key its place in the order of arrival."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

UInt64Array = npt.NDArray[np.uint64]
Int32Array = npt.NDArray[np.int32]


@numba.njit(cache=True)
def slot_of(table: Int32Array, keys: UInt64Array, key: np.uint64) -> int:
    """Find the slot of a table, a power of 2 long and never full, that holds the key's number or waits for it."""
    mask = len(table) - 1
    slot = np.int64((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(16)) & mask
    while table[slot] >= 0 and keys[table[slot]] != key:
        slot = (slot + 1) & mask
    return int(slot)


@numba.njit(cache=True)
def rehash(keys: UInt64Array, count: int, size: int) -> Int32Array:
    """Make a table of the given size for the first `count` keys."""
    table = np.full(size, -1, dtype=np.int32)
    for place in range(count):
        table[slot_of(table, keys, keys[place])] = place
    return table


@numba.njit(cache=True)
def _find(table: Int32Array, keys: UInt64Array, asked: UInt64Array) -> Int32Array:
    numbers = np.empty(len(asked), dtype=np.int32)
    for place in range(len(asked)):
        numbers[place] = table[slot_of(table, keys, asked[place])]
    return numbers


@numba.njit(cache=True)
def _number(table: Int32Array, keys: UInt64Array, count: int, asked: UInt64Array) -> tuple[Int32Array, int]:
    numbers = np.empty(len(asked), dtype=np.int32)
    for place in range(len(asked)):
        slot = slot_of(table, keys, asked[place])
        if table[slot] < 0:
            table[slot] = count
            keys[count] = asked[place]
            count += 1
        numbers[place] = table[slot]
    return numbers, count


class Numbering:
    """Numbers keys 0, 1, 2 … in the order in which they come; takes 16 to 32 bytes a key."""

    def __init__(self, room: int = 1 << 10) -> None:
        """Number no keys yet; there is room for so many before it has to grow."""
        room = 1 << max(room - 1, 1).bit_length()
        self._keys = np.empty(room, dtype=np.uint64)
        self._table = np.full(2 * room, -1, dtype=np.int32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def keys(self) -> UInt64Array:
        """Give the keys in the order of their numbers."""
        return self._keys[: self._count]

    def find(self, asked: UInt64Array) -> Int32Array:
        """Give the number of each key, -1 where it has none."""
        numbers: Int32Array = _find(self._table, self._keys, asked)
        return numbers

    def number(self, asked: UInt64Array) -> Int32Array:
        """Give the number of each key, a new one where it has none."""
        room = len(self._keys)
        while room < self._count + len(asked):
            room *= 2
        if room > len(self._keys):
            self._keys = np.resize(self._keys, room)
            self._table = rehash(self._keys, self._count, 2 * room)
        numbers: Int32Array
        numbers, self._count = _number(self._table, self._keys, self._count, asked)
        return numbers
