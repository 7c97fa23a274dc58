"""On a Kafka with TLS, users and rights, each part does its work with what `deploy/secure/` grants it, and no more."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml
from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType
from kafka.admin import ACLResourcePatternType as PatternType

from connectors.kafka.consumer import Consumer
from connectors.kafka.errors import KafkaUnreachableError, NotAcknowledgedError
from connectors.kafka.producer import Producer
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.topics import ensure_topics
from milepost.parts.machine import Machine
from milepost.parts.ports import free_port
from milepost.project import load_project
from tests.brokers import running_broker
from tests.deploy.files import DEPLOY, project_with

PARTS = ("topics", "collector", "ingest", "stitch")
#: Stands for Kafka's tool: writes its arguments down, a line for each call.
_TOOL = '#!/usr/bin/env python3\nimport json, os, sys\nwith open(os.environ["CALLS"], "a") as calls:\n'
_TOOL += '    calls.write(json.dumps(sys.argv[1:]) + "\\n")\n'


@dataclass
class Secured:
    """A cluster of one, where user `admin` may do all and others what they are granted."""

    folder: Path
    bootstrap: str
    port: int

    def admin(self) -> KafkaAdminClient:
        return KafkaAdminClient(bootstrap_servers=self.bootstrap)

    def machine(self, part: str) -> Machine:
        """Give the project as a part has it: the configuration of `deploy/secure/` with its user and password."""
        folder = self.folder / part
        if not folder.exists():
            project_with("secure/milepost.yaml", folder)
            (folder / "certificates").mkdir()
            shutil.copy(self.folder / "ca.crt", folder / "certificates")
            password = folder / "password"
            password.touch(0o600)
            password.write_text(f"secret of {part}\n")
            settings = yaml.safe_load((folder / "milepost.yaml").read_text())
            settings["kafka"] |= {
                "bootstrap_servers": [f"localhost:{self.port}"],
                "username": f"milepost-{part}",
                "password": {"file": str(password)},
                "replication": 1,
            }
            settings["collector"]["port"] = 0
            settings["stream"] = {"pace_seconds": 0.2, "ingest_pace_seconds": 0.1}
            (folder / "milepost.yaml").write_text(yaml.safe_dump(settings))
        home = self.folder / ("collector-home" if part == "collector" else "home")
        return Machine(load_project(folder, home))

    def command(self, part: str, *words: str) -> list[str]:
        machine = self.machine(part)
        return [
            *(sys.executable, "-m", "milepost", *words),
            *("--project", str(machine.project.root), "--home", str(machine.project.home)),
        ]


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def _make_certificates(folder: Path) -> None:
    """Make an authority, and the broker's key and certificate in one file."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout")
    _openssl(folder, "req", "-x509", *key, "ca.key", "-subj", "/CN=authority", "-days", "2", "-out", "ca.crt")
    _openssl(folder, "req", *key, "broker.key", "-subj", "/CN=broker", "-out", "broker.csr")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    _openssl(folder, "x509", "-req", "-in", "broker.csr", *signed, "-out", "broker.crt")
    parts = ("broker.key", "broker.crt", "ca.crt")
    (folder / "broker.pem").write_text("".join((folder / part).read_text() for part in parts))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    _make_certificates(folder)
    port = free_port()
    properties = {
        "listeners": "PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},"
        f"SASL_SSL://127.0.0.1:{port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{{port}},SASL_SSL://localhost:{port}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "broker.pem"),
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # Who comes by the loopback address without a name is the broker itself, and the test.
        "super.users": "User:ANONYMOUS",
    }
    users = [
        word
        for part in PARTS
        for word in ("-S", f"SCRAM-SHA-512=[name=milepost-{part},password=secret of {part}]")
    ]
    with running_broker(properties=properties, format_arguments=users) as broker:
        cluster = Secured(folder, broker.bootstrap, port)
        _grant(cluster)
        yield cluster


def _grant(cluster: Secured) -> None:
    """Run the script that grants rights, and do what it tells Kafka's tool to do."""
    tools = cluster.folder / "tools"
    tools.mkdir()
    (tools / "kafka-acls.sh").write_text(_TOOL)
    (tools / "kafka-acls.sh").chmod(0o755)
    calls = cluster.folder / "calls"
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "CALLS": str(calls),
        "BOOTSTRAP": "broker:9094",
        "ADMIN": "admin.properties",
    }
    subprocess.run([DEPLOY / "secure" / "rights.sh"], env=environment, check=True)
    granted = [_granted(json.loads(line)) for line in calls.read_text().splitlines()]
    admin = cluster.admin()
    try:
        assert not admin.create_acls(granted)["failed"]
    finally:
        admin.close()


