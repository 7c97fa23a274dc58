"""Kafka as a source for Beam: a splittable DoFn that yields lists of messages, and resumes exactly where it was.

An element is a share of partitions, its restriction the next offset of each. A poll gathers messages until there are
enough or the pace is up, and yields them as one delivery: what follows works on thousands of messages at a time.
Offsets are committed to Kafka when the bundle has been finalized: behind the sink, for Kafka's own tools to see.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.utils.timestamp import Duration, Timestamp

from connectors.kafka.columns import Partition, Records, by_partition
from connectors.kafka.consumer import Consumer
from connectors.kafka.settings import KafkaSettings
from milepost import metrics

_logger = logging.getLogger(__name__)

#: How long a quiet stream waits for companions of its first message (seconds).
LINGER = 0.05
#: How long a poll may block at most, so that a request to stop is heard (seconds).
LONGEST_POLL = 0.5
#: How often the lag is asked for (seconds).
LAG_SECONDS = 5.0

#: Asks every source of this process to come to its end: set by a signal to stop, and by tests.
STOPPING = threading.Event()
#: For how long a source may be at work on a delivery before it counts as stuck (seconds).
LONGEST_WORK = 300.0

#: A source of this process, or a job of it elsewhere, reads.
READING = threading.Event()
#: When a source of this process last polled; nothing before the first time.
_polled: list[float] = []


def is_reading() -> bool:
    """Say whether a source is at work, and not stuck: the part is ready."""
    return READING.is_set() and (not _polled or time.monotonic() - _polled[0] < LONGEST_WORK)


def forget_reading() -> None:
    """Take back that a source is at work, after a failure."""
    READING.clear()
    _polled.clear()


@dataclass(frozen=True)
class Share:
    """Partitions that are read together: the next offset of each, and where reading ends (None: never).

    `group` is the name under which progress shows in Kafka, None where it doesn't; `term` ends the reading after so
    many seconds, None never.
    """

    positions: tuple[tuple[Partition, int], ...]
    group: str | None
    ends: tuple[tuple[Partition, int], ...] | None = None
    term: float | None = None


@dataclass(frozen=True)
class Delivery:
    """Messages of one poll by partition, and the next offset of every partition of the share behind them."""

    batches: tuple[Records, ...]
    positions: tuple[tuple[Partition, int], ...]


@dataclass(frozen=True)
class Positions:
    """A restriction: from these offsets on; `open` as long as more may come."""

    next_offsets: tuple[tuple[Partition, int], ...]
    open: bool = True


class PositionsTracker(RestrictionTracker):  # type: ignore[misc]
    """Tracks the next offsets; a checkpoint leaves what is behind them."""

    def __init__(self, restriction: Positions) -> None:
        self._restriction = restriction
        self._reached = restriction.next_offsets

    def current_restriction(self) -> Positions:
        """Give what is being worked on."""
        return self._restriction

    def current_progress(self) -> RestrictionProgress:
        """Tell that there is always more."""
        return RestrictionProgress(completed=0, remaining=1)

    def try_claim(self, position: tuple[tuple[Partition, int], ...]) -> bool:
        """Claim everything up to these next offsets."""
        if not self._restriction.open:
            return False
        self._reached = position
        return True

    def try_split(self, fraction_of_remainder: float) -> tuple[Positions, Positions] | None:
        """Leave the remainder to a later bundle; nothing between the two can be split."""
        if fraction_of_remainder != 0 or not self._restriction.open:
            return None
        self._restriction = Positions(self._restriction.next_offsets, open=False)
        return self._restriction, Positions(self._reached)

    def check_done(self) -> bool:
        """Say that what was claimed is done: messages are never left half read."""
        return True

    def is_bounded(self) -> bool:
        """Say that it has no end of its own."""
        return False


class SharePositions(RestrictionProvider):  # type: ignore[misc]
    """The restriction of a share: from its positions on."""

    def initial_restriction(self, element: Share) -> Positions:
        """Begin at the share's positions."""
        return Positions(element.positions)

    def create_tracker(self, restriction: Positions) -> PositionsTracker:
        """Track it."""
        return PositionsTracker(restriction)

    def restriction_size(self, element: Share, restriction: Positions) -> int:  # noqa: ARG002 - the base's
        """Weigh shares alike."""
        return 1

    def truncate(self, element: Share, restriction: Positions) -> None:
        """Drain by stopping here: what is left is read after the next start."""


_RESTRICTION = beam.DoFn.RestrictionParam(SharePositions())
_WATERMARK = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider())


