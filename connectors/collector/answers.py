"""Answers: small JSON that says what became of a request, and never more than the client should know."""

from __future__ import annotations

import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from connectors.collector.records import Overloaded, Refused
from connectors.collector.taken import Taken

#: Refused events that an answer names; it counts all.
MOST_NAMED = 100
NO_STORE = {"cache-control": "no-store, max-age=0"}
_ALL_TAKEN = b'{"success":true}'


def json_answer(
    content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Answer with a JSON object."""
    body = json.dumps(content, separators=(",", ":")).encode()
    return Response(body, status, headers, media_type="application/json")


def taken_answer(taken: Taken) -> Response:
    """Say what became of each event: 200 where at least one was taken, 400 where none was."""
    if not taken.rejected:
        return Response(_ALL_TAKEN, media_type="application/json")
    fates = {
        "accepted": taken.count,
        "rejectedCount": len(taken.rejected),
        "rejected": taken.rejected[:MOST_NAMED],
    }
    if taken.count:
        return json_answer({"success": True, **fates})
    first = taken.rejected[0]
    return json_answer({"success": False, "code": first["code"], "message": first["reason"], **fates}, 400)


def refused_answer(refusal: Refused | Overloaded) -> Response:
    """Say why a request was not taken, and when to come again where that helps."""
    headers: dict[str, str] = {}
    if isinstance(refusal, Overloaded):
        headers["retry-after"] = str(refusal.retry_after)
    elif refusal.status == 401:
        # Not "Basic": a shop's visitors would be asked for a password.
        headers["www-authenticate"] = 'WriteKey realm="collector"'
    elif refusal.status in {408, 413}:
        # The rest of the body may still come; it is not waited for.
        headers["connection"] = "close"
    return json_answer(
        {"success": False, "code": refusal.code, "message": refusal.message}, refusal.status, headers
    )


async def http_error(_: Request, error: Exception) -> Response:
    """Answer for paths and methods that are not there."""
    if not isinstance(error, HTTPException):
        raise error
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
    return json_answer(
        {"success": False, "code": code, "message": error.detail},
        error.status_code,
        dict(error.headers or {}),
    )


async def internal_error(_: Request, __: Exception) -> Response:
    """Answer for a fault of ours; what it was is in the log only."""
    return json_answer({"success": False, "code": "internal", "message": "a fault of the collector"}, 500)
