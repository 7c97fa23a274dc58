"""The batch pipelines run on Flink as they are, and give the tables of the in-process runner."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from milepost.parts.flink_cluster import FlinkCluster
from tests.faults.runs import Place, digests, milepost, shared

#: Enough that every mapping and every table has rows.
CUSTOMERS = "300"


def _run_in_process(folder: Path) -> Place:
    place = Place(folder / "market", folder / "home")
    folder.joinpath("market").mkdir()
    assert milepost(place, "simulate", "--customers", CUSTOMERS, "--out", ".").returncode == 0
    done = milepost(place, "run")
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture(scope="session")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return shared(tmp_path_factory, "in_process", _run_in_process)


def _run_on(flink: FlinkCluster, in_process: Place, home: Path) -> Place:
    """Run on Flink with the hashing key of the run in process: other keys make other identifiers."""
    place = Place(in_process.project, home)
    home.mkdir(mode=0o700)
    shutil.copy(in_process.home / "hashing.key", home)
    done = milepost(place, "run", *flink.pipeline_options)
    assert done.returncode == 0, done.stderr
    return place


def test_ingest_and_stitch_on_embedded_flink(
    embedded: FlinkCluster, in_process: Place, tmp_path: Path
) -> None:
    assert digests(_run_on(embedded, in_process, tmp_path / "home")) == digests(in_process)


@pytest.mark.cluster
def test_ingest_and_rebuild_on_a_cluster(cluster: FlinkCluster, in_process: Place, tmp_path: Path) -> None:
    place = _run_on(cluster, in_process, tmp_path / "home")
    assert digests(place) == digests(in_process)
    rebuilt = milepost(place, "run", "--rebuild", "--parallelism=2", *cluster.pipeline_options)
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert digests(place) == digests(in_process)
