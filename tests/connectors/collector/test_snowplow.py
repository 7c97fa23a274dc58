"""Snowplow's tracker protocol."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from connectors.collector.links import GIF
from tests.connectors.collector.conftest import Collector

SCHEMA = "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4"
POST = "/com.snowplowanalytics.snowplow/tp2"


def _packed(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _post(collector: Collector, *events: Any, **options: Any) -> Any:
    return collector.client.post(POST, json={"schema": SCHEMA, "data": list(events)}, **options)


def test_post(collector: Collector) -> None:
    context = {"schema": "iglu:x/contexts/jsonschema/1-0-0", "data": [{"a": "ü~\x7f>>>???"}]}
    event = {
        "e": "pv",
        "aid": "shop",
        "eid": "e1",
        "duid": "d1",
        "url": "https://shop.example/",
        "dtm": "1772366390000",
        "stm": "1772366400000",
        "cx": _packed(context),
        "ue_px": "not base64 of JSON",
    }
    assert (
        _post(collector, event, headers={"user-agent": "UA", "referer": "https://r.example/"}).status_code
        == 200
    )
    [record] = collector.kept.records["shop"]
    assert record.key == b"d1"
    kept = json.loads(record.value)
    assert json.loads(kept.pop("co")) == context
    assert kept == {
        **{name: value for name, value in event.items() if name != "cx"},
        "useragent": "UA",
        "referer": "https://r.example/",
        "collector_tstamp": "2026-03-01T12:00:00.250000Z",
        "derived_tstamp": "2026-03-01T11:59:50.250000Z",
    }


def test_get(collector: Collector) -> None:
    answer = collector.client.get(
        "/i", params={"e": "pp", "aid": "other", "uid": "u", "ttm": "1772366390000"}
    )
    assert (answer.status_code, answer.content) == (200, GIF)
    assert "no-store" in answer.headers["cache-control"]
    [event] = collector.kept.events("site")
    assert event["derived_tstamp"] == "2026-03-01T11:59:50.000000Z"
    assert collector.kept.records["site"][0].key == b"u"
    # A retry has the same id, though it was sent later.
    for sent in ("1", "2"):
        collector.client.get("/i", params={"e": "pv", "dtm": "5", "stm": sent})
    first, second = collector.kept.events("site")[1:]
    assert first["eid"] == second["eid"]
    assert collector.client.head("/i?e=pv").status_code == 200
    assert len(collector.kept.events("site")) == 3


def test_numbers_and_sources(collector: Collector) -> None:
    answer = _post(
        collector,
        {"e": "pv", "aid": "shop", "vp": 5, "cookie": True, "res": None},
        {"e": "pv", "aid": "till"},
        {"e": "pv"},
    )
    assert answer.json() == {"success": True}
    first, second = collector.kept.events("shop")
    assert (first["vp"], first["cookie"], "res" in first, second["aid"]) == ("5", "1", False, "till")
    assert len(collector.kept.events("site")) == 1


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"aid": "shop"}, "bad_type"),
        ({"e": "pv", "x": {}}, "bad_type"),
        ({"e": "pv", "dtm": "soon"}, "bad_time"),
        ({"e": "pv", "dtm": "1" * 16, "stm": "-" + "9" * 15}, "bad_time"),
        ({"e": "pv", "url": "x" * 40_000}, "event_too_large"),
        ({"e": "pv", "url": "\0"}, "bad_text"),
        (None, "bad_type"),
        (["e"], "bad_type"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_event_among_good_ones(collector: Collector, event: Any, code: str) -> None:
    answer = _post(collector, {"e": "pv"}, event)
    assert answer.status_code == 200
    assert answer.json()["accepted"] == 1
    assert answer.json()["rejected"][0]["code"] == code
    assert len(collector.kept.events("site")) == 1
    assert _post(collector, event).status_code == 400


def test_unknown_application(start: Callable[..., Collector]) -> None:
    collector = start(sources={"shop": {"protocol": "snowplow", "app_ids": ["shop"]}})
    answer = _post(collector, {"e": "pv", "aid": "elsewhere", "eid": "x"})
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_app_id")
    assert answer.json()["rejected"][0]["messageId"] == "x"
    name = "milepost_collector_rejected_events_total"
    assert collector.metric(name, source="(none)", code="unknown_app_id") == 1


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'{"data":[{"e":"pv"}]}',
        b'{"schema":5,"data":[{"e":"pv"}]}',
        b'{"schema":"iglu:x","data":[]}',
        json.dumps({"schema": SCHEMA, "data": []}).encode(),
        json.dumps({"schema": SCHEMA, "data": {"e": "pv"}}).encode(),
        json.dumps({"schema": SCHEMA, "data": [{"e": "pv"}] * 2_501}).encode(),
        b'{"schema":"' + b"x" * 600_000 + b'"}',
    ],
    ids=lambda value: str(value[:40]),
)
def test_hostile_bodies(collector: Collector, body: bytes) -> None:
    # Trackers try again for ever after any other status.
    assert collector.client.post(POST, content=body).status_code == 400


def test_hostile_queries(collector: Collector) -> None:
    get = collector.client.get
    assert get("/i?e=pv&url=%FF").json()["code"] == "bad_encoding"
    assert get("/i?e=pv&url=%00").json()["code"] == "bad_text"
    assert get("/i?" + urlencode({f"f{number}": 1 for number in range(300)})).json()["code"] == "bad_query"
    assert get("/i?url=" + "x" * 33_000).status_code == 414
    assert get("/i").status_code == 400


def test_no_cookie_and_no_address_unless_set(collector: Collector) -> None:
    answer = _post(collector, {"e": "pv"})
    assert "set-cookie" not in answer.headers
    assert not {"network_userid", "user_ipaddress"} & set(collector.kept.events("site")[0])


def test_cookie_and_address(start: Callable[..., Collector]) -> None:
    collector = start(network_cookie={"name": "nuid"}, client_address=True)
    first = _post(collector, {"e": "pv"})
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=none" in cookie
    assert "Secure" in cookie
    value = cookie.split("=", 1)[1].split(";", 1)[0]
    again = {"cookie": f"nuid={value}"}
    collector.client.get("/i?e=pv", headers=again)
    collector.client.get("/i?e=pv", headers={"cookie": "nuid=<script>"})
    events = collector.kept.events("site")
    assert [event["network_userid"] == value for event in events] == [True, True, False]
    assert events[0]["user_ipaddress"] == "testclient"
    silent = collector.client.get("/i?e=pv", headers={**again, "sec-gpc": "1"})
    assert "set-cookie" not in silent.headers
    assert "network_userid" not in collector.kept.events("site")[-1]
