"""Runs the pipelines of a stream, term by term, until somebody stops them or everything is worked off."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import apache_beam as beam

from connectors.bus import DEAD_LETTERS
from connectors.kafka.clients import cluster_id
from connectors.kafka.columns import Partition
from connectors.kafka.consumer import Consumer
from connectors.kafka.errors import KafkaUnreachableError
from connectors.kafka.offsets import group_offsets
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import fact_topic, raw_topic
from milepost.clock import now
from pipelines.ingest_plan import Plan
from pipelines.kafka_source import READING, STOPPING, Share, forget_reading
from pipelines.runner import pipeline_options, runs_elsewhere
from pipelines.stream_ingest import ingest_stream
from pipelines.stream_jobs import run_jobs
from pipelines.stream_stitch import (
    MappingChangedError,
    StitchStreamSettings,
    close_stitchers,
    drop_stitchers,
    stitch_stream,
    stitcher_of,
)
from schemas.contracts import FACT_TYPES
from warehouse.store import Store

#: Under which names progress shows in Kafka.
INGEST_GROUP, STITCH_GROUP = "milepost-ingest", "milepost-stitch"

#: Under this name the store keeps which cluster its offsets are of.
CLUSTER = "kafka_cluster"

#: Seconds to wait after a first failure, and at most.
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
#: Errors by name, so that the database's driver is not imported for its name.
_PASSING = (
    *("KafkaUnreachableError", "NotAcknowledgedError", "OffsetGoneError", "SchemaRegistryError"),
    *("DatabaseAwayError", "StoreBusyError"),
)

_logger = logging.getLogger(__name__)


def run_ingest(plan: Plan, settings: KafkaSettings, options: Sequence[str], *, once: bool = False) -> None:
    """Map raw records as they come, from where the last run ended.

    Args:
        plan: the sources whose records come by stream.
        settings: of the cluster.
        options: of Beam.
        once: end when everything that is there at the beginning has been worked off.
    """
    topics = [raw_topic(settings, source) for source in plan.versions]
    term = plan.project.stream.term_seconds

    def build(pipeline: beam.Pipeline) -> None:
        share = _share(settings, topics, INGEST_GROUP, None, once=once, term=term)
        ingest_stream(pipeline, [share], plan, settings)

    if runs_elsewhere(options) and not once:
        run_jobs(build, options, INGEST_GROUP, term, STOPPING, READING, _passing)
    else:
        _run_terms(build, options, once=once)


def run_replay(
    plan: Plan, settings: KafkaSettings, options: Sequence[str], since: datetime | None
) -> datetime | None:
    """Map the raw records of the plan's sources once more that came in since a time, or all that are still there.

    Returns:
        Since when all records have been mapped once more: later than was asked for where retention has cleared some;
        None for all that there ever were.
    """
    topics = [raw_topic(settings, source) for source in plan.versions]
    with Consumer(settings) as consumer:
        partitions = _partitions(consumer, topics)
        beginning, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
        first = beginning
        if since is not None:
            first = consumer.offsets_at(partitions, int(since.timestamp() * 1000))
        cleared = {at: offset for at, offset in beginning.items() if offset}
        kept_since = _first_times(consumer, cleared, ends)
    share = Share(tuple(sorted(first.items())), None, tuple(sorted(ends.items())))
    with beam.Pipeline(options=pipeline_options(options, streaming=True, ends=True)) as pipeline:
        ingest_stream(pipeline, [share], plan, settings)
    return max([*kept_since, *([since] if since is not None else [])], default=None)


def _first_times(
    consumer: Consumer, first: Mapping[Partition, int], ends: Mapping[Partition, int]
) -> list[datetime]:
    """Say when the first record came of each partition whose beginning has been cleared; now, of an empty one."""
    times = []
    for partition, offset in first.items():
        times.append(now())
        if offset < ends[partition]:
            consumer.assign({partition: offset})
            while not (found := consumer.poll(1, 1.0)):
                pass
            times[-1] = datetime.fromtimestamp(int(found[0].timestamps[0]) / 1000, UTC)
    return times


def run_stitch(settings: StitchStreamSettings, options: Sequence[str], *, once: bool = False) -> None:
    """Stitch facts as they come, from where the store stands.

    Args:
        settings: of the stitch.
        options: of Beam.
        once: end when everything that is there at the beginning has been worked off.
    """
    topics = [fact_topic(settings.kafka, name) for name in (*FACT_TYPES, DEAD_LETTERS)]
    term = settings.stream.term_seconds

    def build(pipeline: beam.Pipeline) -> None:
        known = _stored_offsets(stitcher_of(settings).places.store, settings.kafka)
        if runs_elsewhere(options):
            # It is the worker's to hold.
            close_stitchers()
        stored = {Partition(*at): offset for at, offset in known.items()}
        share = _share(settings.kafka, topics, STITCH_GROUP, stored, once=once, term=term)
        stitch_stream(pipeline, share, settings)

    try:
        if runs_elsewhere(options) and not once:
            run_jobs(build, options, STITCH_GROUP, term, STOPPING, READING, _passing)
        else:
            _run_terms(build, options, once=once, failed=drop_stitchers)
    finally:
        close_stitchers()


def _stored_offsets(store: Store, settings: KafkaSettings) -> dict[tuple[str, int], int]:
    """Give the store's offsets; none where they are of another cluster, whose topics are read from their beginning."""
    here, before = cluster_id(settings), store.state(CLUSTER)
    if before != here:
        with store.transaction():
            if before is not None:
                _logger.warning(
                    "Kafka is another cluster than before: its topics are read from their beginning"
                )
                store.set_offsets(dict.fromkeys(store.offsets(), 0))
            store.set_state(CLUSTER, here)
    return store.offsets()


