"""What surrounds the end points: limits, CORS, health, metrics, the OpenAPI document, faults of our own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from connectors.collector import segment
from connectors.collector.openapi import document
from connectors.collector.settings import CollectorSettings
from tests.connectors.collector.conftest import Collector
from tests.connectors.collector.test_snowplow import POST, SCHEMA


def test_rate_limit(start: Callable[..., Collector]) -> None:
    collector = start(events_per_second=10)
    batch = {"batch": [{"type": "page", "userId": "u"}] * 35}
    assert collector.post("batch", batch).status_code == 200
    answer = collector.post("batch", batch)
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert 2 <= int(answer.headers["retry-after"]) <= 3
    assert len(collector.kept.events("web")) == 35
    assert collector.client.post("/v1/p", json={"userId": "u", "writeKey": collector.key}).status_code == 429
    # Another key and another source have their own.
    assert collector.client.get("/p.gif").status_code == 200
    assert (
        collector.metric("milepost_collector_refused_requests_total", protocol="segment", code="rate_limited")
        == 2
    )


def test_back_pressure(start: Callable[..., Collector]) -> None:
    collector = start(max_in_flight_bytes=1024 * 1024, max_batch_bytes=2 * 1024 * 1024)
    answer = collector.post("page", content=b"x" * 1_100_000)
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "busy", "1")
    assert collector.post("page", {"userId": "u"}).status_code == 200
    assert collector.metric("milepost_collector_in_flight_bytes") == 0


def test_cors(collector: Collector) -> None:
    origin = {"origin": "https://shop.example"}
    asked = {
        **origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,sp-anonymous",
    }
    for path in ("/v1/t", POST):
        answer = collector.client.options(path, headers=asked)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == origin["origin"]
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert "authorization" in answer.headers["access-control-allow-headers"]
    answer = collector.post("p", {"userId": "u"}, headers=origin)
    assert answer.headers["access-control-allow-origin"] == origin["origin"]
    assert collector.post("p", {}, headers=origin, auth=("no", "")).headers["access-control-allow-origin"]


def test_cors_of_named_origins(start: Callable[..., Collector]) -> None:
    collector = start(cors_origins=["https://shop.example"])
    other = {"origin": "https://evil.example"}
    assert "access-control-allow-origin" not in collector.post("p", {"userId": "u"}, headers=other).headers
    allowed = collector.post("p", {"userId": "u"}, headers={"origin": "https://shop.example"})
    assert allowed.headers["access-control-allow-origin"] == "https://shop.example"


def test_health(collector: Collector) -> None:
    assert collector.client.get("/health/live").status_code == 200
    ready = collector.client.get("/health/ready")
    assert (ready.status_code, ready.json()["waiting"]) == (200, [])


def test_a_fault_of_ours_shows_nothing(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret inner workings")

    monkeypatch.setattr(segment, "encode", fail)
    answer = collector.post("page", {"userId": "u"})
    assert answer.status_code == 500
    assert answer.json() == {"success": False, "code": "internal", "message": "a fault of the collector"}


def test_openapi_has_every_route(collector: Collector) -> None:
    served = collector.client.get("/openapi.json").json()
    routes = {
        (route.path, method.lower())
        for route in collector.client.app.routes  # type: ignore[attr-defined]
        for method in route.methods - {"HEAD"}
    }
    assert {(path, method) for path, methods in served["paths"].items() for method in methods} == routes


def test_openapi_is_sound() -> None:
    described = document()
    references = json.dumps(described).split('"$ref": "#/')[1:]
    for reference in references:
        found: Any = described
        for part in reference.split('"')[0].split("/"):
            found = found[part]
    for schema in described["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    operations = [operation for path in described["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        for response in operation["responses"].values():
            assert "$ref" in response or response["description"]


def test_answers_fit_the_openapi_document(collector: Collector) -> None:
    schemas = document()["components"]["schemas"]
    partly = {"batch": [{"type": "page", "userId": "u"}, {"type": "x", "messageId": "m"}]}
    for answer, name in (
        (collector.post("page", {"userId": "u"}), "Taken"),
        (collector.post("batch", partly), "Taken"),
        (collector.post("page", content=b"{"), "Refusal"),
        (collector.client.get("/nowhere"), "Refusal"),
    ):
        Draft202012Validator(schemas[name]).validate(answer.json())


_text = st.text(alphabet=st.characters(), max_size=8)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=8,
)
_fields = ("type", "event", "userId", "messageId", "timestamp", "sentAt", "context", "properties", "batch")
_events = st.dictionaries(st.sampled_from(_fields), _json | st.sampled_from(["track", "page", "2026-01-01"]))
_bodies = st.one_of(
    _json,
    _events,
    st.builds(lambda events, more: {**more, "batch": events}, st.lists(_events | _json, max_size=4), _events),
    st.builds(
        lambda events: {"schema": SCHEMA, "data": events},
        st.lists(
            st.dictionaries(st.sampled_from(["e", "aid", "eid", "dtm", "stm", "cx", "ue_px"]), _json),
            max_size=4,
        ),
    ),
)


@st.composite
def _payloads(draw: st.DrawFn) -> bytes:
    """Something like a request's body, with some of its bytes changed."""
    body = bytearray(json.dumps(draw(_bodies)).encode())
    for _ in range(draw(st.integers(0, 3))):
        if body:
            place = draw(st.integers(0, len(body) - 1))
            body[place : place + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(body)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_payloads(), st.sampled_from(["/v1/track", "/v1/batch", "/v1/identify", POST]), st.booleans())
def test_no_payload_is_a_fault_of_ours(collector: Collector, payload: bytes, path: str, packed: bool) -> None:
    before = sum(map(len, collector.kept.records.values()))
    headers = {"content-encoding": "gzip"} if packed else {}
    answer = collector.client.post(path, content=payload, headers=headers, auth=(collector.key, ""))
    assert answer.status_code in {200, 400, 413}, answer.text
    assert isinstance(answer.json()["success"], bool)
    taken = sum(map(len, collector.kept.records.values())) - before
    assert (answer.status_code == 200) == (taken > 0)
    for records in collector.kept.records.values():
        for record in records[-taken:] if taken else []:
            event = json.loads(record.value.decode())
            assert "\0" not in json.dumps(event, ensure_ascii=False)
            json.dumps(event, allow_nan=False)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60), st.sampled_from(["/i", "/p.gif", "/r"]))
def test_no_query_is_a_fault_of_ours(collector: Collector, query: bytes, path: str) -> None:
    quoted = "".join(chr(byte) if chr(byte) in "abe=&+" else f"%{byte:02x}" for byte in query)
    answer = collector.client.get(f"{path}?{quoted}&e=pv")
    assert answer.status_code in {200, 302, 400, 404}, answer.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"sources": {"a b": {"protocol": "segment"}}},
        {"sources": {"a": {"protocol": "carrier pigeon"}}},
        {"sources": {"a": {"protocol": "snowplow"}, "b": {"protocol": "snowplow"}}},
        {
            "sources": {
                "a": {"protocol": "snowplow", "app_ids": ["x"]},
                "b": {"protocol": "snowplow", "app_ids": ["x"]},
            }
        },
        {"redirect_hosts": ["https://shop.example"]},
        {"redirect_hosts": ["*"]},
        {"max_event_bytes": 1024 * 1024},
        {"prot": 1},
    ],
    ids=str,
)
def test_wrong_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CollectorSettings.model_validate(wrong)
