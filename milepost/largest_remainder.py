"""Exact shares: a whole number split in proportion to weights, by largest remainder."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]


@numba.njit(cache=True)
def multiply_divide(a: int, b: int, divisor: int) -> tuple[int, int]:
    """Give quotient and remainder of a * b / divisor, exactly.

    All are non-negative int64, b ≤ divisor, divisor > 0; the product may take 126 bits.
    """
    # a = q·divisor + r, so a·b = q·b·divisor + r·b; only r·b can be too large for 64 bits.
    quotient = (a // divisor) * b
    rest = a % divisor
    if rest < 3_000_000_000 and b < 3_000_000_000:
        product = rest * b
        return quotient + product // divisor, product % divisor
    # Long multiplication bit by bit, the remainder kept below the divisor.
    partial = np.uint64(0)
    remainder = np.uint64(0)
    unsigned_rest, unsigned_divisor = np.uint64(rest), np.uint64(divisor)
    for bit in range(62, -1, -1):
        partial <<= np.uint64(1)
        remainder <<= np.uint64(1)
        if remainder >= unsigned_divisor:
            remainder -= unsigned_divisor
            partial += np.uint64(1)
        if (b >> bit) & 1:
            remainder += unsigned_rest
            if remainder >= unsigned_divisor:
                remainder -= unsigned_divisor
                partial += np.uint64(1)
    return quotient + int(np.int64(partial)), int(np.int64(remainder))


@numba.njit(cache=True)
def split(total: int, weights: Int64Array, shares: Int64Array, remainders: Int64Array) -> None:
    """Split `total` in proportion to `weights` into `shares`.

    Each gets the floor of its exact share; the units left go one each to the largest fractions, ties to the
    earlier. `weights` are non-negative, not all 0, their sum below 2^62; `remainders` is room to work in.
    """
    whole = np.int64(0)
    for place in range(len(weights)):
        whole += weights[place]
    left = total
    for place in range(len(weights)):
        shares[place], remainders[place] = multiply_divide(total, weights[place], whole)
        left -= shares[place]
    if left == 0:
        return
    if len(weights) <= 64:
        for _ in range(left):
            largest = 0
            for place in range(1, len(weights)):
                if remainders[place] > remainders[largest]:
                    largest = place
            shares[largest] += 1
            remainders[largest] = -1
        return
    # A stable sort of the negated fractions keeps ties in their order.
    order = np.argsort(-remainders[: len(weights)], kind="mergesort")
    for place in range(left):
        shares[order[place]] += 1
