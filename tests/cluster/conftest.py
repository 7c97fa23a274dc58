"""What the tests on Flink share: a cluster, and an embedded Flink."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from milepost.parts.errors import PartError
from milepost.parts.flink_cluster import FlinkCluster
from milepost.parts.flink_room import NO_RIGHTS


def running(cluster: FlinkCluster) -> Iterator[FlinkCluster]:
    """Start Flink and stop it at the end; where rights are missing the test is skipped."""
    try:
        cluster.start()
    except PartError as error:
        if str(error) == NO_RIGHTS:
            pytest.skip(NO_RIGHTS)
        raise
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    """A cluster of a job manager and a task manager of two slots."""
    yield from running(FlinkCluster(tmp_path_factory.mktemp("cluster")))


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    """A job server with Flink in it."""
    yield from running(FlinkCluster(tmp_path_factory.mktemp("embedded"), embedded=True))
