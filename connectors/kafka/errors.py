"""What goes wrong between Milepost and Kafka."""

from __future__ import annotations

from connectors.errors import ConnectorError


class KafkaSettingsError(ConnectorError):
    """The settings of Kafka or of the Schema Registry are wrong; the message names the key and the remedy."""


class KafkaUnreachableError(ConnectorError):
    """Kafka can't be reached, or does not let this client in."""


class NotAcknowledgedError(ConnectorError):
    """Kafka did not acknowledge records, so they may not be kept; sending them again is safe."""


class SchemaRegistryError(ConnectorError):
    """The Schema Registry can't be reached, or refuses a schema."""


class UnknownSchemaError(ConnectorError):
    """No schema is known by an id."""
