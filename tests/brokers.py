"""A real Kafka for tests: started once for those that share it, on loopback, and gone at their end."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from connectors.kafka.settings import KafkaSettings
from milepost.parts.kafka_broker import KafkaBroker


@contextmanager
def running_broker(folder: Path | None = None, **settings: Any) -> Iterator[KafkaBroker]:
    """Run a broker with its data below `folder` (a temporary one unless given); further settings are KafkaBroker's."""
    with tempfile.TemporaryDirectory(prefix="kafka") as temporary:
        broker = KafkaBroker(folder or Path(temporary), **settings)
        try:
            broker.start()
            broker.wait_ready()
            yield broker
        finally:
            broker.process.kill()


def settings_for(broker: KafkaBroker) -> KafkaSettings:
    """Give settings whose topics are those of one test alone."""
    return KafkaSettings(bootstrap_servers=(broker.bootstrap,), topic_prefix=f"t{uuid.uuid4().hex[:12]}")
