"""Knocks at a cluster that has a lock: kafka-python tries on and on when it is not let in, and never says why."""

from __future__ import annotations

from typing import Any

from connectors.kafka.settings import KafkaSettings

_MILLISECONDS = 5_000


def knock(settings: KafkaSettings) -> None:
    """Connect once as the settings say, where they ask for TLS or SASL.

    A broker that can't be reached is no error here: who connects next waits for it.

    Raises:
        SaslAuthenticationFailedError, UnsupportedSaslMechanismError: the cluster does not let this user in.
        KafkaConnectionError: certificates don't fit.
    """
    if settings.security_protocol == "PLAINTEXT":
        return
    from kafka import errors
    from kafka.net.manager import KafkaConnectionManager
    from kafka.net.selector import NetworkSelector

    manager = KafkaConnectionManager(NetworkSelector(), **settings.client_options())
    try:
        for node in manager.cluster.bootstrap_brokers():
            try:
                manager.run(_connect, manager, node.node_id)
            except errors.KafkaConnectionError as error:
                if "andshake failed" in str(error):
                    raise
            except errors.KafkaTimeoutError:
                pass
            else:
                return
    finally:
        manager.close()


async def _connect(manager: Any, node_id: Any) -> None:
    from kafka.errors import KafkaConnectionError, SaslAuthenticationFailedError

    connection = manager.get_connection(node_id, timeout_ms=_MILLISECONDS, refresh_metadata_on_err=False)
    authenticate, is_asking = connection._sasl_authenticate, False

    async def _watched(*arguments: Any, **options: Any) -> None:
        nonlocal is_asking
        is_asking = True
        await authenticate(*arguments, **options)
        is_asking = False

    connection._sasl_authenticate = _watched
    try:
        await connection
    except KafkaConnectionError as error:
        if is_asking:
            # The broker says that the password is wrong and hangs up; kafka-python hears only the latter.
            raise SaslAuthenticationFailedError("hung up during authentication") from error
        raise
