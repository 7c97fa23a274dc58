"""Many messages as one block of bytes, and those of them that are rejected."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Longs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class WireReject:
    """A message that is no fact: its position among those given, a word to count by, and what is wrong."""

    position: int
    error_class: str
    reason: str


@dataclass(frozen=True)
class Messages:
    """Messages in `data`, from `starts` to `ends`; `positions` are those among the messages given."""

    data: npt.NDArray[np.uint8]
    starts: Longs
    ends: Longs
    positions: Longs

    def only(self, chosen: npt.NDArray[np.bool_]) -> Messages:
        """Give the chosen ones."""
        if chosen.all():
            return self
        return Messages(self.data, self.starts[chosen], self.ends[chosen], self.positions[chosen])


@dataclass
class Rejected:
    """Collects rejects."""

    _all: list[WireReject] = field(default_factory=list)

    def add(self, positions: Longs, error_class: str, reason: str) -> None:
        """Reject messages, all for one reason."""
        self._all += [WireReject(position, error_class, reason) for position in positions.tolist()]

    def in_order(self) -> tuple[WireReject, ...]:
        """Give all, by position."""
        return tuple(sorted(self._all, key=lambda reject: reject.position))
