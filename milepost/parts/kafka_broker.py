"""Apache Kafka on one machine: a single KRaft node, on the loopback address, with its data in a folder."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from connectors.sync import write_whole
from milepost.parts.errors import PartError
from milepost.parts.jars import Progress, fetch_jars, load_lock
from milepost.parts.java import find_java
from milepost.parts.ports import LOOPBACK, free_port, is_free
from milepost.parts.process import Background

LOCK_FILE = Path(__file__).with_name("kafka.lock")
#: The largest batch of records that the broker takes unless a topic says otherwise.
LARGEST_BATCH = 8 * 1024 * 1024

_LOGGING = """\
status = warn
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %m (%c{1})%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""
#: A node of its own needs no copies, no waiting for others, and few partitions for what it keeps itself.
_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "auto.create.topics.enable": "false",
    # A pipeline that was down for months goes on where it was: its offsets are not forgotten.
    "offsets.retention.minutes": "5256000",
    "log.retention.ms": "-1",
    "message.max.bytes": str(LARGEST_BATCH),
    "replica.fetch.max.bytes": str(LARGEST_BATCH),
    # A node that was killed answers again once its old session has run out.
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "1000",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": str(32 * 1024 * 1024),
}


@dataclass
class KafkaBroker:
    """A broker whose data, settings and log lie below `folder`, and stay there when it stops.

    `port`: where it listens; 0 or None for a free one, which the folder then keeps. `heap_megabytes`: of Java.
    `properties` overrides lines of `server.properties`; `format_arguments` go to the one formatting of the
    folder (`-S` for the first SCRAM user).
    """

    folder: Path
    port: int | None = None
    heap_megabytes: int = 384
    properties: Mapping[str, str] = field(default_factory=dict)
    format_arguments: Sequence[str] = ()

    @cached_property
    def process(self) -> Background:
        """The broker's process."""
        return Background("Kafka", self.folder / "kafka.pid", self.folder / "kafka.log")

    @property
    def bootstrap(self) -> str:
        """Where clients find it, as `host:port`; raises PartError before the first start."""
        port = self.port or self._kept_port()
        if port is None:
            raise PartError(f"Kafka in {self.folder} has never been started; start it first")
        return f"{LOOPBACK}:{port}"

    def start(self, progress: Progress | None = None) -> None:
        """Start it: fetches what it needs, formats a new folder, and returns while it comes up.

        Args:
            progress: is told about jars that are fetched.

        Raises:
            PartError: Java, a jar or the port can't be had, or it runs already.
        """
        java, jars = find_java(), fetch_jars(load_lock(LOCK_FILE), progress)
        if self.process.is_alive():
            raise PartError(
                f"Kafka in {self.folder} runs already (process {self.process.pid}); stop it first"
            )
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        port = self._choose_port()
        settings = self.folder / "server.properties"
        write_whole(settings, _properties_text(self._properties(port)))
        write_whole(self.folder / "log4j2.properties", _LOGGING.encode())
        command = [
            os.fspath(java),
            f"-Xmx{self.heap_megabytes}m",
            # One machine has little work for a broker: quick to start and small counts for more than the last
            # per cent of speed.
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:+ExitOnOutOfMemoryError",
            f"-Dlog4j2.configurationFile={(self.folder / 'log4j2.properties').absolute().as_uri()}",
            "-cp",
            os.pathsep.join(map(os.fspath, jars)),
        ]
        self._format(command, settings)
        self.process.start([*command, "kafka.Kafka", settings], os.environ)

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until it answers; raises PartError with the end of its log."""
        self.process.wait_ready(self.answers, timeout)

    def answers(self) -> bool:
        """Say whether it answers now: an open port alone would not do."""
        from kafka import KafkaAdminClient
        from kafka.errors import KafkaError

        host, _, port = self.bootstrap.rpartition(":")
        if is_free(int(port)):
            return False
        with suppress(KafkaError, OSError):
            admin = KafkaAdminClient(
                bootstrap_servers=f"{host}:{port}", bootstrap_timeout_ms=2_000, request_timeout_ms=2_000
            )
            try:
                return bool(admin.describe_cluster()["brokers"])
            finally:
                admin.close()
        return False

    def stop(self, timeout: float = 30.0) -> None:
        """Stop it in order; after `timeout` seconds it is killed."""
        self.process.stop(timeout)

    def _choose_port(self) -> int:
        kept = self._kept_port()
        port = self.port or (kept if kept is not None and is_free(kept) else free_port())
        if not is_free(port):
            raise PartError(f"Kafka: port {port} is taken; stop what listens there, or name another port")
        write_whole(self.folder / "port.json", json.dumps(port).encode())
        return port

    def _kept_port(self) -> int | None:
        try:
            return int(json.loads((self.folder / "port.json").read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def _properties(self, port: int) -> dict[str, str]:
        controller = free_port()
        return {
            **_PROPERTIES,
            "log.dirs": os.fspath(self.folder / "data"),
            "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller}",
            "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
            **{key: text.format(port=port, controller=controller) for key, text in self.properties.items()},
        }

    def _format(self, java: list[str], settings: Path) -> None:
        """Give a new folder its cluster id; a crash in between leaves it to be done again."""
        mark = self.folder / "formatted"
        if mark.exists():
            return
        # The tool takes what begins with a hyphen for an option, so the first six bits are those of a letter.
        cluster = "M" + base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()[1:]
        tool = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", cluster, "-c"]
        done = subprocess.run(  # noqa: S603 - our own command
            [*java, *tool, os.fspath(settings), *self.format_arguments],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            # Without the places in Kafka's code.
            lines = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("\t")]
            said = "\n".join(lines[-5:])
            raise PartError(
                f"Kafka: {self.folder} can't be formatted; is there room, and may this user write there?\n{said}"
            )
        write_whole(mark, cluster.encode())


def _properties_text(properties: Mapping[str, str]) -> bytes:
    """Write a file of Java properties: ASCII, everything else escaped."""
    return "".join(f"{_escaped(key)}={_escaped(text)}\n" for key, text in properties.items()).encode("ascii")


def _escaped(text: str) -> str:
    units = text.replace("\\", "\\\\").replace("\n", "\\n").encode("utf-16-be")
    return "".join(
        chr(unit) if unit < 128 else f"\\u{unit:04x}"
        for unit in (int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2))
    )
