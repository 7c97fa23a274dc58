"""One broker for all tests of this package."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connectors.kafka.settings import KafkaSettings
from milepost.parts.kafka_broker import KafkaBroker
from tests.brokers import running_broker, settings_for


@pytest.fixture(scope="session")
def broker() -> Iterator[KafkaBroker]:
    """A broker, killed at the end."""
    with running_broker() as running:
        yield running


@pytest.fixture
def kafka(broker: KafkaBroker) -> KafkaSettings:
    """Settings whose topics are those of one test alone."""
    return settings_for(broker)
