"""The Schema Registry's client, against a small HTTP server that answers as Confluent's API is documented to.

It is no registry: it knows `POST /subjects/SUBJECT/versions` and `GET /schemas/ids/ID` with their documented
bodies, status codes and error codes, and whatever misbehaviour a test asks for.
"""

from __future__ import annotations

import base64
import copy
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from connectors.kafka.errors import SchemaRegistryError
from connectors.kafka.registry import LARGEST_ANSWER, SchemaRegistry, open_registry
from connectors.kafka.settings import SchemaRegistrySettings, Secret
from connectors.kafka.wire import decode_messages, encode_messages
from schemas.contracts import avro_schema, empty_facts
from tests.connectors.kafka.facts import message_of, some_rows

TYPE = "application/vnd.schemaregistry.v1+json"


class _Handler(BaseHTTPRequestHandler):
    schemas: list[str]
    subjects: dict[str, list[int]]
    asked: list[str]
    answer: tuple[int, bytes] | None = None
    login: str | None = None

    def log_message(self, *_args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: dict[str, Any] | None) -> None:
        self.asked.append(self.path)
        status, content = self.answer or self._documented(body)
        self.send_response(status)
        self.send_header("Content-Type", TYPE)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _documented(self, body: dict[str, Any] | None) -> tuple[int, bytes]:
        if self.login is not None and self.headers["Authorization"] != f"Basic {self.login}":
            return 401, b'{"error_code": 401, "message": "Unauthorized"}'
        _, kind, name, *_ = self.path.split("/")
        if kind == "schemas":
            number = int(self.path.rpartition("/")[2])
            if not 0 < number <= len(self.schemas):
                return 404, b'{"error_code": 40403, "message": "Schema not found"}'
            return 200, json.dumps({"schema": self.schemas[number - 1]}).encode()
        assert body is not None
        assert self.headers["Content-Type"] == TYPE
        assert body["schemaType"] == "AVRO"
        if body["schema"] not in self.schemas:
            self.schemas.append(body["schema"])
        number = self.schemas.index(body["schema"]) + 1
        self.subjects.setdefault(unquote(name), []).append(number)
        return 200, json.dumps({"id": number}).encode()


