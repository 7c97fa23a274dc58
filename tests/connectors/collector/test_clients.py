"""The real clients, against a real collector before a real Kafka: what they send is in the topics."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import rudderstack.analytics.client
import segment.analytics.client
from snowplow_tracker import Emitter, PagePing, SelfDescribing, SelfDescribingJson, Subject, Tracker

from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import ensure_topics
from milepost.parts.kafka_broker import KafkaBroker
from tests.brokers import settings_for
from tests.connectors.collector.conftest import SOURCES
from tests.connectors.collector.real import Running, events_of, records_of, running_collector, wait_until

CLIENTS = Path(__file__).with_name("clients")


@pytest.fixture(scope="module")
def kafka(shared_broker: KafkaBroker) -> KafkaSettings:
    settings = settings_for(shared_broker)
    ensure_topics(settings, SOURCES, 1)
    return settings


@pytest.fixture(scope="module")
def running(kafka: KafkaSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_collector(tmp_path_factory.mktemp("home"), kafka) as collector:
        yield collector


def _of_user(kafka: KafkaSettings, user: str, count: int) -> list[dict[str, Any]]:
    def find() -> list[dict[str, Any]] | None:
        found = [event for event in events_of(kafka, "web") if event.get("userId") == user]
        return found if len(found) >= count else None

    events: list[dict[str, Any]] = wait_until(find)
    assert len(events) == count
    return events


@pytest.mark.parametrize("packed", [False, True])
def test_segment_python(running: Running, kafka: KafkaSettings, packed: bool) -> None:
    failures: list[Any] = []
    client = segment.analytics.client.Client(
        running.key, host=running.url, gzip=packed, on_error=lambda *error: failures.append(error)
    )
    user = f"segment-python-{packed}"
    happened = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    client.identify(user, {"plan": "pro"})
    client.track(user, "Order Completed", {"total": 12.5, "city": "Zürich"}, timestamp=happened)
    client.page(user, "shop", "Home")
    client.screen(user, "app", "Start")
    client.group(user, "group-1", {"size": 3})
    client.alias("before", user)
    client.flush()
    client.join()
    assert not failures
    events = _of_user(kafka, user, 6)
    assert {event["type"] for event in events} == {"identify", "track", "page", "screen", "group", "alias"}
    [order] = [event for event in events if event["type"] == "track"]
    assert order["properties"] == {"total": 12.5, "city": "Zürich"}
    assert datetime.fromisoformat(order["originalTimestamp"]) == happened
    assert abs((datetime.fromisoformat(order["timestamp"]) - happened).total_seconds()) < 5
    assert order["context"]["library"]["name"] == "analytics-python"
    keys = {record.key for record in records_of(kafka, "web") if user.encode() in record.value}
    assert keys == {user.encode()}


def test_segment_python_with_a_wrong_key(running: Running) -> None:
    client = segment.analytics.client.Client("wrong", host=running.url, sync_mode=True)
    with pytest.raises(segment.analytics.request.APIError, match="unknown_write_key"):
        client.track("u", "e")


def test_rudder_python(running: Running, kafka: KafkaSettings) -> None:
    failures: list[Any] = []
    client = rudderstack.analytics.client.Client(
        running.key, host=running.url, on_error=lambda *error: failures.append(error)
    )
    client.identify("rudder-user", {"plan": "pro"})
    client.track("rudder-user", "Order Completed", {"total": 1})
    client.page("rudder-user", "shop", "Home")
    client.flush()
    client.join()
    assert not failures
    events = _of_user(kafka, "rudder-user", 3)
    assert {event["type"] for event in events} == {"identify", "track", "page"}
    for event in events:
        received = datetime.fromisoformat(event["receivedAt"])
        assert abs((datetime.fromisoformat(event["timestamp"]) - received).total_seconds()) < 60


@pytest.mark.parametrize("method", ["post", "get"])
def test_snowplow_python(running: Running, kafka: KafkaSettings, method: Any) -> None:
    sent: list[Any] = []
    failures: list[Any] = []
    emitter = Emitter(
        running.url,
        method=method,
        batch_size=1,
        on_success=sent.extend,
        on_failure=lambda _, events: failures.extend(events),
    )
    user = f"snowplow-python-{method}"
    tracker = Tracker("t", emitter, app_id="shop", subject=Subject().set_user_id(user))
    data = {"total": 12.5, "city": "Zürich"}
    order = SelfDescribingJson("iglu:example/order/jsonschema/1-0-0", data)
    tracker.track(SelfDescribing(order))
    tracker.track(PagePing(page_url="https://shop.example/"))
    tracker.flush()
    assert not failures
    assert len(sent) == 2
    events = [event for event in events_of(kafka, "shop") if event.get("uid") == user]
    assert {event["e"] for event in events} == {"ue", "pp"}
    assert all("ue_px" not in event and event["derived_tstamp"] for event in events)
    [sent_order] = [json.loads(event["ue_pr"]) for event in events if event["e"] == "ue"]
    assert sent_order["data"]["data"] == data


def test_the_header_says_when_it_came(running: Running, kafka: KafkaSettings) -> None:
    before = datetime.now(UTC).timestamp()
    assert running.post("page", {"userId": "header-user"}).status_code == 200
    after = datetime.now(UTC).timestamp()
    [record] = [record for record in records_of(kafka, "web") if b"header-user" in record.value]
    [(name, value)] = record.headers
    assert name == "received_at"
    assert before <= int(value) / 1e6 <= after


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clients from npm, at the versions of the lock file."""
    if shutil.which("npm") is None:
        pytest.skip("needs Debian's packages nodejs and npm")
    folder = tmp_path_factory.mktemp("clients")
    for file in CLIENTS.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.system
