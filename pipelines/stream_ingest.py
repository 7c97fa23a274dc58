"""Ingest of a stream: raw records on Kafka → mapping → contract check → canonical facts and dead letters on Kafka.

The steps are those of `pipelines.ingest`; only where records come from and facts go to differs. Each output goes
straight to its writer, without a step that gathers several: a stream has no end that such a step could wait for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import polars as pl

from connectors.bus import DEAD_LETTERS
from connectors.dead_letters import STREAMED, Place, Reject, dead_letters
from connectors.errors import UnreadableFileError
from connectors.files.batch import RawBatch
from connectors.files.json_records import JsonRecords
from connectors.kafka.columns import Headers, Longs, Records
from connectors.kafka.producer import Producer
from connectors.kafka.registry import schema_id
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import RECEIVED_AT, fact_topic, raw_topic
from connectors.kafka.wire import encode_messages
from connectors.mapping.statement import ROW
from milepost.metrics import DEAD_LETTERS as DEAD_LETTERS_SENT
from milepost.metrics import count_ingest
from pipelines.ingest_plan import Plan, StreamPart
from pipelines.ingest_steps import (
    OUTCOMES,
    REJECTED,
    CheckFacts,
    FactsPart,
    MapRecords,
    Outcome,
    RawPart,
    RejectedPart,
    counted,
    rejected,
)
from pipelines.kafka_source import Delivery, ReadKafka, Share


def ingest_stream(
    pipeline: beam.Pipeline, shares: Sequence[Share], plan: Plan, settings: KafkaSettings
) -> None:
    """Build the pipeline."""
    stream = plan.project.stream
    raw = (
        pipeline
        | "Shares" >> beam.Create(shares, reshuffle=False)
        | "Read" >> beam.ParDo(ReadKafka(settings, stream.ingest_pace_seconds, stream.batch_records))
        | "Records" >> beam.ParDo(ParseRecords(plan, settings)).with_outputs(REJECTED, OUTCOMES, main="raw")
    )
    mapped = raw.raw | "Map" >> beam.ParDo(MapRecords(plan)).with_outputs(REJECTED, OUTCOMES, main="facts")
    checked = mapped.facts | "Check" >> beam.ParDo(CheckFacts(plan)).with_outputs(
        REJECTED, OUTCOMES, main="good"
    )
    checked.good | "Send facts" >> beam.ParDo(SendFacts(plan, settings))
    for name, step in (("unread", raw), ("unmapped", mapped), ("unfit", checked)):
        step[REJECTED] | f"Send dead letters, {name}" >> beam.ParDo(SendDeadLetters(plan, settings))
        step[OUTCOMES] | f"Count, {name}" >> beam.ParDo(CountOutcomes())


class ParseRecords(beam.DoFn):  # type: ignore[misc]
    """Delivery → raw records; what is no JSON object is rejected."""

    def __init__(self, plan: Plan, settings: KafkaSettings) -> None:
        self.plan = plan
        self.sources = {raw_topic(settings, source): source for source in plan.versions}

    def process(self, delivery: Delivery) -> Iterator[Any]:
        """Yield RawPart[StreamPart]; rejects and counts aside."""
        with JsonRecords() as parser:
            for batch in delivery.batches:
                source = self.sources[batch.partition.topic]
                part = StreamPart(
                    source,
                    batch.partition.topic,
                    batch.partition.partition,
                    int(batch.timestamps[-1]) * 1000,
                    self.plan.versions[source],
                )
                arrivals = _arrivals(batch)
                values = [value or b"" for value in batch.values.to_list()]
                for records in _parsed(parser, values, batch.offsets):
                    yield counted(part, {"read": records.received, "rejected": len(records.rejects)})
                    if records.rejects:
                        yield rejected(part, 0, "read", records.rejects)
                    yield RawPart(part, 0, records, arrivals=arrivals)


def _parsed(parser: JsonRecords, values: list[bytes], numbers: Longs) -> Iterator[RawBatch]:
    """Parse values; records that make up keys as they go don't spoil the others."""
    try:
        yield parser.of_values(values, numbers)
    except UnreadableFileError as error:
        if len(values) == 1:
            reject = Reject(error.error_class, error.reason, values[0], int(numbers[0]))
            yield RawBatch(parser.none(), [reject], absent_is_null=True)
            return
        half = len(values) // 2
        yield from _parsed(parser, values[:half], numbers[:half])
        yield from _parsed(parser, values[half:], numbers[half:])


def _arrivals(batch: Records) -> pl.DataFrame:
    """Give `_row` and `arrived_at` (UTC): the header of a message, else its timestamp."""
    stamped = (batch.timestamps * 1000).tolist()
    arrived = [_header_time(headers, usual) for headers, usual in zip(batch.headers(), stamped, strict=True)]
    return pl.DataFrame(
        {ROW: batch.offsets, "arrived_at": arrived}, schema={ROW: pl.Int64, "arrived_at": pl.Int64}
    ).with_columns(pl.col("arrived_at").cast(pl.Datetime("us", "UTC")))


def _header_time(headers: Headers, usual: int) -> int:
    for name, value in headers:
        if name == RECEIVED_AT and value and value.isdigit() and len(value) < 18:
            return int(value)
    return usual


class _Send(beam.DoFn):  # type: ignore[misc]
    """Sends rows to their topic; the bundle ends when Kafka has acknowledged them all."""

    def __init__(self, plan: Plan, settings: KafkaSettings) -> None:
        self.plan, self.settings = plan, settings
        self.producer: Producer | None = None

    def send(self, fact: str, key: str, rows: pl.DataFrame) -> None:
        """Send rows of a type of fact (or dead letters) under the column that is their key."""
        self.producer = self.producer or Producer(self.settings)
        topic = fact_topic(self.settings, fact)
        keys = [value.encode() for value in rows.get_column(key)]
        written = encode_messages(fact, rows, schema_id(self.settings, topic, fact))
        self.producer.send_many(topic, keys, written)

    def finish_bundle(self) -> None:
        """Wait for the acknowledgements."""
        if self.producer is not None:
            self.producer.flush()

    def teardown(self) -> None:
        """Disconnect."""
        if self.producer is not None:
            self.producer.close()


class SendFacts(_Send):
    """Sends good facts to their topic."""

    def process(self, part: FactsPart[StreamPart]) -> None:
        """Send facts under their event_id, so that what is delivered twice meets in one partition."""
        if part.facts.height:
            self.send(self.plan.source(part.file.source).fact, "event_id", part.facts)


class SendDeadLetters(_Send):
    """Sends what a step rejects to the topic of dead letters."""

    def process(self, part: RejectedPart[StreamPart]) -> None:
        """Make dead letters and send them."""
        place = Place(part.file.source, part.step, f"{STREAMED}{part.file.raw_id}", part.file.received_at)
        letters = dead_letters(part.rejects, place, self.plan.bus.raw_zone)
        DEAD_LETTERS_SENT.labels(part.file.source, part.step).inc(letters.height)
        self.send(DEAD_LETTERS, "dead_letter_id", letters)


class CountOutcomes(beam.DoFn):  # type: ignore[misc]
    """Counts fates for whoever watches the process."""

    def process(self, outcome: tuple[str, Outcome[StreamPart]]) -> None:
        """Add what became of a part."""
        _, part = outcome
        count_ingest(part.file.source, part.counts)
