"""The parts that one machine needs, in the order in which they start: Kafka, collector, ingest, stitch."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import Topic, TopicsReport, defined_topics, ensure_topics
from connectors.sync import write_whole
from milepost.parts.errors import PartError
from milepost.parts.flink_cluster import FlinkCluster
from milepost.parts.flink_room import Door
from milepost.parts.jars import Progress
from milepost.parts.kafka_broker import KafkaBroker
from milepost.parts.process import Background
from milepost.project import Project
from milepost.sources import COLLECTED
from warehouse.postgres.url import STORE_FILE_VARIABLE, STORE_VARIABLE

#: The folder of a home that has logs, process numbers and addresses.
RUN_FOLDER = "run"
#: Says what runs the pipelines.
_ENGINE_FILE = "engine"
Engine = Literal["in-process", "flink"]
#: Parts that an engine runs.
_PIPELINES = ("ingest", "stitch")
#: Where a part tells its address: `host:port`.
ADDRESS_SUFFIX = ".address"


@dataclass(frozen=True)
class PartState:
    """What is seen of a part: whether it runs, where it is, and where it writes its log."""

    name: str
    pid: int | None
    address: str | None
    log: Path


@dataclass(frozen=True)
class Machine:
    """The parts of a project on this machine; data, logs and process numbers are in its home."""

    project: Project

    @property
    def run_folder(self) -> Path:
        """Where logs and process numbers are."""
        return self.project.home / RUN_FOLDER

    @cached_property
    def broker(self) -> KafkaBroker | None:
        """The Kafka of its own; None where the project names a cluster."""
        if self.project.kafka is not None:
            return None
        return KafkaBroker(self.project.home / "kafka", self.project.stream.kafka_port or None)

    def kafka_settings(self) -> KafkaSettings:
        """Give the settings of the project's cluster, or of the machine's own; raises PartError before its start."""
        if self.broker is not None:
            return KafkaSettings(bootstrap_servers=(self.broker.bootstrap,))
        return (self.project.kafka or KafkaSettings()).below(self.project.root)

    @property
    def streamed(self) -> tuple[str, ...]:
        """Names of the sources whose records come in as they happen."""
        return tuple(name for name, source in self.project.sources.items() if source.stream is not None)

    def topics(self) -> tuple[Topic, ...]:
        """Give the topics that the project needs, as they should be; nothing is asked for it."""
        settings = self.project.kafka or KafkaSettings()
        return defined_topics(settings, self.streamed, self.project.raw_days, self.project.stream.facts_days)

    def ensure_topics(self) -> TopicsReport:
        """Create the topics that the cluster lacks, and say what differs."""
        project = self.project
        return ensure_topics(
            self.kafka_settings(), self.streamed, project.raw_days, project.stream.facts_days
        )

    @property
    def wanted(self) -> tuple[str, ...]:
        """The parts written in Python that the sources need, in order of their start."""
        streams = [self.project.sources[name].stream for name in self.streamed]
        collector = ("collector",) if any(stream in COLLECTED for stream in streams) else ()
        return (*collector, *(("ingest",) if streams else ()), "stitch")

    @property
    def engine(self) -> Engine:
        """What runs the pipelines: chosen at the start, and kept for those that ask later."""
        try:
            return "flink" if (self.run_folder / _ENGINE_FILE).read_text() == "flink" else "in-process"
        except OSError:
            return "in-process"

    @property
    def flink(self) -> FlinkCluster:
        """The Flink of its own, with doors to Kafka and to the database of a running stitch."""
        return self._flink_with_doors(store_of_stitch(self.project.home))

    @property
    def _flink_is_up(self) -> bool:
        return FlinkCluster(self.project.home / "flink").room.process.is_alive()

    def _flink_with_doors(self, database: str | None) -> FlinkCluster:
        servers = list(self.kafka_settings().bootstrap_servers)
        if database is not None:
            parts = urlsplit(database)
            servers.append(f"{parts.hostname}:{parts.port or 5432}")
        return FlinkCluster(
            self.project.home / "flink", outward=tuple(Door(server, server) for server in servers)
        )

    def process(self, name: str) -> Background:
        """Give a part's process."""
        return part_of(self.project.home, name)

    def address(self, name: str) -> str | None:
        """Give the address that a part has told, `host:port`."""
        try:
            return (self.run_folder / f"{name}{ADDRESS_SUFFIX}").read_text(encoding="ascii").strip() or None
        except OSError:
            return None

    def tell_address(self, name: str, address: str) -> None:
        """Leave the address of a part for others to find."""
        self.run_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(self.run_folder / f"{name}{ADDRESS_SUFFIX}", address.encode("ascii"))

    def start(
        self,
        environment: Mapping[str, str],
        step: Callable[[str], None],
        progress: Progress | None = None,
        engine: Engine = "in-process",
    ) -> None:
        """Start what does not run, each part once the one before answers.

        Args:
            environment: of the parts.
            engine: what runs the pipelines, where they do not run yet.
            step: told the name of each part before it starts.
            progress: told about jars that are fetched.

        Raises:
            PartError: a part did not start; the others run on, and a second start goes on from there.
        """
        self.run_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.broker is not None:
            if not self.broker.process.is_alive():
                step("Kafka")
                self.broker.start(progress)
            self.broker.wait_ready()
        self.ensure_topics()
        if not any(self.process(name).is_alive() for name in _PIPELINES) and not self._flink_is_up:
            write_whole(self.run_folder / _ENGINE_FILE, engine.encode())
        if self.engine == "flink":
            step("Flink")
            flink = self._flink_with_doors(environment.get(STORE_VARIABLE))
            if self._flink_is_up:
                flink.restart_dead()
            else:
                flink.start(progress)
            flink.wait_ready()
        for name in self.wanted:
            if not self.process(name).is_alive():
                step(name)
            self._start_part(name, environment)

    def _start_part(self, name: str, environment: Mapping[str, str]) -> None:
        """Start a part where it does not run, and wait until it answers."""
        process = self.process(name)
        if not process.is_alive():
            (self.run_folder / f"{name}{ADDRESS_SUFFIX}").unlink(missing_ok=True)
            # Who takes what others send has no need of the database's password.
            hidden = () if name in _PIPELINES else (STORE_VARIABLE, STORE_FILE_VARIABLE)
            known = {variable: value for variable, value in environment.items() if variable not in hidden}
            process.start(self._command(name), known)
        # A stitch may have everything to fold again before it is ready.
        process.wait_ready(lambda: self.answers(name), timeout=3600.0 if name == "stitch" else 300.0)

    def _command(self, name: str) -> list[str | Path]:
        return [
            *(sys.executable, "-m", "milepost", "stream", name),
            *("--project", self.project.file, "--home", self.project.home),
            *(self.flink.stream_options if self.engine == "flink" and name in _PIPELINES else ()),
        ]

    def stop(self, step: Callable[[str], None]) -> None:
        """Stop what runs, in the opposite order: nobody writes to what is gone."""
        for name in ("collector", "ingest", "stitch"):
            process = self.process(name)
            if process.is_alive():
                step(name)
                process.stop(timeout=60.0)
        if self._flink_is_up:
            step("Flink")
            self.flink.stop()
        if self.broker is not None and self.broker.process.is_alive():
            step("Kafka")
            self.broker.stop()

    def answers(self, name: str) -> bool:
        """Say whether a part answers that it is ready."""
        address = self.address(name)
        if address is None:
            return False
        try:
            with urllib.request.urlopen(f"http://{address}/health/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def metrics(self, name: str) -> str:
        """Give what a part tells Prometheus; raises PartError where it does not answer."""
        address = self.address(name)
        try:
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise PartError(f"{name} does not answer; see {self.process(name).log_file}") from error

    def states(self) -> Iterator[PartState]:
        """Look at every part."""
        if self.broker is not None:
            running = self.broker.process.pid
            address = self.broker.bootstrap if running is not None else None
            yield PartState("Kafka", running, address, self.broker.process.log_file)
        if self.engine == "flink":
            for process in self.flink.parts.values():
                yield PartState("Flink", process.pid, process.name, process.log_file)
        for name in self.wanted:
            process = self.process(name)
            pid = process.pid
            yield PartState(name, pid, self.address(name) if pid is not None else None, process.log_file)

    @property
    def is_up(self) -> bool:
        """Say whether the stitch runs: the home is its own then."""
        return self.process("stitch").is_alive()

    @contextmanager
    def aside(self, step: Callable[[str], None], *names: str) -> Iterator[None]:
        """Stop parts meanwhile, those of them that run: what comes in waits on Kafka until they run again.

        Args:
            step: told what is done.
            names: of the parts. Without the stitch, the home is free.

        Raises:
            PartError: one does not start again.
        """
        environments: dict[str, dict[str, str]] = {}
        try:
            for name in names:
                process = self.process(name)
                pid = process.pid
                if pid is not None:
                    environments[name] = _environment_of(pid)
                    step(f"stopping {name} for the moment; what comes in waits on Kafka …")
                    process.stop(timeout=120.0)
            yield
        finally:
            failures = []
            for name, environment in environments.items():
                step(f"starting {name} again …")
                try:
                    self._start_part(name, environment)
                except PartError as error:
                    # The others are started all the same.
                    failures.append(error)
            if failures:
                raise failures[0]


def part_of(home: Path, name: str) -> Background:
    """Give the process of a part of a home."""
    folder = home / RUN_FOLDER
    return Background(name, folder / f"{name}.pid", folder / f"{name}.log")


def store_of_stitch(home: Path) -> str | None:
    """Give the URL of the store that a home's running stitch works on; None for files, or where none runs."""
    pid = part_of(home, "stitch").pid
    return None if pid is None else _environment_of(pid).get(STORE_VARIABLE)


def _environment_of(pid: int) -> dict[str, str]:
    """Give the environment that a process was started with; this process's own where the system does not tell."""
    try:
        pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return dict(os.environ)
    named = (os.fsdecode(pair).partition("=") for pair in pairs if pair)
    return {name: value for name, _, value in named}


def part_environment(store: str | None) -> dict[str, str]:
    """Give the environment of parts: that of this process, and the store where one is named."""
    environment = dict(os.environ)
    if store is not None:
        environment[STORE_VARIABLE] = store
    return environment
