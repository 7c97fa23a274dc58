"""A collector as a process of its own, before a real Kafka."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from kafka import KafkaConsumer, TopicPartition

from connectors.collector.write_keys import create_write_key
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import raw_topic
from tests.connectors.collector.conftest import SOURCES


@dataclass
class Running:
    """A collector that can be killed and started again; its home and port stay."""

    home: Path
    kafka: KafkaSettings
    settings: dict[str, Any] = field(default_factory=dict)
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.key, _ = create_write_key(self.home, "web", datetime.now(UTC))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        settings = {
            "port": self.port,
            "sources": SOURCES,
            "acknowledge_seconds": 20.0,
            "events_per_second": 1e9,
            **self.settings,
        }
        arguments = [str(self.home), json.dumps(settings), self.kafka.model_dump_json()]
        command = [sys.executable, "-m", "tests.connectors.collector.run", *arguments]
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (self.home / "log").read_text()
        self.port = int(line)

    def stop(self, how: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(30)

    def post(self, call: str, body: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/{call}", json=body, auth=(self.key, ""), timeout=20)

    def waiting(self) -> list[str]:
        waiting: list[str] = httpx.get(f"{self.url}/health/ready", timeout=20).json()["waiting"]
        return waiting


@contextmanager
def running_collector(home: Path, kafka: KafkaSettings, **settings: Any) -> Iterator[Running]:
    collector = Running(home, kafka, settings)
    collector.start()
    try:
        yield collector
    finally:
        if collector.process is not None and collector.process.poll() is None:
            collector.stop(signal.SIGKILL)


def records_of(kafka: KafkaSettings, source: str) -> list[Any]:
    """Read a source's topic from its beginning to its present end."""
    topic = raw_topic(kafka, source)
    consumer = KafkaConsumer(**kafka.client_options(), auto_offset_reset="earliest", enable_auto_commit=False)
    try:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        records: list[Any] = []
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            for batch in consumer.poll(timeout_ms=500).values():
                records += batch
        return records
    finally:
        consumer.close()


def events_of(kafka: KafkaSettings, source: str) -> list[dict[str, Any]]:
    return [json.loads(record.value) for record in records_of(kafka, source)]


def wait_until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"it did not come about within {seconds} s"
        time.sleep(0.1)
    return found
