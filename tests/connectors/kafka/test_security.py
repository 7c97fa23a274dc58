"""SASL/SCRAM over TLS, and mutual TLS, against a real broker with certificates made here."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.kafka.consumer import Consumer
from connectors.kafka.errors import KafkaUnreachableError
from connectors.kafka.producer import Producer
from connectors.kafka.settings import KafkaSettings, Secret
from connectors.kafka.topics import ensure_topics, raw_topic
from milepost.parts.kafka_broker import KafkaBroker
from milepost.parts.ports import free_port
from tests.brokers import running_broker


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def _certificate(folder: Path, name: str, extension: str) -> None:
    """Make `name.key`, `name.crt` signed by the authority in the folder, and both in `name.pem`."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key")
    (folder / f"{name}.ext").write_text(extension)
    _openssl(folder, "req", *key, "-subj", f"/CN={name}", "-out", f"{name}.csr")
    signed_by = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    _openssl(
        folder,
        "x509",
        "-req",
        "-in",
        f"{name}.csr",
        *signed_by,
        "-extfile",
        f"{name}.ext",
        "-out",
        f"{name}.crt",
    )
    parts = [folder / f"{name}.key", folder / f"{name}.crt", folder / "ca.crt"]
    (folder / f"{name}.pem").write_text("".join(part.read_text() for part in parts))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, the broker's certificate and a client's."""
    folder = tmp_path_factory.mktemp("certificates")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key")
    _openssl(folder, "req", "-x509", *curve, "-subj", "/CN=test authority", "-days", "2", "-out", "ca.crt")
    _certificate(folder, "broker", "subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    _certificate(folder, "milepost", "extendedKeyUsage=clientAuth\n")
    return folder


@pytest.fixture(scope="module")
def secured(certificates: Path) -> Iterator[tuple[KafkaBroker, int, int]]:
    """A broker with a listener for SCRAM over TLS, and one for mutual TLS; their ports."""
    scram, mutual = free_port(), free_port()
    properties = {
        "listeners": "PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},"
        f"SASL_SSL://127.0.0.1:{scram},SSL://127.0.0.1:{mutual}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificates / "broker.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificates / "ca.crt"),
        "listener.name.ssl.ssl.client.auth": "required",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
    }
    user = ("-S", "SCRAM-SHA-512=[name=milepost,password=right-one]")
    with running_broker(properties=properties, format_arguments=user) as broker:
        yield broker, scram, mutual


def _goes_through(settings: KafkaSettings) -> bool:
    ensure_topics(settings, ["web"], 90)
    topic = raw_topic(settings, "web")
    with Producer(settings) as producer:
        producer.send_many(topic, None, [b"hello"]).wait()
    with Consumer(settings) as consumer:
        consumer.assign(consumer.beginning_offsets(consumer.partitions(topic)))
        return any(
            part.values.to_list() == [b"hello"] for _ in range(10) for part in consumer.poll(timeout=1)
        )


def _scram(port: int, certificates: Path, password: Path) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=(f"127.0.0.1:{port}",),
        security_protocol="SASL_SSL",
        username="milepost",
        password=Secret(file=password),
        ssl_ca_file=certificates / "ca.crt",
        topic_prefix="scram",
    )


def test_scram_over_tls_works_and_a_wrong_password_is_said(
    secured: tuple[KafkaBroker, int, int], certificates: Path, tmp_path: Path
) -> None:
    _, port, _ = secured
    password = tmp_path / "password"
    password.touch(0o600)
    settings = _scram(port, certificates, password)
    password.write_text("right-one\n")
    assert _goes_through(settings)
    password.write_text("wrong-one\n")
    said = rf"127\.0\.0\.1:{port} \(SASL_SSL\): user 'milepost' is not let in: wrong user or password"
    for connect in (Producer, Consumer, lambda settings: ensure_topics(settings, [], 90)):
        with pytest.raises(KafkaUnreachableError, match=said) as raised:
            connect(settings)
        assert "wrong-one" not in str(raised.value)


def test_mutual_tls_works(
    secured: tuple[KafkaBroker, int, int], certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, port = secured
    settings = KafkaSettings(
        bootstrap_servers=(f"localhost:{port}",),
        security_protocol="SSL",
        ssl_ca_file=certificates / "ca.crt",
        ssl_certificate_file=certificates / "milepost.crt",
        ssl_key_file=certificates / "milepost.key",
        topic_prefix="mutual",
    )
    assert _goes_through(settings)
    nameless = settings.model_copy(update={"ssl_certificate_file": None, "ssl_key_file": None})
    monkeypatch.setattr("connectors.kafka.clients._ADMIN_MILLISECONDS", 500)
    with pytest.raises(KafkaUnreachableError, match="no answer in time"):
        ensure_topics(nameless, [], 90)


def test_a_broker_of_another_authority_is_not_trusted(
    secured: tuple[KafkaBroker, int, int],
) -> None:
    _, _, port = secured
    settings = KafkaSettings(bootstrap_servers=(f"127.0.0.1:{port}",), security_protocol="SSL")
    with pytest.raises(KafkaUnreachableError, match=r"CERTIFICATE_VERIFY_FAILED.*do the certificates fit"):
        ensure_topics(settings, [], 90)
