"""What a collector acknowledged is in Kafka at the end, whatever was killed in between."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import ensure_topics
from milepost.parts.kafka_broker import KafkaBroker
from tests.brokers import settings_for
from tests.connectors.collector.real import Running, events_of, running_collector, wait_until

SEEDS = int(os.environ.get("MILEPOST_TEST_SEEDS", "10"))
_EVENTS = 5


class Load:
    """Clients that send batches without a pause, try again what was not acknowledged, and keep count."""

    def __init__(self, collector: Running, clients: int = 4) -> None:
        self.acknowledged: set[str] = set()
        self.statuses: Counter[int] = Counter()
        self._collector = collector
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(number,), daemon=True) for number in range(clients)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _send(self, client: int) -> None:
        number = 0
        with httpx.Client(auth=(self._collector.key, ""), timeout=20) as session:
            while not self._stop.is_set():
                ids = [f"{client}-{number}-{place}" for place in range(_EVENTS)]
                batch = [{"type": "page", "anonymousId": f"c{client}", "messageId": name} for name in ids]
                try:
                    status = session.post(
                        f"{self._collector.url}/v1/batch", json={"batch": batch}
                    ).status_code
                except httpx.TransportError:
                    status = 0
                self.statuses[status] += 1
                if status == 200:
                    self.acknowledged.update(ids)
                    number += 1
                else:
                    self._stop.wait(0.02)


def _all_arrived(collector: Running, load: Load) -> Counter[str]:
    """Check that everything acknowledged is in Kafka once the spool is empty; gives how often each id is there."""
    wait_until(lambda: not collector.waiting(), 60)
    found = Counter(event["messageId"] for event in events_of(collector.kafka, "web"))
    assert load.acknowledged
    assert load.acknowledged <= set(found)
    return found


def _kill_again_and_again(home: Path, kafka: KafkaSettings, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    with running_collector(home, kafka) as collector, Load(collector) as load:
        for _ in range(kills):
            time.sleep(chance.uniform(0.2, 1.2))
            collector.stop(signal.SIGKILL)
            collector.start()
        time.sleep(0.5)
        load.__exit__()
        _all_arrived(collector, load)
        assert load.statuses[0] >= kills


def test_collector_killed_under_load(tmp_path: Path, kafka: KafkaSettings) -> None:
    _kill_again_and_again(tmp_path, kafka, 3, seed=0)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(max(1, SEEDS // 5)))
def test_collector_killed_ten_times(tmp_path: Path, kafka: KafkaSettings, seed: int) -> None:
    _kill_again_and_again(tmp_path, kafka, 10, seed)


def test_stopped_in_order_under_load(tmp_path: Path, kafka: KafkaSettings) -> None:
    with running_collector(tmp_path, kafka) as collector, Load(collector) as load:
        time.sleep(1)
        assert collector.stop() == 0
        load.__exit__()
        collector.start()
        found = _all_arrived(collector, load)
        # Everything in work was answered: nothing had to be sent twice.
        assert max(found.values()) == 1
        assert not list((tmp_path / "spool" / "web").iterdir())


def test_kafka_away_and_back_and_the_collector_killed_meanwhile(
    tmp_path: Path, kafka: KafkaSettings, broker: KafkaBroker
) -> None:
    with (
        running_collector(tmp_path, kafka, acknowledge_seconds=1.0) as collector,
        Load(collector, clients=2) as load,
    ):
        wait_until(lambda: load.acknowledged)
        broker.process.kill()
        wait_until(collector.waiting)
        spooled = len(load.acknowledged)
        collector.stop(signal.SIGKILL)
        collector.start()
        # A process that never saw Kafka takes events all the same.
        wait_until(lambda: len(load.acknowledged) > spooled)
        broker.start()
        broker.wait_ready()
        wait_until(lambda: not collector.waiting(), 60)
        load.__exit__()
        _all_arrived(collector, load)
    assert set(load.statuses) <= {0, 200}


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(max(1, SEEDS // 5)))
def test_broker_and_collector_killed_at_random(
    tmp_path: Path, kafka: KafkaSettings, broker: KafkaBroker, seed: int
) -> None:
    chance = random.Random(seed)
    with running_collector(tmp_path, kafka, acknowledge_seconds=2.0) as collector, Load(collector) as load:
        for _ in range(5):
            time.sleep(chance.uniform(0.2, 3))
            broker.process.kill()
            time.sleep(chance.uniform(0, 4))
            if chance.random() < 0.5:
                collector.stop(signal.SIGKILL)
                collector.start()
            broker.start()
            broker.wait_ready()
            if chance.random() < 0.5:
                collector.stop(signal.SIGKILL)
                collector.start()
        load.__exit__()
        _all_arrived(collector, load)


def _refused(collector: Running) -> httpx.Response | None:
    answer = collector.post("page", {"userId": "u"})
    return answer if answer.status_code == 503 else None


@pytest.mark.faults
def test_spool_full_then_kafka_back(tmp_path: Path, kafka: KafkaSettings, broker: KafkaBroker) -> None:
    broker.process.kill()
    small = {"spool_bytes": 20_000, "acknowledge_seconds": 0.5}
    with running_collector(tmp_path, kafka, **small) as collector, Load(collector) as load:
        wait_until(lambda: load.statuses[503])
        # Something small may still find room.
        refused = wait_until(lambda: _refused(collector))
        assert refused.json()["code"] == "spool_full"
        assert int(refused.headers["retry-after"]) > 0
        assert httpx.get(f"{collector.url}/health/live").status_code == 200
        assert sum(file.stat().st_size for file in (tmp_path / "spool" / "web").iterdir()) <= 20_000
        broker.start()
        broker.wait_ready()
        wait_until(lambda: collector.post("page", {"userId": "u"}).status_code == 200)
        load.__exit__()
        _all_arrived(collector, load)


def test_a_topic_that_is_missing(tmp_path: Path, broker: KafkaBroker) -> None:
    kafka = settings_for(broker)
    ensure_topics(kafka, ["shop"], 1)
    with running_collector(tmp_path, kafka, acknowledge_seconds=1.0) as collector:
        assert collector.post("page", {"userId": "u", "messageId": "m"}).status_code == 200
        assert collector.waiting() == ["web"]
        # Other sources go on as if nothing were, over the same connection.
        for number in range(5):
            answer = httpx.get(f"{collector.url}/i?e=pv&aid=shop&eid={number}", timeout=20)
            assert answer.status_code == 200
            time.sleep(0.3)
        wait_until(lambda: collector.waiting() == ["web"])
        assert {event["eid"] for event in events_of(kafka, "shop")} == set("01234")
        ensure_topics(kafka, ["web"], 1)
        wait_until(lambda: not collector.waiting())
        assert [event["messageId"] for event in events_of(kafka, "web")] == ["m"]


def _raw(collector: Running, data: bytes, seconds: float = 10.0) -> bytes:
    with socket.create_connection(("127.0.0.1", collector.port), seconds) as connection:
        connection.sendall(data)
        answer = b""
        try:
            while part := connection.recv(65_536):
                answer += part
        except ConnectionResetError:
            pass
        return answer


def test_requests_that_take_for_ever_or_have_no_end(tmp_path: Path, kafka: KafkaSettings) -> None:
    with running_collector(tmp_path, kafka, body_seconds=0.5) as collector:
        head = b"POST /v1/page HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"
        started = time.monotonic()
        answer = _raw(collector, head)
        assert b" 408 " in answer
        assert b"body_too_slow" in answer
        assert _raw(collector, b"POST /v1/page HTTP/1.1\r\nhost: ") == b""
        assert _raw(collector, b"") == b""
        assert time.monotonic() - started < 8
        endless = b"GET /i?" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n"
        assert b" 400 " in _raw(collector, endless)
        headers = b"".join(b"x-%d: %s\r\n" % (number, b"y" * 100) for number in range(1_000))
        assert b" 400 " in _raw(collector, b"GET /health/live HTTP/1.1\r\nhost: x\r\n" + headers + b"\r\n")
        chunked = b"POST /v1/page HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        assert b" 413 " in _raw(
            collector, chunked + b"10000\r\n" + b" " * 65_536 + (b"\r\n10000\r\n" + b" " * 65_536) * 9
        )
        assert b" 400 " in _raw(collector, b"\x16\x03\x01\x00\xff not HTTP at all\r\n\r\n")
        assert collector.post("page", {"userId": "u"}).status_code == 200


def test_a_port_that_is_taken_and_a_home_in_use(tmp_path: Path, kafka: KafkaSettings) -> None:
    with running_collector(tmp_path, kafka) as collector:
        for settings in ({"port": collector.port}, {}):
            second = Running(tmp_path, kafka, settings)
            with pytest.raises(
                AssertionError, match=r"stop what listens there|another collector uses this spool"
            ):
                second.start()
            assert second.process is not None
            assert second.process.wait(20) != 0
