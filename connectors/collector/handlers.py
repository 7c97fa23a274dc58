"""The end points that take events."""

from __future__ import annotations

import asyncio
import binascii
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from connectors.collector.answers import NO_STORE, refused_answer, taken_answer
from connectors.collector.body import announced, read_body
from connectors.collector.delivery import Delivery
from connectors.collector.json_text import decode
from connectors.collector.links import GIF, find_source, read_query, target_of, visit_record
from connectors.collector.metrics import Metrics
from connectors.collector.rate import InFlight, RateLimits
from connectors.collector.records import Overloaded, Refused
from connectors.collector.segment import CALLS, take_call
from connectors.collector.settings import CollectorSettings
from connectors.collector.snowplow import AppSources, take_event, take_payload
from connectors.collector.taken import Taken
from connectors.collector.times import micros
from connectors.collector.visitor import known_of, remember
from connectors.collector.write_keys import KeyRing, WriteKey

_NO_SOURCE = "(none)"


class Handlers:
    """Requests → records → delivery → answers."""

    def __init__(
        self,
        settings: CollectorSettings,
        delivery: Delivery,
        keys: KeyRing,
        metrics: Metrics,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._delivery = delivery
        self._keys = keys
        self._metrics = metrics
        self._clock = clock
        self._apps = AppSources(settings)
        self._rates = RateLimits(settings.events_per_second)
        self.in_flight = InFlight(settings.max_in_flight_bytes)
        self._segment_sources = frozenset(settings.of_protocol("segment"))
        self._pixels = settings.of_protocol("pixel")
        self._redirects = settings.of_protocol("redirect")

    async def segment(self, request: Request) -> Response:
        """Take a call of Segment's tracking API."""
        return await self._answer("segment", request, self._segment)

    async def snowplow_post(self, request: Request) -> Response:
        """Take a list of Snowplow's events."""
        return await self._answer("snowplow", request, self._snowplow_post)

    async def snowplow_get(self, request: Request) -> Response:
        """Take one of Snowplow's events from a query string."""
        return await self._answer("snowplow", request, self._snowplow_get)

    async def pixel(self, request: Request) -> Response:
        """Show one transparent point, and note that it was asked for."""
        return await self._answer("pixel", request, self._pixel)

    async def redirect(self, request: Request) -> Response:
        """Lead to a link's target, and note that it was followed."""
        return await self._answer("redirect", request, self._redirect)

    async def _answer(
        self, protocol: str, request: Request, work: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        started = time.monotonic()
        try:
            response = await work(request)
        except (Refused, Overloaded) as refusal:
            self._metrics.refused(protocol, refusal.code)
            response = refused_answer(refusal)
        except ClientDisconnect:
            self._metrics.refused(protocol, "client_gone")
            response = Response(status_code=400)
        self._metrics.answered(protocol, response.status_code, time.monotonic() - started)
        return response

    async def _segment(self, request: Request) -> Response:
        settings = self._settings
        kind = CALLS.get(request.path_params["call"])
        if kind is None:
            raise Refused("not_found", "no such call", 404)
        headers: dict[bytes, bytes] = dict(request.scope["headers"])
        key = self._key_of(headers)
        if key is not None:
            self._rates.check(key.key_id)
        expected = self._expected(headers)
        self.in_flight.take(expected)
        try:
            text = await read_body(request.receive, headers, settings.max_batch_bytes, settings.body_seconds)
            received = micros(self._clock())
            body = decode(text)
            if not isinstance(body, dict):
                raise Refused("bad_json", "the body is not a JSON object")
            if key is None:
                key = self._key_in(body)
                self._rates.check(key.key_id)
            taken = take_call(key.source, kind, body, received, settings)
            self._rates.spend(key.key_id, taken.count + len(taken.rejected))
            await self._keep(taken, key.source)
        finally:
            self.in_flight.give_back(expected)
        return taken_answer(taken)

    def _key_of(self, headers: dict[bytes, bytes]) -> WriteKey | None:
        """Give the write key that the request's header presents; None without such a header."""
        scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"basic":
            return None
        try:
            presented = b64decode(credentials).decode().partition(":")[0]
        except (binascii.Error, ValueError):
            raise Refused("bad_credentials", "the Authorization header is not Basic", 401) from None
        return self._known(presented)

    def _key_in(self, body: dict[str, Any]) -> WriteKey:
        """Give the write key that the body holds, as browsers send it."""
        presented = body.get("writeKey")
        if not isinstance(presented, str):
            raise Refused(
                "no_write_key", "send the write key by basic authentication, or as writeKey in the body", 401
            )
        return self._known(presented)

    def _known(self, presented: str) -> WriteKey:
        key = self._keys.find(presented)
        if key is None or key.source not in self._segment_sources:
            raise Refused("unknown_write_key", "the write key is not in use", 401)
        return key

    async def _snowplow_post(self, request: Request) -> Response:
        settings = self._settings
        known = known_of(request, settings)
        headers: dict[bytes, bytes] = dict(request.scope["headers"])
        expected = self._expected(headers)
        self.in_flight.take(expected)
        try:
            # Trackers come again after any other status, though the body would not be smaller.
            text = await read_body(
                request.receive, headers, settings.max_batch_bytes, settings.body_seconds, too_large=400
            )
            body = decode(text)
            taken = take_payload(body, known, micros(self._clock()), self._apps, settings)
            self._within_rates(taken)
            await self._keep(taken, _NO_SOURCE)
        finally:
            self.in_flight.give_back(expected)
        response = taken_answer(taken)
        remember(response, known, settings)
        return response

    async def _snowplow_get(self, request: Request) -> Response:
        event = dict(read_query(request.scope["query_string"], self._settings.max_event_bytes))
        if request.method == "HEAD":
            return _gif()
        known = known_of(request, self._settings)
        taken = Taken()
        take_event(taken, 0, event, known, micros(self._clock()), self._apps, self._settings)
        self._within_rates(taken)
        await self._keep(taken, _NO_SOURCE)
        if taken.rejected:
            return taken_answer(taken)
        response = _gif()
        remember(response, known, self._settings)
        return response

    async def _pixel(self, request: Request) -> Response:
        fields = read_query(request.scope["query_string"], self._settings.max_event_bytes)
        source = find_source(fields, self._pixels)
        if request.method == "HEAD":
            return _gif()
        known = known_of(request, self._settings)
        await self._note_visit(source, "pixel", fields, known)
        response = _gif()
        remember(response, known, self._settings)
        return response

    async def _redirect(self, request: Request) -> Response:
        fields = read_query(request.scope["query_string"], self._settings.max_event_bytes)
        source = find_source(fields, self._redirects)
        target = target_of(fields, self._settings.redirect_hosts)
        response = Response(status_code=302, headers={"location": target, **NO_STORE})
        if request.method == "HEAD":
            # Programs that check links before a person sees them ask like this.
            return response
        known = known_of(request, self._settings)
        try:
            await self._note_visit(source, "redirect", fields, known)
        except Overloaded:
            # A person's way on must not depend on ours; the loss is counted.
            self._metrics.events(source, "unrecorded", 1)
        remember(response, known, self._settings)
        return response

    async def _note_visit(
        self, source: str, kind: str, fields: list[tuple[str, str]], known: dict[str, str]
    ) -> None:
        self._rates.check(source)
        self._rates.spend(source, 1)
        record = visit_record(kind, fields, known, micros(self._clock()), self._settings)
        await self._keep(Taken({source: [record]}), source)

    def _within_rates(self, taken: Taken) -> None:
        for source in taken.records:
            self._rates.check(source)
        for source, records in taken.records.items():
            self._rates.spend(source, len(records))

    async def _keep(self, taken: Taken, source: str) -> None:
        """Bring the records to safety, and count every event's fate; `source` is that of the rejected ones."""
        puts = [self._delivery.put(name, records) for name, records in taken.records.items() if records]
        if len(puts) == 1:
            await puts[0]
        else:
            await asyncio.gather(*puts)
        for name, records in taken.records.items():
            self._metrics.events(name, "accepted", len(records))
        for rejected in taken.rejected:
            self._metrics.rejected(source, rejected["code"])

    def _expected(self, headers: dict[bytes, bytes]) -> int:
        """Give the bytes that a request's body may come to, unpacked."""
        most = self._settings.max_batch_bytes
        return most if b"content-encoding" in headers else min(announced(headers, most), most)


def _gif() -> Response:
    return Response(GIF, media_type="image/gif", headers=NO_STORE)
