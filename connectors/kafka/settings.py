"""How to reach Kafka and a Schema Registry. Passwords come from the environment or a file, and are never shown."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from connectors.kafka.errors import KafkaSettingsError
from milepost.sources import Strict

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"]

_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+):(\d{1,5})")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PREFIX = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,60}")


class _Strict(Strict):
    # What an owner typed by mistake may be a password: errors do not repeat it.
    model_config = ConfigDict(hide_input_in_errors=True)


class Secret(_Strict):
    """Where a secret is: an environment variable, or a file that only its owner can read."""

    env: str | None = Field(default=None, description="Name of the environment variable.")
    file: Path | None = Field(default=None, description="File with nothing else in it.")

    @field_validator("env")
    @classmethod
    def _is_a_name(cls, value: str | None) -> str | None:
        if value is not None and not _VARIABLE.fullmatch(value):
            raise ValueError("give the variable's name, such as KAFKA_PASSWORD, not the secret itself")
        return value

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError("give one of `env:` and `file:`")
        return self

    def read(self, key: str) -> str:
        """Read it.

        Args:
            key: the setting's name, for errors.

        Raises:
            KafkaSettingsError: it is not there, or others can read the file.
        """
        if self.file is None:
            text = os.environ.get(self.env or "", "")
            if not text:
                raise KafkaSettingsError(f"{key}: the environment variable {self.env} is not set; set it")
            return text
        try:
            with self.file.open(encoding="utf-8") as opened:
                mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
                text = opened.read().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            cause = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise KafkaSettingsError(f"{key}: {self.file} can't be read: {cause}; correct the path") from None
        if mode & 0o077:
            raise KafkaSettingsError(
                f"{key}: others can read {self.file} (mode {mode:04o}); run: chmod 600 {self.file}"
            )
        if not text:
            raise KafkaSettingsError(f"{key}: {self.file} is empty; put the secret there")
        return text


class SchemaRegistrySettings(_Strict):
    """A Schema Registry that speaks Confluent's REST API."""

    url: str = Field(description="Its address, such as https://registry.example:8081.")
    username: str | None = Field(default=None, description="User of basic authentication.")
    password: Secret | None = Field(default=None, description="Where the user's password is.")
    ca_file: Path | None = Field(default=None, description="Certificates to trust instead of the system's.")

    @field_validator("url")
    @classmethod
    def _an_address(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[^\s/@]+(/[^\s@?#]*)?", value):
            raise ValueError("give an http(s) address without user, password or query")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("`username:` and `password:` go together")
        return self


class KafkaSettings(_Strict):
    """How to reach a Kafka cluster."""

    bootstrap_servers: tuple[str, ...] = Field(
        default=("127.0.0.1:9092",), description="Brokers to ask first, each `host:port`."
    )
    security_protocol: SecurityProtocol = Field(
        default="PLAINTEXT", description="Whether connections are encrypted and users authenticated."
    )
    sasl_mechanism: Mechanism = Field(default="SCRAM-SHA-512", description="How users are authenticated.")
    username: str | None = Field(default=None, description="The user, for SASL.")
    password: Secret | None = Field(default=None, description="Where the user's password is.")
    ssl_ca_file: Path | None = Field(
        default=None, description="Certificates to trust (PEM) instead of the system's."
    )
    ssl_certificate_file: Path | None = Field(default=None, description="This client's certificate (PEM).")
    ssl_key_file: Path | None = Field(default=None, description="The certificate's private key (PEM).")
    ssl_key_password: Secret | None = Field(default=None, description="Where the key's password is.")
    topic_prefix: str = Field(default="milepost", description="What the names of all topics begin with.")
    replication: int | None = Field(
        default=None, ge=1, le=9, description="Copies of each partition; the cluster's default unless set."
    )
    schema_registry: SchemaRegistrySettings | None = None

    @field_validator("bootstrap_servers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("bootstrap_servers")
    @classmethod
    def _host_and_port(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for server in value:
            found = _SERVER.fullmatch(server)
            if found is None or not 0 < int(found.group(2)) < 65_536:
                raise ValueError("give each server as host:port, such as broker.example:9092")
        if not value:
            raise ValueError("give at least one server as host:port")
        return value

    @field_validator("topic_prefix")
    @classmethod
    def _a_prefix(cls, value: str) -> str:
        if not _PREFIX.fullmatch(value) or value.endswith("."):
            raise ValueError("use at most 61 letters, digits, ., _ and -, beginning with a letter or digit")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        sasl, ssl = "SASL" in self.security_protocol, "SSL" in self.security_protocol
        if sasl and (self.username is None or self.password is None):
            raise ValueError(f"{self.security_protocol} needs `username:` and `password:`")
        if not sasl and (self.username is not None or self.password is not None):
            raise ValueError("`username:` and `password:` need security_protocol SASL_SSL or SASL_PLAINTEXT")
        files = (self.ssl_ca_file, self.ssl_certificate_file, self.ssl_key_file, self.ssl_key_password)
        if not ssl and any(file is not None for file in files):
            raise ValueError("`ssl_…:` settings need security_protocol SSL or SASL_SSL")
        if (self.ssl_certificate_file is None) != (self.ssl_key_file is None):
            raise ValueError("`ssl_certificate_file:` and `ssl_key_file:` go together")
        return self

    def below(self, root: Path) -> KafkaSettings:
        """Give the settings with relative paths of files taken from `root`, the project's folder."""
        return _below(self, root)

    def client_options(self) -> dict[str, Any]:
        """Give the keyword arguments of kafka-python's clients; they hold secrets, so don't show them.

        Raises:
            KafkaSettingsError: a secret or a file is not there; names the key and the remedy.
        """
        options: dict[str, Any] = {
            "bootstrap_servers": list(self.bootstrap_servers),
            "security_protocol": self.security_protocol,
            "client_id": "milepost",
            # A broker that comes back is found within a second, however long it was away.
            "reconnect_backoff_ms": 50,
            "reconnect_backoff_max_ms": 1_000,
        }
        if self.password is not None:
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password.read("kafka.password"),
            }
        for option, key in _FILES.items():
            file = getattr(self, key)
            if file is not None:
                options[option] = os.fspath(_readable(file, f"kafka.{key}"))
        if self.ssl_key_password is not None:
            options["ssl_password"] = self.ssl_key_password.read("kafka.ssl_key_password")
        return options


_FILES = {
    "ssl_cafile": "ssl_ca_file",
    "ssl_certfile": "ssl_certificate_file",
    "ssl_keyfile": "ssl_key_file",
}


_Model = TypeVar("_Model", bound=BaseModel)


def _below(model: _Model, root: Path) -> _Model:
    changed: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, Path):
            changed[name] = root / value
        elif isinstance(value, BaseModel):
            changed[name] = _below(value, root)
    return model.model_copy(update=changed)


def _readable(file: Path, key: str) -> Path:
    try:
        with file.open("rb"):
            return file
    except OSError as error:
        raise KafkaSettingsError(f"{key}: {file} can't be read: {error.strerror}; correct the path") from None
