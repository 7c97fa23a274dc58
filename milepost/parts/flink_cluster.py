"""Apache Flink on one machine, and Beam's way to it: a cluster's parts as background processes in a room of their own.

A job manager plans and watches jobs, task managers run them, the job server takes Beam's pipelines, and the worker
pool starts the Python processes that the pipelines' steps run in. The embedded variant is a job server with all of
Flink in it: it starts in seconds, keeps no checkpoints, and is for tests and short batch jobs.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from connectors.sync import write_whole
from milepost.parts.errors import PartError
from milepost.parts.flink_rest import FlinkRest
from milepost.parts.flink_room import Door, Room
from milepost.parts.flink_settings import SMALL, FlinkMemory, flink_properties, java_command
from milepost.parts.jars import Progress, fetch_jars, load_lock
from milepost.parts.process import Background

LOCK_FILE = Path(__file__).with_name("flink.lock")
#: Ports in the room, where nobody else is.
REST_PORT, JOB_PORT, ARTIFACT_PORT, POOL_PORT = 8081, 8099, 8098, 8097
_STARTED_IN = 120.0


@dataclass(frozen=True)
class FlinkCluster:
    """A cluster, or an embedded Flink, whose settings, logs, checkpoints and savepoints are below a folder.

    `task_managers` and `slots` of each: how many tasks of a job run at once. `outward`: doors to what lies outside
    the room, such as a broker (`Door("127.0.0.1:9092", "127.0.0.1:9092")`). `environment`: of the worker processes,
    beside this process's own. `properties` overrides lines of Flink's `config.yaml`.
    """

    folder: Path
    embedded: bool = False
    task_managers: int = 1
    slots: int = 2
    memory: FlinkMemory = SMALL
    outward: Sequence[Door] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def room(self) -> Room:
        """The room that all parts are in."""
        return Room(self.folder)

    @cached_property
    def job_manager(self) -> Background:
        """Plans and watches jobs."""
        return self._process("the job manager", "job_manager")

    def task_manager(self, number: int = 1) -> Background:
        """Give a task manager, which runs tasks of jobs; the first is number 1."""
        return self._process(f"task manager {number}", f"task_manager_{number}")

    @cached_property
    def job_server(self) -> Background:
        """Takes Beam's pipelines and makes Flink's jobs of them."""
        return self._process("the job server", "job_server")

    @cached_property
    def worker_pool(self) -> Background:
        """Starts the Python processes of jobs."""
        return self._process("the worker pool", "worker_pool")

    @property
    def parts(self) -> dict[str, Background]:
        """The processes by name, in the order in which they start; the room comes before them."""
        managers = [] if self.embedded else [self.job_manager]
        managers += [] if self.embedded else [self.task_manager(n + 1) for n in range(self.task_managers)]
        processes = [*managers, self.job_server, self.worker_pool]
        return {process.pid_file.stem: process for process in processes}

    @property
    def rest(self) -> FlinkRest:
        """Flink's REST API, from outside the room; an embedded Flink has none."""
        return FlinkRest(f"unix:{self._socket('rest')}")

    @property
    def pipeline_options(self) -> list[str]:
        """Give the options that send a pipeline here from outside the room."""
        return [
            "--runner=PortableRunner",
            f"--job_endpoint=unix:{self._socket('job')}",
            f"--artifact_endpoint=unix:{self._socket('artifact')}",
            "--environment_type=EXTERNAL",
            f"--environment_config=127.0.0.1:{POOL_PORT}",
        ]

    @property
    def stream_options(self) -> list[str]:
        """Give the options that send `milepost stream` here."""
        return [*self.pipeline_options, f"--flink_rest={self.rest.address}"]

    def start(self, progress: Progress | None = None) -> None:
        """Start all parts and wait until they answer; where that fails, none is left.

        Raises:
            PartError: Java, a jar or the room can't be had, a part runs already or does not come up.
        """
        jars = fetch_jars(load_lock(LOCK_FILE), progress)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write_settings()
        inward = [Door(f"unix:{self._socket(name)}", f"127.0.0.1:{port}") for name, port in _SOCKETS.items()]
        self.room.start(inward, self.outward)
        try:
            for name in self.parts:
                self.start_part(name, jars)
            self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def start_part(self, name: str, jars: Sequence[Path] = ()) -> None:
        """Start one of the parts, such as one that has died.

        Raises:
            PartError: it runs already, or the room does not stand.
        """
        command = self._commands(jars or fetch_jars(load_lock(LOCK_FILE)))[name]
        environment = {**os.environ, **self.environment}
        if name == "worker_pool":
            # It starts `python`, and means its own.
            environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
        self.parts[name].start(self.room.enter(command), environment)

    def restart_dead(self) -> list[str]:
        """Start again what has died, and say what that was; Flink then restarts the jobs by itself.

        Raises:
            PartError: the room or the job manager is gone, and the jobs with it: stop, start and submit again.
        """
        dead = [name for name, process in self.parts.items() if not process.is_alive()]
        if dead and (not self.room.process.is_alive() or "job_manager" in dead):
            raise PartError(
                "Flink's job manager is gone, and its jobs with it; start Flink and the jobs again"
            )
        for name in dead:
            self.start_part(name)
        return dead

    def wait_ready(self, timeout: float = _STARTED_IN) -> None:
        """Wait until every part answers; raises PartError that names the one that does not."""
        end = time.monotonic() + timeout
        wanted = self.slots * self.task_managers
        answers: dict[str, Callable[[], bool]] = {
            name: lambda: self.rest.slots() >= wanted for name in self.parts
        }
        answers["job_manager"] = self._job_manager_answers
        answers["job_server"] = lambda: _speaks_grpc(self._socket("job"))
        answers["worker_pool"] = lambda: _speaks_grpc(self._socket("pool"))
        for name, process in self.parts.items():
            process.wait_ready(answers[name], max(1.0, end - time.monotonic()))

    def stop(self) -> None:
        """Stop all parts; checkpoints and savepoints stay."""
        for process in reversed(self.parts.values()):
            process.stop(timeout=10)
        self.room.stop()
        for name in _SOCKETS:
            self._socket(name).unlink(missing_ok=True)
        shutil.rmtree(self.folder / "temporary", ignore_errors=True)

    def _process(self, name: str, file: str) -> Background:
        return Background(name, self.folder / f"{file}.pid", self.folder / "logs" / f"{file}.log")

    def _socket(self, name: str) -> Path:
        return self.folder.absolute() / f"{name}.socket"

    def _job_manager_answers(self) -> bool:
        try:
            self.rest.ask("GET", "/overview")
        except PartError:
            return False
        return True

    def _write_settings(self) -> None:
        (self.folder / "temporary").mkdir(exist_ok=True)
        properties = {
            **flink_properties(self.folder.absolute(), REST_PORT, self.slots, self.memory),
            **self.properties,
        }
        lines = [f"{name}: {value}" for name, value in properties.items()]
        write_whole(self.folder / "config.yaml", "\n".join([*lines, ""]).encode())

    def _commands(self, jars: Sequence[Path]) -> dict[str, list[str | Path]]:
        folder, memory = self.folder.absolute(), self.memory
        settings: list[str | Path] = ["--configDir", folder]
        runtime = "org.apache.flink.runtime"
        commands: dict[str, list[str | Path]] = {
            "job_manager": java_command(
                jars,
                memory.job_manager_options,
                f"{runtime}.entrypoint.StandaloneSessionClusterEntrypoint",
                settings,
            ),
            "job_server": java_command(
                jars,
                memory.embedded_options if self.embedded else memory.job_server_options,
                "org.apache.beam.runners.flink.FlinkJobServerDriver",
                [
                    "--job-host=localhost",
                    f"--job-port={JOB_PORT}",
                    f"--artifact-port={ARTIFACT_PORT}",
                    "--expansion-port=0",
                    f"--artifacts-dir={folder / 'temporary' / 'artifacts'}",
                    f"--flink-conf-dir={folder}",
                    f"--flink-master={'[local]' if self.embedded else f'127.0.0.1:{REST_PORT}'}",
                ],
            ),
            "worker_pool": [
                sys.executable,
                "-m",
                "apache_beam.runners.worker.worker_pool_main",
                f"--service_port={POOL_PORT}",
            ],
        }
        for number in range(1, self.task_managers + 1):
            commands[f"task_manager_{number}"] = java_command(
                jars,
                memory.task_manager_options,
                f"{runtime}.taskexecutor.TaskManagerRunner",
                [*settings, "-D", f"taskmanager.resource-id=task_manager_{number}"],
            )
        return commands


_SOCKETS = {"rest": REST_PORT, "job": JOB_PORT, "artifact": ARTIFACT_PORT, "pool": POOL_PORT}


def _speaks_grpc(path: Path) -> bool:
    """Say whether a gRPC server is behind a socket file: it greets with an HTTP/2 settings frame."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        try:
            client.connect(str(path))
            client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
            greeting = client.recv(9)
        except OSError:
            return False
    return len(greeting) == 9 and greeting[3] == 4
