"""A Beam pipeline that goes on as a job of Flink: submit it, save it, end it."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions
from apache_beam.runners.runner import PipelineState

from milepost.parts.errors import PartError
from milepost.parts.flink_rest import ENDED, FlinkRest

_LOOK_SECONDS = 0.2
#: Characters of a trace: Java's has many lines before the one that tells.
_LONGEST_CAUSE = 6000
_ENDED_BEFORE = (PipelineState.FAILED, PipelineState.CANCELLED, PipelineState.DONE)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FlinkJob:
    """A job that Flink has: its name, and the id that Flink gave it. It needs no submitter to go on."""

    rest: FlinkRest
    name: str
    id: str

    @property
    def state(self) -> str:
        """Give its state, such as `RUNNING` or `RESTARTING`."""
        return self.rest.state(self.id)

    @property
    def cause(self) -> str:
        """Say why it failed last."""
        _, trace = self.rest.failure(self.id)
        return trace[:_LONGEST_CAUSE] or "no cause is known"

    @property
    def checkpoints_completed(self) -> int:
        """Count the checkpoints that Flink has completed since the job was submitted."""
        return int(self.rest.checkpoints(self.id)["counts"]["completed"])

    @property
    def checkpoint_bytes(self) -> int:
        """Give the size of the last checkpoint; 0 before the first. It grows, see `docs/guides/flink.md`."""
        latest = self.rest.checkpoints(self.id)["latest"]["completed"]
        return int(latest["state_size"]) if latest else 0

    def wait_until_running(self, timeout: float = 120.0) -> None:
        """Wait until each of its tasks runs; raises PartError with the cause where it ends or does not get there."""
        end = time.monotonic() + timeout
        while not self.rest.all_running(self.id):
            state = self.state
            if state in ENDED or time.monotonic() > end:
                raise PartError(f"job {self.name} does not run, it is {state}: {self.cause}")
            time.sleep(_LOOK_SECONDS)

    def watch(self, stopping: threading.Event, seconds: float) -> None:
        """Return when it has run for so many seconds, or `stopping` is set; tell the log each time that it fails.

        Raises:
            PartError: it ended by itself, with the cause; or Flink is gone.
        """
        end = time.monotonic() + seconds
        known, _ = self.rest.failure(self.id)
        while not stopping.wait(min(1.0, max(0.0, end - time.monotonic()))) and time.monotonic() < end:
            if (state := self.state) in ENDED:
                raise PartError(f"job {self.name} ended by itself, {state}: {self.cause}")
            failed, trace = self.rest.failure(self.id)
            if failed > known:
                known = failed
                _logger.warning(
                    "job %s failed, and Flink starts it again: %s", self.name, trace[:_LONGEST_CAUSE]
                )

    def savepoint(self, *, cancel: bool = False) -> str:
        """Save its state and give the savepoint's address, for `--savepoint_path`; ends the job where asked to."""
        return self.rest.savepoint(self.id, cancel=cancel)

    def cancel(self) -> None:
        """End it; one that has ended is fine."""
        self.rest.cancel(self.id)


def running_jobs(rest: FlinkRest, name: str) -> list[FlinkJob]:
    """List the jobs of a name that have not ended."""
    found = [job for job in rest.jobs() if job["name"] == name and job["state"] not in ENDED]
    return [FlinkJob(rest, name, str(job["jid"])) for job in found]


def submit(pipeline: beam.Pipeline, rest: FlinkRest, timeout: float = 180.0) -> FlinkJob:
    """Send a continuous pipeline to Flink, and give its job once all of its tasks run.

    Args:
        pipeline: its options name the job server, and a `--job_name` that no running job has.
        rest: of the Flink that the job server sends jobs to.
        timeout: how long that may take, in seconds.

    Raises:
        PartError: a job of that name runs, or it does not come up.
    """
    name = pipeline.options.view_as(GoogleCloudOptions).job_name
    if not name:
        raise PartError("the job has no name to find it by; give --job_name")
    if running := running_jobs(rest, name):
        raise PartError(f"job {name} runs already as {running[0].id}; cancel that one first")
    known = {job["jid"] for job in rest.jobs() if job["name"] == name}
    end = time.monotonic() + timeout
    result = pipeline.run()
    while True:
        found = [job["jid"] for job in rest.jobs() if job["name"] == name and job["jid"] not in known]
        if found:
            job = FlinkJob(rest, name, str(found[0]))
            job.wait_until_running(max(1.0, end - time.monotonic()))
            return job
        if result.state in _ENDED_BEFORE or time.monotonic() > end:
            raise PartError(f"Flink got no job {name} ({result.state}); the job server's log says why")
        time.sleep(_LOOK_SECONDS)
