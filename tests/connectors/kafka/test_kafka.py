"""Topics, producer and consumer against a real broker."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import polars as pl
import pytest

from connectors.kafka.columns import Partition, Records
from connectors.kafka.consumer import Consumer
from connectors.kafka.errors import (
    KafkaUnreachableError,
    NotAcknowledgedError,
    OffsetGoneError,
    RecordTooLargeError,
)
from connectors.kafka.offsets import group_offsets
from connectors.kafka.producer import Producer
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import defined_topics, ensure_topics, fact_topic, fact_topics, raw_topic
from connectors.kafka.wire import decode_messages, encode_messages
from schemas.contracts import FACT_TYPES, frame_schema
from tests.brokers import running_broker, settings_for
from tests.connectors.kafka.facts import some_rows


def read_all(settings: KafkaSettings, topic: str, count: int, timeout: float = 20.0) -> list[Records]:
    """Read a topic from its beginning until `count` records came."""
    with Consumer(settings) as consumer:
        consumer.assign(consumer.beginning_offsets(consumer.partitions(topic)))
        found: list[Records] = []
        end = time.monotonic() + timeout
        while sum(map(len, found)) < count and time.monotonic() < end:
            found += consumer.poll(timeout=1)
        return found


def poll_until_something(consumer: Consumer) -> list[Records]:
    """Poll until records come."""
    for _ in range(20):
        if found := consumer.poll(timeout=1):
            return found
    raise AssertionError("nothing came in 20 s")


def test_facts_of_every_type_go_through_kafka(kafka: KafkaSettings) -> None:
    ensure_topics(kafka, [], 90)
    with Producer(kafka) as producer:
        for fact, topic in fact_topics(kafka).items():
            rows = some_rows(fact, 300)
            frame = pl.DataFrame(rows, schema=frame_schema(fact), orient="row")
            keys = [row["event_id"].encode() for row in rows]
            producer.send_many(topic, keys, encode_messages(fact, frame))
            producer.flush()
            found = read_all(kafka, topic, len(rows))
            read = pl.concat([decode_messages(fact, part.values).frame for part in found])
            assert read.sort("event_id").equals(frame.sort("event_id")), fact
            assert sorted(key for part in found for key in part.keys.to_list()) == sorted(keys)
    assert set(fact_topics(kafka)) == set(FACT_TYPES)


@pytest.mark.parametrize("compression", ["zstd", "lz4", "none"])
def test_records_come_back_as_they_were_sent(kafka: KafkaSettings, compression: str) -> None:
    ensure_topics(kafka, ["web"], 90)
    topic = raw_topic(kafka, "web")
    values = [
        None,
        b"",
        b"x" * 700_000,
        *(f"value {number}".encode() * (number % 7) for number in range(2_000)),
    ]
    keys = [b"gone", None, *(f"key {number % 50}".encode() for number in range(2_001))]
    headers = [[("n", str(number).encode()), ("ü", None)][: number % 3] for number in range(2_003)]
    before = time.time_ns() // 1_000_000
    with Producer(kafka, compression) as producer:  # type: ignore[arg-type]
        producer.send_many(topic, keys, values, headers).wait()
    found = read_all(kafka, topic, len(values))
    back = [
        row
        for part in found
        for row in zip(part.keys.to_list(), part.values.to_list(), part.headers(), strict=True)
    ]
    sent = list(zip(keys, values, headers, strict=True))
    assert sorted(back, key=repr) == sorted(sent, key=repr)
    for key in {key for key in keys if key is not None}:
        of_key = [row for row in back if row[0] == key]
        assert of_key == [row for row in sent if row[0] == key], "order within a key is kept"
    for part in found:
        assert all(before - 5_000 <= stamp <= before + 60_000 for stamp in part.timestamps.tolist())


def test_keys_go_where_kafkas_own_clients_send_them(kafka: KafkaSettings) -> None:
    from kafka import KafkaProducer

    ensure_topics(kafka, ["web"], 90)
    topic = raw_topic(kafka, "web")
    keys = [bytes(range(200, 200 + size)) for size in range(1, 40)] + [b"\xff" * 5, b"a", "ü€".encode()]
    with Producer(kafka) as ours:
        ours.send_many(topic, keys, keys).wait()
    theirs = KafkaProducer(**kafka.client_options())
    for key in keys:
        theirs.send(topic, key=key, value=key)
    theirs.close()
    where: dict[bytes | None, set[Partition]] = {}
    for part in read_all(kafka, topic, 2 * len(keys)):
        for key in part.keys.to_list():
            where.setdefault(key, set()).add(part.partition)
    assert len(where) == len(keys)
    assert all(len(partitions) == 1 for partitions in where.values())
    assert len(set().union(*where.values())) > 3


def test_a_consumer_reads_on_from_any_offset_in_pieces_of_any_size(kafka: KafkaSettings) -> None:
    ensure_topics(kafka, [], 90)
    topic = fact_topic(kafka, "campaign")
    values = [str(number).encode() for number in range(1_000)]
    with Producer(kafka) as producer:
        for start in range(0, 1_000, 250):
            producer.send_many(topic, None, values[start : start + 250]).wait()
    with Consumer(kafka) as consumer:
        (partition,) = consumer.partitions(topic)
        consumer.assign({partition: 0})
        assert consumer.lag() == {partition: 1_000}
        seen: list[bytes | None] = []
        while len(seen) < 1_000:
            for part in consumer.poll(max_records=170, timeout=5):
                assert len(part) <= 170
                assert part.offsets.tolist() == list(range(len(seen), len(seen) + len(part)))
                seen += part.values.to_list()
                assert consumer.position(partition) == len(seen)
        assert seen == values
        assert consumer.lag() == {partition: 0}
        # In the middle of a batch, and with pieces waiting.
        for offset in (333, 999, 5):
            consumer.seek(partition, offset)
            (part,) = consumer.poll(max_records=2, timeout=5)
            assert part.values.to_list() == values[offset : offset + 2]
        assert consumer.poll(timeout=0) or consumer.poll(timeout=1)
        assert consumer.offsets_at([partition], 0) == {partition: 0}
        assert consumer.offsets_at([partition], time.time_ns() // 1_000_000 + 60_000) == {partition: 1_000}
        consumer.commit("stitch", {partition: 400})
        with group_offsets(kafka) as groups:
            assert groups.committed("stitch") == {partition: 400}
            assert groups.lag("stitch") == {partition: 600}
            assert groups.committed("nobody") == {}


def test_an_offset_that_is_gone_is_said_with_those_that_are_there(kafka: KafkaSettings) -> None:
    ensure_topics(kafka, [], 90)
    topic = fact_topic(kafka, "campaign")
    with Producer(kafka) as producer:
        producer.send_many(topic, None, [b"1", b"2"]).wait()
    with Consumer(kafka) as consumer:
        (partition,) = consumer.partitions(topic)
        consumer.assign({partition: 7})
        with pytest.raises(OffsetGoneError, match="no offset 7: its records are 0 to 1") as raised:
            poll_until_something(consumer)
        consumer.seek(partition, raised.value.first)
        assert len(consumer.poll(timeout=5)[0]) == 2
        assert consumer.partitions(f"{topic}.none") == ()


def test_aborted_transactions_are_not_read(kafka: KafkaSettings) -> None:
    from kafka import KafkaProducer

    ensure_topics(kafka, [], 90)
    topic = fact_topic(kafka, "campaign")
    writer = KafkaProducer(**kafka.client_options(), transactional_id=kafka.topic_prefix)
    writer.init_transactions()
    for number in range(6):
        writer.begin_transaction()
        writer.send(topic, str(number).encode())
        if number % 2:
            writer.abort_transaction()
        else:
            writer.commit_transaction()
    writer.close()
    values = [value for part in read_all(kafka, topic, 3) for value in part.values.to_list()]
    assert values == [b"0", b"2", b"4"]


def test_topics_are_made_once_and_differences_are_told(kafka: KafkaSettings) -> None:
    first = ensure_topics(kafka, ["web", "shop"], 90)
    assert set(first.created) == {topic.name for topic in defined_topics(kafka, ["web", "shop"], 90)}
    assert first.differences == ()
    assert ensure_topics(kafka, ["web", "shop"], 90) == type(first)((), ())
    again = ensure_topics(kafka, ["web", "mail"], 30)
    assert again.created == (raw_topic(kafka, "mail"),)
    assert {(found.topic, found.setting) for found in again.differences} == {
        (raw_topic(kafka, "web"), "retention.ms"),
        (fact_topic(kafka, "dead_letter"), "retention.ms"),
    }
    assert str(again.differences[0]).endswith("is 7776000000, and should be 2592000000")


def test_a_missing_topic_and_a_too_large_record_are_named(kafka: KafkaSettings) -> None:
    ensure_topics(kafka, [], 90)
    topic = fact_topic(kafka, "campaign")
    with Producer(kafka, "none", delivery_timeout=2) as producer:
        with pytest.raises(KafkaUnreachableError, match="in time"):
            producer.send_many("nowhere", None, [b"x"])
        with pytest.raises(RecordTooLargeError, match="at most 8388608"):
            producer.send_many(topic, None, [b"a", b"y" * 9_000_000])
        producer.send_many(topic, None, [b"y" * 5_000_000])
        with pytest.raises(NotAcknowledgedError, match=f"topic {topic}: 1 records .*too large for its topic"):
            producer.flush()
        producer.flush()
        # kafka-python has given up for good after such an error; the producer goes on.
        producer.send_many(topic, None, [b"z"]).wait()
    assert [value for part in read_all(kafka, topic, 1) for value in part.values.to_list()] == [b"z"]


def test_a_batch_that_is_too_large_for_a_topic_is_sent_in_parts(kafka: KafkaSettings) -> None:
    from kafka import KafkaAdminClient
    from kafka.admin import NewTopic

    admin = KafkaAdminClient(**kafka.client_options())
    topic = f"{kafka.topic_prefix}.small"
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "20000"})])
    admin.close()
    values = [bytes([number]) * 1_000 for number in range(100)]
    with Producer(kafka, "none") as producer:
        producer.send_many(topic, None, values).wait(30)
        oversized = producer.send_many(topic, None, [b"a" * 30_000, b"b"])
        with pytest.raises(NotAcknowledgedError, match="too large for its topic"):
            oversized.wait(30)
    assert [value for part in read_all(kafka, topic, 100) for value in part.values.to_list()][:100] == values


@pytest.mark.parametrize("kills", [1, pytest.param(6, marks=pytest.mark.faults)])
def test_nothing_acknowledged_is_lost_when_the_broker_is_killed(tmp_path: Path, kills: int) -> None:
    with running_broker(tmp_path) as broker:
        settings = settings_for(broker)
        ensure_topics(settings, ["web"], 90)
        topic = raw_topic(settings, "web")
        acknowledged: list[bytes] = []
        sent = 0
        stop = threading.Event()

        def produce() -> None:
            nonlocal sent
            with Producer(settings) as producer:
                while not stop.is_set():
                    values = [f"{sent + number}".encode() for number in range(100)]
                    sent += len(values)
                    producer.send_many(topic, values, values).wait()
                    acknowledged.extend(values)

        running = threading.Thread(target=produce)
        running.start()
        for _ in range(kills):
            enough = len(acknowledged) + 2_000
            while len(acknowledged) < enough:
                time.sleep(0.01)
            broker.process.kill()
            time.sleep(0.5)
            broker.start()
            broker.wait_ready()
        enough = len(acknowledged) + 2_000
        while len(acknowledged) < enough:
            time.sleep(0.01)
        stop.set()
        running.join()
        found = [value for part in read_all(settings, topic, sent) for value in part.values.to_list()]
        assert set(acknowledged) <= set(found), "nothing is lost"
        assert len(found) == len(set(found)), "and nothing is there twice"


def test_a_broker_that_goes_away_stops_nobody_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.kafka.consumer._ANSWER_MILLISECONDS", 500)
    with running_broker(tmp_path) as broker:
        settings = settings_for(broker)
        ensure_topics(settings, ["web"], 90)
        topic = raw_topic(settings, "web")
        producer, consumer = Producer(settings), Consumer(settings)
        consumer.assign(dict.fromkeys(consumer.partitions(topic), 0))
        producer.send_many(topic, None, [b"first"]).wait()
        assert poll_until_something(consumer)
        broker.process.kill()
        assert consumer.poll(timeout=0.2) == [], "it waits"
        with pytest.raises(KafkaUnreachableError, match="in time"):
            consumer.lag()
        late = producer.send_many(topic, None, [b"late"])
        with pytest.raises(NotAcknowledgedError, match="has not answered in time"):
            late.wait(0.2)
        broker.start()
        broker.wait_ready()
        (part,) = poll_until_something(consumer)
        assert part.values.to_list() == [b"late"]
        late.wait()
        broker.process.kill()
        lost = producer.send_many(topic, None, [b"lost"])
        began = time.monotonic()
        producer.close(0.2)
        consumer.close()
        with pytest.raises(NotAcknowledgedError):
            lost.wait()
        with pytest.raises(NotAcknowledgedError, match="is closed"):
            producer.send_many(topic, None, [b"more"])
        assert time.monotonic() - began < 10
        ends = time.monotonic() + 10
        while names := [thread.name for thread in threading.enumerate() if "kafka" in thread.name.lower()]:
            assert time.monotonic() < ends, names
            time.sleep(0.05)


def test_a_broker_that_is_away_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.kafka.clients._ADMIN_MILLISECONDS", 500)
    settings = KafkaSettings(bootstrap_servers=("127.0.0.1:1",))
    with pytest.raises(KafkaUnreachableError, match=r"127\.0\.0\.1:1 .*is Kafka running there"):
        ensure_topics(settings, [], 90)