def _granted(arguments: list[str]) -> ACL:
    assert arguments[:5] == [
        "--bootstrap-server",
        "broker:9094",
        "--command-config",
        "admin.properties",
        "--add",
    ]
    options = dict(zip(arguments[5::2], arguments[6::2], strict=True))
    kind = "--topic" if "--topic" in options else "--group"
    prefixed = options.pop("--resource-pattern-type", "literal") == "prefixed"
    acl = ACL(
        options.pop("--allow-principal"),
        "*",
        {"Describeconfigs": ACLOperation.DESCRIBE_CONFIGS}.get(options["--operation"].capitalize())
        or ACLOperation[options["--operation"].upper()],
        ACLPermissionType.ALLOW,
        ResourcePattern(
            ResourceType.TOPIC if kind == "--topic" else ResourceType.GROUP,
            options.pop(kind),
            PatternType.PREFIXED if prefixed else PatternType.LITERAL,
        ),
    )
    assert set(options) == {"--operation"}
    return acl


def _collect(cluster: Secured, key: str) -> None:
    """Run the collector, send it a person's events, and end it."""
    machine = cluster.machine("collector")
    process = subprocess.Popen(cluster.command("collector", "stream", "collector"))
    try:
        end = time.monotonic() + 60
        while machine.address("collector") is None:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        events = [
            {"type": "page", "userId": "ann", "messageId": "m-1", "context": {"page": {"path": "/"}}},
            {"type": "track", "userId": "ann", "messageId": "m-2", "event": "Demo Booked"},
            # What the mapping's cast rejects.
            {"type": "track", "userId": "bob", "messageId": "m-3", "event": "Order Completed",
             "properties": {"total": "a lot"}},
        ]  # fmt: skip
        answer = httpx.post(
            f"http://{machine.address('collector')}/v1/batch",
            json={"batch": events},
            auth=(key, ""),
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        # On Kafka, not in the spool.
        assert httpx.get(f"http://{machine.address('collector')}/health/ready").json()["waiting"] == []
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_each_part_works_with_its_rights_alone(secured: Secured) -> None:
    assert "created milepost.raw.web" in _milepost(secured, "topics", "topics", "ensure")
    _collect(secured, _milepost(secured, "collector", "write-keys", "create", "web").strip())
    for part in ("ingest", "stitch"):
        _milepost(secured, part, "stream", part, "--once")
    assert "demo_booked" in _milepost(secured, "stitch", "journey", "user:ann")
    letters = json.loads(_milepost(secured, "stitch", "dead-letters", "list", "--json"))
    assert [letter["source"] for letter in letters] == ["web"]
    # Ann's journey was announced; bob has none.
    with Consumer(KafkaSettings(bootstrap_servers=(secured.bootstrap,))) as consumer:
        ends = consumer.end_offsets(consumer.partitions("milepost.journeys"))
    assert sum(ends.values()) == 1


def _milepost(cluster: Secured, part: str, *words: str) -> str:
    """Run a command on a part's project and home, and give what it prints."""
    reads_home_alone = words[0] in {"journey", "dead-letters"}
    home = ["--home", str(cluster.machine(part).project.home)]
    command = [sys.executable, "-m", "milepost", *words, *home]
    done = subprocess.run(
        command if reads_home_alone else cluster.command(part, *words),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("part", "topic"),
    [
        ("collector", "milepost.touchpoints"),
        ("ingest", "milepost.raw.web"),
        ("ingest", "milepost.journeys"),
        ("stitch", "milepost.touchpoints"),
        ("stitch", "milepost.raw.web"),
    ],
)
def test_a_part_may_not_write_what_is_not_its_own(secured: Secured, part: str, topic: str) -> None:
    machine = secured.machine("topics")
    ensure_topics(machine.kafka_settings(), machine.streamed, machine.project.raw_days)
    settings = secured.machine(part).kafka_settings()
    with (
        pytest.raises((KafkaUnreachableError, NotAcknowledgedError)),
        Producer(settings, delivery_timeout=5.0) as producer,
    ):
        producer.send_many(topic, None, [b"not mine"]).wait()


def _poll(consumer: Consumer) -> None:
    """Poll until something is said, for ten seconds at most."""
    for _ in range(20):
        consumer.poll(timeout=0.5)


@pytest.mark.parametrize(("part", "topic"), [("collector", "milepost.raw.web"), ("ingest", "milepost.spend")])
def test_a_part_may_not_read_what_it_writes(secured: Secured, part: str, topic: str) -> None:
    machine = secured.machine("topics")
    ensure_topics(machine.kafka_settings(), machine.streamed, machine.project.raw_days)
    with Consumer(secured.machine(part).kafka_settings()) as consumer:
        consumer.assign(dict.fromkeys(consumer.partitions(topic), 0))
        with pytest.raises(KafkaUnreachableError, match="grant the right"):
            _poll(consumer)


def test_the_stitch_does_not_even_know_of_raw_records(secured: Secured) -> None:
    with Consumer(secured.machine("stitch").kafka_settings()) as consumer:
        assert consumer.partitions("milepost.raw.web") == ()
        assert consumer.partitions("milepost.touchpoints") != ()
