"""Free ports on the loopback address."""

from __future__ import annotations

import random
import socket

from milepost.parts.errors import PartError

LOOPBACK = "127.0.0.1"
#: Below those that systems give to outgoing connections: one of these could take the port of a server that is
#: down for a moment, or a client that knocks there could even be connected with itself.
_PORTS = range(20_000, 32_000)
_TRIES = 200


def free_port() -> int:
    """Give a port that nothing listens on."""
    for port in random.SystemRandom().sample(_PORTS, _TRIES):
        if is_free(port):
            return port
    raise PartError(f"no free port among {_TRIES} tried from {_PORTS.start} to {_PORTS.stop - 1}; name one")


def is_free(port: int) -> bool:
    """Say whether a server could listen there now."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
