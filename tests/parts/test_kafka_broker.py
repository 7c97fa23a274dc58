"""The broker of one machine: formatted once, on loopback, its data there after stops and crashes."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from connectors.kafka.consumer import Consumer
from connectors.kafka.producer import Producer
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import ensure_topics, fact_topic
from milepost.parts.errors import PartError
from milepost.parts.kafka_broker import KafkaBroker
from milepost.parts.ports import free_port
from tests.brokers import running_broker


def _values(settings: KafkaSettings, topic: str, count: int) -> list[bytes | None]:
    with Consumer(settings) as consumer:
        consumer.assign(consumer.beginning_offsets(consumer.partitions(topic)))
        values: list[bytes | None] = []
        for _ in range(20):
            values += [value for part in consumer.poll(timeout=1) for value in part.values.to_list()]
            if len(values) >= count:
                break
        return values


def test_data_survive_stop_kill_and_start_on_the_same_port(tmp_path: Path) -> None:
    folder = tmp_path / "kä fka" / "broker"
    with running_broker(folder) as broker:
        settings = KafkaSettings(bootstrap_servers=(broker.bootstrap,))
        with pytest.raises(PartError, match="runs already"):
            broker.start()
        ensure_topics(settings, [], 90)
        topic = fact_topic(settings, "spend")
        for number, end in enumerate((broker.stop, broker.process.kill)):
            with Producer(settings) as producer:
                producer.send_many(topic, None, [str(number).encode()]).wait()
            end()
            assert not broker.answers()
            again = KafkaBroker(folder)
            again.start()
            again.wait_ready()
            assert again.bootstrap == broker.bootstrap
        assert sorted(_values(settings, topic, 2), key=repr) == [b"0", b"1"]
        assert ensure_topics(settings, [], 90).created == ()
        assert (folder.stat().st_mode & 0o777) == 0o700
        _listens_on_loopback_only(broker)


def _listens_on_loopback_only(broker: KafkaBroker) -> None:
    pid = broker.process.pid
    sockets = {
        Path(f"/proc/{pid}/fd/{entry.name}").readlink().name
        for entry in Path(f"/proc/{pid}/fd").iterdir()
        if entry.is_symlink()
    }
    listening = []
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                address = bytes.fromhex(fields[1].partition(":")[0])
                words = b"".join(address[at : at + 4][::-1] for at in range(0, len(address), 4))
                listening.append(socket.inet_ntop(family, words))
    assert listening, "the broker and the controller"
    assert set(listening) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


def test_a_port_that_is_taken_and_a_broker_that_was_never_started_are_named(tmp_path: Path) -> None:
    with pytest.raises(PartError, match="has never been started"):
        _ = KafkaBroker(tmp_path).bootstrap
    port = free_port()
    taken = pytest.raises(PartError, match=f"port {port} is taken; stop what listens there")
    with socket.create_server(("127.0.0.1", port)), taken:
        KafkaBroker(tmp_path, port).start()


def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    broker = KafkaBroker(tmp_path, properties={"node.id": "nonsense"})
    with pytest.raises(PartError, match=r"(?s)can't be formatted.*Invalid value nonsense"):
        broker.start()
    broker = KafkaBroker(tmp_path)
    broker.start()
    broker.stop()
    broker = KafkaBroker(tmp_path, properties={"log.retention.ms": "nonsense"})
    try:
        broker.start()
        with pytest.raises(PartError, match=r"(?s)Kafka ended while it started.*log\.retention\.ms"):
            broker.wait_ready()
    finally:
        broker.process.kill()