def test_segment_node(installed: Path, running: Running, kafka: KafkaSettings) -> None:
    command = ["node", "server.js", running.url, running.key]
    done = subprocess.run(command, cwd=installed, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert {event["type"] for event in _of_user(kafka, "node-user", 3)} == {"identify", "track", "group"}
    [page] = [event for event in events_of(kafka, "web") if event.get("anonymousId") == "node-visitor"]
    assert page["originalTimestamp"] == "2026-02-01T10:00:00.000Z"
    assert page["timestamp"].startswith("2026-02-01T10:00:0")


@pytest.fixture
def browser(installed: Path, running: Running, tmp_path: Path) -> Iterator[None]:
    """A headless Chromium that shows a page of another origin than the collector's."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Debian's package chromium")
    handler = functools.partial(_Quiet, directory=str(installed))
    pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    url = (
        f"http://127.0.0.1:{pages.server_port}/page.html?collector=127.0.0.1:{running.port}&key={running.key}"
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--remote-debugging-port=0"]
    with (tmp_path / "chromium.log").open("wb") as log:
        process = subprocess.Popen([chromium, *options, url], stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)
        pages.shutdown()


@pytest.mark.system
@pytest.mark.usefixtures("browser")
def test_browsers(running: Running, kafka: KafkaSettings) -> None:
    events = _of_user(kafka, "browser-user", 6)
    tracks = [event for event in events if event["type"] == "track"]
    assert {event["event"] for event in tracks} == {"One by one", "In a batch"}
    for event in tracks:
        assert event["context"]["page"]["title"] == "Shop"
        assert "writeKey" not in event
        assert datetime.fromisoformat(event["timestamp"]) <= datetime.fromisoformat(event["receivedAt"])

    def by_snowplow() -> list[dict[str, Any]] | None:
        found = [event for event in events_of(kafka, "shop") if event["tna"].startswith("tracker-")]
        return found if len(found) >= 4 else None

    found = wait_until(by_snowplow)
    assert sorted((event["tna"], event["e"]) for event in found) == [
        ("tracker-get", "pv"),
        ("tracker-get", "ue"),
        ("tracker-post", "pv"),
        ("tracker-post", "ue"),
    ]
    assert all("G-32" in event["ue_pr"] for event in found if event["e"] == "ue")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
