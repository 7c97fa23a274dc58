"""The Kafka source by itself: how far it says it is."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import ClassVar

import apache_beam as beam
import pytest
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator

from connectors.kafka.columns import Partition
from connectors.kafka.consumer import Consumer
from connectors.kafka.offsets import group_offsets
from connectors.kafka.producer import Producer
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import ensure_topics, raw_topic
from milepost.parts.kafka_broker import KafkaBroker
from pipelines.kafka_source import Delivery, ReadKafka, Share, _advance
from pipelines.runner import pipeline_options
from tests.brokers import running_broker, settings_for


def test_the_watermark_never_goes_back() -> None:
    """A poll may bring an older part of a backlog than the one before, and clocks may be a day off."""
    watermark = ManualWatermarkEstimator(None)
    told = []
    for milliseconds in (1_000_299, 1_000_225, 0, 1_000_300, 914_000_300):
        _advance(watermark, milliseconds)
        told.append(watermark.current_watermark().micros // 1000)
    assert told == [1_000_299, 1_000_299, 1_000_299, 1_000_300, 914_000_300]


class Collected(beam.DoFn):  # type: ignore[misc]
    """Keeps what a source delivers, in this process."""

    values: ClassVar[list[bytes | None]] = []

    def process(self, delivery: Delivery) -> None:
        for batch in delivery.batches:
            self.values.extend(batch.values.to_list())


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    with running_broker() as running:
        yield running


@pytest.fixture
def kafka(broker: KafkaBroker) -> KafkaSettings:
    settings = settings_for(broker)
    ensure_topics(settings, ["web"], 1)
    Collected.values.clear()
    return settings


def read(settings: KafkaSettings, share: Share, *, shown: bool = False) -> list[bytes | None]:
    """Run a source to its end, and give the values that it delivered."""
    options = pipeline_options([], streaming=True, ends=True)
    with beam.Pipeline(options=options) as pipeline:
        (
            pipeline
            | beam.Create([share], reshuffle=False)
            | beam.ParDo(ReadKafka(settings, 0.2, 1_000, shown=shown))
            | beam.ParDo(Collected())
        )
    return Collected.values


def share_of(
    settings: KafkaSettings, group: str | None, *, ends: bool, term: float | None = None
) -> tuple[Share, dict[Partition, int]]:
    with Consumer(settings) as consumer:
        partitions = consumer.partitions(raw_topic(settings, "web"))
        found = consumer.end_offsets(partitions)
    at = tuple((partition, 0) for partition in partitions)
    return Share(at, group, tuple(sorted(found.items())) if ends else None, term), found


@pytest.mark.parametrize("last", ["commit", "abort"])
def test_reading_ends_where_the_last_offsets_are_no_records(kafka: KafkaSettings, last: str) -> None:
    from kafka import KafkaProducer

    writer = KafkaProducer(**kafka.client_options(), transactional_id=kafka.topic_prefix)
    writer.init_transactions()
    for end in ("commit", "abort", last):
        writer.begin_transaction()
        for number in range(20):
            writer.send(raw_topic(kafka, "web"), f"{end} {number}".encode())
        if end == "commit":
            writer.commit_transaction()
        else:
            writer.abort_transaction()
    writer.close()
    share, ends = share_of(kafka, "g", ends=True)
    committed = [f"commit {number}".encode() for number in range(20)] * (2 if last == "commit" else 1)
    assert sorted(value for value in read(kafka, share) if value) == sorted(committed)
    with group_offsets(kafka) as groups:
        # Bundles are finalized behind the pipeline's end.
        until = time.monotonic() + 20
        while not ends.items() <= groups.committed("g").items():
            assert time.monotonic() < until, "a lag is left"
            time.sleep(0.2)


def test_offsets_that_kafka_refuses_end_the_reading_or_are_told(
    kafka: KafkaSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody who reads as a member of the same group has the group's offsets for himself."""
    from kafka import KafkaConsumer

    with Producer(kafka) as producer:
        producer.send_many(raw_topic(kafka, "web"), None, [b"a record"])
        producer.flush()
    other = KafkaConsumer(raw_topic(kafka, "web"), **kafka.client_options(), group_id="taken")
    stop = threading.Event()

    def be_a_member() -> None:
        while not stop.is_set():
            other.poll(timeout_ms=100)
        other.close()

    member = threading.Thread(target=be_a_member)
    member.start()
    try:
        time.sleep(3)
        share, _ = share_of(kafka, "taken", ends=False, term=20.0)
        with pytest.raises(Exception, match="can't be committed for group 'taken'"):
            read(kafka, share)
        share, _ = share_of(kafka, "taken", ends=False, term=3.0)
        with caplog.at_level(logging.WARNING):
            assert b"a record" in read(kafka, share, shown=True)
        assert caplog.text.count("Kafka does not show how far this is") == 1
    finally:
        stop.set()
        member.join()
