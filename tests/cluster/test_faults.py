"""A continuous job on Flink whose processes are killed: nothing is lost, and nothing doubled behind its sink."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apache_beam as beam
import pytest

from milepost.parts.flink_cluster import FlinkCluster
from milepost.parts.flink_job import FlinkJob, submit
from pipelines.runner import pipeline_options
from tests.cluster.numbers import LIST, Lane, build, writings, written

pytestmark = pytest.mark.cluster

ROUNDS = int(os.environ.get("MILEPOST_TEST_SEEDS", "3"))
LANES = [Lane("north", 200_000), Lane("south", 200_000)]
FILES = sum(-(-lane.count // LIST) for lane in LANES)


def _submit(cluster: FlinkCluster, folder: Path, *options: str) -> FlinkJob:
    flags = [
        *cluster.pipeline_options,
        f"--job_name=numbers-{uuid.uuid4().hex[:8]}",
        "--parallelism=2",
        *options,
    ]
    pipeline = beam.Pipeline(options=pipeline_options(flags, streaming=True))
    build(pipeline, LANES, folder)
    return submit(pipeline, cluster.rest)


@contextmanager
def _job(cluster: FlinkCluster, folder: Path, *options: str) -> Iterator[FlinkJob]:
    job = _submit(cluster, folder, *options)
    try:
        yield job
    finally:
        cluster.restart_dead()
        job.cancel()


def _wait(job: FlinkJob, happened: Callable[[], bool], what: str, timeout: float = 180) -> float:
    began = time.monotonic()
    while not happened():
        if time.monotonic() - began > timeout:
            pytest.fail(f"{what}: not within {timeout:.0f} s; the job is {job.state}: {job.cause}")
        time.sleep(0.05)
    return time.monotonic() - began


def _files(folder: Path) -> int:
    return len(writings(folder))


def _assert_all_written(folder: Path) -> None:
    for lane in LANES:
        assert written(folder, lane) == list(range(lane.count))


def _worker(cluster: FlinkCluster) -> int:
    # Each thread of the pool has children of its own.
    threads = Path(f"/proc/{cluster.worker_pool.pid}/task").glob("*/children")
    children = [pid for thread in threads for pid in thread.read_text(encoding="ascii").split()]
    living = [int(pid) for pid in children if b"SdkHarness" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return max(living)


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_killed_processes_lose_and_double_nothing(cluster: FlinkCluster, tmp_path: Path, round_: int) -> None:
    folder = tmp_path / "numbers"
    seconds: dict[str, float] = {}
    began = time.monotonic()
    with _job(cluster, folder) as job:
        seconds["submitted"] = time.monotonic() - began

        def kill_a_worker() -> None:
            os.kill(_worker(cluster), signal.SIGKILL)

        kills = {
            "task manager": cluster.task_manager(1).kill,
            "worker pool": cluster.worker_pool.kill,
            "worker": kill_a_worker,
        }
        names = sorted(kills, key=lambda name: (round_ + list(kills).index(name)) % len(kills))
        for number, name in enumerate(names, start=1):
            _wait(
                job,
                lambda at=number: _files(folder) >= at * FILES // 5,
                f"output before the {name} is killed",
            )
            checkpoints = job.checkpoints_completed
            _wait(job, lambda least=checkpoints: job.checkpoints_completed > least, "a checkpoint")
            kills[name]()
            # What was on its way when it died has been written by now.
            time.sleep(0.5)
            cluster.restart_dead()
            before = sum(writings(folder).values())
            seconds[name] = _wait(
                job,
                lambda least=before: sum(writings(folder).values()) > least,
                f"output after the {name} was killed",
            )
        _wait(job, lambda: _files(folder) == FILES, "the end")
        seconds["checkpoint bytes"] = job.checkpoint_bytes
    print(
        {name: round(value, 1) for name, value in seconds.items()},
        "twice:",
        sum(writings(folder).values()) - FILES,
    )
    _assert_all_written(folder)


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_a_job_goes_on_from_a_savepoint(cluster: FlinkCluster, tmp_path: Path, round_: int) -> None:
    folder = tmp_path / "numbers"
    with _job(cluster, folder) as job:
        _wait(job, lambda: _files(folder) >= (round_ + 1) * FILES // (ROUNDS + 2), "output")
        savepoint = job.savepoint(cancel=True)
    before = writings(folder)
    assert len(before) < FILES
    with _job(cluster, folder, f"--savepoint_path={savepoint}") as job:
        _wait(job, lambda: _files(folder) == FILES, "the end")
    _assert_all_written(folder)
    # What the savepoint knew was not done again: it went on, and did not begin anew.
    assert sum(writings(folder).values()) < sum(before.values()) + FILES - len(before) + FILES // 10


def test_a_job_of_a_name_runs_once(cluster: FlinkCluster, tmp_path: Path) -> None:
    with _job(cluster, tmp_path / "numbers", "--job_name=only") as job:
        assert job.state == "RUNNING"
        with pytest.raises(Exception, match="only runs already"):
            _submit(cluster, tmp_path / "others", "--job_name=only")
