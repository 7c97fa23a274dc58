"""Runs the collector until it is told to stop."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from connectors.collector.app import create_app
from connectors.collector.kafka_sink import KafkaSink
from connectors.collector.protocol import uvicorn_options
from connectors.collector.settings import CollectorSettings
from connectors.errors import ConnectorError
from connectors.kafka.settings import KafkaSettings
from milepost.clock import now

#: Seconds that requests in work get after a signal to stop.
STOP_SECONDS = 15
_KEEP_ALIVE_SECONDS = 30


def serve(
    settings: CollectorSettings,
    kafka: KafkaSettings,
    home: Path,
    on_ready: Callable[[str, int], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT: then nothing new is taken, what is in work is answered, the rest stays spooled.

    Args:
        settings: the collector's.
        kafka: how to reach Kafka.
        home: the folder of write keys and spool.
        on_ready: is told host and port once requests are taken.

    Raises:
        ConnectorError: the address is taken, or another collector uses this home.
    """
    app = create_app(settings, KafkaSink(kafka, settings.acknowledge_seconds), home, now)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        server_header=False,
        limit_concurrency=settings.max_connections,
        backlog=1024,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        lifespan="on",
        **uvicorn_options(settings.max_event_bytes, settings.body_seconds),
    )
    with _bound(settings) as listener, _quiet_signals():
        host, port = listener.getsockname()[:2]
        server = _Server(config, None if on_ready is None else lambda: on_ready(host, port))
        try:
            server.run(sockets=[listener])
        except SystemExit:
            raise app.state.failure or ConnectorError("the collector can't start; the log says why") from None


def _bound(settings: CollectorSettings) -> socket.socket:
    """Take the address before anything else is touched."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError:
            listener.close()
            raise
        return listener
    except OSError as error:
        raise ConnectorError(
            f"the collector can't listen at {settings.host}:{settings.port}: {error.strerror}; "
            "stop what listens there, or set another host or port"
        ) from error


@contextmanager
def _quiet_signals() -> Iterator[None]:
    """Let a signal end the serving and not, once more afterwards, the process: the caller goes on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._on_ready is not None:
            self._on_ready()
