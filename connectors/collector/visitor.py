"""What a request itself knows of its client, as far as the settings let it be kept."""

from __future__ import annotations

import re
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from connectors.collector.settings import CollectorSettings

_COOKIE_VALUE = re.compile(r"[0-9a-f]{32}")
#: Of a header, so that a long one doesn't cost an event.
_MOST_CHARACTERS = 1_000
_DAY_SECONDS = 86_400


def known_of(request: Request, settings: CollectorSettings) -> dict[str, str]:
    """Give browser, page and, where the settings say so, address and cookie; named as in Snowplow's tables."""
    headers = request.headers
    known = {
        name: value[:_MOST_CHARACTERS]
        for name, header in (("useragent", "user-agent"), ("referer", "referer"))
        if (value := headers.get(header))
    }
    if settings.client_address and request.client is not None:
        known["user_ipaddress"] = request.client.host
    cookie = settings.network_cookie
    # Who asks not to be tracked gets no cookie, and none is read.
    if cookie is not None and headers.get("sec-gpc") != "1" and headers.get("dnt") != "1":
        value = request.cookies.get(cookie.name, "")
        known["network_userid"] = value if _COOKIE_VALUE.fullmatch(value) else uuid4().hex
    return known


def remember(response: Response, known: dict[str, str], settings: CollectorSettings) -> None:
    """Set the cookie that `known_of` found or made."""
    cookie = settings.network_cookie
    if cookie is None or "network_userid" not in known:
        return
    response.set_cookie(
        cookie.name,
        known["network_userid"],
        max_age=cookie.days * _DAY_SECONDS,
        domain=cookie.domain,
        secure=cookie.secure,
        httponly=True,
        samesite="none" if cookie.secure else "lax",
    )
