"""What all clients of Kafka share: errors in our own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from connectors.kafka.errors import KafkaUnreachableError
from connectors.kafka.settings import KafkaSettings

#: For how long a cluster is asked whether it is there.
_ADMIN_MILLISECONDS = 10_000


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
        return KafkaAdminClient(**settings.client_options(), bootstrap_timeout_ms=_ADMIN_MILLISECONDS)


def explanation(settings: KafkaSettings, error: BaseException) -> str:
    """Say in one sentence what is wrong, and what helps."""
    from kafka import errors

    place = _place(settings)
    if isinstance(error, errors.SaslAuthenticationFailedError | errors.IllegalSaslStateError):
        return (
            f"{place}: user {settings.username!r} is not let in: wrong user or password for "
            f"{settings.sasl_mechanism}; correct kafka.username and kafka.password"
        )
    if isinstance(error, errors.UnsupportedSaslMechanismError):
        return f"{place}: it does not offer {settings.sasl_mechanism}; correct kafka.sasl_mechanism"
    if isinstance(error, errors.AuthorizationError):
        return (
            f"{place}: user {settings.username!r} may not do this ({error}); grant the right on the cluster"
        )
    if isinstance(error, errors.UnknownTopicOrPartitionError):
        return f"{place}: no such topic or partition ({error}); create the topics first"
    if isinstance(error, errors.KafkaTimeoutError | errors.KafkaConnectionError | errors.NodeNotReadyError):
        return (
            f"{place}: no answer in time ({error}); is Kafka running there, and are bootstrap_servers "
            "and security_protocol right?"
        )
    return f"{place}: {error}"


def _place(settings: KafkaSettings) -> str:
    return f"Kafka at {', '.join(settings.bootstrap_servers)} ({settings.security_protocol})"
