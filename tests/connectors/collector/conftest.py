from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from connectors.collector.app import create_app
from connectors.collector.settings import CollectorSettings
from connectors.collector.write_keys import create_write_key
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import ensure_topics
from milepost.parts.kafka_broker import KafkaBroker
from tests.brokers import running_broker, settings_for
from tests.connectors.collector.kept import Kept

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
SOURCES: dict[str, Any] = {
    "web": {"protocol": "segment"},
    "app": {"protocol": "segment"},
    "shop": {"protocol": "snowplow", "app_ids": ["shop", "till"]},
    "site": {"protocol": "snowplow"},
    "mail": {"protocol": "pixel"},
    "links": {"protocol": "redirect"},
}


@dataclass
class Collector:
    """A collector whose records end in a list."""

    client: TestClient
    kept: Kept
    home: Path
    #: Of the source `web`.
    key: str

    def post(self, call: str, body: Any = None, **options: Any) -> Any:
        if "content" not in options:
            options["json"] = body
        return self.client.post(f"/v1/{call}", auth=options.pop("auth", (self.key, "")), **options)

    def metric(self, name: str, **labels: str) -> float:
        wanted = ",".join(f'{label}="{text}"' for label, text in sorted(labels.items()))
        line = f"{name}{{{wanted}}}" if wanted else name
        for found in self.client.get("/metrics").text.splitlines():
            if found.startswith(line + " "):
                return float(found.rpartition(" ")[2])
        return 0.0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Collector]]:
    """Starts collectors in the test's folder, one after the other."""
    running: list[TestClient] = []

    def _start(**settings: Any) -> Collector:
        while running:
            running.pop().__exit__(None, None, None)
        key, _ = create_write_key(tmp_path, "web", NOW)
        kept = Kept()
        app = create_app(
            CollectorSettings.model_validate({"sources": SOURCES, **settings}), kept, tmp_path, lambda: NOW
        )
        client = TestClient(app, raise_server_exceptions=False, follow_redirects=False)
        client.__enter__()
        running.append(client)
        return Collector(client, kept, tmp_path, key)

    yield _start
    while running:
        running.pop().__exit__(None, None, None)


@pytest.fixture
def collector(start: Callable[..., Collector]) -> Collector:
    return start()


@pytest.fixture(scope="session")
def shared_broker() -> Iterator[KafkaBroker]:
    """One broker for all tests of this package."""
    # One that was killed may come back only when its old session is over: 9 s unless set.
    soon = {"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "500"}
    with running_broker(properties=soon) as running:
        yield running


@pytest.fixture
def broker(shared_broker: KafkaBroker) -> KafkaBroker:
    """The broker, running: a test may kill it."""
    if not shared_broker.process.is_alive():
        shared_broker.start()
        shared_broker.wait_ready()
    return shared_broker


@pytest.fixture
def kafka(broker: KafkaBroker) -> KafkaSettings:
    """Settings whose topics are those of one test alone, and are there."""
    settings = settings_for(broker)
    ensure_topics(settings, SOURCES, 1)
    return settings
