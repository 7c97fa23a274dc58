"""Flink's REST API, as far as jobs need it: find, cancel, save, ask how they are."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any

from milepost.parts.errors import PartError

#: States of a job that it never leaves.
ENDED = frozenset({"FINISHED", "CANCELED", "FAILED", "SUSPENDED"})
_LOOK_SECONDS = 0.2


class _SocketFile(HTTPConnection):
    """HTTP through a socket file."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class FlinkAnswerError(PartError):
    """Flink refused what it was asked."""


@dataclass(frozen=True)
class FlinkRest:
    """Flink's REST API at `HOST:PORT` or `unix:PATH`."""

    address: str
    timeout: float = 30.0

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Give Flink's answer.

        Raises:
            PartError: nobody answers.
            FlinkAnswerError: Flink refused; with its reason.
        """
        file = self.address.removeprefix("unix:")
        connection = (
            HTTPConnection(self.address, timeout=self.timeout)
            if file == self.address
            else _SocketFile(file, self.timeout)
        )
        try:
            connection.request(
                method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, HTTPException) as error:
            raise PartError(f"Flink does not answer at {self.address}: {error}; is it up?") from error
        finally:
            connection.close()
        found: dict[str, Any] = json.loads(text or b"{}")
        if answer.status >= 400:
            reasons = " ".join(str(reason) for reason in found.get("errors", [])).strip()
            raise FlinkAnswerError(f"Flink refused {method} {path}: {(reasons or answer.reason)[:2000]}")
        return found

    def slots(self) -> int:
        """Count the slots of the task managers that are registered; 0 while nobody answers."""
        try:
            return int(self.ask("GET", "/overview")["slots-total"])
        except PartError:
            return 0

    def jobs(self) -> list[dict[str, Any]]:
        """List jobs: `jid`, `name`, `state`, `start-time`, tasks by state."""
        found: list[dict[str, Any]] = self.ask("GET", "/jobs/overview")["jobs"]
        return found

    def state(self, job: str) -> str:
        """Give a job's state, such as `RUNNING` or `RESTARTING`."""
        return str(self.ask("GET", f"/jobs/{job}")["state"])

    def all_running(self, job: str) -> bool:
        """Say whether each task of a job runs: `RUNNING` alone only means that Flink wants it to."""
        tasks = self.ask("GET", f"/jobs/{job}")["vertices"]
        return bool(tasks) and all(task["status"] in ("RUNNING", "FINISHED") for task in tasks)

    def checkpoints(self, job: str) -> dict[str, Any]:
        """Give `counts` (`completed`, `failed`) and `latest` (`completed`: the last one, None before it)."""
        return self.ask("GET", f"/jobs/{job}/checkpoints")

    def failure(self, job: str) -> tuple[int, str]:
        """Give when a job failed last (milliseconds since 1970), and its trace; 0 and nothing where it never did."""
        entries = self.ask("GET", f"/jobs/{job}/exceptions?maxExceptions=1")["exceptionHistory"]["entries"]
        return (int(entries[0]["timestamp"]), str(entries[0]["stacktrace"])) if entries else (0, "")

    def savepoint(self, job: str, *, cancel: bool = False, timeout: float = 120.0) -> str:
        """Save a job's state, and end the job with it where `cancel` is set.

        Returns:
            The savepoint's address: what `--savepoint_path` takes.

        Raises:
            PartError: it can't be saved, or not in time.
        """
        asked = self.ask("POST", f"/jobs/{job}/savepoints", {"cancel-job": cancel})["request-id"]
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            answer = self.ask("GET", f"/jobs/{job}/savepoints/{asked}")
            if answer["status"]["id"] == "COMPLETED":
                operation = answer["operation"]
                if "location" not in operation:
                    cause = operation.get("failure-cause", {}).get("stack-trace", "")
                    raise PartError(f"Flink could not save job {job}: {cause[:2000]}")
                if cancel:
                    self.wait_until_ended(job, end - time.monotonic())
                return str(operation["location"])
            time.sleep(_LOOK_SECONDS)
        raise PartError(f"Flink did not save job {job} within {timeout:.0f} s")

    def cancel(self, job: str, timeout: float = 60.0) -> None:
        """End a job and wait until it has ended; what it has committed stays. One that has ended is fine."""
        if self.state(job) not in ENDED:
            self.ask("PATCH", f"/jobs/{job}?mode=cancel")
        self.wait_until_ended(job, timeout)

    def wait_until_ended(self, job: str, timeout: float) -> str:
        """Wait until a job has ended and give its state; raises PartError where it goes on."""
        end = time.monotonic() + timeout
        while (state := self.state(job)) not in ENDED:
            if time.monotonic() > end:
                raise PartError(f"job {job} is still {state} after {timeout:.0f} s")
            time.sleep(_LOOK_SECONDS)
        return state
