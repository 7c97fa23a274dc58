"""The continuous pipelines run on a Flink cluster, and give the tables that files give in process."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import pytest

from connectors.kafka.settings import KafkaSettings
from milepost.parts.flink_cluster import FlinkCluster
from milepost.parts.flink_job import running_jobs
from milepost.parts.flink_room import Door
from tests.brokers import running_broker, settings_for
from tests.cluster.conftest import running
from tests.faults.runs import Place, digests, milepost, shared, start
from tests.pipelines.streaming import market_messages, send
from tests.pipelines.test_stream import RECEIVED, Market, make_market, stream_place
from warehouse.snapshot import SNAPSHOT

#: Names of the jobs, and of the commands that keep them.
PARTS = {"ingest": "milepost-ingest", "stitch": "milepost-stitch"}

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


@contextmanager
def _going_on(place: Place, flink: FlinkCluster) -> Iterator[None]:
    """Keep both jobs running; at the end both commands are asked to stop, and take their jobs with them."""
    processes = {part: start(place, "stream", part, *flink.stream_options) for part in PARTS}
    try:
        _wait(
            lambda: all(running_jobs(flink.rest, name) for name in PARTS.values()), "both jobs run", processes
        )
        yield
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        for part, process in processes.items():
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, f"{part}: {errors}"
            assert running_jobs(flink.rest, PARTS[part]) == []
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()
        for name in PARTS.values():
            for job in running_jobs(flink.rest, name):
                job.cancel()


def _wait(
    happened: Callable[[], bool], what: str, processes: dict[str, Popen[str]], timeout: float = 300
) -> None:
    end = time.monotonic() + timeout
    while not happened():
        for part, process in processes.items():
            assert process.poll() is None, f"{part} ended: {process.communicate()[1]}"
        assert time.monotonic() < end, f"not within {timeout:.0f} s: {what}"
        time.sleep(0.5)


def test_killed_processes_and_an_upgrade_lose_and_double_nothing(
    market: Market, kafka: KafkaSettings, flink: FlinkCluster, tmp_path: Path
) -> None:
    kafka = kafka.model_copy(update={"topic_prefix": f"{kafka.topic_prefix}.faults"})
    place = stream_place(market, tmp_path, kafka)
    assert milepost(place, "run").returncode == 0
    messages = market_messages(market.place.project, repeat=0.05, seed=5)
    # Some sources have no record at all, and a topic all the same.
    thirds = [messages[third::3] for third in range(3)]
    send(kafka, thirds[0], RECEIVED)
    with _going_on(place, flink):
        before = digests(place, SNAPSHOT)
        _wait(lambda: digests(place, SNAPSHOT) != before, "a publication", {})
        send(kafka, thirds[1], RECEIVED)
        flink.task_manager(1).kill()
        flink.restart_dead()
        before = digests(place, SNAPSHOT)
        _wait(
            lambda: digests(place, SNAPSHOT) != before, "a publication after the task manager was killed", {}
        )
        flink.worker_pool.kill()
        flink.restart_dead()
    # As after an upgrade: no savepoint, and the store says where to go on.
    send(kafka, thirds[2], RECEIVED)
    with _going_on(place, flink):
        _wait(lambda: digests(place, SNAPSHOT) == market.tables, "the tables that files give", {})
    assert digests(place) == market.tables