def _run_terms(
    build: Callable[[beam.Pipeline], None],
    options: Sequence[str],
    *,
    once: bool,
    failed: Callable[[], None] = lambda: None,
) -> None:
    """Run term after term; what passes by itself, such as a broker or a database that is away, is waited for.

    `failed` is called after a term that failed, before the next one begins where the last good bundle ended.
    """
    wait = FIRST_WAIT
    while True:
        began = time.monotonic()
        try:
            with beam.Pipeline(options=pipeline_options(options, streaming=True, ends=once)) as pipeline:
                build(pipeline)
        except Exception as error:
            failed()
            forget_reading()
            if (changed := _among_causes(error, (MappingChangedError.__name__,))) is not None:
                raise MappingChangedError(str(changed)) from error
            reason = _passing(error)
            if once or reason is None:
                raise
            wait = FIRST_WAIT if time.monotonic() - began > LONGEST_WAIT else min(2 * wait, LONGEST_WAIT)
            _logger.warning("%s; trying again in %.0f s", reason, wait)
            STOPPING.wait(wait)
        if once or STOPPING.is_set():
            return


def _passing(error: BaseException) -> BaseException | None:
    """Find in an error what may pass by itself: it is waited for."""
    return _among_causes(error, _PASSING)


def _among_causes(error: BaseException | None, names: Sequence[str]) -> BaseException | None:
    """Find an error of these kinds among an error and its causes: Beam raises what a step raised anew."""
    while error is not None:
        if any(kind.__name__ in names for kind in type(error).__mro__):
            return error
        error = error.__cause__
    return None


def _partitions(consumer: Consumer, topics: Sequence[str]) -> list[Partition]:
    found = {topic: consumer.partitions(topic) for topic in topics}
    missing = sorted(topic for topic, partitions in found.items() if not partitions)
    if missing:
        raise KafkaUnreachableError(
            f"Kafka has no topic {', '.join(missing)}: `milepost topics ensure` creates what is missing"
        )
    return [partition for partitions in found.values() for partition in partitions]


def _share(
    settings: KafkaSettings,
    topics: Sequence[str],
    group: str,
    stored: Mapping[Partition, int] | None,
    *,
    once: bool,
    term: float,
) -> Share:
    """Give the share of all partitions of topics.

    `stored` has the next offsets where somebody else than Kafka keeps them; Kafka's own of the group count otherwise.
    A partition that neither knows is read from its beginning, and so is one whose next records retention has cleared,
    or that is shorter than was read of it: its topic has been made anew.
    """
    if stored is None:
        with group_offsets(settings) as groups:
            stored = groups.committed(group)
    with Consumer(settings) as consumer:
        partitions = _partitions(consumer, topics)
        first, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
    positions = {at: _position(at, stored.get(at, 0), first[at], ends[at]) for at in partitions}
    return Share(
        tuple(sorted(positions.items())),
        group,
        tuple(sorted(ends.items())) if once else None,
        None if once else term,
    )


def _position(partition: Partition, stored: int, first: int, end: int) -> int:
    if stored > end:
        _logger.warning("%s ends before what was read of it: it is read from its beginning", partition)
        return first
    if 0 < stored < first:
        _logger.warning(
            "%s: records %d to %d were cleared before they were read", partition, stored, first - 1
        )
    return max(stored, first)
