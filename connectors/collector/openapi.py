"""The OpenAPI document of the collector's end points."""

from __future__ import annotations

from typing import Any

from connectors.collector.links import CLICK_IDS
from connectors.collector.segment import CALLS
from milepost import __version__

_Schema = dict[str, Any]


def document() -> _Schema:
    """Give the document (OpenAPI 3.1)."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Milepost collector",
            "version": __version__,
            "summary": "Takes what happens on websites, in apps, e-mails and ads.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/v1/{call}": {"post": _segment()},
            "/com.snowplowanalytics.snowplow/tp2": {"post": _snowplow_post()},
            "/i": {"get": _snowplow_get()},
            "/p.gif": {"get": _pixel()},
            "/r": {"get": _redirect()},
            "/health/live": {"get": _simple("live", "The process runs.", "application/json")},
            "/health/ready": {"get": _ready()},
            "/metrics": {"get": _simple("metrics", "Counters for Prometheus.", "text/plain")},
            "/openapi.json": {"get": _simple("openapi", "This document.", "application/json")},
        },
        "components": {
            "securitySchemes": {
                "writeKey": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "The write key as user name, with an empty password. "
                    "Browsers may send it as writeKey in the body instead.",
                }
            },
            "schemas": _schemas(),
            "responses": {
                name: {"description": text, "content": _json("Refusal"), **more}
                for name, text, more in (
                    ("BadRequest", "Nothing of it was taken; the code says why.", {}),
                    ("Unauthorised", "The write key is missing, unknown or retired.", {}),
                    ("NotFound", "There is no such call or source.", {}),
                    ("TooSlow", "The body did not arrive in time.", {}),
                    ("TooLarge", "The body or its only event is too large.", {}),
                    ("TooLongQuery", "The query is too long.", {}),
                    ("WrongPacking", "The body is packed in a way other than gzip.", {}),
                    ("TooFast", "More events per second than allowed.", _retry_after()),
                    ("Unavailable", "Nothing can be kept now. What was sent is not taken.", _retry_after()),
                )
            },
        },
    }


def _segment() -> _Schema:
    return {
        "operationId": "segment",
        "summary": "Segment's HTTP tracking API.",
        "description": "One event, or many where the call is batch, import or b. 200 means that they are safe. "
        "A batch with events that can't be taken is taken without them, and the answer names them.",
        "security": [{"writeKey": []}, {}],
        "parameters": [
            {
                "name": "call",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "enum": sorted(CALLS)},
            }
        ],
        "requestBody": {
            "required": True,
            "description": "JSON, also under another content type, and also packed with gzip.",
            "content": {"application/json": {"schema": {"anyOf": [_ref("Event"), _ref("Batch")]}}},
        },
        "responses": {
            "200": _taken("Taken."),
            **_refusals("BadRequest", "Unauthorised", "NotFound", "TooSlow", "TooLarge", "WrongPacking"),
            **_refusals("TooFast", "Unavailable"),
        },
    }


def _snowplow_post() -> _Schema:
    return {
        "operationId": "snowplow_post",
        "summary": "Snowplow's tracker protocol, events as self-describing JSON.",
        "requestBody": {"required": True, "content": _json("SnowplowPayload")},
        "responses": {
            "200": _taken("Taken."),
            **_refusals("BadRequest", "TooSlow", "WrongPacking", "TooFast", "Unavailable"),
        },
    }


def _snowplow_get() -> _Schema:
    return {
        "operationId": "snowplow_get",
        "summary": "Snowplow's tracker protocol, one event as a query.",
        "parameters": [_query("e", "The event's type.", required=True), _query("aid", "The application id.")],
        "responses": {"200": _gif(), **_refusals("BadRequest", "TooLongQuery", "TooFast", "Unavailable")},
    }


def _pixel() -> _Schema:
    return {
        "operationId": "pixel",
        "summary": "A transparent point, for ads seen and e-mails opened. All parameters are kept.",
        "parameters": [_source()],
        "responses": {
            "200": _gif(),
            **_refusals("BadRequest", "NotFound", "TooLongQuery", "TooFast", "Unavailable"),
        },
    }


def _redirect() -> _Schema:
    return {
        "operationId": "redirect",
        "summary": f"Leads to an allowed host; utm_*, {', '.join(CLICK_IDS)} travel along. All parameters are kept.",
        "parameters": [_source(), _query("to", "Where the link leads.", required=True)],
        "responses": {
            "302": {
                "description": "The way on.",
                "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
            },
            **_refusals("BadRequest", "NotFound", "TooLongQuery"),
        },
    }


def _ready() -> _Schema:
    content = {"application/json": {"schema": {"type": "object"}}}
    return {
        "operationId": "ready",
        "summary": "Whether events are taken.",
        "responses": {
            "200": {
                "description": "They are; with the sources whose records wait for Kafka.",
                "content": content,
            },
            "503": {"description": "They aren't: Kafka is away and the spool is full.", "content": content},
        },
    }


def _simple(name: str, text: str, kind: str) -> _Schema:
    return {
        "operationId": name,
        "summary": text,
        "responses": {"200": {"description": text, "content": {kind: {}}}},
    }


def _schemas() -> dict[str, _Schema]:
    text, count = {"type": "string"}, {"type": "integer", "minimum": 0}
    identifier = {"type": ["string", "integer", "null"]}
    thing, time = {"type": ["object", "null"]}, {"type": "string", "format": "date-time"}
    event = {
        **dict.fromkeys(("messageId", "anonymousId", "userId", "previousId", "groupId"), identifier),
        **dict.fromkeys(("properties", "traits", "context", "integrations"), thing),
        **dict.fromkeys(("timestamp", "originalTimestamp", "sentAt"), time),
        **dict.fromkeys(("event", "name", "type", "writeKey"), text),
    }
    rejected = {"index": count, "code": text, "reason": text, "messageId": text}
    return {
        "Event": {"type": "object", "properties": event},
        "Batch": {
            "type": "object",
            "required": ["batch"],
            "properties": {
                "batch": {"type": "array", "minItems": 1, "items": _ref("Event")},
                **{name: event[name] for name in ("context", "integrations", "sentAt", "writeKey")},
            },
        },
        "SnowplowPayload": {
            "type": "object",
            "required": ["schema", "data"],
            "properties": {
                "schema": text,
                "data": {"type": "array", "minItems": 1, "items": {"type": "object"}},
            },
        },
        "Taken": {
            "type": "object",
            "required": ["success"],
            "properties": {
                "success": {"const": True},
                "accepted": count,
                "rejectedCount": count,
                "rejected": {"type": "array", "items": {"type": "object", "properties": rejected}},
            },
        },
        "Refusal": {
            "type": "object",
            "required": ["success", "code", "message"],
            "properties": {"success": {"const": False}, "code": text, "message": text},
        },
    }


_STATUSES = {
    "BadRequest": "400",
    "Unauthorised": "401",
    "NotFound": "404",
    "TooSlow": "408",
    "TooLarge": "413",
    "TooLongQuery": "414",
    "WrongPacking": "415",
    "TooFast": "429",
    "Unavailable": "503",
}


def _refusals(*names: str) -> dict[str, _Schema]:
    return {_STATUSES[name]: {"$ref": f"#/components/responses/{name}"} for name in names}


def _ref(name: str) -> _Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(name: str) -> _Schema:
    return {"application/json": {"schema": _ref(name)}}


def _taken(text: str) -> _Schema:
    return {"description": text, "content": _json("Taken")}


def _gif() -> _Schema:
    return {"description": "One transparent point.", "content": {"image/gif": {}}}


def _retry_after() -> _Schema:
    return {"headers": {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}}


def _source() -> _Schema:
    return _query("source", "The source; may be left out where there is only one of this kind.")


def _query(name: str, text: str, *, required: bool = False) -> _Schema:
    return {
        "name": name,
        "in": "query",
        "description": text,
        "required": required,
        "schema": {"type": "string"},
    }
