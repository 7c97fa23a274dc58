"""How far groups are, as Kafka and its tools see it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from connectors.kafka.clients import explained, open_admin
from connectors.kafka.columns import Partition
from connectors.kafka.errors import KafkaUnreachableError
from connectors.kafka.settings import KafkaSettings

_RETRY_SECONDS = 15
_PAUSE_SECONDS = 0.2


class GroupOffsets:
    """The offsets of groups; connects when it is first asked something."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings

    @cached_property
    def _admin(self) -> Any:
        return open_admin(self._settings)

    def commit(self, group: str, offsets: Mapping[Partition, int]) -> None:
        """Set how far a group is.

        Raises:
            KafkaUnreachableError: Kafka can't be reached, or refuses: a group with members of its own, for one.
        """
        from kafka import TopicPartition
        from kafka.errors import NoError
        from kafka.structs import OffsetAndMetadata

        if not offsets:
            return
        wanted = {
            TopicPartition(*partition): OffsetAndMetadata(offset, "", -1)
            for partition, offset in offsets.items()
        }
        said = self._ask("alter_group_offsets", group, wanted)
        for partition, error in said.items():
            if error is not NoError:
                raise KafkaUnreachableError(
                    f"the offset of {Partition(*partition)} can't be committed for group {group!r}: "
                    f"{error.__name__}; is another client a member of that group?"
                )

    def committed(self, group: str) -> dict[Partition, int]:
        """Give the offsets that a group has committed; none for a group that there is not."""
        found = self._ask("list_group_offsets", {group: None})
        return {
            Partition(*partition): said.offset for partition, said in found[group].items() if said.offset >= 0
        }

    def ends(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Give the offset that each partition's next record will have."""
        from kafka import TopicPartition
        from kafka.protocol.consumer import OffsetSpec

        latest = {TopicPartition(*partition): OffsetSpec.LATEST for partition in partitions}
        found = self._ask("list_partition_offsets", latest)
        return {Partition(*partition): said.offset for partition, said in found.items()}

    def lag(self, group: str) -> dict[Partition, int]:
        """Say how many records of each partition a group has not done yet."""
        committed = self.committed(group)
        ends = self.ends(committed)
        return {partition: max(0, ends[partition] - offset) for partition, offset in committed.items()}

    def _ask(self, question: str, *about: object) -> Any:
        """Ask, again while a cluster that has just started is still finding its coordinators."""
        from kafka.errors import KafkaConnectionError, RetriableError

        end = time.monotonic() + _RETRY_SECONDS
        with explained(self._settings):
            while True:
                try:
                    return getattr(self._admin, question)(*about)
                except RetriableError as error:
                    if isinstance(error, KafkaConnectionError):
                        self.close()
                    if time.monotonic() > end:
                        raise
                time.sleep(_PAUSE_SECONDS)

    def close(self) -> None:
        """Let go of the connections."""
        admin = self.__dict__.pop("_admin", None)
        if admin is not None:
            admin.close()


@contextmanager
def group_offsets(settings: KafkaSettings) -> Iterator[GroupOffsets]:
    """Ask about groups once."""
    groups = GroupOffsets(settings)
    try:
        yield groups
    finally:
        groups.close()
