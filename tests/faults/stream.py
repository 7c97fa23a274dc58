"""A machine of its own for fault tests of the stream: parts that are killed, and a sender that gives up on nothing."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from milepost.parts.machine import Machine
from milepost.project import load_project
from tests.faults.runs import Place, milepost

PROJECT = """
sources:
  web: {stream: segment, mapping: web.sql}
stream: {pace_seconds: 0.3, ingest_pace_seconds: 0.1}
collector: {port: 0, events_per_second: 1000000}
"""

MAPPING = """
SELECT CASE type WHEN 'page' THEN 'site_visit' WHEN 'identify' THEN 'identify' ELSE 'order' END AS kind,
    CAST("timestamp" AS TIMESTAMPTZ) AS occurred_at, CAST("originalTimestamp" AS TIMESTAMPTZ) AS device_occurred_at,
    CAST("receivedAt" AS TIMESTAMPTZ) AS received_at, anonymousId AS cookie, userId AS user,
    traits ->> '$.email' AS email,
    CAST(properties ->> '$.total' AS DECIMAL(18, 2)) AS amount, properties ->> '$.currency' AS currency,
    messageId AS native_id
FROM raw
"""

#: Events of a request.
EVENTS = 20
#: Seconds between two requests: a load that people make, so that what is measured is faults and not throughput.
PAUSE = 0.1


def make_place(folder: Path, name: str = "stream") -> Place:
    """Make a project whose one source is a stream."""
    place = Place(folder / name, folder / f"{name}-home")
    place.project.mkdir()
    (place.project / "milepost.yaml").write_text(PROJECT)
    (place.project / "web.sql").write_text(MAPPING)
    return place


def machine_of(place: Place) -> Machine:
    return Machine(load_project(place.project, place.home))


def up(place: Place, *arguments: str) -> None:
    """Start what does not run."""
    done = milepost(place, "up", *arguments)
    assert done.returncode == 0, done.stderr


def down(place: Place) -> None:
    done = milepost(place, "down")
    assert done.returncode == 0, done.stderr


@dataclass
class Sender:
    """Sends events until it is told to stop; each request is repeated until it is acknowledged."""

    place: Place
    key: str
    acknowledged: list[str] = field(default_factory=list)
    refused: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join(timeout=180)
        assert not self._thread.is_alive(), "the last request is not acknowledged"

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            self._send(number)
            number += 1
            time.sleep(PAUSE)

    def _send(self, number: int) -> None:
        events = [_event(number * EVENTS + place) for place in range(EVENTS)]
        body = json.dumps({"batch": events}).encode()
        while True:
            address = machine_of(self.place).address("collector")
            request = urllib.request.Request(f"http://{address}/v1/batch", body, method="POST")
            request.add_header("Authorization", "Basic " + base64.b64encode(f"{self.key}:".encode()).decode())
            request.add_header("Content-Type", "application/json")
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    assert answer.status == 200
                break
            except (urllib.error.URLError, OSError):
                # It may have arrived all the same: what is sent again is the same events.
                self.refused += 1
                time.sleep(0.1)
        self.acknowledged += [str(event["messageId"]) for event in events]


def _event(number: int) -> dict[str, object]:
    """Give the event of a number: people are cookies first, then users who order; two cookies are one user."""
    person = number * 7_919 % 400
    common = {
        "messageId": f"m{number}",
        "anonymousId": f"c{person}",
        "originalTimestamp": f"2025-{1 + number % 12:02}-{1 + number % 28:02}T10:00:00Z",
    }
    if number % 5 == 0:
        return {
            **common,
            "type": "identify",
            "userId": f"u{person // 2}",
            "traits": {"email": f"p{person}@e.example"},
        }
    if number % 7 == 0:
        money = {"total": f"{number % 90}.25", "currency": "EUR"}
        return {**common, "type": "track", "event": "Order", "userId": f"u{person // 2}", "properties": money}
    return {**common, "type": "page", "name": "Home"}


def make_key(place: Place) -> str:
    done = milepost(place, "write-keys", "create", "web")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def wait_worked_off(place: Place, timeout: float = 180.0) -> None:
    """Wait until nothing is left on any topic."""
    end = time.monotonic() + timeout
    quiet = 0
    while quiet < 3:
        live = json.loads(milepost(place, "status", "--json").stdout)["live"]
        lag = live["lag"]
        quiet = quiet + 1 if lag is not None and not any(sum(part.values()) for part in lag.values()) else 0
        assert time.monotonic() < end, f"the lag stays: {lag}"
        time.sleep(0.3)


def raw_records(place: Place) -> list[bytes]:
    """Give every raw record that is on Kafka, each once."""
    from connectors.kafka.consumer import Consumer
    from connectors.kafka.topics import raw_topic

    settings = machine_of(place).kafka_settings()
    with Consumer(settings) as consumer:
        partitions = consumer.partitions(raw_topic(settings, "web"))
        ends = consumer.end_offsets(partitions)
        consumer.assign(consumer.beginning_offsets(partitions))
        found: set[bytes] = set()
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            for batch in consumer.poll(100_000, 1.0):
                found.update(value for value in batch.values.to_list() if value is not None)
    return sorted(found)
