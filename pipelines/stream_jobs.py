"""Continuous pipelines as jobs of Flink: submitted, watched, now and then submitted anew, and cancelled at the end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

import apache_beam as beam

from milepost.parts.errors import PartError
from milepost.parts.flink_job import running_jobs, submit
from milepost.parts.flink_rest import FlinkRest
from pipelines.runner import pipeline_options

#: Where Flink's REST API is, `HOST:PORT` or `unix:PATH`: Beam's job server loses sight of jobs that it should cancel.
REST_OPTION = "--flink_rest"
#: Seconds to wait for what passes by itself.
WAIT = 5.0

_logger = logging.getLogger(__name__)


def run_jobs(
    build: Callable[[beam.Pipeline], None],
    options: Sequence[str],
    name: str,
    term: float,
    stopping: threading.Event,
    running: threading.Event,
    passing: Callable[[BaseException], BaseException | None],
) -> None:
    """Keep a job running until somebody stops it.

    Args:
        build: builds the pipeline; it asks the store where to go on, which no job of this name has open then.
        options: of Beam, and `--flink_rest`.
        name: of the job. One that another process has left running is cancelled first.
        term: seconds after which the job is submitted anew, so that what Flink never forgets stays small.
        stopping: ends it.
        running: is set while the job runs.
        passing: finds in an error what may pass by itself, such as a broker that is away; it is waited for.

    Raises:
        PartError: the job failed for good, or Flink is gone; or `--flink_rest` is missing.
    """
    rest, others = _take_rest(options)
    for left in running_jobs(rest, name):
        left.cancel()
    while not stopping.is_set():
        pipeline = beam.Pipeline(options=pipeline_options([*others, f"--job_name={name}"], streaming=True))
        try:
            build(pipeline)
        except Exception as error:
            reason = passing(error)
            if reason is None:
                raise
            _logger.warning("%s; trying again in %.0f s", reason, WAIT)
            stopping.wait(WAIT)
            continue
        job = submit(pipeline, rest)
        running.set()
        try:
            job.watch(stopping, term)
        finally:
            running.clear()
            job.cancel()


def _take_rest(options: Sequence[str]) -> tuple[FlinkRest, list[str]]:
    given = [option for option in options if option.startswith(f"{REST_OPTION}=")]
    if not given:
        raise PartError(
            f"a job that goes on is watched and cancelled by Flink's REST API; say where: {REST_OPTION}=HOST:PORT"
        )
    return FlinkRest(given[-1].partition("=")[2]), [option for option in options if option not in given]
