"""A sink for tests of what lies before it: it keeps what it is given, and can be away."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from connectors.collector.records import RawRecord, SinkUnavailableError


class Kept:
    def __init__(self) -> None:
        self.records: dict[str, list[RawRecord]] = {}
        self.away = False

    async def put(self, source: str, records: Sequence[RawRecord]) -> None:
        if self.away:
            raise SinkUnavailableError("away")
        self.records.setdefault(source, []).extend(records)

    async def close(self) -> None:
        pass

    def events(self, source: str) -> list[dict[str, Any]]:
        return [json.loads(record.value) for record in self.records.get(source, [])]