class ReadKafka(beam.DoFn):  # type: ignore[misc]
    """Share → deliveries.

    Args:
        settings: of the cluster.
        pace: how long a delivery is gathered at most (seconds).
        most: how many messages a delivery holds at most.
        idle: whether deliveries without messages are yielded too, for whoever has more to do at that pace.
        shown: whether offsets in Kafka are for show alone: where Kafka refuses them, that is told and nothing more.
            Otherwise reading goes on from them after the next start, and a refusal ends it.
    """

    def __init__(
        self, settings: KafkaSettings, pace: float, most: int, *, idle: bool = False, shown: bool = False
    ) -> None:
        self.settings, self.pace, self.most, self.idle, self.shown = settings, pace, most, idle, shown
        self._refused: Exception | None = None
        self._told = ""
        self._consumers: dict[tuple[Partition, ...], Consumer] = {}
        self._delivered = self._tell_lag_at = 0.0
        self._began: float | None = None

    def teardown(self) -> None:
        """Close the connections."""
        for consumer in self._consumers.values():
            consumer.close()
        self._consumers.clear()

    @beam.DoFn.unbounded_per_element()
    def process(
        self,
        share: Share,
        finalizer: Any = beam.DoFn.BundleFinalizerParam,
        tracker: Any = _RESTRICTION,
        watermark: Any = _WATERMARK,
    ) -> Iterator[Delivery]:
        """Yield one delivery, then leave the rest to the next bundle."""
        self._face_refusal()
        before = tracker.current_restriction().next_offsets
        positions = dict(before)
        self._began = self._began or time.monotonic()
        consumer = self._consumer(share, positions)
        batches = self._gather(consumer, share)
        positions = {partition: consumer.position(partition) for partition in positions}
        reached = tuple(sorted(positions.items()))
        if not tracker.try_claim(reached):
            return
        if share.group is not None and (self.idle or reached != before):
            finalizer.register(partial(self._commit, consumer, share.group, dict(reached)))
        if batches or self.idle:
            if batches:
                _advance(watermark, min(int(batch.timestamps[-1]) for batch in batches))
            yield Delivery(tuple(batches), reached)
        if not self._at_end(share, positions):
            tracker.defer_remainder(Duration(0))

    def _commit(self, consumer: Consumer, group: str, offsets: Mapping[Partition, int]) -> None:
        try:
            consumer.commit(group, offsets)
            self._told = ""
        except Exception as error:
            # Beam drops what a finalizer raises: the next bundle says it.
            self._refused = error

    def _face_refusal(self) -> None:
        refused, self._refused = self._refused, None
        if refused is None:
            return
        if not self.shown:
            raise refused
        if str(refused) != self._told:
            self._told = str(refused)
            _logger.warning("Kafka does not show how far this is: %s", refused)

    def _consumer(self, share: Share, positions: Mapping[Partition, int]) -> Consumer:
        partitions = tuple(partition for partition, _ in share.positions)
        consumer = self._consumers.get(partitions)
        if consumer is None:
            consumer = self._consumers[partitions] = Consumer(self.settings)
            consumer.assign(positions)
        elif any(consumer.position(partition) != offset for partition, offset in positions.items()):
            # A bundle before this one has failed, and its deliveries are wanted again.
            consumer.assign(positions)
        return consumer

    def _gather(self, consumer: Consumer, share: Share) -> list[Records]:
        """Poll until there is enough, or the pace is up since the last delivery; a quiet stream lingers shortly."""
        gathered: list[Records] = []
        count = 0
        until = time.monotonic() + self.pace
        while count < self.most and not STOPPING.is_set():
            left = until - time.monotonic()
            if left <= 0:
                break
            polled = consumer.poll(self.most - count, min(left, LONGEST_POLL))
            _polled[:] = [time.monotonic()]
            READING.set()
            if polled and not gathered:
                until = max(time.monotonic() + LINGER, min(until, self._delivered + self.pace))
            gathered.extend(polled)
            count += sum(map(len, polled))
            if share.ends is not None and not polled:
                break
        self._delivered = time.monotonic()
        if self._delivered > self._tell_lag_at:
            self._tell_lag_at = self._delivered + LAG_SECONDS
            for partition, lag in consumer.lag().items():
                metrics.LAG.labels(partition.topic, partition.partition).set(lag)
        return by_partition(gathered)

    def _at_end(self, share: Share, positions: Mapping[Partition, int]) -> bool:
        if STOPPING.is_set():
            return True
        if share.term is not None and self._began is not None and time.monotonic() - self._began > share.term:
            return True
        return share.ends is not None and all(positions[at] >= end for at, end in share.ends)


def _advance(watermark: Any, milliseconds: int) -> None:
    """Bring the watermark to a time, never back: partitions are read unevenly, and senders' clocks are wrong."""
    reached, current = Timestamp(micros=milliseconds * 1000), watermark.current_watermark()
    if current is None or reached > current:
        watermark.set_watermark(reached)
