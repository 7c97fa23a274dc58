"""What all clients of Kafka share: errors in our own words."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from connectors.kafka.errors import KafkaUnreachableError
from connectors.kafka.knock import knock
from connectors.kafka.settings import KafkaSettings

#: For how long a cluster is asked whether it is there.
_ADMIN_MILLISECONDS = 10_000

# What matters of kafka-python's complaints comes as exceptions; the rest is for who sets up logging.
logging.getLogger("kafka").addHandler(logging.NullHandler())


@contextmanager
def explained(settings: KafkaSettings) -> Iterator[None]:
    """Turn what kafka-python raises inside into KafkaUnreachableError with a remedy.

    Errors name servers and user, never a password.
    """
    from kafka.errors import KafkaError

    try:
        yield
    except KafkaError as error:
        raise KafkaUnreachableError(explanation(settings, error)) from error
    except OSError as error:
        # Certificates that can't be loaded, names that can't be resolved.
        raise KafkaUnreachableError(f"{_place(settings)}: {error.strerror or error}") from error


def open_admin(settings: KafkaSettings) -> Any:
    """Connect kafka-python's client for administration; raises KafkaUnreachableError."""
    from kafka import KafkaAdminClient

    with explained(settings):
        knock(settings)
        return KafkaAdminClient(**settings.client_options(), bootstrap_timeout_ms=_ADMIN_MILLISECONDS)


def explanation(settings: KafkaSettings, error: BaseException) -> str:
    """Say in one sentence what is wrong, and what helps."""
    return f"{_place(settings)}: {_cause(settings, error)}"


def _cause(settings: KafkaSettings, error: BaseException) -> str:
    from kafka import errors

    user = f"user {settings.username!r}"
    causes: list[tuple[tuple[type[BaseException], ...], str]] = [
        (
            (errors.SaslAuthenticationFailedError, errors.IllegalSaslStateError),
            f"{user} is not let in: wrong user or password for {settings.sasl_mechanism}; "
            "correct kafka.username and kafka.password",
        ),
        (
            (errors.UnsupportedSaslMechanismError,),
            f"it does not offer {settings.sasl_mechanism}; correct kafka.sasl_mechanism",
        ),
        ((errors.AuthorizationError,), f"{user} may not do this ({error}); grant the right on the cluster"),
        (
            (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError),
            "a record is too large for its topic; send less, or raise the topic's max.message.bytes",
        ),
        (
            (errors.UnknownTopicOrPartitionError,),
            f"no such topic or partition ({error}); create the topics first",
        ),
        (
            (errors.KafkaConnectionError,),
            f"{error}; is Kafka running there, do the certificates fit, and is security_protocol right?",
        ),
        (
            (errors.KafkaTimeoutError, errors.NodeNotReadyError),
            f"no answer in time ({error}); is Kafka running there, and are bootstrap_servers and "
            "security_protocol right?",
        ),
    ]
    return next((cause for kinds, cause in causes if isinstance(error, kinds)), str(error))


def _place(settings: KafkaSettings) -> str:
    return f"Kafka at {', '.join(settings.bootstrap_servers)} ({settings.security_protocol})"


def cluster_id(settings: KafkaSettings) -> str:
    """Give the id of the cluster, which no other one has; raises KafkaUnreachableError."""
    admin = open_admin(settings)
    try:
        with explained(settings):
            return str(admin.describe_cluster()["cluster_id"])
    finally:
        admin.close()
