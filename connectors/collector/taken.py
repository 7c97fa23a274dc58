"""What became of the events of one request."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from connectors.collector.json_text import canonical
from connectors.collector.records import RawRecord, Refused

#: Hexadecimal digits of an id that the collector makes: 128 bits.
_ID_DIGITS = 32


@dataclass
class Taken:
    """The records of a request by source, and its refused events."""

    records: dict[str, list[RawRecord]] = field(default_factory=dict)
    #: Of each refused event its place in the request, its id if it has one, and the reason.
    rejected: list[dict[str, Any]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Records that were taken."""
        return sum(map(len, self.records.values()))

    def reject(self, index: int, event_id: object, refusal: Refused) -> None:
        """Note the fate of an event that isn't taken."""
        entry: dict[str, Any] = {"index": index, "code": refusal.code, "reason": refusal.message}
        if isinstance(event_id, str) and len(event_id) <= 100:
            # What can't be written in UTF-8 comes back as question marks.
            entry["messageId"] = event_id.encode(errors="replace").decode()
        self.rejected.append(entry)


def made_id(source: str, said: dict[str, Any]) -> str:
    """Make an id from what an event says, so that the same request sent again is known to be the same.

    Args:
        source: the source's name.
        said: the event without what a client changes when it tries again.
    """
    return hashlib.sha256(source.encode() + b"\x1f" + canonical(said)).hexdigest()[:_ID_DIGITS]
