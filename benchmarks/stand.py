"""A machine to measure a stream on: Kafka, a store with facts of before, and pipelines as a user would start them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.database import Database
from benchmarks.events import EventFiles
from benchmarks.streamed import SOURCE, put_on_bus, write_project
from connectors.kafka.offsets import group_offsets
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import ensure_topics
from connectors.keys import load_key
from milepost.parts.machine import Machine, part_environment
from milepost.project import load_project, rules_document
from schemas.vocabulary import load_vocabulary
from warehouse.places import places_of

StoreKind = Literal["postgresql", "duckdb"]
#: Folding millions of facts into a new store takes minutes.
PATIENCE = 3600.0
KAFKA, DATABASE = "Kafka", "PostgreSQL"


class Stand:
    """The parts; what they hold stays below `folder` when they stop."""

    def __init__(self, folder: Path, kind: StoreKind, batch: int, term: float = 1800.0) -> None:
        """Write the project; nothing runs yet. `batch` and `term` are those of `streamed.write_project`."""
        self.folder, self.kind = folder, kind
        write_project(folder / "project", batch, term)
        self.home = folder / "home"
        self.machine = Machine(load_project(folder / "project", self.home))
        self.database = Database(folder / "postgresql") if kind == "postgresql" else None
        self._parts: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def kafka(self) -> KafkaSettings:
        """How to reach its Kafka."""
        return self.machine.kafka_settings()

    @property
    def mapping_version(self) -> str:
        """The version of the project's mapping."""
        key = load_key(self.home).key_id
        return rules_document(self.machine.project, load_vocabulary(), key).mappings[SOURCE]

    def start(self, events: EventFiles) -> None:
        """Start Kafka and the database, with the events on the home's bus."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        put_on_bus(events, self.home)
        broker = self.machine.broker
        assert broker is not None
        broker.start()
        broker.wait_ready()
        ensure_topics(self.kafka, [SOURCE], self.machine.project.raw_days)
        if self.database is not None:
            self.database.start()

    def stop(self) -> None:
        """Stop everything, the pipelines first."""
        for name in list(self._parts):
            self.stop_part(name)
        broker = self.machine.broker
        if broker is not None:
            broker.stop()
        if self.database is not None:
            self.database.stop()

    def start_part(self, name: str) -> None:
        """Start `ingest` or `stitch`, and wait until it reads."""
        command = [sys.executable, "-m", "milepost", "stream", name]
        command += ["--project", str(self.machine.project.file), "--home", str(self.home)]
        self.machine.run_folder.mkdir(parents=True, exist_ok=True)
        (self.machine.run_folder / f"{name}.address").unlink(missing_ok=True)
        environment = part_environment(None if self.database is None else self.database.url)
        log_file = self.folder / f"{name}.log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self._parts[name] = process
        until = time.monotonic() + PATIENCE
        while not self.machine.answers(name):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{name} did not start: {log_file.read_text()[-3000:]}")
            time.sleep(0.1)

    def stop_part(self, name: str) -> None:
        """Stop a part in order."""
        process = self._parts.pop(name)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)

    @property
    def parts(self) -> dict[str, int]:
        """The processes that run, by name; with the children that each has."""
        broker = self.machine.broker
        pids = {name: process.pid for name, process in self._parts.items()}
        if broker is not None and broker.process.pid is not None:
            pids[KAFKA] = broker.process.pid
        if self.database is not None:
            pids[DATABASE] = self.database.pid
        return pids

    def check_parts(self) -> None:
        """Raise RuntimeError where a part has ended."""
        for name, process in self._parts.items():
            if process.poll() is not None:
                log = (self.folder / f"{name}.log").read_text()
                raise RuntimeError(f"{name} ended with {process.returncode}: {log[-3000:]}")

    def lag(self, *names: str) -> int:
        """Count the messages that groups have not worked off."""
        with group_offsets(self.kafka) as groups:
            return sum(sum(groups.lag(group).values()) for group in names)

    def fact_count(self) -> int:
        """Count the facts of the store, while nothing writes to it."""
        url = None if self.database is None else self.database.url
        with places_of(self.home, url, reading=True) as places:
            return places.store.fact_count()

    def told(self, name: str) -> dict[str, dict[tuple[str, ...], float]]:
        """Give what a part tells Prometheus: metric → values of its labels, in order of their names → value."""
        with urllib.request.urlopen(f"http://{self.machine.address(name)}/metrics", timeout=60) as answer:
            text = answer.read().decode()
        found: dict[str, dict[tuple[str, ...], float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, {})[
                    tuple(sample.labels[name] for name in sorted(sample.labels))
                ] = sample.value
        return found


@contextmanager
def running(
    folder: Path, kind: StoreKind, events: EventFiles, batch: int, term: float = 1800.0
) -> Iterator[Stand]:
    """Run a stand meanwhile, its store filled with the events."""
    stand = Stand(folder, kind, batch, term)
    try:
        stand.start(events)
        yield stand
    finally:
        stand.stop()


@contextmanager
def kept_or_temporary(folder: Path | None) -> Iterator[Path]:
    """Give a folder that a database's own user may enter: the one named, or one that goes again."""
    made = folder or Path(tempfile.mkdtemp(prefix="milepost-bench-"))
    made.mkdir(parents=True, exist_ok=True)
    made.chmod(0o755)
    try:
        yield made
    finally:
        if folder is None:
            shutil.rmtree(made, ignore_errors=True)


def machine() -> dict[str, object]:
    """Say what was measured on."""
    return {"processors": os.cpu_count(), "load": [round(load, 1) for load in os.getloadavg()]}


def print_json(value: object) -> None:
    """Print results for a program to read."""
    print(json.dumps(value, indent=2))
