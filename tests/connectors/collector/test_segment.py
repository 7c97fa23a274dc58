"""Segment's tracking API: what it takes, what it makes of it, and what it says of what it doesn't take."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.connectors.collector.conftest import NOW, Collector

KIB = 1024


def test_track_becomes_one_record(collector: Collector) -> None:
    answer = collector.post(
        "track",
        {
            "userId": "u1",
            "anonymousId": "a1",
            "event": "Order Completed",
            "properties": {"total": 12.5, "currency": "EUR"},
            "messageId": "m1",
            "context": {"page": {"url": "https://shop.example/"}},
            "timestamp": "2026-03-01T11:59:50.000Z",
            "sentAt": "2026-03-01T12:00:00.000Z",
            "ourOwn": [1, {"deep": None}],
        },
    )
    assert answer.status_code == 200
    assert answer.json() == {"success": True}
    [record] = collector.kept.records["web"]
    assert record.key == b"a1"
    assert record.received_at == int(NOW.timestamp() * 1_000_000)
    assert json.loads(record.value) == {
        "type": "track",
        "userId": "u1",
        "anonymousId": "a1",
        "event": "Order Completed",
        "properties": {"total": 12.5, "currency": "EUR"},
        "messageId": "m1",
        "context": {"page": {"url": "https://shop.example/"}},
        "originalTimestamp": "2026-03-01T11:59:50.000Z",
        "sentAt": "2026-03-01T12:00:00.000000Z",
        "receivedAt": "2026-03-01T12:00:00.250000Z",
        "timestamp": "2026-03-01T11:59:50.250000Z",
        "ourOwn": [1, {"deep": None}],
    }


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (name, kind)
        for kind in ("track", "identify", "page", "screen", "group", "alias")
        for name in (kind, kind[0])
    ],
)
def test_every_call_has_its_type(collector: Collector, call: str, kind: str) -> None:
    assert collector.post(call, {"userId": "u", "event": "e", "type": "nonsense"}).status_code == 200
    assert collector.kept.events("web")[0]["type"] == kind


@pytest.mark.parametrize("call", ["batch", "import", "b"])
def test_batch_is_split_and_shares_context(collector: Collector, call: str) -> None:
    body = {
        "batch": [
            {"type": "track", "event": "a", "userId": "u", "context": {"ip": "1.2.3.4"}},
            {"action": "page", "anonymousId": 7},
        ],
        "context": {"ip": "9.9.9.9", "library": {"name": "x"}},
        "integrations": {"All": False},
        "sentAt": "2026-03-01T12:00:00Z",
    }
    assert collector.post(call, body).json() == {"success": True}
    first, second = collector.kept.events("web")
    assert first["context"] == {"ip": "1.2.3.4", "library": {"name": "x"}}
    assert second["context"] == {"ip": "9.9.9.9", "library": {"name": "x"}}
    assert second["integrations"] == {"All": False}
    assert (second["type"], second["anonymousId"]) == ("page", "7")
    assert first["timestamp"] == first["receivedAt"]
    assert [record.key for record in collector.kept.records["web"]] == [b"u", b"7"]


@pytest.mark.parametrize("skew", [timedelta(days=-1), timedelta(0), timedelta(days=1), timedelta(days=9_000)])
def test_a_wrong_clock_is_corrected(collector: Collector, skew: timedelta) -> None:
    happened = NOW - timedelta(seconds=90)
    body = {
        "userId": "u",
        "event": "e",
        "timestamp": (happened + skew).isoformat(),
        "sentAt": (NOW + skew).isoformat(),
    }
    assert collector.post("track", body).status_code == 200
    [event] = collector.kept.events("web")
    assert event["timestamp"] == "2026-03-01T11:58:30.250000Z"
    assert event["originalTimestamp"] == (happened + skew).isoformat()


def test_without_sent_at_the_client_is_believed(collector: Collector) -> None:
    collector.post("track", {"userId": "u", "event": "e", "timestamp": "2011-01-01"})
    assert collector.kept.events("web")[0]["timestamp"] == "2011-01-01T00:00:00.000000Z"


def test_a_missing_message_id_is_made_from_the_content(collector: Collector) -> None:
    def send(event: str, sent: str) -> str:
        body = {"batch": [{"type": "track", "event": event, "userId": "u"}], "sentAt": sent}
        assert collector.post("batch", body).status_code == 200
        identity: str = collector.kept.events("web")[-1]["messageId"]
        return identity

    first = send("a", "2026-03-01T12:00:00Z")
    assert send("a", "2026-03-01T12:00:05Z") == first
    assert send("b", "2026-03-01T12:00:00Z") != first


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (
            {"type": "track", "event": "e", "userId": "u", "properties": {"x": "y" * 40 * KIB}},
            "event_too_large",
        ),
        ({"type": "track", "userId": "u"}, "bad_type"),
        ({"type": "nonsense", "userId": "u"}, "bad_type"),
        ({"type": ["page"], "userId": "u"}, "bad_type"),
        ({"userId": "u"}, "bad_type"),
        ({"type": "page", "userId": {"id": 1}}, "bad_type"),
        ({"type": "page", "userId": True}, "bad_type"),
        ({"type": "page", "userId": 1.5}, "bad_type"),
        ({"type": "page", "userId": "u", "properties": [1]}, "bad_type"),
        ({"type": "page", "userId": "u", "context": "x"}, "bad_type"),
        ({"type": "page", "userId": "u", "context": [], "properties": None}, None),
        ({"type": "page", "userId": "u", "timestamp": 12}, "bad_time"),
        ({"type": "page", "userId": "u", "timestamp": "yesterday"}, "bad_time"),
        ({"type": "page", "userId": "u", "timestamp": "0001-01-01", "sentAt": "9999-12-31"}, "bad_time"),
        ({"type": "page", "userId": "u", "sentAt": "0001-01-01T00:00:00+23:59"}, "bad_time"),
        ({"type": "page", "userId": "u\0"}, "bad_text"),
        ({"type": "page", "userId": "u", "properties": {"a\0": 1}}, "bad_text"),
        ({"type": "page", "userId": "u", "properties": {"x": "\\u0000 in words"}}, None),
        ({"type": "page", "userId": "u", "properties": {"x": "\ud800"}}, "bad_text"),
        ({"type": "page", "userId": "\ud800"}, "bad_text"),
        ({"type": "page", "userId": "u", "properties": {"x": float("nan")}}, "bad_number"),
        ({"type": "page", "userId": "u", "properties": {"x": float("inf")}}, "bad_number"),
        ({"type": "page", "userId": "u", "properties": {"x": 10**299}}, None),
        ({"type": "page", "userId": "u", "properties": {"x": 10**309}}, "bad_number"),
        ({"type": "page", "userId": 10**301}, "bad_type"),
        (None, "bad_type"),
        ("page", "bad_type"),
        ([], "bad_type"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_bad_event_among_good_ones(collector: Collector, event: Any, code: str | None) -> None:
    good = {"type": "page", "anonymousId": "a", "messageId": "good"}
    text = json.dumps({"batch": [good, event, {**good, "messageId": "good2"}]})
    answer = collector.post("batch", content=text)
    assert answer.status_code == 200, answer.text
    events = collector.kept.events("web")
    if code is None:
        assert answer.json() == {"success": True}
        assert len(events) == 3
        return
    assert [kept["messageId"] for kept in events] == ["good", "good2"]
    fates = answer.json()
    assert (fates["success"], fates["accepted"], fates["rejectedCount"]) == (True, 2, 1)
    assert (fates["rejected"][0]["index"], fates["rejected"][0]["code"]) == (1, code)
    assert collector.metric("milepost_collector_events_total", source="web", fate="accepted") == 2
    assert collector.metric("milepost_collector_rejected_events_total", source="web", code=code) == 1


def test_only_bad_events_are_refused(collector: Collector) -> None:
    answer = collector.post("batch", {"batch": [{"type": "x", "messageId": "m"}, 1]})
    assert answer.status_code == 400
    assert answer.json()["code"] == "bad_type"
    assert [entry["index"] for entry in answer.json()["rejected"]] == [0, 1]
    assert answer.json()["rejected"][0]["messageId"] == "m"
    assert not collector.kept.events("web")


def _nested(levels: int) -> str:
    return '{"userId":"u","properties":' + '{"a":' * levels + "1" + "}" * levels + "}"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_json"),
        (b"{", 400, "bad_json"),
        (b"[]", 400, "bad_json"),
        (b"null", 400, "bad_json"),
        (b'{"userId":"u"}{}', 400, "bad_json"),
        (b'{"userId":"\xff"}', 400, "bad_encoding"),
        (b'{"userId":"u\x00"}', 400, "bad_json"),
        (b"\x00" * 10, 400, "bad_json"),
        ("{}".encode("utf-16"), 400, "bad_encoding"),
        (b"\xef\xbb\xbf{}", 400, "bad_json"),
        (_nested(62).encode(), 200, None),
        (_nested(65).encode(), 400, "too_deep"),
        (_nested(5_000).encode(), 400, "too_deep"),
        (b"[" * 100_000, 400, "too_deep"),
        (b'{"userId":' + b"9" * 5_000 + b"}", 400, "bad_type"),
        (b'{"userId":"u","properties":{"x":1e999}}', 400, "bad_number"),
        (b'{"userId":"u","properties":{"x":"' + b"y" * 40 * KIB + b'"}}', 413, "event_too_large"),
        (b'{"userId":"' + b"y" * 600 * KIB + b'"}', 413, "body_too_large"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_hostile_bodies(collector: Collector, body: bytes, status: int, code: str | None) -> None:
    answer = collector.post("page", content=body)
    assert answer.status_code == status, answer.text
    if code is not None:
        assert answer.json()["code"] == code
        assert not collector.kept.events("web")


@pytest.mark.parametrize(
    "body", [{}, {"batch": []}, {"batch": {}}, {"batch": None}, {"batch": [{"type": "page"}], "context": [1]}]
)
def test_batches_without_events(collector: Collector, body: Any) -> None:
    assert collector.post("batch", body).status_code == 400


def test_limits_of_batches(start: Callable[..., Collector]) -> None:
    collector = start(max_batch_events=10)
    events = [{"type": "page", "userId": "u"}] * 11
    assert collector.post("batch", {"batch": events}).json()["code"] == "batch_too_long"
    assert collector.post("batch", {"batch": events[:10]}).status_code == 200


def test_shared_context_is_no_bomb(collector: Collector) -> None:
    events = [{"type": "page", "userId": "u"}] * 2_000
    answer = collector.post("batch", {"batch": events, "context": {"x": "y" * 30 * KIB}})
    assert (answer.status_code, answer.json()["code"]) == (413, "context_too_large")
    answer = collector.post("batch", {"batch": events[:1], "context": {"x": "y" * 40 * KIB}})
    assert answer.json()["code"] == "event_too_large"


def test_gzip(collector: Collector) -> None:
    body = json.dumps({"userId": "u"}).encode()
    headers = {"content-encoding": "gzip"}
    assert collector.post("page", content=gzip.compress(body), headers=headers).status_code == 200
    bomb = gzip.compress(b"[" + b" " * 200 * KIB * KIB)
    assert len(bomb) < 500 * KIB
    cases = {
        bomb: (413, "body_too_large"),
        body: (400, "bad_packing"),
        gzip.compress(body)[:-5]: (400, "bad_packing"),
        gzip.compress(body) + b"x": (400, "bad_packing"),
    }
    for content, expected in cases.items():
        answer = collector.post("page", content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == expected
    answer = collector.post("page", content=body, headers={"content-encoding": "br"})
    assert (answer.status_code, answer.json()["code"]) == (415, "bad_packing")


def test_write_keys(collector: Collector) -> None:
    body = {"userId": "u"}
    for auth in [("wrong", ""), ("", ""), ("\N{SNOWMAN}", "")]:
        answer = collector.post("page", body, auth=auth)
        assert (answer.status_code, answer.json()["code"]) == (401, "unknown_write_key")
    answer = collector.client.post("/v1/page", json=body)
    assert (answer.status_code, answer.json()["code"]) == (401, "no_write_key")
    answer = collector.client.post("/v1/page", json=body, headers={"authorization": "Basic %%%"})
    assert answer.status_code == 401
    answer = collector.client.post("/v1/page", json={**body, "writeKey": 5})
    assert answer.status_code == 401
    token = base64.b64encode(f"{collector.key}:any".encode()).decode()
    assert (
        collector.client.post("/v1/p", json=body, headers={"authorization": f"basic {token}"}).status_code
        == 200
    )
    assert collector.client.post("/v1/p", json={**body, "writeKey": collector.key}).status_code == 200
    batch = {"batch": [{"type": "page", "userId": "u", "writeKey": collector.key}], "writeKey": collector.key}
    assert collector.client.post("/v1/b", json=batch).status_code == 200
    assert all(collector.key not in record.value.decode() for record in collector.kept.records["web"])


def test_unknown_calls(collector: Collector) -> None:
    assert collector.post("nonsense", {}).status_code == 404
    assert collector.client.post("/v2/track", json={}).json()["code"] == "not_found"
    assert collector.client.get("/v1/track").json()["code"] == "method_not_allowed"
