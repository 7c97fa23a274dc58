"""HTTP as uvicorn speaks it, with bounds on what comes before a body: how long it is, and how long it takes."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from connectors.collector.settings import KIB

#: Of a request's address and headers together, beside the longest query that the settings allow.
HEADER_BYTES = 16 * KIB


class _TooLong(Exception):  # noqa: N818 - only the parser sees it
    pass


def bounded_protocol(most_query_bytes: int, seconds: float) -> type[HttpToolsProtocol]:
    """Make the protocol: a head that is longer gets 400, one that is not here in time closes the connection."""

    class BoundedProtocol(HttpToolsProtocol):
        _head_bytes = 0
        _head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait_for_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_is_here()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._head_bytes = 0
            if self._head_timer is None:
                self._wait_for_head()

        def on_url(self, url: bytes) -> None:
            self._count(len(url))
            super().on_url(url)

        def on_header(self, name: bytes, value: bytes) -> None:
            self._count(len(name) + len(value))
            super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self._head_is_here()
            super().on_headers_complete()

        def _count(self, more: int) -> None:
            self._head_bytes += more
            if self._head_bytes > HEADER_BYTES + most_query_bytes:
                raise _TooLong

        def _wait_for_head(self) -> None:
            self._head_timer = self.loop.call_later(seconds, self._too_slow)

        def _head_is_here(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def _too_slow(self) -> None:
            self._head_timer = None
            self.transport.close()

    return BoundedProtocol


def uvicorn_options(most_query_bytes: int, seconds: float) -> dict[str, Any]:
    """Give what uvicorn needs to speak like this."""
    return {"http": bounded_protocol(most_query_bytes, seconds), "loop": "uvloop", "ws": "none"}
