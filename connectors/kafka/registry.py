"""A client of a Schema Registry that speaks Confluent's REST API: registers schemas and finds them by id."""

from __future__ import annotations

import base64
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from functools import lru_cache
from http.client import HTTPException
from typing import Any

from connectors.kafka.errors import SchemaRegistryError
from connectors.kafka.schema_ids import WrittenWith, written_with
from connectors.kafka.settings import KafkaSettings, SchemaRegistrySettings
from schemas.contracts import avro_schema

#: For how many seconds an id that the registry does not know is not asked for again.
FORGET_SECONDS = 60
#: A longer answer is no schema.
LARGEST_ANSWER = 4 * 1024 * 1024

_TIMEOUT_SECONDS = 10
_MOST_UNKNOWN = 10_000
_NOT_A_REGISTRY = "the answer is not that of a Schema Registry; correct kafka.schema_registry.url"
_CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"


class SchemaRegistry:
    """A registry. Answers are kept: an id never changes its schema."""

    def __init__(self, settings: SchemaRegistrySettings) -> None:
        self.url = settings.url
        self._headers = {"Accept": f"{_CONTENT_TYPE}, application/json", "Content-Type": _CONTENT_TYPE}
        if settings.username is not None and settings.password is not None:
            password = settings.password.read("kafka.schema_registry.password")
            secret = base64.b64encode(f"{settings.username}:{password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {secret}"
        self._trust = ssl.create_default_context(cafile=settings.ca_file)
        self._ids: dict[tuple[str, str], int] = {}
        self._known: dict[int, WrittenWith] = {}
        self._unknown: dict[int, float] = {}

    def register(self, topic: str, fact: str) -> int:
        """Register today's schema of a type of fact for the values of a topic, and give its id.

        Raises:
            SchemaRegistryError: the registry can't be reached, or refuses the schema as incompatible.
        """
        subject = f"{topic}-value"
        known = self._ids.get((subject, fact))
        if known is None:
            body = {"schema": json.dumps(avro_schema(fact)), "schemaType": "AVRO"}
            answer = self._ask(f"/subjects/{urllib.parse.quote(subject, safe='')}/versions", body)
            if not isinstance(answer.get("id"), int):
                raise SchemaRegistryError(f"{self.url}: {_NOT_A_REGISTRY}")
            known = self._ids[subject, fact] = answer["id"]
        return known

    def schema(self, schema_id: int) -> WrittenWith | None:
        """Find the schema of an id; None where the registry has none.

        Raises:
            SchemaRegistryError: the registry can't be reached.
            ValueError: it has one, but not of a type of fact.
        """
        if schema_id in self._known:
            return self._known[schema_id]
        if self._unknown.get(schema_id, 0) > time.monotonic():
            return None
        try:
            answer = self._ask(f"/schemas/ids/{schema_id}")
        except _NotFoundError:
            if len(self._unknown) >= _MOST_UNKNOWN:
                self._unknown.clear()
            self._unknown[schema_id] = time.monotonic() + FORGET_SECONDS
            return None
        if not isinstance(answer.get("schema"), str):
            raise SchemaRegistryError(f"{self.url}: {_NOT_A_REGISTRY}")
        found = _parse(answer)
        self._known[schema_id] = found
        return found

    def _ask(self, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - the settings take only http(s)
            self.url + path, None if body is None else json.dumps(body).encode(), self._headers
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS, context=self._trust) as answer:  # noqa: S310
                content = answer.read(LARGEST_ANSWER + 1)
            parsed = json.loads(content) if len(content) <= LARGEST_ANSWER else None
        except urllib.error.HTTPError as error:
            if error.code == 404 and body is None:
                raise _NotFoundError from error
            raise SchemaRegistryError(f"{self.url}{path}: {_refusal(error)}") from error
        except (OSError, HTTPException, ValueError) as error:
            raise SchemaRegistryError(
                f"{self.url}: no usable answer: {getattr(error, 'reason', error)}; is kafka.schema_registry.url right, "
                "and the registry running?"
            ) from error
        if not isinstance(parsed, dict):
            raise SchemaRegistryError(f"{self.url}{path}: {_NOT_A_REGISTRY}")
        return parsed


class _NotFoundError(Exception):
    pass


def open_registry(settings: SchemaRegistrySettings | None) -> SchemaRegistry | None:
    """Give the registry of the settings, one for all who ask; None where none is set."""
    return None if settings is None else _opened(settings)


@lru_cache(maxsize=8)
def _opened(settings: SchemaRegistrySettings) -> SchemaRegistry:
    return SchemaRegistry(settings)


def _parse(answer: dict[str, Any]) -> WrittenWith:
    if answer.get("schemaType", "AVRO") != "AVRO" or answer.get("references"):
        raise ValueError("it is not a plain Avro schema")
    schema = json.loads(answer["schema"])
    if not isinstance(schema, dict):
        raise ValueError("it is not the schema of a record")
    try:
        return written_with(schema)
    except ValueError:
        raise
    except Exception as error:  # what others register can't be foreseen
        raise ValueError(f"it can't be parsed ({type(error).__name__})") from error


def _refusal(error: urllib.error.HTTPError) -> str:
    try:
        said = str(json.loads(error.read(LARGEST_ANSWER))["message"])
    except (OSError, ValueError, KeyError, TypeError, HTTPException):
        said = str(error.reason)
    helps = {
        401: "; correct kafka.schema_registry.username and password",
        403: "; grant the right in the registry",
        409: "; the topic's subject holds an incompatible schema: check that topic_prefix is yours alone",
    }
    return f"HTTP {error.code}: {said}{helps.get(error.code, '')}"


def schema_id(settings: KafkaSettings, topic: str, fact: str) -> int | None:
    """Give the id under which a registry has today's schema of a topic's values; None where none is configured.

    Raises:
        SchemaRegistryError: the registry can't be reached, or refuses the schema as incompatible.
    """
    registry = open_registry(settings.schema_registry)
    return None if registry is None else registry.register(topic, fact)
