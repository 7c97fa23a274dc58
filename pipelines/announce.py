"""Changed journeys on Kafka, for tools that act on them: fed from the store's outbox, behind the commit."""

from __future__ import annotations

import logging

import polars as pl

from connectors.kafka.errors import KafkaUnreachableError, NotAcknowledgedError, SchemaRegistryError
from connectors.kafka.producer import Producer
from connectors.kafka.registry import schema_id
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import fact_topic
from connectors.kafka.wire import encode_messages
from warehouse.places import Places

#: Customers that are announced at a time.
AT_ONCE = 20_000
#: How long an acknowledgement is waited for: publications go on meanwhile only if this is short (seconds).
PATIENCE = 5.0

_logger = logging.getLogger(__name__)


class Announcer:
    """Sends the journeys of the outbox's customers as they are now; those that are gone as a key without value.

    What is sent twice is sent as it is at that time: the last record of a customer is right. Kafka away is no
    reason to stop publishing: what is in the outbox waits.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self.settings = settings
        self._producer: Producer | None = None

    def announce(self, places: Places) -> int:
        """Work the outbox off, and give the number of customers sent."""
        sent = 0
        try:
            while (waiting := places.store.outbox(AT_ONCE)).height:
                sent += self._send(places, waiting.get_column("customer_id").unique())
                places.store.clear_outbox(int(waiting.get_column("sequence").max()))  # type: ignore[arg-type]
        except (KafkaUnreachableError, NotAcknowledgedError, SchemaRegistryError) as error:
            _logger.warning("journeys wait to be announced: %s", error)
        return sent

    def _send(self, places: Places, customers: pl.Series) -> int:
        journeys = places.warehouse.rows_with("journeys", "customer_id", customers)
        gone = customers.filter(~customers.is_in(journeys.get_column("customer_id").implode()))
        keys = [*journeys.get_column("customer_id"), *gone]
        topic = fact_topic(self.settings, "journeys")
        written = encode_messages("journey", journeys, schema_id(self.settings, topic, "journey"))
        values: list[bytes | None] = [*written, *([None] * len(gone))]
        self._producer = self._producer or Producer(self.settings, delivery_timeout=PATIENCE)
        self._producer.send_many(topic, [key.encode() for key in keys], values)
        self._producer.flush()
        return len(keys)

    def close(self) -> None:
        """Let go of the connection."""
        if self._producer is not None:
            self._producer.close()
