"""The collector as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from connectors.collector.answers import http_error, internal_error, json_answer
from connectors.collector.delivery import Delivery
from connectors.collector.handlers import Handlers
from connectors.collector.metrics import Metrics
from connectors.collector.openapi import document
from connectors.collector.records import Sink
from connectors.collector.settings import CollectorSettings
from connectors.collector.write_keys import KeyRing
from connectors.errors import ConnectorError

#: Below the home.
SPOOL_FOLDER = "spool"
_DAY_SECONDS = 86_400


def create_app(
    settings: CollectorSettings, sink: Sink, home: Path, clock: Callable[[], datetime]
) -> Starlette:
    """Make the application; its spool is opened and closed with the server that runs it.

    Args:
        settings: the collector's.
        sink: where records go for good.
        home: the folder of write keys and spool.
        clock: gives the present in UTC.

    Raises:
        KeyFileError: the write keys can't be read.
    """
    metrics = Metrics()
    delivery = Delivery(settings, sink, home / SPOOL_FOLDER, settings.sources, metrics)
    handlers = Handlers(settings, delivery, KeyRing(home), metrics, clock)
    metrics.watch(
        spool_bytes=lambda: delivery.room.used,
        spool_most=settings.spool_bytes,
        in_flight=lambda: handlers.in_flight.bytes,
        waiting=lambda: sum(delivery.waiting().values()),
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            await delivery.start()
        except ConnectorError as error:
            # The server only says that it couldn't start; whoever runs it wants to know why.
            app.state.failure = error
            raise
        try:
            yield
        finally:
            await delivery.close()

    app = Starlette(
        routes=_routes(handlers, delivery, metrics),
        middleware=[_cors(settings)],
        exception_handlers={HTTPException: http_error, Exception: internal_error},
        lifespan=lifespan,
    )
    app.state.failure = None
    return app


class _Endpoint:
    """A handler as ASGI: what Starlette wraps around functions is paid for by every event."""

    def __init__(self, handler: Callable[[Request], Awaitable[Response]]) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._handler(Request(scope, receive))
        await response(scope, receive, send)


def _routes(handlers: Handlers, delivery: Delivery, metrics: Metrics) -> list[Route]:
    async def live(_: Request) -> Response:
        return json_answer({"status": "ok"})

    async def ready(_: Request) -> Response:
        room = delivery.room
        waiting = sorted(source for source, waits in delivery.waiting().items() if waits)
        full = bool(waiting) and room.used >= room.most
        return json_answer(
            {
                "status": "spool full" if full else "ok",
                "waiting": waiting,
                "spoolBytes": room.used,
                "spoolLimitBytes": room.most,
            },
            503 if full else 200,
        )

    async def show_metrics(_: Request) -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(_: Request) -> Response:
        return json_answer(document())

    return [
        Route("/v1/{call}", _Endpoint(handlers.segment), methods=["POST"]),
        Route("/com.snowplowanalytics.snowplow/tp2", _Endpoint(handlers.snowplow_post), methods=["POST"]),
        Route("/i", _Endpoint(handlers.snowplow_get), methods=["GET"]),
        Route("/p.gif", _Endpoint(handlers.pixel), methods=["GET"]),
        Route("/r", _Endpoint(handlers.redirect), methods=["GET"]),
        Route("/health/live", live, methods=["GET"]),
        Route("/health/ready", ready, methods=["GET"]),
        Route("/metrics", show_metrics, methods=["GET"]),
        Route("/openapi.json", openapi, methods=["GET"]),
    ]


def _cors(settings: CollectorSettings) -> Middleware:
    # Trackers send cookies along, and browsers then want the origin's own name in the answer, not a star.
    everyone = "*" in settings.cors_origins
    return Middleware(
        CORSMiddleware,
        allow_origins=() if everyone else settings.cors_origins,
        allow_origin_regex=".*" if everyone else None,
        allow_methods=("GET", "POST"),
        allow_headers=("*",),
        expose_headers=("Retry-After",),
        allow_credentials=True,
        max_age=_DAY_SECONDS,
    )
