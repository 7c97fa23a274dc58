"""The compose file, the image and their settings: checked by tools that need no container engine, and by each other."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from connectors.kafka.settings import KafkaSettings
from milepost.cli import app
from milepost.parts.kafka_broker import _PROPERTIES
from milepost.project import load_project
from tests.deploy.files import DEPLOY, load, project_with

TOOLS = Path(sys.executable).parent
COMPOSE = load("compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_fits_the_compose_specification() -> None:
    _run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml"))


def test_the_parts_are_those_of_a_machine() -> None:
    assert list(SERVICES) == [
        "kafka",
        "postgresql",
        "topics",
        "collector",
        "ingest",
        "stitch",
        "prometheus",
    ]


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_may_do_little(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(service)
    # Kafka's start script writes into its image, whose user is not root.
    assert name == "kafka" or (service["read_only"] and re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]))
    assert re.search(r":v?\d+(\.\d+)*(-\w+)?}?$", service["image"]), "name a version"
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "topics"])
def test_a_container_that_stays_is_asked_whether_it_works(name: str) -> None:
    assert "healthcheck" in SERVICES[name]


def test_secrets_come_from_files_that_are_not_kept_with_the_code() -> None:
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|STORE|SECRET", variable):
                assert variable.endswith("_FILE")
                assert value.removeprefix("/run/secrets/") in service["secrets"]
    for secret in COMPOSE["secrets"].values():
        assert secret["file"].startswith("./secrets/")
    assert "/secrets/" in (DEPLOY / ".gitignore").read_text(encoding="utf-8").split()


def test_kafka_works_as_the_one_that_up_starts() -> None:
    environment = SERVICES["kafka"]["environment"]
    same = {
        key: value
        for key, value in _PROPERTIES.items()
        if re.match(r"(offsets\.(topic\.rep|ret)|transaction.*(factor|min)|share|group|auto|log\.ret)", key)
        or key.endswith(("max.bytes", "roles", "node.id"))
    }
    assert len(same) > 10
    assert {key: environment["KAFKA_" + key.upper().replace(".", "_")] for key in same} == same


@pytest.mark.parametrize("name", OURS)
def test_a_part_runs_a_command_that_there_is(name: str) -> None:
    command: Any = typer.main.get_command(app)
    for word in OURS[name]["command"]:
        assert word in command.commands
        command = command.commands[word]


def test_the_project_loads_and_its_addresses_are_those_that_others_ask(tmp_path: Path) -> None:
    project = load_project(project_with("milepost.yaml", tmp_path / "project"), tmp_path / "home")
    ports = {
        "collector": project.collector.port,
        "ingest": project.stream.ingest_metrics_port,
        "stitch": project.stream.stitch_metrics_port,
    }
    for name, port in ports.items():
        assert f"http://127.0.0.1:{port}/health/" in SERVICES[name]["healthcheck"]["test"][-1]
    (job,) = load("prometheus/prometheus.yaml")["scrape_configs"]
    asked = {target["labels"]["part"]: target["targets"] for target in job["static_configs"]}
    assert asked == {name: [f"{name}:{port}"] for name, port in ports.items()}
    assert project.kafka is not None
    assert project.kafka.bootstrap_servers == ("kafka:9092",)
    assert SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://kafka:9092"
    # Others than the container itself ask these two.
    assert project.collector.host == project.stream.metrics_host == "0.0.0.0"
    assert SERVICES["collector"]["ports"] == [f"127.0.0.1:${{COLLECTOR_PORT:-8300}}:{project.collector.port}"]


def test_the_secure_project_loads(tmp_path: Path) -> None:
    project = load_project(project_with("secure/milepost.yaml", tmp_path / "project"), tmp_path / "home")
    assert project.kafka is not None
    assert project.kafka.security_protocol == "SASL_SSL"
    assert project.kafka.below(project.root).ssl_ca_file == project.root / "certificates" / "ca.crt"
    assert isinstance(project.kafka, KafkaSettings)


def test_a_linter_finds_nothing_in_the_dockerfile() -> None:
    _run(TOOLS / "hadolint", DEPLOY / "Dockerfile")


def test_the_image_holds_what_the_wheel_is_made_of() -> None:
    pyproject = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text(encoding="utf-8"))
    copied = {line.split()[1] for line in DOCKERFILE.splitlines() if re.match(r"COPY \w+ \w+$", line)}
    packages = set(pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert copied == packages | {"examples"}
    extras = re.findall(r'EXTRAS="([^"]*)"', DOCKERFILE)
    assert len(extras) == 2
    assert {extra for line in extras for extra in line.split()} <= set(
        pyproject["project"]["optional-dependencies"]
    )
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    assert {f"!{name}" for name in copied} <= set(ignored)
    version = pyproject["project"]["version"]
    assert all(service["image"] == f"${{MILEPOST_IMAGE:-milepost:{version}}}" for service in OURS.values())


def test_parts_run_as_the_images_user_and_write_where_volumes_are() -> None:
    (user,) = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert {service["user"] for service in OURS.values()} == {user}
    (volumes,) = re.findall(r"^VOLUME \[(.*)\]$", DOCKERFILE, re.MULTILINE)
    kept = set(shlex.split(volumes.replace(",", " ")))
    for name in ("collector", "ingest", "stitch"):
        mounted = {volume.rpartition(":")[2]: volume for volume in OURS[name]["volumes"]}
        assert kept <= set(mounted)
    # A spool and a store are no secret of each other's parts.
    assert "home:/var/lib/milepost" not in OURS["collector"]["volumes"]
    assert OURS["ingest"]["volumes"] == OURS["stitch"]["volumes"]


def test_secrets_are_made_once_each_for_its_user(tmp_path: Path) -> None:
    script = DEPLOY / "make_secrets.sh"
    folder = tmp_path / "secrets"
    done = subprocess.run([script, folder], capture_output=True, text=True, check=False)
    if os.geteuid() != 0:
        assert done.returncode == 1
        assert "run it as root" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    users = {"store_url": OURS["stitch"]["user"], "postgresql_password": SERVICES["postgresql"]["user"]}
    for name, user in users.items():
        found = (folder / name).stat()
        assert f"{found.st_uid}:{found.st_gid}" == user
        assert stat.S_IMODE(found.st_mode) == 0o600
    password = (folder / "postgresql_password").read_text()
    assert len(password) == 48
    assert (folder / "store_url").read_text() == f"postgresql://milepost:{password}@postgresql:5432/milepost"
    again = subprocess.run([script, folder], capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert (folder / "postgresql_password").read_text() == password
