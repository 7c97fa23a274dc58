"""The continuous pipelines run on a Flink cluster, and give the tables that files give in process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.kafka.settings import KafkaSettings
from milepost.parts.flink_cluster import FlinkCluster
from milepost.parts.flink_room import Door
from tests.brokers import running_broker, settings_for
from tests.cluster.conftest import running
from tests.faults.runs import Place, digests, milepost, shared
from tests.pipelines.streaming import market_messages, send
from tests.pipelines.test_stream import RECEIVED, Market, make_market, stream_place

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    return shared(tmp_path_factory, "streamed-market", make_market)


@pytest.fixture(scope="module")
def kafka() -> Iterator[KafkaSettings]:
    with running_broker() as broker:
        yield settings_for(broker)


@pytest.fixture(scope="module")
def flink(kafka: KafkaSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    """A cluster with doors to the broker."""
    doors = [Door(server, server) for server in kafka.bootstrap_servers]
    yield from running(FlinkCluster(tmp_path_factory.mktemp("flink"), outward=doors))


def _work_off(place: Place, flink: FlinkCluster) -> None:
    for part in ("ingest", "stitch"):
        done = milepost(place, "stream", part, "--once", *flink.pipeline_options)
        assert done.returncode == 0, done.stderr


def test_a_stream_through_flink_gives_the_tables_that_files_give(
    market: Market, kafka: KafkaSettings, flink: FlinkCluster, tmp_path: Path
) -> None:
    place = stream_place(market, tmp_path, kafka)
    messages = market_messages(market.place.project, repeat=0.05, seed=3)
    half = len(messages) // 2
    send(kafka, messages[:half], RECEIVED)
    _work_off(place, flink)
    assert milepost(place, "run").returncode == 0
    send(kafka, messages[half:], RECEIVED)
    _work_off(place, flink)
    assert digests(place) == market.tables
