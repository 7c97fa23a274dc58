"""Settings of a Flink on one machine: its configuration, its memory, and how its Java processes start."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from milepost.parts.java import find_java

#: What Flink and Beam reach into that Java keeps closed.
_OPENED = (
    "java.lang",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "java.net",
    "java.io",
    "java.nio",
    "sun.nio.ch",
)
#: A line per checkpoint would fill disks in continuous operation.
_QUIET = (
    "org.apache.flink.runtime.checkpoint.CheckpointCoordinator",
    "org.apache.flink.runtime.state",
    "org.apache.beam.runners.fnexecution",
)


@dataclass(frozen=True)
class FlinkMemory:
    """Megabytes of the Java processes; Python's worker processes come on top.

    Of a task manager: `heap` for tasks, `framework` for Flink itself; outside of the heap `direct` and `network`
    for messages, `managed` for sorting in batch jobs, `classes` for code.
    """

    job_manager: int = 384
    job_server: int = 384
    heap: int = 512
    framework: int = 64
    direct: int = 256
    network: int = 64
    managed: int = 128
    classes: int = 256

    @property
    def job_manager_options(self) -> list[str]:
        """Java's options of the job manager."""
        return [f"-Xmx{self.job_manager}m", *_SMALL_JAVA]

    @property
    def job_server_options(self) -> list[str]:
        """Java's options of the job server."""
        return [f"-Xmx{self.job_server}m", *_SMALL_JAVA]

    @property
    def embedded_options(self) -> list[str]:
        """Java's options of a job server with Flink in it."""
        return [f"-Xmx{self.job_server + self.heap + self.managed}m", *_SMALL_JAVA]

    @property
    def task_manager_options(self) -> list[str]:
        """Java's options of a task manager."""
        return [
            f"-Xmx{self.heap + self.framework}m",
            f"-XX:MaxDirectMemorySize={2 * self.direct + self.network}m",
            f"-XX:MaxMetaspaceSize={self.classes}m",
            "-XX:+UseSerialGC",
        ]


_SMALL_JAVA = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
SMALL = FlinkMemory()


def flink_properties(folder: Path, rest_port: int, slots: int, memory: FlinkMemory) -> dict[str, str]:
    """Give the lines of `config.yaml` for a cluster whose data are below a folder."""
    data = folder.as_uri()
    return {
        "jobmanager.rpc.address": "127.0.0.1",
        "jobmanager.bind-host": "127.0.0.1",
        "jobmanager.memory.heap.size": f"{memory.job_manager}m",
        "rest.address": "127.0.0.1",
        "rest.bind-address": "127.0.0.1",
        "rest.port": str(rest_port),
        # Jars come from the job server alone.
        "web.submit.enable": "false",
        "taskmanager.host": "127.0.0.1",
        "taskmanager.bind-host": "127.0.0.1",
        "taskmanager.numberOfTaskSlots": str(slots),
        "taskmanager.cpu.cores": str(slots),
        "taskmanager.memory.task.heap.size": f"{memory.heap}m",
        "taskmanager.memory.task.off-heap.size": f"{memory.direct}m",
        "taskmanager.memory.framework.heap.size": f"{memory.framework}m",
        "taskmanager.memory.framework.off-heap.size": f"{memory.direct}m",
        "taskmanager.memory.network.min": f"{memory.network}m",
        "taskmanager.memory.network.max": f"{memory.network}m",
        "taskmanager.memory.managed.size": f"{memory.managed}m",
        "taskmanager.memory.jvm-metaspace.size": f"{memory.classes}m",
        "taskmanager.memory.jvm-overhead.min": "192m",
        "taskmanager.memory.jvm-overhead.max": "192m",
        # The task managers have Beam on their own path, and need not unpack it for each job.
        "classloader.resolve-order": "parent-first",
        "state.backend.type": "hashmap",
        "state.checkpoints.dir": f"{data}/checkpoints",
        "state.savepoints.dir": f"{data}/savepoints",
        "state.checkpoints.num-retained": "2",
        "execution.checkpointing.tolerable-failed-checkpoints": "10",
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "1 s",
        "restart-strategy.exponential-delay.max-backoff": "30 s",
        "restart-strategy.exponential-delay.reset-backoff-threshold": "2 min",
        "heartbeat.interval": "2000",
        "heartbeat.timeout": "20000",
        "io.tmp.dirs": str(folder / "temporary"),
    }


def java_command(
    jars: Sequence[Path], options: Sequence[str], main: str, arguments: Sequence[str | Path]
) -> list[str | Path]:
    """Give the command that starts a main class; raises PartError where there is no Java."""
    opened = [part for name in _OPENED for part in ("--add-opens", f"java.base/{name}=ALL-UNNAMED")]
    logging = [
        f"-Dorg.slf4j.simpleLogger.{name}={value}"
        for name, value in {
            "showDateTime": "true",
            "dateTimeFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSX",
            **{f"log.{logger}": "warn" for logger in _QUIET},
        }.items()
    ]
    path = os.pathsep.join(os.fspath(jar) for jar in jars)
    return [
        find_java(),
        *options,
        "-XX:+ExitOnOutOfMemoryError",
        *opened,
        *logging,
        "-cp",
        path,
        main,
        *arguments,
    ]