@pytest.fixture
def server() -> Iterator[tuple[type[_Handler], SchemaRegistrySettings]]:
    """A registry over HTTP, and settings to reach it."""
    handler = type("Handler", (_Handler,), {"schemas": [], "subjects": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield handler, SchemaRegistrySettings(url=f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


Server = tuple[type[_Handler], SchemaRegistrySettings]


def test_schemas_are_registered_for_a_topic_and_found_by_id(server: Server) -> None:
    handler, settings = server
    registry = SchemaRegistry(settings)
    ids = {
        fact: registry.register(f"milepost.{fact}", fact) for fact in ("touchpoint", "spend", "touchpoint")
    }
    assert ids == {"touchpoint": 1, "spend": 2}
    assert handler.subjects == {"milepost.touchpoint-value": [1], "milepost.spend-value": [2]}
    assert json.loads(handler.schemas[0]) == avro_schema("touchpoint"), "with documentation and defaults"

    rows = some_rows("spend", 5)
    messages = [message_of("spend", row, schema_id=2) for row in rows]
    messages += [message_of("touchpoint", row, schema_id=1) for row in some_rows("touchpoint", 1)]
    fresh = SchemaRegistry(settings)
    handler.asked.clear()
    for _ in range(2):
        decoded = decode_messages("spend", messages, fresh)
        assert decoded.frame.to_dicts() == rows
        assert [(reject.position, reject.error_class) for reject in decoded.rejects] == [(5, "wrong_schema")]
    assert sorted(handler.asked) == ["/schemas/ids/1", "/schemas/ids/2"], "asked once"
    assert encode_messages("spend", decoded.frame, schema_id=2) == messages[:5]


def test_a_schema_from_the_future_is_resolved_through_the_registry_and_rejected_without(
    server: Server,
) -> None:
    handler, settings = server
    newer = copy.deepcopy(avro_schema("campaign"))
    newer["fields"].insert(1, {"name": "mood", "type": {"type": "map", "values": "float"}})
    handler.schemas.append(json.dumps(newer))
    row = {**some_rows("campaign", 1)[0], "mood": {"good": 0.5}}
    good = message_of("campaign", row, newer, 1)
    messages = [good, good[:-1], good + b"x", message_of("campaign", row)]
    decoded = decode_messages("campaign", messages, SchemaRegistry(settings))
    del row["mood"]
    assert decoded.frame.to_dicts() == [row, row]
    assert decoded.positions.tolist() == [0, 3]
    assert [reject.error_class for reject in decoded.rejects] == ["unreadable", "trailing_bytes"]

    without = decode_messages("campaign", messages)
    assert without.positions.tolist() == [3]
    assert {reject.error_class for reject in without.rejects} == {"unknown_schema"}
    assert "no registry is set" in without.rejects[0].reason
    assert "upgrade and replay" in without.rejects[0].reason


def test_an_unknown_id_is_asked_for_once_a_while(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    handler, settings = server
    registry = SchemaRegistry(settings)
    message = message_of("spend", some_rows("spend", 1)[0], schema_id=7)
    for _ in range(3):
        (reject,) = decode_messages("spend", [message], registry).rejects
        assert (reject.error_class, "the registry does not know it" in reject.reason) == (
            "unknown_schema",
            True,
        )
    assert handler.asked == ["/schemas/ids/7"]
    monkeypatch.setattr("time.monotonic", lambda: 1e9)
    decode_messages("spend", [message], registry)
    assert len(handler.asked) == 2
    fingerprint = message_of("spend", some_rows("spend", 1)[0], schema_id=0xFFFFFFFF)
    decode_messages("spend", [fingerprint], registry)
    assert len(handler.asked) == 2, "an id made of a fingerprint is not the registry's"


@pytest.mark.parametrize(
    "answer",
    [
        {"schema": '"string"'},
        {"schema": '{"type": "record", "name": "Weather", "fields": []}'},
        {"schema": "{"},
        {"schema": '{"type": "record", "name": "Spend"}'},
        {"schema": "syntax = 'proto3';", "schemaType": "PROTOBUF"},
        {"schema": '{"type": "record", "name": "Spend", "fields": []}', "references": [{"name": "x"}]},
        {"schema": '{"type": "record", "name": "Spend", "fields": [{"name": "a", "type": "nonsense"}]}'},
    ],
)
def test_a_schema_that_cannot_be_used_rejects_its_messages_alone(
    server: Server, answer: dict[str, Any]
) -> None:
    handler, settings = server
    handler.answer = (200, json.dumps(answer).encode())
    rows = some_rows("spend", 2)
    messages = [message_of("spend", rows[0], schema_id=3), message_of("spend", rows[1])]
    decoded = decode_messages("spend", messages, SchemaRegistry(settings))
    assert decoded.frame.to_dicts() == rows[1:]
    assert [reject.error_class for reject in decoded.rejects] == ["unknown_schema"]
    assert "schema 3 of the registry can't be used" in decoded.rejects[0].reason


@pytest.mark.parametrize(
    ("status", "content", "said"),
    [
        (500, b"{}", "HTTP 500"),
        (503, b'{"error_code": 50302, "message": "leader unknown"}', "HTTP 503: leader unknown"),
        (403, b"no", "grant the right"),
        (200, b"<html>", "no usable answer"),
        (200, b'{"nothing": 1}', "not that of a Schema Registry"),
        (200, b"[]", "not that of a Schema Registry"),
        (200, b" " * (LARGEST_ANSWER + 1), "not that of a Schema Registry"),
    ],
)
def test_a_registry_in_trouble_stops_the_reading_and_rejects_nothing(
    server: Server, status: int, content: bytes, said: str
) -> None:
    handler, settings = server
    handler.answer = (status, content)
    message = message_of("spend", some_rows("spend", 1)[0], schema_id=3)
    with pytest.raises(SchemaRegistryError, match=said):
        decode_messages("spend", [message], SchemaRegistry(settings))


def test_a_registry_that_is_away_is_said() -> None:
    registry = SchemaRegistry(SchemaRegistrySettings(url="http://127.0.0.1:1"))
    with pytest.raises(SchemaRegistryError, match=r"is kafka\.schema_registry\.url right"):
        registry.register("milepost.spend", "spend")


def test_an_incompatible_schema_and_a_wrong_password_are_named(server: Server, tmp_path: Path) -> None:
    handler, settings = server
    handler.answer = (409, b'{"error_code": 409, "message": "incompatible"}')
    with pytest.raises(SchemaRegistryError, match="HTTP 409: incompatible; the topic's subject holds"):
        SchemaRegistry(settings).register("milepost.spend", "spend")
    handler.answer, handler.login = None, base64.b64encode(b"me:hunter2").decode()
    with pytest.raises(SchemaRegistryError, match="HTTP 401: Unauthorized; correct"):
        SchemaRegistry(settings).register("milepost.spend", "spend")
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_text("hunter2")
    let_in = SchemaRegistrySettings(url=settings.url, username="me", password=Secret(file=file))
    assert SchemaRegistry(let_in).register("milepost.spend", "spend") == 1


def test_one_registry_serves_all_who_ask(server: Server) -> None:
    _, settings = server
    assert open_registry(None) is None
    assert open_registry(settings) is open_registry(SchemaRegistrySettings(url=settings.url))
    assert decode_messages("spend", [], open_registry(settings)).frame.equals(empty_facts("spend"))
