"""How many events a key may send, and how many bytes may be in work."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from connectors.collector.records import Overloaded


class RateLimits:
    """A bucket per key, refilled at `per_second`, that holds one second's events.

    A request is taken while the bucket isn't empty, and may leave a debt: so batches of any size pass, at the
    rate. Keys come from the settings and the file of keys, so there are never many.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def check(self, key: str) -> None:
        """Raise Overloaded (429), with the seconds to wait, where a key's bucket is empty."""
        held = self._held(key)
        if held <= 0:
            wait = math.ceil(-held / self._per_second) or 1
            raise Overloaded(
                "rate_limited", f"more than {self._per_second:g} events per second; wait {wait} s", 429, wait
            )

    def spend(self, key: str, events: int) -> None:
        """Take events out of a key's bucket."""
        self._buckets[key] = (self._held(key) - events, self._clock())

    def _held(self, key: str) -> float:
        held, since = self._buckets.get(key, (self._per_second, 0.0))
        return min(self._per_second, held + (self._clock() - since) * self._per_second)


class InFlight:
    """Bytes of requests that are in work."""

    def __init__(self, most: int) -> None:
        self.bytes = 0
        self._most = most

    def take(self, count: int) -> None:
        """Count bytes that come into work; raises Overloaded (503) where it would be too many."""
        if self.bytes + count > self._most:
            raise Overloaded("busy", "too much in work; come again in a second", 503, 1)
        self.bytes += count

    def give_back(self, count: int) -> None:
        """Count bytes out again."""
        self.bytes -= count
