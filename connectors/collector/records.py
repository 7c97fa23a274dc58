"""What the collector takes in, and what it turns away with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from connectors.errors import ConnectorError


class RawRecord(NamedTuple):
    """One event as it goes to Kafka and to the spool."""

    #: Of one person's records the same, so that they keep their order.
    key: bytes
    #: A JSON object in UTF-8.
    value: bytes
    #: Microseconds since 1970 in UTC.
    received_at: int


class Refused(Exception):  # noqa: N818 - a fate of an event, not a fault of the program
    """An event or a request that can't be taken; `code` is the word for it in responses and metrics."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class Overloaded(Exception):  # noqa: N818
    """Too much at a time; it helps to come again after `retry_after` seconds."""

    def __init__(self, code: str, message: str, status: int, retry_after: int) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.retry_after = retry_after


class SinkUnavailableError(ConnectorError):
    """The sink can't acknowledge now; the records may or may not have arrived."""


class Sink(Protocol):
    """Where records go for good."""

    async def put(self, source: str, records: Sequence[RawRecord]) -> None:
        """Return once every record is kept.

        Raises:
            SinkUnavailableError: some were not acknowledged, or not in time; the same records may be put again.
        """

    async def close(self) -> None:
        """Give up what is held open."""
