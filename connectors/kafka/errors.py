"""What goes wrong between Milepost and Kafka."""

from __future__ import annotations

from connectors.errors import ConnectorError
from connectors.kafka.columns import Partition


class KafkaSettingsError(ConnectorError):
    """The settings of Kafka or of the Schema Registry are wrong; the message names the key and the remedy."""


class KafkaUnreachableError(ConnectorError):
    """Kafka can't be reached, or does not let this client in."""


class NotAcknowledgedError(ConnectorError):
    """Kafka did not acknowledge records, so they may not be kept; sending them again is safe."""


class RecordTooLargeError(ConnectorError):
    """A record is larger than any topic takes; nothing was sent."""


class SchemaRegistryError(ConnectorError):
    """The Schema Registry can't be reached, or refuses a schema."""


class OffsetGoneError(ConnectorError):
    """A partition has no such offset: it was cleared by retention, or the topic is not the one it was."""

    def __init__(self, partition: Partition, offset: int, first: int, end: int) -> None:
        super().__init__(
            f"{partition} has no offset {offset}: its records are {first} to {end - 1}; they were cleared "
            "before they were read, or the topic was made anew. Go on from the first one that is there"
        )
        self.partition, self.offset, self.first, self.end = partition, offset, first, end
