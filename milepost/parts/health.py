"""What a part tells whoever watches it: `/health/live`, `/health/ready`, `/metrics`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from milepost.metrics import REGISTRY


def serve_health(host: str, port: int, is_ready: Callable[[], bool]) -> str:
    """Answer in the background until the process ends.

    Args:
        host: the address to listen on.
        port: where; 0 takes a free one.
        is_ready: says whether the part works.

    Returns:
        The address, `host:port`.

    Raises:
        OSError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, generate_latest(REGISTRY), CONTENT_TYPE_LATEST)
            elif self.path == "/health/live":
                self._answer(200, b"live\n")
            elif self.path == "/health/ready":
                ready = is_ready()
                self._answer(200 if ready else 503, b"ready\n" if ready else b"not ready yet\n")
            else:
                self._answer(404, b"try /health/live, /health/ready or /metrics\n")

        def _answer(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: being asked is no news."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return f"{host}:{server.server_address[1]}"
