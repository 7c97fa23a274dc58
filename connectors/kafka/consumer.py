"""Reads partitions of Kafka that it is told to read: whole columns at a time, from offsets that the caller keeps.

There is no group that shares work out, so nothing is ever taken away from a reader in mid-work. Offsets are
committed to a group's name only so that tools can see the lag.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Self

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import OffsetOutOfRangeError

from connectors.kafka.clients import explained
from connectors.kafka.columns import Partition, Records, by_partition
from connectors.kafka.errors import OffsetGoneError
from connectors.kafka.knock import knock
from connectors.kafka.offsets import GroupOffsets
from connectors.kafka.record_batches import ColumnRecords
from connectors.kafka.settings import KafkaSettings

_FETCH_BYTES = 16 * 1024 * 1024
_PARTITION_BYTES = 4 * 1024 * 1024
_ANSWER_MILLISECONDS = 10_000


class Consumer:
    """A reader of partitions. Not for several threads at once."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Connect.

        Raises:
            KafkaUnreachableError: Kafka can't be reached, or does not let this client in.
        """
        self._settings = settings
        self._waiting: deque[Records] = deque()
        self._positions: dict[Partition, int] = {}
        with explained(settings):
            knock(settings)
            self._client = KafkaConsumer(
                **settings.client_options(),
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                isolation_level="read_committed",
                fetch_max_bytes=_FETCH_BYTES,
                max_partition_fetch_bytes=_PARTITION_BYTES,
                metrics_enabled=False,
            )
        self._client._fetcher.PartitionRecords = ColumnRecords
        self._groups = GroupOffsets(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def partitions(self, topic: str) -> tuple[Partition, ...]:
        """List the partitions of a topic; none where there is no such topic."""
        with explained(self._settings):
            numbers = self._client.partitions_for_topic(topic) or ()
        return tuple(Partition(topic, number) for number in sorted(numbers))

    def assign(self, positions: Mapping[Partition, int]) -> None:
        """Read these partitions from now on, each from its offset; what was read before is forgotten."""
        self._waiting.clear()
        self._positions = dict(positions)
        with explained(self._settings):
            self._client.assign([TopicPartition(*partition) for partition in positions])
            for partition, offset in positions.items():
                self._client.seek(TopicPartition(*partition), offset)

    def seek(self, partition: Partition, offset: int) -> None:
        """Read an assigned partition from another offset on."""
        self._waiting = deque(part for part in self._waiting if part.partition != partition)
        self._positions[partition] = offset
        self._client.seek(TopicPartition(*partition), offset)

    def position(self, partition: Partition) -> int:
        """Give the offset from which the next `poll` goes on: after the last record that was given.

        Where all that was read has been given, it is also after what is no record: markers and aborted records of
        transactions.
        """
        return self._positions[partition]

    def poll(self, max_records: int = 10_000, timeout: float = 0.5) -> list[Records]:
        """Give what there is, at most `max_records`, waiting up to `timeout` seconds for something.

        Returns:
            Records by partition, each partition once; empty where nothing came.

        Raises:
            OffsetGoneError: a partition has no such offset; seek to one that it has.
            KafkaUnreachableError: Kafka does not let this client read. One that is away is waited for.
        """
        if not self._waiting:
            self._fetch(timeout)
        given: list[Records] = []
        room = max_records
        while room > 0 and self._waiting:
            part = self._waiting.popleft()
            if len(part) > room:
                self._waiting.appendleft(part.part(slice(room, None)))
                part = part.part(slice(room))
            given.append(part)
            room -= len(part)
            self._positions[part.partition] = part.next_offset
        self._follow_client()
        return by_partition(given)

    def beginning_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Give the offset of each partition's first record."""
        return self._ends(self._client.beginning_offsets, partitions)

    def end_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Give the offset that each partition's next record will have."""
        return self._ends(self._client.end_offsets, partitions)

    def offsets_at(self, partitions: Iterable[Partition], milliseconds: int) -> dict[Partition, int]:
        """Give the offset of each partition's first record of that time or later; its end where there is none."""
        wanted = list(partitions)
        with explained(self._settings):
            found = self._client.offsets_for_times(
                {TopicPartition(*partition): milliseconds for partition in wanted}, _ANSWER_MILLISECONDS
            )
        ends = self.end_offsets(wanted)
        return {
            partition: ends[partition] if found[partition] is None else found[partition].offset
            for partition in wanted
        }

    def lag(self) -> dict[Partition, int]:
        """Say how many records of each assigned partition `poll` has not given yet."""
        ends = self.end_offsets(self._positions)
        return {
            partition: max(0, ends[partition] - position) for partition, position in self._positions.items()
        }

    def commit(self, group: str, offsets: Mapping[Partition, int]) -> None:
        """Let tools see how far a group is: the offset after the last record done, by partition."""
        self._groups.commit(group, offsets)

    def close(self) -> None:
        """Let go of the connections."""
        self._groups.close()
        self._client.close(autocommit=False)

    def _fetch(self, timeout: float) -> None:
        with explained(self._settings):
            try:
                fetched = self._client.poll(timeout_ms=int(timeout * 1000))
            except OffsetOutOfRangeError as error:
                raise self._gone(error) from error
        self._waiting.extend(record.value for records in fetched.values() for record in records)

    def _follow_client(self) -> None:
        """Take over the client's positions where nothing waits: it passes over what is no record."""
        waiting = {part.partition for part in self._waiting}
        for partition in self._positions.keys() - waiting:
            reached = self._client._subscription.assignment[TopicPartition(*partition)].position
            if reached is not None:
                self._positions[partition] = reached.offset

    def _gone(self, error: OffsetOutOfRangeError) -> OffsetGoneError:
        ((found, offset),) = list(error.args[0].items())[:1]
        partition = Partition(*found)
        first, end = self.beginning_offsets([partition])[partition], self.end_offsets([partition])[partition]
        return OffsetGoneError(partition, offset, first, end)

    def _ends(self, ask: Any, partitions: Iterable[Partition]) -> dict[Partition, int]:
        with explained(self._settings):
            found = ask([TopicPartition(*partition) for partition in partitions], _ANSWER_MILLISECONDS)
        return {Partition(*partition): offset for partition, offset in found.items()}
