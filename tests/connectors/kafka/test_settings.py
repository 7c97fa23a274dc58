"""Settings: what fits together, and secrets that no message repeats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.kafka.errors import KafkaSettingsError
from connectors.kafka.settings import KafkaSettings, SchemaRegistrySettings, Secret

SASL: dict[str, Any] = {
    "security_protocol": "SASL_SSL",
    "username": "milepost",
    "password": {"env": "KAFKA_PASSWORD"},
}


def test_one_machine_needs_no_settings() -> None:
    options = KafkaSettings().client_options()
    assert options["bootstrap_servers"] == ["127.0.0.1:9092"]
    assert options["security_protocol"] == "PLAINTEXT"
    assert not [key for key in options if key.startswith(("sasl", "ssl"))]


def test_everything_becomes_an_option_of_the_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", "hunter2")
    for name in ("ca.pem", "me.pem", "me.key", "word"):
        (tmp_path / name).write_text("secret\n")
        (tmp_path / name).chmod(0o600)
    settings = KafkaSettings.model_validate(
        {
            **SASL,
            "bootstrap_servers": "a.example:9093, [::1]:9094",
            "ssl_ca_file": "ca.pem",
            "ssl_certificate_file": "me.pem",
            "ssl_key_file": "me.key",
            "ssl_key_password": {"file": "word"},
            "schema_registry": {"url": "https://r.example/api/", "ca_file": "ca.pem"},
        }
    ).below(tmp_path)
    options = settings.client_options()
    assert options["bootstrap_servers"] == ["a.example:9093", "[::1]:9094"]
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("milepost", "hunter2")
    assert options["ssl_cafile"] == str(tmp_path / "ca.pem")
    assert options["ssl_certfile"] == str(tmp_path / "me.pem")
    assert options["ssl_keyfile"] == str(tmp_path / "me.key")
    assert options["ssl_password"] == "secret"
    assert settings.schema_registry is not None
    assert settings.schema_registry.ca_file == tmp_path / "ca.pem"
    assert settings.schema_registry.url == "https://r.example/api"
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"bootstrap_servers": "broker"}, "host:port"),
        ({"bootstrap_servers": "broker:99999"}, "host:port"),
        ({"bootstrap_servers": []}, "at least one"),
        ({"bootstrap_servers": "user:hunter2@broker:9092"}, "host:port"),
        ({"security_protocol": "TLS"}, "PLAINTEXT"),
        ({"security_protocol": "SASL_SSL"}, "needs `username:` and `password:`"),
        ({**SASL, "security_protocol": "SSL"}, "need security_protocol SASL_SSL"),
        ({**SASL, "password": "hunter2"}, "password"),
        ({**SASL, "password": {"env": "hunter2 "}}, "not the secret itself"),
        ({**SASL, "password": {}}, "one of `env:` and `file:`"),
        ({**SASL, "password": {"env": "A", "file": "b"}}, "one of `env:` and `file:`"),
        ({"ssl_ca_file": "ca.pem"}, "need security_protocol SSL"),
        ({"security_protocol": "SSL", "ssl_key_file": "k"}, "go together"),
        ({"topic_prefix": "mile post"}, "letters"),
        ({"passwort": "hunter2"}, "passwort"),
        ({"schema_registry": {"url": "https://me:hunter2@r.example"}}, "without user"),
        ({"schema_registry": {"url": "ftp://r.example"}}, "http"),
        ({"schema_registry": {"url": "http://r.example", "username": "u"}}, "go together"),
    ],
)
def test_what_does_not_fit_is_named_and_no_secret_is_repeated(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as raised:
        KafkaSettings.model_validate(wrong)
    assert said in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_secret_that_is_not_there_or_that_others_can_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAFKA_PASSWORD", raising=False)
    with pytest.raises(KafkaSettingsError, match=r"kafka\.password: the environment variable KAFKA_PASSWORD"):
        KafkaSettings.model_validate(SASL).client_options()
    file = tmp_path / "password"
    with pytest.raises(KafkaSettingsError, match="can't be read"):
        Secret(file=file).read("kafka.password")
    file.write_text("hunter2")
    file.chmod(0o640)
    with pytest.raises(KafkaSettingsError, match=r"mode 0640\); run: chmod 600") as raised:
        Secret(file=file).read("kafka.password")
    assert "hunter2" not in str(raised.value)
    file.chmod(0o600)
    assert Secret(file=file).read("kafka.password") == "hunter2"
    file.write_text("\n")
    with pytest.raises(KafkaSettingsError, match="is empty"):
        Secret(file=file).read("kafka.password")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(KafkaSettingsError, match="not UTF-8"):
        Secret(file=file).read("kafka.password")


def test_a_certificate_that_is_not_there_is_named() -> None:
    settings = KafkaSettings(security_protocol="SSL", ssl_ca_file=Path("/none/ca.pem"))
    with pytest.raises(KafkaSettingsError, match=r"kafka\.ssl_ca_file: /none/ca\.pem"):
        settings.client_options()


def test_settings_can_be_compared_and_hashed() -> None:
    """A registry is opened once for all who have the same settings."""
    first, second = (SchemaRegistrySettings(url="http://r.example/") for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
