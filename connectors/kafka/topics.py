"""The topics: one definition, `topics.yaml`, and the creation of what a cluster lacks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from connectors.kafka.clients import explained, open_admin
from connectors.kafka.errors import KafkaSettingsError
from connectors.kafka.settings import KafkaSettings
from schemas.contracts import FACT_TYPES
from schemas.yaml_files import load_yaml

#: Header of a raw record: when it came in (microseconds since 1970 in UTC), in decimal digits.
RECEIVED_AT = "received_at"

TOPICS_FILE = Path(__file__).with_name("topics.yaml")
FOR_EVER = -1

_RAW = "raw.{source}"
_DAY_MILLISECONDS = 86_400_000
#: Kafka's names hold at most 249 of these.
_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


@dataclass(frozen=True)
class Topic:
    """A topic as it should be. `retention_ms` is -1 for ever; `holds` is a type of fact, or says what else."""

    name: str
    holds: str
    partitions: int
    retention_ms: int
    cleanup: str
    largest_message: int

    @property
    def configuration(self) -> dict[str, str]:
        """Its settings in Kafka's words."""
        return {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(self.retention_ms),
            "max.message.bytes": str(self.largest_message),
            # Retention counts from when a record came, by the broker's clock: senders' clocks may be wrong by days,
            # and when something happened is in the record.
            "message.timestamp.type": "LogAppendTime",
        }


@dataclass(frozen=True)
class Difference:
    """A topic that is there, but not as it should be: `found` and `wanted` of one of its settings."""

    topic: str
    setting: str
    found: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.setting} is {self.found}, and should be {self.wanted}"


@dataclass(frozen=True)
class TopicsReport:
    """What `ensure_topics` made and what it found otherwise than defined."""

    created: tuple[str, ...]
    differences: tuple[Difference, ...]


@lru_cache(maxsize=1)
def _definition() -> dict[str, dict[str, Any]]:
    loaded: dict[str, dict[str, Any]] = load_yaml(TOPICS_FILE)
    return loaded


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    return {settings["holds"]: name for name, settings in _definition().items()}


def raw_topic(settings: KafkaSettings, source: str) -> str:
    """Name the topic of a source's raw records; raises KafkaSettingsError for what Kafka takes for no name."""
    name = f"{settings.topic_prefix}.{_RAW.format(source=source)}"
    if not _NAME.fullmatch(name):
        raise KafkaSettingsError(
            f"source {source!r}: {name!r} can't name a topic; use letters, digits, ., _ and - in the source's name"
        )
    return name


def fact_topic(settings: KafkaSettings, fact: str) -> str:
    """Name the topic of a type of fact (or `dead_letter`, or `journeys`)."""
    return f"{settings.topic_prefix}.{_names()[fact]}"


def fact_topics(settings: KafkaSettings) -> dict[str, str]:
    """Give the topic's name by type of fact."""
    return {fact: fact_topic(settings, fact) for fact in FACT_TYPES}


def defined_topics(
    settings: KafkaSettings, sources: Iterable[str], raw_days: int, facts_days: int | None = None
) -> tuple[Topic, ...]:
    """Give every topic as it should be.

    Args:
        settings: its prefix is that of the names.
        sources: names of the sources that deliver to Kafka.
        raw_days: for how many days the raw zone is kept.
        facts_days: for how many days facts are kept; for ever unless given.
    """
    topics = []
    for name, defined in _definition().items():
        kept = {"raw_days": raw_days, "facts_days": facts_days, "forever": None}.get(
            defined["kept"], defined["kept"]
        )
        names = (
            [raw_topic(settings, source) for source in sources]
            if name == _RAW
            else [f"{settings.topic_prefix}.{name}"]
        )
        topics += [
            Topic(
                full_name,
                defined["holds"],
                defined["partitions"],
                FOR_EVER if kept is None else kept * _DAY_MILLISECONDS,
                defined["cleanup"],
                defined["largest_message"],
            )
            for full_name in names
        ]
    return tuple(topics)


def ensure_topics(
    settings: KafkaSettings, sources: Iterable[str], raw_days: int, facts_days: int | None = None
) -> TopicsReport:
    """Create the topics that the cluster lacks, and say what differs in those that it has; nothing is altered.

    Raises:
        KafkaUnreachableError: the cluster can't be reached, or refuses.
    """
    from kafka.admin import NewTopic
    from kafka.errors import TopicAlreadyExistsError

    wanted = defined_topics(settings, sources, raw_days, facts_days)
    with _admin(settings) as admin:
        present = {topic["name"]: topic for topic in admin.describe_topics() if not topic["error_code"]}
        created = []
        for topic in wanted:
            if topic.name in present:
                continue
            new = NewTopic(
                topic.name, topic.partitions, settings.replication or -1, topic_configs=topic.configuration
            )
            try:
                admin.create_topics([new])
            except TopicAlreadyExistsError:
                # Another process made it just now.
                continue
            created.append(topic.name)
        there = [topic for topic in wanted if topic.name in present]
        differences = tuple(_differences(admin, there, present))
        if created:
            admin.wait_for_topics(created)
    return TopicsReport(tuple(created), differences)


def _differences(admin: Any, topics: list[Topic], present: dict[str, Any]) -> Iterator[Difference]:
    from kafka.admin import ConfigResource, ConfigResourceType

    if not topics:
        return
    found = admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in topics], config_filter="all"
    )
    for topic in topics:
        partitions = len(present[topic.name]["partitions"])
        if partitions != topic.partitions:
            yield Difference(topic.name, "partitions", str(partitions), str(topic.partitions))
        configured = found["topic"][topic.name]
        for setting, wanted in topic.configuration.items():
            if configured[setting]["value"] != wanted:
                yield Difference(topic.name, setting, configured[setting]["value"], wanted)


@contextmanager
def _admin(settings: KafkaSettings) -> Iterator[Any]:
    admin = open_admin(settings)
    try:
        with explained(settings):
            yield admin
    finally:
        admin.close()
